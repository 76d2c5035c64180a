"""What a publication needs of a warehouse, and the warehouse that the settings name."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
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


LOCK_WAIT_S = 30.0
"""How long a publication waits for another one's transaction before it plans again."""
_LEFT_AFTER = timedelta(days=1)


class Unanswered(Exception):
    """A statement was sent and no answer came: it may have been done, or not, or may still be."""


class Outrun(Exception):
    """Another publication was first: nothing of ours was done, and we plan again."""


class Missing(ServiceUnavailable):
    """A statement names a database, schema, table or column that is not there."""


class Target(Protocol):
    """One session with a warehouse.

    Every method may raise Unanswered, and ServiceUnavailable if the warehouse refuses the statement.
    Tables are only ever created, given further columns, and their rows replaced; never dropped,
    renamed, truncated or swapped, so that grants, views and history stay.
    """

    name: str

    def prepare(self) -> None:
        """Create the ledger, and where the warehouse lets us the database, where they are missing."""

    def head(self) -> Head:
        """What the warehouse shows now."""

    def entry(self, *, sequence: int | None = None, publication_id: str | None = None) -> Entry | None:
        """One entry of the ledger."""

    def entries(self, limit: int) -> list[Entry]:
        """The newest entries of the ledger first; none if there is no ledger."""

    def columns(self, dataset: str) -> dict[str, str] | None:
        """The columns of a dataset's table in lower case and their types; None if there is no table."""

    def type_of(self, column: Column) -> str:
        """How `columns` would describe a column."""

    def check(self, dataset: str, columns: Sequence[Column]) -> None:
        """Raises: UsageError for a name or a type that the warehouse cannot hold. Sends nothing."""

    def create(self, dataset: str, columns: Sequence[Column]) -> None:
        """Create a dataset's table, and its schema, where they are missing."""

    def add(self, dataset: str, columns: Sequence[Column]) -> None:
        """Give a dataset's table further columns, null in the rows that are there."""

    def stage(self, place: str, files: Sequence[Path]) -> None:
        """Upload files under a place of their own. They are in one folder, nothing else is, and they
        stay until `copy` has returned."""

    def copy(self, place: str, columns: Sequence[Column]) -> int:
        """Load what was staged at a place into a new staging table. Returns: its rows."""

    def begin(self) -> None:
        """Begin the transaction."""

    def lock(self) -> Head:
        """Take the head's lock, waiting for whoever has it, then read it. Raises: Outrun."""

    def empty(self, dataset: str, head: Head) -> None:
        """Delete all rows of a dataset's table, if the head is still this one."""

    def fill(self, dataset: str, place: str, columns: Sequence[Column], head: Head) -> None:
        """Insert what was copied at a place, if the head is still this one."""

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
def connect(settings: Settings) -> Target:
    """A session with the warehouse of the settings. Raises: ServiceUnavailable."""
    if settings.warehouse == "postgres":
        from medallion.publish.postgres import PostgresTarget

        return PostgresTarget(settings.warehouse_postgres)
    from medallion.publish.snowflake import SnowflakeTarget

    return SnowflakeTarget(settings.snowflake)


def answer(settings: Settings, query: str) -> pa.Table:
    """The rows of one query that the warehouse of the settings answers, in a transaction that is given up.

    Raises: UsageError for what the warehouse refuses; ServiceUnavailable.
    """
    if settings.warehouse == "postgres":
        from medallion.publish import postgres_session

        return postgres_session.answer(settings.warehouse_postgres, query)
    from medallion.publish import snowflake_session

    return snowflake_session.answer(settings.snowflake, query)
