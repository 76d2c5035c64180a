"""Every command has its place in the audit log's table, and the canonical text is the one that the documentation shows."""

from __future__ import annotations

import hashlib
import json
import re

import pytest

from medallion import cli
from medallion.audit.actions import ACTIONS, Elsewhere, NotRecorded, Recorded, entry
from medallion.audit.chain import Record, canonical, digest
from medallion.audit.record import LONGEST, commands, outcome_of, short
from medallion.errors import GateRefused, ServiceUnavailable, UsageError
from medallion.lakehouse import actor
from medallion.settings import ROOT, Settings


def test_every_command_says_what_is_recorded_of_it() -> None:
    assert set(ACTIONS) == set(commands(cli.app)), (
        "a command without an entry in medallion/audit/actions.py, or the other way round"
    )
    for name, what in ACTIONS.items():
        if isinstance(what, NotRecorded):
            assert what.why, name
        if isinstance(what, Elsewhere):
            assert what.actions, name


def test_commands_are_found_in_groups_and_groups_that_are_commands() -> None:
    found = commands(cli.app)
    assert {"sql", "open", "quarantine show", "sandbox list", "marts", "marts docs", "backup", "backup points"} <= set(found)
    assert "quarantine" not in found


def test_a_command_that_nobody_thought_of_is_recorded() -> None:
    what = entry("brand new")
    assert isinstance(what, Recorded)
    assert (what.action, what.about({}), what.when) == ("command.called", "brand new", "both")


def test_the_documentation_has_the_table_and_a_record_that_hashes() -> None:
    text = (ROOT / "docs" / "audit.md").read_text("utf-8")
    for name, what in ACTIONS.items():
        assert f"`{name}`" in text, name
        if isinstance(what, Recorded):
            assert f"`{what.action}`" in text, name
    shown = json.loads(re.findall(r"```json\n(.*?)```", text, re.DOTALL)[0])
    record = Record(**shown)
    assert canonical(record).decode() == re.findall(r"```canonical\n(.*?)\n```", text, re.DOTALL)[0]
    assert digest(record) == record.hash == hashlib.sha256(canonical(record)).hexdigest()


def test_no_text_in_one_field_passes_for_the_next_one_s() -> None:
    parts = ["0" * 64, "at", "who", "place", "action", "object", "outcome"]

    def one(who: str, place: str, run: str | None) -> bytes:
        previous, at, *_ = parts
        return canonical(Record(1, at, who, place, "action", "object", "outcome", run, "{}", previous, ""))

    assert one("a", "b", None) != one("a,1:b", "", None)
    assert one("a", "b", None) != one("a", "b", "-")
    assert one("ä", "b", "") != one("a", "b", None)


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (UsageError("x"), "refused"), (GateRefused("x"), "refused"), (ServiceUnavailable("x"), "failed"),
        (KeyboardInterrupt(), "interrupted"), (ValueError("x"), "failed"),
    ],
)  # fmt: skip
def test_how_a_command_ended_is_one_word(error: BaseException, told: str) -> None:
    assert outcome_of(error) == told


def test_a_long_argument_is_cut_and_says_so() -> None:
    assert short("x" * LONGEST) == "x" * LONGEST
    assert short("x" * (LONGEST + 5)).endswith(f"… ({LONGEST + 5} characters)")
    assert short(["a", True, 3]) == ["a", True, 3]


def test_what_postgresql_cannot_keep_is_written_out() -> None:
    assert short("a\0b\udcffü") == "a\\x00b\\udcffü"


def test_secrets_are_named_and_never_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(actor, "_told", {})
    settings = Settings(
        postgres={"password": "open-sesame"},
        sources={"shop": {"url": "http://127.0.0.1:9", "password": "open-barley"}},
        audit={"who": "nightly"},
    )
    actor.introduce(settings)
    actor.begin("medallion sql")
    told = actor.as_json()
    assert {"postgres.password", "s3.secret_key", "sources.shop.password"} <= set(told["secrets"])
    assert "nessie.token" not in told["secrets"], "there is none"
    assert (told["command"], told["profile"]) == ("medallion sql", "embedded")
    assert told["who"].endswith(" as nightly")
    assert "open-" not in json.dumps(told)
