"""From the warehouses' ledgers: publications.

A warehouse is asked only if the journal has a step that committed to it since the position: a run that publishes nothing asks
none. A ledger that does not answer, or is of a warehouse that the settings no longer name, keeps the rows that it has.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

from medallion.errors import MedallionError
from medallion.ops.sources import Sources
from medallion.ops.writing import Connection, copy, position, put_position
from medallion.publish.ledger import Entry, Head
from medallion.publish.marts import dataset
from medallion.publish.target import Outrun, Target, Unanswered, connect
from medallion.settings import Settings

TABLES = ("publications",)
SOURCE, SOURCES = "publications", "ledger."
_COLUMNS = (
    "target", "sequence", "publication_id", "main_hash", "published_at", "runs", "changed", "rows", "staged_bytes",
    "reencoded_bytes",
)  # fmt: skip
_NEWS = """
SELECT coalesce(min(step_id) FILTER (WHERE ended_at IS NULL AND began_at > clock_timestamp() - interval '1 hour') - 1,
                max(step_id), %(since)s)::text AS at,
       count(*) > 0 AS any, array_agg(DISTINCT coalesce(detail->>'warehouse', '')) AS warehouses
FROM ops.steps WHERE name = 'publish.commit' AND step_id > %(since)s
"""
"""A step that has not ended is looked at again, unless its process must be dead."""


_ALL = 1_000_000_000


class NoAnswer(Exception):
    """A ledger cannot be read now."""


def fill(connection: Connection, sources: Sources) -> None:
    """Fill in the publications since the position. Raises: psycopg.Error."""
    since = position(connection, SOURCE)
    news = connection.execute(_NEWS, {"since": int(since or 0)}).fetchone()
    assert news is not None
    if not news["any"]:
        return
    asked = None if since is None or "" in news["warehouses"] else set(news["warehouses"])
    answered = True
    for settings in sources.warehouses:
        if asked is None or settings.warehouse in asked:
            try:
                _fill_one(connection, settings)
            except NoAnswer as error:
                # of a warehouse that nothing is known to be published in, such as that of marts nobody builds, nothing is lacking
                if asked or settings is sources.warehouses[0] or position(connection, source_of(settings)):
                    answered = False
                    sources.report(f"ops: the ledger in {settings.warehouse} cannot be read now: {error}")
    if answered:
        put_position(connection, SOURCE, news["at"])


def behind(settings: Settings, at: str | None) -> tuple[str, int]:
    """A ledger's head as a position, and how many entries a position lacks. Raises: NoAnswer."""
    with _session(settings) as target:
        head = target.head()
    number = _number(at)
    return _at(head), 0 if at == _at(head) or not (number or head.sequence) else max(head.sequence - number, 1)


def source_of(settings: Settings) -> str:
    """The name of a warehouse's ledger among the sources."""
    return f"{SOURCES}{settings.warehouse}"


def _at(head: Head) -> str:
    return f"{head.sequence}:{head.publication_id or ''}"


def _number(at: str | None) -> int:
    return int(at.partition(":")[0]) if at else 0


@contextmanager
def _session(settings: Settings) -> Iterator[Target]:
    try:
        with closing(connect(settings, "ops")) as target:
            yield target
    except (MedallionError, Unanswered, Outrun) as error:
        raise NoAnswer(str(error).splitlines()[0]) from error


def _fill_one(connection: Connection, settings: Settings) -> None:
    at = position(connection, source_of(settings))
    number = _number(at)
    with _session(settings) as target:
        head = target.head()
        if at == _at(head):
            return
        entries = target.entries(head.sequence - number + 1) if 0 < number <= head.sequence else []
        goes_on = any(f"{e.sequence}:{e.publication_id}" == at for e in entries)
        if not goes_on:  # nothing of it is known, or it is another one by now
            number, entries = 0, target.entries(_ALL)
    if not goes_on:
        connection.execute("DELETE FROM ops.publications WHERE target = %s", (settings.warehouse,))
    new = [_row(settings.warehouse, e) for e in reversed(entries) if number < e.sequence <= head.sequence]
    copy(connection, TABLES[0], _COLUMNS, new)
    put_position(connection, source_of(settings), _at(head))


def _row(target: str, entry: Entry) -> tuple[Any, ...]:
    rows = {name: state.rows for name, state in entry.tables.items()}
    rows |= {dataset(mart): state.rows for mart, state in entry.marts.items()}
    return (
        target, entry.sequence, entry.publication_id, entry.hash, entry.published_at, list(entry.runs), list(entry.changed), rows,
        entry.staged_bytes, entry.reencoded_bytes,
    )  # fmt: skip
