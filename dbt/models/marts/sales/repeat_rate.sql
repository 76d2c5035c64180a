-- How many customers of each cohort bought again: at all, and within three months.
with back as (
    select customer_id, max(case when months_since between 1 and 3 then 1 else 0 end) as within_3_months
    from {{ ref('stg_customer_months') }}
    group by customer_id
),

counted as (
    select
        customers.cohort_month,
        count(*) as customers,
        sum(case when customers.purchases > 1 then 1 else 0 end) as repeat_customers,
        sum(back.within_3_months) as back_within_3_months,
        sum(customers.purchases) as purchases
    from {{ ref('stg_customers') }} as customers
    inner join back on customers.customer_id = back.customer_id
    group by customers.cohort_month
)

select
    cohort_month,
    cast(customers as bigint) as customers,
    cast(repeat_customers as bigint) as repeat_customers,
    {{ rounded(share('repeat_customers', 'customers')) }} as repeat_share,
    {{ rounded(share('back_within_3_months', 'customers')) }} as back_within_3_months_share,
    {{ rounded(share('purchases', 'customers')) }} as purchases_per_customer,
    {{ main_hash() }} as main_hash
from counted
