"""What a publication needs of a warehouse, and the warehouse that the settings name."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from medallion.errors import ServiceUnavailable
from medallion.publish.columns import Column
from medallion.publish.ledger import Entry, Head
from medallion.settings import Settings

if TYPE_CHECKING:
    import pyarrow as pa


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
        """Create the database and the ledger where they are missing."""

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

    def create(self, dataset: str, columns: Sequence[Column]) -> None:
        """Create a dataset's table, and its schema, where they are missing."""

    def add(self, dataset: str, columns: Sequence[Column]) -> None:
        """Give a dataset's table further columns, null in the rows that are there."""

    def stage(self, place: str, files: Sequence[Path]) -> None:
        """Upload files under a place of their own. They are in one folder, and nothing else is."""

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
        return nullcontext()


def connect(settings: Settings) -> Target:
    """A session with the warehouse of the settings. Raises: ServiceUnavailable."""
    from medallion.publish.snowflake import SnowflakeTarget

    return SnowflakeTarget(settings.snowflake)
