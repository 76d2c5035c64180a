"""A delivery that has arrived and is read: what every format makes, and bronze writes."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import pyarrow as pa

from medallion.contract import Contract
from medallion.errors import InputError
from medallion.lakehouse.history import Delivered

EXTRA = pa.map_(pa.string(), pa.string())
AGAIN = "ask its owner for a corrected delivery: new bytes for the same day are a correction"


@dataclass(frozen=True)
class Arrival:
    """A delivery that bronze does not hold yet.

    `rows` has the contract's source columns (text for csv and json, as typed for parquet), then
    `_source_row` (bigint, from 1), `_extra` (map<string,string>: columns that the contract does not
    know) and `_malformed` (the raw text of a row that does not fit; its source columns are empty).
    """

    delivered: Delivered
    rows: pa.Table = field(repr=False)
    extra_columns: tuple[str, ...] = ()
    malformed: int = 0


def arrived(
    contract: Contract, delivered: Delivered, good: pa.Table, extra: tuple[str, ...], malformed: dict[int, str]
) -> Arrival:
    """Put the rows of a delivery together.

    Args:
        good: the contract's source columns, `_source_row` and `_extra`, in the order of the delivery.
        malformed: number of a row that does not fit -> its raw text.
    """
    rows = good.append_column("_malformed", pa.nulls(good.num_rows, pa.string()))
    if malformed:
        empty = {c.name: pa.array([""] * len(malformed), pa.string()) for c in contract.columns}
        bad = pa.table(
            empty
            | {
                "_source_row": pa.array(list(malformed), pa.int64()),
                "_extra": pa.nulls(len(malformed), EXTRA),
                "_malformed": pa.array(list(malformed.values()), pa.string()),
            }
        )
        rows = pa.concat_tables([rows, bad]).sort_by("_source_row")
    rows = rows.combine_chunks()  # Spark 4.1 loses rows of a table that has an empty chunk between others
    return Arrival(replace(delivered, rows=rows.num_rows), rows, extra, len(malformed))


def refuse(contract: Contract, delivered: Delivered, problem: str, kind: type[InputError] = InputError) -> InputError:
    """The error for a delivery that cannot be read; names the dataset and where it lies."""
    return kind(f"{contract.dataset}: {delivered.uri}: {problem}", hint=AGAIN, dataset=contract.dataset)
