"""The errors: their exit codes, what they tell, and how a person at a terminal meets them."""

from __future__ import annotations

import ast
import re
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

import medallion
from medallion import errors, terminal
from medallion.errors import GateRefused, InputError, MedallionError, ServiceUnavailable, SettingsError, UsageError
from medallion.settings import ROOT, load

TREE = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, MedallionError)]
CODES = {
    "UsageError": 2,
    "SettingsError": 2,
    "ContractError": 2,
    "BreakingSchema": 2,
    "GateRefused": 3,
    "ConflictError": 4,
    "ServiceUnavailable": 5,
    "InputError": 6,
    "SchemaViolation": 6,
}


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A state folder of our own; signals and log handlers are as before afterwards."""
    import logging

    before, handlers = signal.getsignal(signal.SIGTERM), list(logging.getLogger().handlers)
    monkeypatch.setenv("MEDALLION_HOME", str(tmp_path))
    load.cache_clear()
    yield tmp_path
    load.cache_clear()
    signal.signal(signal.SIGTERM, before)
    for handler in set(logging.getLogger().handlers) - set(handlers):
        logging.getLogger().removeHandler(handler)


def test_exit_codes_are_those_of_the_docstring_and_of_the_documentation() -> None:
    assert {kind.__name__: kind.exit_code for kind in TREE if kind is not MedallionError} == CODES
    drawn = re.findall(r"[├└]── (\w+) +(\d)", errors.__doc__ or "")
    assert {name: int(code) for name, code in drawn} == CODES
    use = (ROOT / "docs" / "use.md").read_text("utf-8").partition("## Exit codes")[2]
    assert {int(code) for code in re.findall(r"^\| (\d+) \|", use.split("\n## ")[0], re.M)} == {0, 1, 130, *CODES.values()}


def test_only_a_missing_service_is_worth_a_retry() -> None:
    assert [kind.__name__ for kind in TREE if kind.retryable] == ["ServiceUnavailable"]


def test_every_error_that_is_raised_has_a_hint() -> None:
    bare = []
    for path in sorted(Path(medallion.__path__[0]).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            named = isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in {*CODES, "MedallionError"}
            if named and not any(keyword.arg in ("hint", None) for keyword in node.keywords):
                bare.append(f"{path.relative_to(ROOT)}:{node.lineno}")
    assert not bare, "errors that do not say what to do next"


def test_an_error_names_what_its_message_does_not() -> None:
    error = GateRefused("run r-1 was refused", hint="look", run="r-1", dataset="silver.shop.orders", branch="run/r-2")
    assert str(error) == "run r-1 was refused [dataset silver.shop.orders, branch run/r-2]\n  → look"
    assert str(MedallionError("bad")) == "bad"


@pytest.mark.parametrize(
    ("raised", "code", "told"),
    [
        (UsageError("no such thing", hint="try another"), 2, "error: no such thing\n  → try another\n"),
        (SettingsError("no such key", hint="mend it"), 2, "error: no such key\n  → mend it\n"),
        (GateRefused("two rules\n  a\n  b", hint="see"), 3, "error: two rules\n  a\n  b\n  → see\n"),
        (ServiceUnavailable("no answer", hint="`medallion up`"), 5, "error: no answer\n  → `medallion up`\n"),
        (InputError("no file"), 6, "error: no file\n"),
        (MedallionError("differs"), 1, "error: differs\n"),
    ],
)
def test_a_person_sees_message_and_remedy_and_the_log_the_traceback(
    home: Path, capfd: pytest.CaptureFixture[str], raised: MedallionError, code: int, told: str
) -> None:
    def command() -> None:
        raise raised

    assert terminal.guard(command) == code
    assert capfd.readouterr() == ("", told)
    assert "Traceback (most recent call last)" in (home / "logs" / "medallion.log").read_text("utf-8")


def test_what_nobody_foresaw_is_one_line_and_says_where_the_traceback_is(home: Path, capfd: pytest.CaptureFixture[str]) -> None:
    def command() -> None:
        raise ValueError("first line\nsecond line")

    assert terminal.guard(command) == 1
    out, told = capfd.readouterr()
    assert (out, told) == ("", f"error: ValueError: first line\n  → the traceback is in {home}/logs/medallion.log\n")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interruption_is_told_as_such(home: Path, capfd: pytest.CaptureFixture[str], number: signal.Signals) -> None:
    def command() -> None:
        signal.raise_signal(number)

    assert terminal.guard(command) == 130
    out, told = capfd.readouterr()
    assert out == ""
    assert told.startswith("interrupted: ")
    assert "medallion resume" in told
    assert "Traceback" not in told


@pytest.mark.parametrize("text", ["2013-02-30", "yesterday", "2013-1-5", "05.01.2013", "", "2013-01-05T00:00"])
def test_a_date_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="is not a date") as refused:
        terminal.parse_date(text)
    assert refused.value.exit_code == 2
    assert "2013-01-05" in (refused.value.hint or "")
