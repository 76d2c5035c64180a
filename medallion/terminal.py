"""What a person at a terminal sees: lines with times, tables, and errors without a traceback."""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date, datetime
from logging.handlers import RotatingFileHandler
from typing import TYPE_CHECKING, Any

from medallion.errors import MedallionError, UsageError

if TYPE_CHECKING:
    from rich.console import Console

log = logging.getLogger("medallion")
log.addHandler(logging.NullHandler())  # else logging prints to the terminal what has no file yet
INTERRUPTED = 130


def guard(command: Callable[[], None]) -> int:
    """Run a command and turn what it raises into an exit code and a message on standard error.

    The traceback goes to the log in the state folder. Returns: 0, the error's exit code, 130 after
    Ctrl-C, 1 for what nobody foresaw.
    """
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        _log_to_file()
        command()
    except MedallionError as error:
        log.exception("failed")
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        log.exception("interrupted")
        print(
            "interrupted: what was not merged yet is not on main; `medallion runs` and `medallion resume` tell how it ended",
            file=sys.stderr,
        )
        return INTERRUPTED
    except Exception as error:
        log.exception("failed")
        first = (str(error).strip().splitlines() or [""])[0][:500]
        print(f"error: {type(error).__name__}: {first}\n  → the traceback is in {_log_path()}", file=sys.stderr)
        return 1
    return 0


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def _log_path() -> str:
    from medallion.settings import load

    try:
        return str(load().home / "logs" / "medallion.log")
    except Exception:
        return "(no log: the settings cannot be read)"


def _log_to_file() -> None:
    from medallion.lakehouse import actor
    from medallion.settings import load

    actor.introduce(load())
    folder = load().home / "logs"
    folder.mkdir(parents=True, exist_ok=True)
    root = logging.getLogger()
    for old in [h for h in root.handlers if isinstance(h, RotatingFileHandler)]:
        root.removeHandler(old)  # of an earlier command in this process, perhaps with another home
        old.close()
    handler = RotatingFileHandler(folder / "medallion.log", maxBytes=5_000_000, backupCount=3, delay=True)
    handler.setFormatter(logging.Formatter("%(asctime)s %(process)d %(levelname)s %(name)s: %(message)s"))
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    for chatty in ("snowflake", "httpx", "httpcore", "py4j", "pyiceberg", "urllib3"):
        logging.getLogger(chatty).setLevel(logging.WARNING)


def parse_date(text: str) -> date:
    """`2013-01-05` as a date. Raises: UsageError for anything else."""
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise UsageError(f"'{text}' is not a date", hint="write it as 2013-01-05") from error


def reporter(stream: Any = None) -> Callable[[str], None]:
    """A function that prints lines with the seconds since it was made."""
    began = time.monotonic()

    def report(line: str) -> None:
        print(f"{time.monotonic() - began:7.1f} s  {line}", file=stream or sys.stdout, flush=True)

    return report


def reporter_beside_json() -> Callable[[str], None]:
    """A reporter for commands that print JSON: to standard error, or to the log where that is the same.

    `spark-submit` is such a place: it pours a job's standard error into its standard output.
    """
    out, err = os.fstat(1), os.fstat(2)
    if (out.st_dev, out.st_ino) == (err.st_dev, err.st_ino) and not sys.stdout.isatty():
        return log.info
    return reporter(sys.stderr)


def show_json(value: object) -> None:
    """Print JSON and nothing else."""
    print(json.dumps(value, indent=1, default=_plain))


def show_table(rows: Iterable[Mapping[str, Any]], columns: Sequence[str], title: str | None = None) -> None:
    """Print rows as a table; numbers stand to the right."""
    from rich.table import Table

    rows = list(rows)
    table = Table(title=title, title_justify="left", header_style="bold")
    for column in columns:
        numeric = bool(rows) and all(isinstance(row.get(column), int | float | type(None)) for row in rows)
        table.add_column(column.replace("_", " "), justify="right" if numeric else "left", overflow="fold")
    for row in rows:
        table.add_row(*[_cell(row.get(column)) for column in columns])
    console().print(table)


def console() -> Console:
    """Where tables go: as wide as the terminal, or wide enough for a file."""
    from rich.console import Console

    return Console(width=None if sys.stdout.isatty() else 160)


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "NO"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M:%S}"
    return str(value)


def _plain(value: Any) -> Any:
    if isinstance(value, date | datetime):
        return value.isoformat()
    if isinstance(value, set | frozenset | tuple):
        return list(value)
    return str(value)
