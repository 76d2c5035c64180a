"""Finance worked out a second time, in pandas and NumPy, from the package's files. It shares no code with the transforms."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pandas as pd

INDICES = ("nasdaq", "sp500")


def source_prices(index: str) -> pd.DataFrame:
    """The history of an index as the package has it, every value as text."""
    spec = importlib.util.find_spec("arch")
    assert spec is not None
    (folder,) = spec.submodule_search_locations or ()
    return pd.read_csv(Path(folder) / "data" / index / f"{index}.csv.gz", dtype=str)


def index_returns() -> pd.DataFrame:
    """gold.finance.index_returns, sorted by index and day, missing figures as NaN."""
    return pd.concat([_returns(index) for index in INDICES], ignore_index=True)


def _returns(index: str) -> pd.DataFrame:
    source = source_prices(index)
    close = source.Close.map(float).to_numpy()
    log_return = np.concatenate([[np.nan], np.log(close[1:] / close[:-1])])
    volatility = np.full(len(close), np.nan)
    windows = np.lib.stride_tricks.sliding_window_view(log_return[1:], 20)  # each worked out for itself
    volatility[20:] = np.std(windows, axis=1, ddof=1) * np.sqrt(252)
    return pd.DataFrame(
        {
            "index_name": index,
            "trade_date": pd.to_datetime(source.Date, format="%m/%d/%Y").dt.date,
            "close": close,
            "log_return": log_return,
            "volatility_20d": volatility,
        }
    )
