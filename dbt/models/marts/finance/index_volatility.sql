-- Volatility over one, three and twelve months of trading days, a year's worth: the sample standard deviation of the
-- daily log returns, times the square root of 252. From sums, because not every warehouse has a moving deviation.
{% set windows = {'volatility_60d': 60, 'volatility_250d': 250} %}
with squares as (
    select index_name, trade_date, log_return, log_return * log_return as square, volatility_20d
    from {{ ref('stg_index_days') }}
),

sums as (
    select
        index_name,
        trade_date,
        volatility_20d
        {%- for name, days in windows.items() %}
        {%- set frame = 'over (partition by index_name order by trade_date rows between ' ~ (days - 1) ~ ' preceding and current row)' %},
        count(log_return) {{ frame }} as returns_{{ days }},
        sum(log_return) {{ frame }} as sum_{{ days }},
        sum(square) {{ frame }} as squares_{{ days }}
        {%- endfor %}
    from squares
)

select
    index_name,
    trade_date,
    {{ rounded('volatility_20d') }} as volatility_20d
    {%- for name, days in windows.items() %},
    case
        when returns_{{ days }} = {{ days }}
            then {{ rounded('sqrt(greatest(squares_' ~ days ~ ' - sum_' ~ days ~ ' * sum_' ~ days ~ ' / ' ~ days ~ ', 0) / ' ~ (days - 1) ~ ' * 252)') }}
    end as {{ name }}
    {%- endfor %},
    {{ main_hash() }} as main_hash
from sums
