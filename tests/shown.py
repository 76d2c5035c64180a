"""What the lake and the warehouse show of a table, compared with what pandas makes of the source."""

from __future__ import annotations

import pandas as pd

from medallion import query
from medallion.settings import Settings
from tests.warehouse import database


def assert_shown(settings: Settings, dataset: str, expected: pd.DataFrame, *key: str) -> None:
    """Both show these columns and rows: everything exactly, but for doubles, to the last bits.

    Args:
        expected: sorted by the key; money as Decimal, days as date.
    """
    there = dataset.replace("gold", database(settings), 1)
    select, order = "SELECT * FROM", f"ORDER BY {', '.join(key)}"
    for table in (
        query.lake(settings, f"{select} {dataset} {order}"), query.warehouse(settings, f"{select} {there} {order}")
    ):  # fmt: skip
        found = table.rename_columns([name.lower() for name in table.column_names]).to_pandas(date_as_object=True)
        assert list(found) == list(expected)
        for column in expected:
            if expected[column].dtype == float:
                pd.testing.assert_series_equal(found[column], expected[column], rtol=1e-12, atol=0)
            else:
                assert found[column].tolist() == expected[column].tolist(), column
