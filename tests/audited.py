"""A stack whose audit log may be tampered with, commands in it, and what a superuser can do to the log."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from medallion import cli
from medallion.contract import Contract
from medallion.services import postgres
from medallion.settings import Settings, load
from tests.conftest import new_stack
from tests.lake_tables import gold
from tests.protocol_runs import VALUE, ProtocolRuns, another_value

MINE = gold("mine", VALUE, domain="audited")
SUMMED = "UPDATE ops.audit a SET hash = encode(sha256(convert_to(ops.audit_text(a.*), 'UTF8')), 'hex') WHERE sequence = {}"
"""Give a record the hash of what it is now."""
SHIFTED = """
UPDATE ops.audit SET sequence = -sequence - ({1}) WHERE sequence >= {0};
UPDATE ops.audit SET sequence = -sequence WHERE sequence < 0
"""
"""Move the records from a sequence on by so many."""
ANEW = """
DO $$ DECLARE one record; before text; BEGIN
  SELECT hash INTO before FROM ops.audit WHERE sequence = {0} - 1;
  FOR one IN SELECT sequence FROM ops.audit WHERE sequence >= {0} ORDER BY sequence LOOP
    UPDATE ops.audit SET previous = before, who = 'nobody' WHERE sequence = one.sequence;
    UPDATE ops.audit a SET hash = encode(sha256(convert_to(ops.audit_text(a.*), 'UTF8')), 'hex')
      WHERE sequence = one.sequence RETURNING hash INTO before;
  END LOOP;
END $$
"""
"""Write the chain anew from a sequence on, so that it fits together."""


DAY = "1990-01-01"
WALK: dict[str, tuple[list[str], int, set[str]]] = {
    # command: (its arguments, its exit code, what is recorded of it)
    "status": ([], 0, set()),
    "doctor": ([], -1, set()),  # the set-up is not ours to judge
    "landing": (["--date", "soon"], 2, {"begun", "refused"}),
    "deliver": (["bronze.sales.purchases", "nosuch.txt", "--date", DAY], 2, {"begun", "refused"}),
    "open": (["--date", DAY], 0, {"run.opened"}),
    "merge": (["{handed over}"], 0, {"run.gated", "run.merging", "run.merged", "branch.dropped"}),
    "janitor": (["--yes"], 0, {"branch.dropped"}),
    "run": (["--date", DAY, "--dataset", "bronze.operations.flights", "--no-publish"], 6, {"run.opened", "run.failed"}),
    "abandon": (["{opened}"], 0, {"run.failed"}),
    "resume": ([], 0, {"begun", "done"}),
    "runs": ([], 0, set()),
    "show": (["{handed over}"], 0, {"begun", "done"}),
    "diff": (["main"], 2, set()),
    "branches": ([], 0, set()),
    "quality": ([], 0, set()),
    "lineage": (["gold.sales.customer_value", "--down"], 0, set()),
    "revert": (["{handed over}", "--no-publish"], 0, {"run.opened", "run.merged", "run.reverted"}),
    "restore": (["--to", "{before}", "--no-publish"], 0, {"run.opened"}),
    "backup": ([], 0, {"lake.backed-up"}),
    "backup status": ([], 0, set()),
    "backup points": ([], 0, set()),
    "sql": (["SELECT value FROM gold.audited.mine"], 0, {"begun", "done"}),
    "quarantine list": ([], 0, set()),
    "quarantine show": (["silver.sales.purchases"], 0, {"begun", "done"}),
    "quarantine replay": (["silver.sales.purchases", "--date", DAY, "--rows", "nosuch.csv"], 2, {"begun", "refused"}),
    "sandbox create": (["tried"], 0, {"begun", "done"}),
    "sandbox list": ([], 0, set()),
    "sandbox diff": (["tried"], 0, {"begun", "done"}),
    "sandbox drop": (["tried"], 0, {"begun", "done"}),
    "publish": (["--at", "nosuch"], 2, {"begun", "refused"}),
    "reconcile": ([], -1, set()),
    "marts": (["--compare", "nosuch", "neither"], 2, {"begun", "refused"}),
    "marts sources": (["--check"], 0, set()),
    "marts docs": (["--nosuch"], 2, set()),
    "contract check": (["nosuch.yaml"], 2, set()),
    "contract new": (["gold.audited.mine"], 0, {"begun", "done"}),
    "domain new": (["2go"], 2, set()),
    "domain list": ([], 0, set()),
    "schema log": (["gold.sales.customer_value"], 0, set()),
    "schema diff": (["gold.sales.customer_value"], 0, set()),
    "alerts list": ([], 0, set()),
    "alerts show": (["4711"], 2, {"begun", "refused"}),
    "alerts acknowledge": (["4711"], 2, set()),
    "alerts silence": (["--for", "2h", "--why", "a test"], 0, {"alert.silenced"}),
    "alerts silences": ([], 0, set()),
    "alerts unsilence": (["1"], 0, {"alert.unsilenced"}),
    "alerts resend": (["4711"], 2, set()),
    "alerts test": (["nosuch"], 2, {"begun", "refused"}),
    "watch": ([], 0, set()),
    "ops rebuild": (["--check"], -1, {"begun", "done"}),
    "ops status": ([], 0, set()),
    "dashboards": (["--port", "70000"], 2, set()),
    "audit list": ([], 0, set()),
    "audit verify": ([], 0, set()),
    "audit export": (["{file}"], 0, {"audit.exported"}),
    "audit prune": ([], 0, set()),
    "audit restored": (["--why", "a test"], 0, {"stack.restored"}),
    "demo": (["--domain", "nosuch"], 2, {"refused"}),
    "down": ([], 0, {"begun"}),
    "up": ([], 0, {"done"}),
}
"""Every command once, in this order: of commands that are recorded as one action its outcomes, of others all actions."""


class Audited:
    """One stack, with four merged runs: records 1 to 16, of which main's log names 2, 6, 10 and 14."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    def merge(self, number: int = 0, contract: Contract = MINE) -> str:
        """A whole run. Returns: its commit."""
        with ProtocolRuns(self.settings) as runs:
            return runs.merged({contract: another_value(number)})

    def ask(self, sql: str, *values: Any) -> list[Any]:
        """What PostgreSQL answers to its superuser; nothing for a statement that answers nothing."""
        with postgres.connect(self.settings.postgres) as connection:
            cursor = connection.execute(sql, values or None)
            return cursor.fetchall() if cursor.description else []

    def last(self) -> int:
        """The newest record's sequence."""
        return int(self.ask("SELECT max(sequence) FROM ops.audit")[0][0])

    def since(self, sequence: int) -> list[tuple[str, str, str, str | None]]:
        """`action`, `object`, `outcome` and the command of the records after one."""
        asked = "SELECT action, object, outcome, detail->>'command' FROM ops.audit WHERE sequence > %s ORDER BY sequence"
        return [tuple(row) for row in self.ask(asked, sequence)]

    @contextmanager
    def tampered(self, *statements: str) -> Iterator[None]:
        """What a superuser does to the log with its triggers off; afterwards it is as it was."""
        self.ask("CREATE TABLE ops.saved AS TABLE ops.audit; ALTER TABLE ops.audit DISABLE TRIGGER USER")
        try:
            for statement in statements:
                self.ask(statement)
            self.ask("ALTER TABLE ops.audit ENABLE TRIGGER USER")
            yield
        finally:
            self.ask("ALTER TABLE ops.audit DISABLE TRIGGER USER; TRUNCATE ops.audit")
            self.ask("INSERT INTO ops.audit SELECT * FROM ops.saved; DROP TABLE ops.saved")
            self.ask("ALTER TABLE ops.audit ENABLE TRIGGER USER")


class Commands:
    """Commands in this process, as a terminal would see them."""

    def __init__(self, printed: pytest.CaptureFixture[str], patch: pytest.MonkeyPatch) -> None:
        self._printed, self._patch = printed, patch

    def __call__(self, *words: str, code: int = 0) -> tuple[str, str]:
        """Run a command that must end with this code. Returns: standard output and standard error."""
        ended, out, err = self.ended(*words)
        assert ended == code, err
        return out, err

    def ended(self, *words: str) -> tuple[int, str, str]:
        """Run a command. Returns: its exit code, standard output and standard error."""
        self._patch.setattr(sys, "argv", ["medallion", *words])
        self._printed.readouterr()
        with pytest.raises(SystemExit) as ended:
            cli.main()
        return int(ended.value.code or 0), *self._printed.readouterr()

    def json(self, *words: str, code: int = 0) -> Any:
        return json.loads(self(*words, "--json", code=code)[0])


@pytest.fixture(scope="module")
def audited(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Audited]:
    """The stack, with a second location for backups, which are not made after merges."""
    given = {
        "MEDALLION_BACKUP__LOCATION": str(tmp_path_factory.mktemp("second")),
        "MEDALLION_BACKUP__AFTER_MERGE": "false",
        "MEDALLION_WAREHOUSE": "postgres",
    }
    os.environ.update(given)
    try:
        with new_stack():
            stack = Audited(load())
            for number in range(4):
                stack.merge(number)
            assert stack.last() == 16
            yield stack
    finally:
        for name in given:
            del os.environ[name]
        load.cache_clear()


@pytest.fixture
def medallion(audited: Audited, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Commands:
    return Commands(capfd, monkeypatch)


def lines(path: Path) -> list[str]:
    """The lines of a file."""
    return path.read_text("utf-8").splitlines()
