"""What a publication needs of a warehouse, and the warehouse that the settings name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from medallion.errors import ServiceUnavailable
from medallion.lakehouse import steps
from medallion.publish.columns import Column
from medallion.publish.ledger import Entry, Head
from medallion.settings import Settings

if TYPE_CHECKING:
    import pyarrow as pa

    from medallion.publish.description import Description
    from medallion.publish.partitions import Part

LOCK_WAIT_S = 30.0
"""How long a publication waits for another one's transaction before it plans again."""
PUBLISHER = "medallion publish"
"""How the sessions of publishers begin to call themselves."""
BUILD = "marts_build_"
"""How the names of the schemas that marts are built in begin; a time, the publication's id, cut short, and a number follow."""
_LEFT_AFTER = timedelta(days=1)


class Unanswered(Exception):
    """A statement was sent and no answer came: it may have been done, or not, or may still be."""


class Outrun(Exception):
    """Another publication was first: nothing of ours was done, and we plan again."""


class Missing(ServiceUnavailable):
    """A statement names a database, schema, table or column that is not there."""


class Violated(ServiceUnavailable):
    """Rows that break a constraint of the warehouse's table were refused."""


@dataclass(frozen=True)
class Load:
    """Rows on their way into a staging table of these columns: all files of the folder whose names begin with the place's
    and an underscore. A publication's places begin alike, up to the last underscore, and differ after it."""

    place: str
    columns: tuple[Column, ...]
    files: tuple[Path, ...]


Filled = Mapping[str, tuple[str, Sequence[Column]]]
"""Dataset -> where its rows come from, and its columns."""


class Target(Protocol):
    """One session with a warehouse. What many tables need is asked and told for all of them at once; where one of
    several statements is refused, the error's `dataset` says which table's.

    Every method may raise Unanswered, and ServiceUnavailable if the warehouse refuses the statement.
    Tables are only ever created, given further or wider columns, and their rows replaced; never dropped,
    renamed, truncated or swapped, so that grants, views and history stay. A column is only dropped on purpose.
    """

    name: str
    nested_as_texts: bool
    """Files are staged with lists, structs and maps as texts of JSON."""
    alters_in_transaction: bool
    """Whether `exchange` may be a part of the transaction; where not, it commits by itself."""

    def prepare(self) -> None:
        """Create the ledger, and where the warehouse lets us the database, where they are missing."""

    def head(self) -> Head:
        """What the warehouse shows now."""

    def entry(self, *, sequence: int | None = None, publication_id: str | None = None) -> Entry | None:
        """One entry of the ledger."""

    def entries(self, limit: int) -> list[Entry]:
        """The newest entries of the ledger first; none if there is no ledger."""

    def columns(self, datasets: Sequence[str]) -> dict[str, dict[str, str]]:
        """The columns of each dataset's table in lower case and their types; nothing for one that has no table."""

    def type_of(self, column: Column) -> str:
        """How `columns` would describe a column."""

    def check(self, dataset: str, columns: Sequence[Column]) -> None:
        """Raises: UsageError for a name or a type that the warehouse cannot hold. Sends nothing."""

    def create(self, dataset: str, columns: Sequence[Column]) -> None:
        """Create a dataset's table, and its schema, where they are missing."""

    def add(self, dataset: str, columns: Sequence[Column]) -> None:
        """Give a dataset's table further columns, null in the rows that are there."""

    def widen(self, dataset: str, columns: Sequence[Column]) -> None:
        """Give columns of a dataset's table their wider types. Raises: UsageError naming what stands in the way."""

    def exchange(self, dataset: str, gone: Sequence[str], new: Sequence[Column]) -> None:
        """Drop columns of a dataset's table, then give it further ones. Raises: UsageError naming what stands in the way."""

    def describe(self, dataset: str, wanted: Description) -> None:
        """Let a dataset's table have these comments, NOT NULL where it is said and nowhere else, and this primary key."""

    def relate(self, dataset: str, wanted: Description) -> None:
        """Let a dataset's table have these foreign keys; the tables that they point to have been described."""

    def stage(self, loads: Sequence[Load]) -> None:
        """Make staging tables and upload the files of each. All are in one folder, nothing else is, and they
        stay until `copy` has returned."""

    def copy(self, load: Load) -> int:
        """Load what was staged into its staging table, which is empty. Returns: its rows."""

    def end_abandoned(self) -> list[str]:
        """End the transactions that our own publishers have left open in this database: those that have
        no statement under way and have sent none for so long that they are dead, stopped or cut off.
        One that comes back finds its transaction gone, changes nothing, and asks the ledger.

        Returns: what those publishers called themselves."""

    def begin(self) -> None:
        """Begin the transaction."""

    def lock(self) -> Head:
        """Take the head's lock, waiting for whoever has it, then read it. Raises: Outrun."""

    def empty(self, tables: Mapping[str, Sequence[Part] | None], head: Head) -> None:
        """Delete the rows of each dataset's table, or of these partitions of it, if the head is still this one."""

    def fill(self, tables: Filled, head: Head) -> None:
        """Insert what was copied at a place into each dataset's table, if the head is still this one."""

    def fill_from(self, tables: Filled, head: Head) -> None:
        """Insert the rows of another table of the database, by its dataset name, into each, if the head is still this one."""

    def counts(self, datasets: Sequence[str]) -> dict[str, int]:
        """Rows of each dataset's table as this transaction sees them."""

    def append(self, entry: Entry, head: Head) -> None:
        """Write the ledger's next entry and move the head to it, if the head is still this one."""

    def commit(self) -> None:
        """Commit. Unanswered here means that only the ledger knows."""

    def rollback(self) -> None:
        """Give up the transaction, if there is one."""

    def discard(self, places: Sequence[str]) -> None:
        """Remove what was staged and copied at these places, and what publications that died more
        than a day ago left."""

    def schemas(self) -> list[str]:
        """The names of the database's schemas, in lower case."""

    def drop_schema(self, name: str) -> None:
        """Remove a schema that marts were built in, with all that is in it; it not being there is no error."""

    def fetch(self, dataset: str, columns: Sequence[Column]) -> pa.Table:
        """All rows of a dataset's table, as `checksum.digest` takes them."""

    def close(self) -> None:
        """End the session; an open transaction is rolled back."""


class Journal(Protocol):
    """Where every effect outside this process is written down before and after it happens."""

    def step(self, run_id: str, name: str, **detail: Any) -> AbstractContextManager[Any]:
        """One effect, by name; leaving with an exception means that it may not have happened."""


class NoJournal:
    """A journal that keeps nothing."""

    def step(self, run_id: str, name: str, **detail: Any) -> AbstractContextManager[Any]:
        return steps.step(name)


def left_over(place: str) -> bool:
    """Whether a place's name begins with a time that is long past."""
    try:
        begun = datetime.strptime(place.split("_")[0], "%Y%m%dt%H%M%S").replace(tzinfo=UTC)
    except ValueError:
        return False
    return datetime.now(UTC) - begun > _LEFT_AFTER


# ── the choice ────────────────────────────────────────────────────────────────────────────────────
def connect(settings: Settings, work: str = "") -> Target:
    """A session with the warehouse of the settings, and what it is for, as the warehouse is to call it.

    Raises: ServiceUnavailable.
    """
    tag = f"{PUBLISHER} {work}".strip()
    if settings.warehouse == "postgres":
        from medallion.publish.postgres import PostgresTarget

        return PostgresTarget(settings.warehouse_postgres, tag)
    from medallion.publish.snowflake import SnowflakeTarget

    return SnowflakeTarget(settings.snowflake, tag)


def answer(settings: Settings, query: str) -> pa.Table:
    """The rows of one query that the warehouse of the settings answers, in a transaction that is given up.

    Raises: UsageError for what the warehouse refuses; ServiceUnavailable.
    """
    if settings.warehouse == "postgres":
        from medallion.publish import postgres_session

        return postgres_session.answer(settings.warehouse_postgres, query)
    from medallion.publish import snowflake_session

    return snowflake_session.answer(settings.snowflake, query)
