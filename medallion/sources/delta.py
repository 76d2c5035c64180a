"""A Delta table: whole, or read by version, only what was added since the last version that is held.

Increments begin with the whole table as it is; what follows comes from its change data feed
(https://docs.delta.io/delta-change-data-feed/), which the table must have switched on. Which versions
there are, and whether any of them touched rows, is read from the names and actions in `_delta_log`
(https://github.com/delta-io/delta/blob/master/PROTOCOL.md), so that no session is started for nothing.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import fsspec

from medallion.contract import Contract, Origin
from medallion.errors import InputError, SettingsError
from medallion.session import silent
from medallion.settings import Source
from medallion.sources import increments
from medallion.sources.asking import Asked, Parcel, patiently, unreachable
from medallion.sources.java_causes import causes, first_line
from medallion.sources.parquet_format import to_bytes

if TYPE_CHECKING:
    import pyarrow as pa
    from pyspark.sql import DataFrame, SparkSession

Session = Callable[[], "SparkSession"]

_COMMIT = re.compile(r"(\d{20})\.json")
_NO_FEED = "DELTA_MISSING_CHANGE_DATA"
_GONE = ("FILE_NOT_EXIST", "DELTA_VERSION_NOT_FOUND", "DELTA_VERSIONS_NOT_CONTIGUOUS", "DELTA_LOG_FILE_NOT_FOUND")
_INSTEAD = "`expected: initial` in the contract takes the whole table each time instead"


def fetch(asked: Asked) -> Iterator[Parcel]:
    """What is new where increments are expected, else the whole table. Raises: as `extract`."""
    if asked.increments:
        yield from extract(asked)
    else:
        yield whole(asked)


def extract(asked: Asked) -> Iterator[Parcel]:
    """Extract the rows that came after the version that is held; a session starts only if there are any.

    Returns: nothing, or one Parquet file with the contract's columns, ordered by all of them.
    Raises: InputError if the table or a version is gone (vacuumed), the table was made anew, records no
        change data, lacks a column, or rows were changed or deleted, which increments cannot say;
        ServiceUnavailable if its folder cannot be reached; SettingsError for a folder of an unknown kind.
    """
    table, last = _found(asked), asked.last
    if table.newest < last:
        problem = f"its newest version is {table.newest}, and {last} is held: it was made anew"
        raise table.refuse(problem, f"give the new table another name, and a dataset of its own; {_INSTEAD}")
    if not table.touched(last):
        return
    span = f"versions {last + 1} to {table.newest}"

    def read(spark: SparkSession) -> pa.Table:
        if last < 0:
            table.changes(spark, table.newest - 1).limit(1).collect()  # refused if it keeps no feed from here on
            return table.rows(table.at(spark, table.newest))
        rows = table.changes(spark, last)
        changed = rows.filter("_change_type <> 'insert'").orderBy("_commit_version").limit(1).collect()
        if changed:
            what = f"version {changed[0]['_commit_version']} changed or deleted rows ({changed[0]['_change_type']})"
            raise table.refuse(what, f"increments only add; {_INSTEAD}")
        return table.rows(rows)

    data = table.reading(asked.session, read, span)
    if data.num_rows:
        yield table.parcel(increments.name(last + 1, table.newest), data)


def whole(asked: Asked) -> Parcel:
    """Extract all rows of the newest version, as `<table>.parquet`. Raises: as `extract`."""
    table = _found(asked)
    data = table.reading(asked.session, lambda spark: table.rows(table.at(spark, table.newest)), f"version {table.newest}")
    return table.parcel(f"{asked.origin.address.rpartition('/')[2]}.parquet", data)


@dataclass(frozen=True)
class _Table:
    contract: Contract
    uri: str
    newest: int
    files: Any
    log: str

    def touched(self, last: int) -> bool:
        """Whether a version after this one has rows added, changed or removed; OPTIMIZE and VACUUM have not."""
        return last < 0 or any(self._touched_by(version) for version in range(last + 1, self.newest + 1))

    def _touched_by(self, version: int) -> bool:
        try:
            lines = self.files.cat_file(f"{self.log}/{version:020}.json").splitlines()
            actions = [(kind, action) for line in lines for kind, action in json.loads(line).items()]
        except (OSError, ValueError):
            return True  # Spark shall say what is wrong with it
        return any(k == "cdc" or (k in ("add", "remove") and a.get("dataChange", True)) for k, a in actions)

    def at(self, spark: SparkSession, version: int) -> DataFrame:
        frame: DataFrame = spark.read.format("delta").option("versionAsOf", version).load(self.uri)
        return frame

    def changes(self, spark: SparkSession, last: int) -> DataFrame:
        reader: Any = spark.read.format("delta").option("readChangeFeed", "true")
        frame: DataFrame = reader.option("startingVersion", last + 1).option("endingVersion", self.newest).load(self.uri)
        return frame

    def rows(self, frame: DataFrame) -> pa.Table:
        """The contract's columns of a frame, in one order."""
        columns = [column.source for column in self.contract.columns]
        if lost := [name for name in columns if name not in frame.columns]:
            raise self.refuse(
                f"lacks the columns {', '.join(map(repr, lost))}", "nothing was landed; is the contract still right?"
            )
        quoted = [f"`{name}`" for name in columns]
        return frame.select(*quoted).orderBy(*quoted).toArrow()

    def reading(self, session: Session, read: Callable[[SparkSession], pa.Table], span: str) -> pa.Table:
        """Read, and tell in our words what Delta says. Raises: InputError."""
        from py4j.protocol import Py4JJavaError
        from pyspark.errors import PySparkException

        spark = session()
        with silent(spark):
            try:
                return read(spark)
            except (Py4JJavaError, PySparkException) as error:
                raise self._told(error, span) from error

    def _told(self, error: Exception, span: str) -> InputError:
        said = [cause.message for cause in causes(error)]
        if any(_NO_FEED in text for text in said):
            alter = "ALTER TABLE … SET TBLPROPERTIES (delta.enableChangeDataFeed = true)"
            return self.refuse(f"{span}: the table records no change data", f"on the source: {alter}; {_INSTEAD}")
        if any(sign in text for text in said for sign in _GONE):
            return self.refuse(
                f"{span} cannot be read any more: files of it are gone (vacuumed?)",
                f"keep the source's history longer than the time between two runs; {_INSTEAD}",
            )
        return self.refuse(f"{span}: {first_line(said[-1])}", "nothing was landed; is it a Delta table that we can read?")

    def refuse(self, problem: str, hint: str) -> InputError:
        return InputError(f"{self.contract.dataset}: {self.uri}: {problem}", hint=hint, dataset=self.contract.dataset)

    def parcel(self, name: str, data: pa.Table) -> Parcel:
        return Parcel(name, to_bytes(data), "application/vnd.apache.parquet", f"{self.uri}@{self.newest}")


def _found(asked: Asked) -> _Table:
    return patiently(asked.source, lambda: _look(asked.source, asked.contract, asked.origin))


def _look(source: Source, contract: Contract, origin: Origin) -> _Table:
    """Find the table and its newest version, by the names in its log."""
    root = source.url.rstrip("/")
    uri = f"{root}/{origin.address}"
    try:
        files, path = fsspec.core.url_to_fs(uri)
        log = f"{path}/_delta_log"
        found = [_COMMIT.fullmatch(str(one).rpartition("/")[2]) for one in files.ls(log, detail=False)]
    except (ImportError, ValueError) as error:
        raise SettingsError(f"sources.{origin.endpoint}.url: {error}", hint="write the folder that holds the tables") from error
    except (FileNotFoundError, NotADirectoryError) as error:
        if not _is_there(files, root):  # not mounted, perhaps
            raise unreachable(contract, root, "the folder that holds the tables is not there") from error
        found = []
    except OSError as error:
        raise unreachable(contract, uri, error) from error
    table = _Table(contract, uri, max((int(match[1]) for match in found if match), default=-1), files, log)
    if table.newest < 0:
        raise table.refuse("there is no Delta table", "is the contract's `table` right, and the setting of its endpoint?")
    return table


def _is_there(files: Any, root: str) -> bool:
    """Whether a folder of a file system is there. In an object store, which has no folders, every one is."""
    return "file" not in files.protocol or bool(files.isdir(files._strip_protocol(root)))
