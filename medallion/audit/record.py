"""Records of what is done: one function for a transaction at hand, one for an effect that is none, one for all commands."""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from medallion.audit.actions import Recorded, entry
from medallion.errors import MedallionError, ServiceUnavailable

if TYPE_CHECKING:
    import psycopg
    import typer

    from medallion.settings import Postgres

LONGEST = 4000
"""So many characters are kept of one argument of a command."""
_SHORT_WAIT_S = 5
"""So long a command that starts or stops PostgreSQL waits for a record."""


def record(
    connection: psycopg.Connection[Any],
    action: str,
    on: str,
    outcome: str = "done",
    *,
    run_id: str | None = None,
    detail: dict[str, Any] | None = None,
) -> int:
    """Append a record within the transaction of a connection, with which it is committed or rolled back.

    Call it last in that transaction: until it ends, every other record waits. The database's journal must have been opened
    once (`medallion.lakehouse.journal.Journal`), which makes the tables.
    Args:
        action: `<subject>.<what was done to it>`, as `alert.acknowledged`.
        on: what it was done to, as the alert's id.
        detail: what else is to be kept, as JSON; no secrets, no rows.
    Returns: the record's sequence. Raises: psycopg.Error.
    """
    from psycopg.rows import dict_row

    from medallion.lakehouse.journal import append

    def ask(sql: str, parameters: Any) -> list[dict[str, Any]]:
        with connection.cursor(row_factory=dict_row) as cursor:
            return cursor.execute(sql, parameters).fetchall()

    return append(ask, action, on, outcome, run_id, detail)


@contextmanager
def recorded(postgres: Postgres, action: str, on: str, detail: dict[str, Any] | None = None) -> Iterator[dict[str, Any]]:
    """Record an effect outside PostgreSQL before it begins and when it has ended: who is killed in between leaves `begun`.

    Yields: a dictionary with the first record's sequence as `begun`; what is put in is kept with the outcome.
    Raises: ServiceUnavailable if it cannot be recorded that it begins; nothing was done then.
    """
    from medallion.lakehouse import actor
    from medallion.lakehouse.journal import Journal

    try:
        with Journal(postgres) as journal:
            told = {key: value for key, value in actor.as_json().items() if key in ("profile", "secrets")}
            sequence = journal.record(action, on, "begun", detail=told | (detail or {}))
    except ServiceUnavailable as error:
        raise ServiceUnavailable(
            f"nothing was done, for it cannot be recorded in the audit log: {error.message}", hint=error.hint
        ) from error
    found: dict[str, Any] = {"begun": sequence}
    try:
        yield found
    except BaseException as error:
        _end(postgres, action, on, outcome_of(error), found | _kind(error))
        raise
    _end(postgres, action, on, "done", found)


def _end(postgres: Postgres, action: str, on: str, outcome: str, detail: dict[str, Any]) -> None:
    """Record how something ended. If that cannot be told, its `begun` stands alone, and the person hears of it."""
    import psycopg

    from medallion.lakehouse.journal import Journal

    try:
        with Journal(postgres) as journal:
            journal.record(action, on, outcome, detail=detail)
    except (ServiceUnavailable, psycopg.Error) as error:
        print(f"the audit log could not be told how this ended ({outcome}): {_said(error)}", file=sys.stderr)


def outcome_of(error: BaseException) -> str:
    """`done` for an exit with code 0, `refused` for wrong usage and by the gate, `interrupted`, else `failed`."""
    if isinstance(error, KeyboardInterrupt):
        return "interrupted"
    code = getattr(error, "exit_code", 1)
    return "done" if code == 0 else "refused" if code in (2, 3) else "failed"


def _kind(error: BaseException) -> dict[str, Any]:
    """What is kept of an error: its kind. What it says may quote rows."""
    return {"error": type(error).__name__} if isinstance(error, MedallionError) or outcome_of(error) == "failed" else {}


# ── commands ──────────────────────────────────────────────────────────────────────────────────────
def commands(app: typer.Typer, prefix: str = "") -> dict[str, Any]:
    """What typer knows of every command that can be called, by its words, as `quarantine show`."""
    found: dict[str, Any] = {}
    for command in app.registered_commands:
        if command.callback:
            found[f"{prefix}{command.name or command.callback.__name__.replace('_', '-')}"] = command
    for group in app.registered_groups:
        inner = group.typer_instance
        if inner is None:
            continue
        name = group.name if isinstance(group.name, str) else inner.info.name
        words = f"{prefix}{name} " if isinstance(name, str) else prefix
        alone = inner.registered_callback
        if alone and words.strip() and (alone.invoke_without_command is True or inner.info.invoke_without_command is True):
            found[words.strip()] = alone
        found |= commands(inner, words)
    return found


def record_commands(app: typer.Typer) -> None:
    """From now on every command leaves what `medallion.audit.actions` says in the audit log."""
    for name, known in commands(app).items():
        known.callback = _recording(name, known.callback)


def _recording(name: str, callback: Callable[..., Any]) -> Callable[..., Any]:
    what = entry(name)

    @functools.wraps(callback)
    def call(*args: Any, **given: Any) -> Any:
        from medallion.lakehouse import actor

        context = given.get("context")
        if context is not None and context.invoked_subcommand is not None:
            return callback(*args, **given)
        actor.begin(f"medallion {name}")
        if not isinstance(what, Recorded):
            return callback(*args, **given)
        arguments = inspect.signature(callback).bind(*args, **given)
        arguments.apply_defaults()
        on = what.about(arguments.arguments)
        if on is None:
            return callback(*args, **given)
        on = short(on)
        detail = {key: short(arguments.arguments[key]) for key in what.keep if arguments.arguments[key]}
        return _do(what, on, detail, lambda: callback(*args, **given))

    return call


def _do(what: Recorded, on: str, detail: dict[str, Any], work: Callable[[], Any]) -> Any:
    from medallion.settings import load

    if what.when == "both":
        with recorded(load().postgres, what.action, on, detail):
            return work()
    if what.when == "before":
        _tell(what.action, on, "begun", detail)
        return work()
    try:
        answer = work()
    except BaseException as error:
        _tell(what.action, on, outcome_of(error), detail | _kind(error))
        raise
    _tell(what.action, on, "done", detail)
    return answer


def _tell(action: str, on: str, outcome: str, detail: dict[str, Any]) -> None:
    """Record what starts or stops the very server that records are in; without it, say so and go on."""
    import psycopg

    from medallion.lakehouse.journal import Journal
    from medallion.settings import load

    try:
        with Journal(load().postgres, _SHORT_WAIT_S) as journal:
            journal.record(action, on, outcome, detail=detail)
    except (ServiceUnavailable, psycopg.Error) as error:
        print(f"not in the audit log ({action}, {outcome}): {_said(error)}", file=sys.stderr)


def _said(error: Exception) -> str:
    """An error in one line."""
    return error.message if isinstance(error, MedallionError) else str(error).strip().partition("\n")[0]


def short(value: Any) -> Any:
    """An argument as it is kept: as JSON, cut if it is longer than LONGEST; what PostgreSQL cannot keep is written as `\\x00`."""
    if isinstance(value, bool | int):
        return value
    if isinstance(value, list | tuple):
        return [short(each) for each in value]
    text = str(value).encode(errors="backslashreplace").decode().replace("\0", "\\x00")
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}… ({len(text)} characters)"
