-- Whoever is in a cohort bought in its first month; and all customers are in a cohort.
select cohort_month, active_customers, cohort_customers
from {{ ref('cohort_retention') }}
where months_since = 0 and active_customers <> cohort_customers
union all
select r.cohort_month, c.cohort_customers, r.customers
from {{ ref('repeat_rate') }} as r
left join {{ ref('cohort_retention') }} as c on r.cohort_month = c.cohort_month and c.months_since = 0
where c.cohort_customers is null or c.cohort_customers <> r.customers
