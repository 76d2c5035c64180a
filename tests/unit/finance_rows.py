"""Rows of finance for its tests."""

from __future__ import annotations

from datetime import date

from medallion.contract import UNPARSED
from tests.unit.planted_rows import BRONZE, SILVER, Rows, missing

PRICES = {
    "trade_date": "1/4/1999", "open": "1229.22998", "high": "1248.810059", "low": "1219.099976", "close": "1228.099976",
    "adj_close": "1228.099976", "volume": "877000000",
}  # fmt: skip
SP500 = "s3://bronze-external/domain=finance/index_prices/year=2013/month=01/day=01/sp500.csv.gz?versionId=5f1c"
_POINTS = ("open", "high", "low", "close", "adjusted_close")

FINANCE = Rows(
    "finance",
    sound={
        "bronze.finance.index_prices": BRONZE | PRICES | {"_source_uri": SP500},
        "silver.finance.index_prices": SILVER
        | {
            "index_name": "sp500", "trade_date": date(1999, 1, 4), "open": 1229.22998, "high": 1248.810059,
            "low": 1219.099976, "close": 1228.099976, "adjusted_close": 1228.099976, "volume_shares": 877_000_000,
        },
        "gold.finance.index_returns": {
            "index_name": "nasdaq", "trade_date": date(1999, 2, 2), "close": 2463.419922, "log_return": -0.019,
            "volatility_20d": 0.31,
        },
    },
    planted={
        "bronze.finance.index_prices": {
            "date_malformed": ({"trade_date": "13/1/1999"}, {"trade_date": "01/13/1999"}),
            "price_missing": ({"low": " "}, {"volume": ""}),
            "high_below_low": ({"high": "999.9", "low": "1000"}, {"high": "1000", "low": "999.9"}),
        },
        "silver.finance.index_prices": {
            "parses": ({UNPARSED: "close"}, {UNPARSED: None}),
            **missing("index_name", "trade_date", *_POINTS, "volume_shares"),
            **{f"{name}_exclusiveMinimum": ({name: 0.0}, {name: 0.01}) for name in _POINTS},
            "index_unknown": ({"index_name": "vix"}, {"index_name": "nasdaq"}),
            "trade_date_minimum": ({"trade_date": date(1956, 12, 31)}, {"trade_date": date(1957, 3, 4)}),
            "volume_shares_minimum": ({"volume_shares": -1}, {"volume_shares": 0}),
            "high_below_low": ({"high": 1219.0}, {"high": 1219.099976}),
            "opened_outside_the_range": ({"open": 1248.82}, {"open": 1248.810059}),
            "closed_outside_the_range": ({"close": 122.8099976}, {"close": 1219.099976}),
            "traded_at_the_weekend": ({"trade_date": date(1999, 1, 3)}, {"trade_date": date(1999, 1, 8)}),
            "adjusted_without_reason": ({"adjusted_close": 614.049988}, {}),
            "nothing_traded": ({"volume_shares": 0}, {"volume_shares": 1}),
        },
        "gold.finance.index_returns": {
            **missing("index_name", "trade_date", "close"),
            "close_exclusiveMinimum": ({"close": 0.0}, {"close": 0.01}),
            "volatility_20d_minimum": ({"volatility_20d": -0.1}, {"volatility_20d": 0.0}),
            "volatility_20d_maximum": ({"volatility_20d": 31.0}, {"volatility_20d": 2.0}),
            "moved_by_a_quarter": ({"log_return": -2.302585}, {"log_return": -0.2290}),
            "volatility_of_nothing": ({"log_return": None}, {"log_return": None, "volatility_20d": None}),
            "stood_still": ({"volatility_20d": 0.0}, {"volatility_20d": None}),
        },
    },
    neighbours={
        "silver.finance.index_prices": [{"index_name": "nasdaq"}, {"trade_date": date(1999, 1, 5)}],
        "gold.finance.index_returns": [{"index_name": "sp500"}, {"trade_date": date(1999, 2, 3)}],
    },
)  # fmt: skip
