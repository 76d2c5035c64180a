-- Where an index stands at its peak, nothing is lost, and the other way round.
select index_name, trade_date
from {{ ref('index_drawdown') }}
where (days_below_peak = 0 and drawdown <> 0) or (days_below_peak > 0 and close > peak_close)
