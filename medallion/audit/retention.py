"""Records that have been kept long enough are removed; one record stays that says what was before it, so the rest verifies."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from medallion.audit.export import exported_through
from medallion.audit.log import reading
from medallion.errors import UsageError
from medallion.lakehouse.journal import Journal
from medallion.settings import Settings


@dataclass(frozen=True)
class Old:
    """The records that are older than `keep_days`: how many, up to which, of when; up to which one all were exported."""

    records: int
    through: int | None
    at: datetime | None
    exported_through: int
    keep_days: int
    removed: bool = False


def old(settings: Settings) -> Old:
    """What `prune` would remove. Raises: ServiceUnavailable."""
    days = settings.audit.keep_days
    with reading(settings) as connection:
        # by sequence: whose clock went back is not older than those before it
        count, through, at = connection.execute(
            "SELECT count(*), max(sequence), max(at) FROM ops.audit WHERE sequence < coalesce((SELECT min(sequence) "
            "FROM ops.audit WHERE at >= clock_timestamp() - make_interval(hours => 24 * %s)), "
            "(SELECT max(sequence) FROM ops.audit))",
            (days,),
        ).fetchall()[0]
    return Old(count, through, at, exported_through(settings), days)


def prune(settings: Settings, *, not_exported: bool = False) -> Old:
    """Remove what is old.

    Args:
        not_exported: also records that were never exported.
    Raises: UsageError if some of them were never exported; nothing is removed then. ServiceUnavailable.
    """
    found = old(settings)
    if not found.records or found.through is None:
        return found
    if found.through > found.exported_through and not not_exported:
        raise UsageError(
            f"records {found.exported_through + 1} to {found.through} are older than {found.keep_days} days, and were never "
            "exported; nothing was removed",
            hint="`medallion audit export FILE` first, or --not-exported",
        )
    with Journal(settings.postgres) as journal:
        told = {"keep_days": found.keep_days, "exported_through": found.exported_through, "not_exported": not_exported}
        journal.prune_audit(found.through, told)
    return Old(found.records, found.through, found.at, found.exported_through, found.keep_days, removed=True)
