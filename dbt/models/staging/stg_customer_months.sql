select
    customer_id,
    first_month as cohort_month,
    month,
    {{ months_between('first_month', 'month') }} as months_since,
    purchases,
    revenue_usd
from {{ source('sales', 'customer_month') }}
