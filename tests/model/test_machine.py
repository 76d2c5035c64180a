"""Runs, failures, kills, conflicts, merges, resumes, publications and take-backs in any order, beside a small model.

Hypothesis chooses what happens next; the real Nessie, journal and warehouse do it, and the model, a few dictionaries, says
what must have come of it.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck
from hypothesis import settings as bounds
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, rule, run_state_machine_as_test

from medallion import recovery
from medallion.contract import Contract
from medallion.errors import UsageError
from medallion.lakehouse import steps
from medallion.lakehouse.merge import RUN_PROPERTY
from medallion.lakehouse.nessie import CommitConflict
from medallion.lakehouse.run import Run, fail
from medallion.publish.publication import publish
from medallion.settings import Settings
from tests.lake_tables import Contracts, gold
from tests.model.history import ledger_violations
from tests.protocol_runs import VALUE, ProtocolRuns
from tests.rounds import THOROUGH, rounds
from tests.warehouse import POSTGRES, select
from tests.warehouse import rows as shown

pytest_plugins = ["tests.warehouse"]

NAMES = ("a", "b", "c")
TABLES = st.sets(st.sampled_from(NAMES), min_size=1)
EXAMPLES, STEPS = rounds(2, thorough=20), rounds(15, thorough=30)


class Killed(BaseException):
    """As SIGKILL: nothing catches it, and nobody is told."""


@dataclass
class Modelled:
    """What the model knows of a run: the versions that it saw, what it reads and writes, and how far it is."""

    protocol: ProtocolRuns
    run: Run
    judged: Any
    saw: dict[str, int]
    reads: set[str]
    writes: dict[str, int]
    state: str = "validated"
    alive: bool = True


@dataclass
class Model:
    """What main and the warehouse must hold: table -> value; `changed`: table -> how often it changed."""

    main: dict[str, int] = field(default_factory=dict)
    changed: dict[str, int] = field(default_factory=dict)
    warehouse: dict[str, int] = field(default_factory=dict)
    publications: int = 0
    merged: list[str] = field(default_factory=list)

    def conflicts(self, one: Modelled) -> bool:
        """Whether others changed what a run read or wrote since it began."""
        return any(self.changed[table] != one.saw[table] for table in one.reads | set(one.writes))

    def merge(self, one: Modelled) -> None:
        """It is on main."""
        one.state = "merged"
        if one.writes:
            self.merged.append(one.run.id)
        for table, value in one.writes.items():
            self.main[table] = value
            self.changed[table] += 1


class Lakehouse(RuleBasedStateMachine):
    """The rules. `settings` is the running stack, with a warehouse and a journal of its own for each example."""

    runs: ClassVar[Bundle[Modelled]] = Bundle("runs")
    ended: ClassVar[Bundle[Modelled]] = Bundle("ended")
    base: ClassVar[Settings]

    @initialize()
    def begin(self) -> None:
        self.domain = f"m{uuid.uuid4().hex[:10]}"
        self.tables = {name: gold(name, VALUE, domain=self.domain) for name in NAMES}
        self.protocol = ProtocolRuns(self.base)
        self.value = 0
        self.model = Model()
        self.every: list[Modelled] = []
        self.first = self.protocol.main().hash
        self.earlier = len(self._ledger())
        self.protocol.merged({contract: self._rows(name) for name, contract in self.tables.items()})
        self.model.changed = dict.fromkeys(NAMES, 0)

    def teardown(self) -> None:
        for one in getattr(self, "every", ()):
            if one.alive:
                one.protocol.__exit__()
        if hasattr(self, "protocol"):
            self.protocol.__exit__()

    def _rows(self, name: str) -> list[dict[str, Any]]:
        self.value += 1
        self.model.main[name] = self.value
        return [{"value": self.value}]

    # ── runs ──────────────────────────────────────────────────────────────────────────────────
    @rule(target=runs, reads=TABLES, writes=TABLES)
    def write(self, reads: set[str], writes: set[str]) -> Modelled:
        """A run reads and writes on its branch, and passes the gate."""
        protocol = ProtocolRuns(self.base)
        new = {}
        for name in sorted(writes):
            self.value += 1
            new[name] = self.value
        run, judged = protocol.written(
            {self.tables[name]: [{"value": value}] for name, value in new.items()},
            reads=[self.tables[name] for name in sorted(reads)],
        )
        self.every.append(Modelled(protocol, run, judged, dict(self.model.changed), reads, new))
        return self.every[-1]

    @rule(target=ended, one=consumes(runs))
    def merge(self, one: Modelled) -> Modelled:
        """It merges, or conflicts exactly if others changed what it read or wrote."""
        conflicts = bool(one.writes) and self.model.conflicts(one)
        try:
            merged = one.protocol.merge(one.run, one.judged)
        except CommitConflict as conflict:
            assert conflicts
            fail(one.protocol.journal, one.run, str(conflict), "conflicted")
            one.state = "conflicted"
        else:
            assert not conflicts
            assert (merged is None) == (not one.writes)
            self.model.merge(one)
            one.state = "merged" if one.writes else "unchanged"
            one.protocol.journal.release(one.run.id)
        self._leave(one)
        return one

    @rule(target=ended, one=consumes(runs))
    def fails(self, one: Modelled) -> Modelled:
        """It ends without a merge."""
        fail(one.protocol.journal, one.run, "an error")
        one.state = "failed"
        self._leave(one)
        return one

    @rule(target=ended, one=consumes(runs), at=st.sampled_from(["before the merge", "before merge.commit", "after merge.commit"]))
    def killed(self, one: Modelled, at: str) -> Modelled:
        """Its process is killed: its connections are gone, and nobody is told."""
        if at != "before the merge" and one.writes:
            conflicts = self.model.conflicts(one)
            try:
                with _killing(at):
                    one.protocol.merge(one.run, one.judged)
            except Killed:
                one.state = "merging"
                if at.startswith("after"):
                    assert not conflicts
                    self.model.merge(one)
                    one.state = "merging, on main"
            except CommitConflict:
                assert conflicts
                one.state = "merging"
        self._leave(one)
        return one

    @rule()
    def resume(self) -> None:
        """Whoever comes next ends what was left, by the evidence."""
        expected = {}
        for one in reversed(self.every):  # the newest first, as it is done
            if one.alive or one.state not in ("validated", "merging", "merging, on main"):
                continue
            if one.state == "validated":
                one.state = "failed"
            elif one.state == "merging, on main":
                one.state = "merged"
            elif self.model.conflicts(one):
                one.state = "conflicted"
            else:
                self.model.merge(one)
            expected[one.run.id] = one.state
        found = recovery.resume(self.protocol.nessie, self.protocol.journal)
        mine = {one.run.id for one in self.every}
        assert {each.run_id: each.after for each in found if each.run_id in mine and each.before != each.after} == expected

    @rule(one=ended)
    def merge_what_has_ended(self, one: Modelled) -> None:
        """Nothing can be merged from a run that is at an end."""
        if one.state in ("failed", "conflicted"):
            run = Run(one.run.id, "test", None, one.run.h0, one.state, one.run.base)
            with pytest.raises(UsageError, match="only a validated run can be merged"):
                self.protocol.merge(run, one.judged)

    @rule(name=st.sampled_from(NAMES))
    def take_back(self, name: str) -> None:
        """Somebody puts an earlier value back, as new metadata, in a run of its own."""
        value = max(1, self.model.main[name] - 1)
        self.protocol.merged({self.tables[name]: [{"value": value}]})
        self.model.main[name] = value
        self.model.changed[name] += 1

    @rule()
    def publish(self) -> None:
        """The warehouse gets main as it is, if it does not show it already."""
        contracts = Contracts(*self.tables.values())
        done = publish(self.base, contracts)
        if getattr(self, "published_at", None) != self.model.changed:
            assert done.outcome == "published"
            self.model.publications += 1
            self.published_at = dict(self.model.changed)
            self.model.warehouse = dict(self.model.main)
        else:
            assert done.outcome in ("already", "unchanged")

    def _leave(self, one: Modelled) -> None:
        one.alive = False
        one.protocol.__exit__()

    # ── what must hold at every moment ────────────────────────────────────────────────────────
    @invariant()
    def main_is_what_the_model_says(self) -> None:
        if hasattr(self, "first"):
            assert {name: self._on_main(contract) for name, contract in self.tables.items()} == self.model.main
            commits = self.protocol.nessie.log(self.protocol.main(), until=self.first)
            ids = {one.run.id for one in self.every}
            found = [c.properties[RUN_PROPERTY] for c in commits if c.properties.get(RUN_PROPERTY) in ids]
            assert sorted(found) == sorted(self.model.merged), "each merged run once, and no other"

    @invariant()
    def the_warehouse_is_what_was_published(self) -> None:
        if hasattr(self, "first"):
            ledger = self._ledger()
            assert ledger_violations(ledger) == []
            assert len(ledger) - self.earlier == self.model.publications
            if self.model.publications:
                assert {name: shown(self.base, c)[0][0] for name, c in self.tables.items()} == self.model.warehouse

    def _on_main(self, contract: Contract) -> int:
        ((value,),) = [row.values() for row in self.protocol.rows(contract)]
        return int(value)

    def _ledger(self) -> list[dict[str, Any]]:
        names = ("sequence", "publication_id", "main_hash")
        if select(self.base, "SELECT to_regclass('medallion.publications')") == [(None,)]:
            return []
        found = select(self.base, f"SELECT {', '.join(names)} FROM medallion.publications")
        return [dict(zip(names, row, strict=True)) for row in found]


@contextmanager
def _killing(at: str) -> Iterator[None]:
    """Within this the process dies before or after the one commit."""
    moment, _, step = at.partition(" ")

    @contextmanager
    def around(name: str) -> Iterator[None]:
        if (name, moment) == (step, "before"):
            raise Killed
        yield
        if (name, moment) == (step, "after"):
            raise Killed

    before, steps.around = steps.around, around
    try:
        yield
    finally:
        steps.around = before


@POSTGRES
def test_the_model_knows_a_run_whose_reads_have_moved(settings: Settings) -> None:
    """The shortest way to where a merge without `UNCHANGED` differs from the model."""
    Lakehouse.base = _with_a_journal_of_its_own(settings)
    machine = Lakehouse()
    try:
        machine.begin()
        one = machine.write({"a"}, {"b"})
        machine.take_back("a")
        machine.merge(one)
        assert one.state == "conflicted"
        machine.publish()
        machine.main_is_what_the_model_says()
        machine.the_warehouse_is_what_was_published()
    finally:
        machine.teardown()


@POSTGRES
def test_whatever_comes_in_whatever_order_is_as_the_model_says(settings: Settings) -> None:
    Lakehouse.base = _with_a_journal_of_its_own(settings)
    run_state_machine_as_test(Lakehouse, settings=_bounded())


def _with_a_journal_of_its_own(settings: Settings) -> Settings:
    own = settings.postgres.model_copy(update={"database": settings.warehouse_postgres.database})
    return settings.model_copy(update={"postgres": own})


def _bounded() -> bounds:
    """In `make test` always the same examples."""
    return bounds(
        max_examples=EXAMPLES,
        stateful_step_count=STEPS,
        deadline=None,
        database=None,
        derandomize=not THOROUGH,
        suppress_health_check=list(HealthCheck),
    )
