select
    index_name,
    trade_date,
    close,
    log_return,
    volatility_20d,
    row_number() over (partition by index_name order by trade_date) as day_number
from {{ source('finance', 'index_returns') }}
