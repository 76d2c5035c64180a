-- The customers whose first purchase was in one month, in each month in which any of them bought: how many came back,
-- and what they have brought so far.
with sizes as (
    select cohort_month, count(*) as cohort_customers
    from {{ ref('stg_customer_months') }}
    where months_since = 0
    group by cohort_month
),

active as (
    select
        cohort_month,
        month,
        months_since,
        count(*) as active_customers,
        sum(revenue_usd) as revenue_usd
    from {{ ref('stg_customer_months') }}
    group by cohort_month, month, months_since
),

so_far as (
    select
        *,
        sum(revenue_usd) over (
            partition by cohort_month order by months_since rows between unbounded preceding and current row
        ) as revenue_so_far_usd
    from active
)

select
    so_far.cohort_month,
    so_far.month,
    so_far.months_since,
    cast(sizes.cohort_customers as bigint) as cohort_customers,
    cast(so_far.active_customers as bigint) as active_customers,
    {{ rounded(share('so_far.active_customers', 'sizes.cohort_customers')) }} as retention_share,
    cast(so_far.revenue_usd as numeric(20, 2)) as revenue_usd,
    {{ rounded(share('so_far.revenue_so_far_usd', 'sizes.cohort_customers')) }} as revenue_so_far_per_customer_usd,
    {{ main_hash() }} as main_hash
from so_far
inner join sizes on so_far.cohort_month = sizes.cohort_month
