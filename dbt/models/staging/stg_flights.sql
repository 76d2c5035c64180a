select
    flight_date,
    {{ month_of('flight_date') }} as month,
    carrier,
    airline_key,
    case when status = 'cancelled' then 1 else 0 end as is_cancelled,
    case when arr_delay_min is not null then 1 else 0 end as has_arrived,
    case when arr_delay_min <= 15 then 1 else 0 end as is_on_time,
    arr_delay_min
from {{ source('operations', 'fact_flight') }}
