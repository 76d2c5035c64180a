-- Every airline over all its flights, the most punctual first.
with counted as (
    select
        airline_key,
        count(*) as flights,
        sum(is_cancelled) as cancelled,
        sum(has_arrived) as arrived,
        sum(is_on_time) as on_time,
        sum(arr_delay_min) as arr_delay_min
    from {{ ref('stg_flights') }}
    group by airline_key
),

shares as (
    select
        counted.airline_key,
        airlines.airline,
        counted.flights,
        {{ rounded(share('counted.cancelled', 'counted.flights')) }} as cancelled_share,
        {{ rounded(share('counted.on_time', 'counted.arrived')) }} as on_time_share,
        {{ rounded(share('counted.arr_delay_min', 'counted.arrived')) }} as mean_arr_delay_min
    from counted
    left join {{ ref('stg_airlines') }} as airlines on counted.airline_key = airlines.airline_key
)

select
    cast(rank() over (order by on_time_share desc nulls last) as bigint) as place,
    airline_key,
    airline,
    cast(flights as bigint) as flights,
    cancelled_share,
    on_time_share,
    mean_arr_delay_min,
    {{ main_hash() }} as main_hash
from shares
