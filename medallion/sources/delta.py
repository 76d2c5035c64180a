"""A Delta table, read by version: only what was added since the last version that bronze holds.

The first delivery is the whole table as it is; later ones come from its change data feed
(https://docs.delta.io/delta-change-data-feed/), which the table must have switched on.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import fsspec

from medallion.contract import Contract, Origin
from medallion.errors import InputError
from medallion.settings import Source
from medallion.sources import increments
from medallion.sources.asking import Parcel, unreachable
from medallion.sources.parquet_format import to_bytes

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

_GONE = ("FileNotFound", "FILE_NOT_EXIST", "FILE_NOT_FOUND", "DELTA_VERSION_NOT_FOUND", "DELTA_LOG_FILE", "VACUUM")
_COMMIT = re.compile(r"(\d{20})\.json")


def extract(
    source: Source, contract: Contract, origin: Origin, last: int, session: Callable[[], SparkSession]
) -> Iterator[Parcel]:
    """Extract the rows that came after a version.

    Args:
        last: the newest version that is held; -1 for none. No session is started if there is none newer.
    Returns: nothing, or one Parquet file with the contract's columns, in the order of all of them.
    Raises: InputError if the table or a version is gone (vacuumed), a column is missing, or rows were
        changed or deleted, which bronze's increments cannot say; ServiceUnavailable if its folder
        cannot be reached.
    """
    from py4j.protocol import Py4JError
    from pyspark.errors import PySparkException

    uri = f"{source.url.rstrip('/')}/{origin.address}"
    newest = _newest(contract, uri)
    if newest <= last:
        return
    span = f"versions {last + 1} to {newest}"
    columns = [column.source for column in contract.columns]
    try:
        rows = _rows(session(), uri, last, newest)
        changed = rows.filter("_change_type <> 'insert'").limit(1).collect() if last >= 0 else []
        if lost := [name for name in columns if name not in rows.columns]:
            raise _refuse(contract, uri, f"lacks the columns {', '.join(map(repr, lost))}", "is the contract still right?")
        if changed:
            raise _refuse(
                contract, uri, f"version {changed[0]['_commit_version']} changed or deleted rows ({changed[0]['_change_type']})",
                "increments only add; deliver the dataset whole (expected: initial) or have the source append corrections",
            )  # fmt: skip
        data = rows.select(*columns).orderBy(*columns).toArrow()
    except (Py4JError, PySparkException) as error:
        raise _told(contract, uri, span, str(error)) from error
    if data.num_rows or last < 0:
        yield Parcel(increments.name(last + 1, newest), to_bytes(data), "application/vnd.apache.parquet", f"{uri}@{newest}")


def _rows(spark: SparkSession, uri: str, last: int, newest: int) -> DataFrame:
    reader: Any = spark.read.format("delta")
    if last < 0:
        frame: DataFrame = reader.option("versionAsOf", newest).load(uri)
        return frame
    changes: DataFrame = (
        reader.option("readChangeFeed", "true").option("startingVersion", last + 1).option("endingVersion", newest).load(uri)
    )
    return changes


def _newest(contract: Contract, uri: str) -> int:
    """The newest version, from the names in the table's log: no session is needed to see that nothing came."""
    try:
        files, path = fsspec.core.url_to_fs(uri)
        names = [str(one).rpartition("/")[2] for one in files.ls(f"{path}/_delta_log", detail=False)]
    except FileNotFoundError as error:
        hint = "is the contract's `table` right, and the setting of its endpoint?"
        raise _refuse(contract, uri, "there is no Delta table", hint) from error
    except (OSError, ImportError) as error:
        raise unreachable(contract, uri, error) from error
    versions = [int(match[1]) for match in map(_COMMIT.fullmatch, names) if match]
    if not versions:
        raise _refuse(contract, uri, "its `_delta_log` holds no version", "is it a Delta table?")
    return max(versions)


def _told(contract: Contract, uri: str, span: str, text: str) -> InputError:
    if "DELTA_MISSING_CHANGE_DATA" in text or "change data was not recorded" in text.lower():
        return _refuse(
            contract, uri, f"{span}: the table records no change data",
            "on the source: ALTER TABLE … SET TBLPROPERTIES (delta.enableChangeDataFeed = true); then deliver it anew",
        )  # fmt: skip
    if any(sign in text for sign in _GONE):
        return _refuse(
            contract, uri, f"{span} cannot be read any more: files of it were vacuumed",
            "keep the source's history longer than the time between two runs (delta.deletedFileRetentionDuration); "
            "to go on, have the missing rows appended again",
        )  # fmt: skip
    problem = f"{span}: {text.splitlines()[0][:300]}"
    return _refuse(contract, uri, problem, "nothing was landed; is it a Delta table that we can read?")


def _refuse(contract: Contract, uri: str, problem: str, hint: str) -> InputError:
    return InputError(f"{contract.dataset}: {uri}: {problem}", hint=hint, dataset=contract.dataset)
