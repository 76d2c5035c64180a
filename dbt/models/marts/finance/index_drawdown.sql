-- How far below its highest close so far each index stood on each trading day, and for how long.
with peaks as (
    select
        index_name,
        trade_date,
        day_number,
        close,
        max(close) over (
            partition by index_name order by trade_date rows between unbounded preceding and current row
        ) as peak_close
    from {{ ref('stg_index_days') }}
),

falls as (
    select
        *,
        close / peak_close - 1 as drawdown,
        max(case when close = peak_close then day_number end) over (
            partition by index_name order by trade_date rows between unbounded preceding and current row
        ) as peak_day_number
    from peaks
)

select
    index_name,
    trade_date,
    {{ rounded('close') }} as close,
    {{ rounded('peak_close') }} as peak_close,
    {{ rounded('drawdown') }} as drawdown,
    {{ rounded('min(drawdown) over (partition by index_name order by trade_date rows between unbounded preceding and current row)') }}
        as worst_drawdown,
    cast(day_number - peak_day_number as bigint) as days_below_peak,
    {{ main_hash() }} as main_hash
from falls
