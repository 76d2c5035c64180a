-- Every airline in every month: how punctual it was, and how that compares with all airlines of the month and with
-- its own other months.
with counted as (
    select
        airline_key,
        month,
        count(*) as flights,
        sum(is_cancelled) as cancelled,
        sum(has_arrived) as arrived,
        sum(is_on_time) as on_time
    from {{ ref('stg_flights') }}
    group by airline_key, month
),

compared as (
    select
        *,
        sum(on_time) over (partition by month) as on_time_of_month,
        sum(arrived) over (partition by month) as arrived_of_month,
        sum(on_time) over (partition by airline_key) as on_time_of_airline,
        sum(arrived) over (partition by airline_key) as arrived_of_airline
    from counted
)

select
    airline_key,
    month,
    cast(flights as bigint) as flights,
    cast(rank() over (
        partition by month order by {{ share('on_time', 'arrived') }} desc nulls last
    ) as bigint) as place_in_month,
    {{ rounded(share('cancelled', 'flights')) }} as cancelled_share,
    {{ rounded(share('on_time', 'arrived')) }} as on_time_share,
    {{ rounded(share('on_time', 'arrived') ~ ' - ' ~ share('on_time_of_month', 'arrived_of_month')) }} as above_month,
    {{ rounded(share('on_time', 'arrived') ~ ' - ' ~ share('on_time_of_airline', 'arrived_of_airline')) }} as above_own_mean,
    {{ main_hash() }} as main_hash
from compared
