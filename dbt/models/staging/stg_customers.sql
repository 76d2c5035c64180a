select
    customer_id,
    {{ month_of('first_purchase') }} as cohort_month,
    purchases,
    revenue_usd
from {{ source('sales', 'customer_value') }}
