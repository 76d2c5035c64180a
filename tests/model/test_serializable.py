"""Runs at once over overlapping tables: whatever passed has a serial order; without `UNCHANGED` it has none."""

from __future__ import annotations

import random
import threading
import uuid
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date
from typing import Any

import pytest

from medallion import pipeline
from medallion.lakehouse.journal import Journal
from medallion.lakehouse.merge import merge
from medallion.lakehouse.nessie import MAIN, CommitConflict, Content, Nessie, Operation, Reference, commit_body
from medallion.lakehouse.run import fail, open_run, put_on_branch
from medallion.settings import Settings
from tests.backfills import Backfill, days
from tests.model.history import INITIAL, Transaction, violations
from tests.rounds import rounds

RUNS, TABLES, ATTEMPTS = rounds(12, thorough=32), 8, 4


def pointer(writer: str) -> Content:
    """A table's version: where its metadata would lie says who wrote it. Nobody opens it."""
    return {
        "type": "ICEBERG_TABLE", "metadataLocation": f"s3://nowhere/{writer}/{uuid.uuid4()}.json", "snapshotId": 1,
        "schemaId": 0, "specId": 0, "sortOrderId": 0,
    }  # fmt: skip


def writer_of(content: Content) -> str:
    """Who wrote a version."""
    return str(content["metadataLocation"]).split("/")[3]


class WithoutUnchanged(Nessie):
    """A client that does not say what was read: the guarantee switched off."""

    def commit(self, onto: Reference, body: dict[str, Any]) -> str:
        said = [operation for operation in body["operations"] if operation["type"] != "UNCHANGED"]
        return super().commit(onto, body | {"operations": said})


@dataclass(frozen=True)
class Tables:
    """Some tables of a domain of its own, on main."""

    settings: Settings
    names: Sequence[str]

    @classmethod
    def new(cls, settings: Settings) -> Tables:
        domain = f"m{uuid.uuid4().hex[:10]}"
        names = [f"gold.{domain}.t{number}" for number in range(TABLES)]
        nessie = Nessie(settings.nessie)
        main = nessie.reference(MAIN)
        there = nessie.contents(main)
        spaces = [s for s in ("gold", f"gold.{domain}") if s not in there]
        operations = [Operation("PUT", s, {"type": "NAMESPACE", "elements": s.split(".")}) for s in spaces]
        operations += [Operation("PUT", name, pointer(INITIAL)) for name in names]
        nessie.commit(main, commit_body(operations, "tables of a test", {}))
        nessie.close()
        return cls(settings, names)

    def run(self, client: type[Nessie], number: int, seed: int, forked: threading.Barrier) -> list[Transaction]:
        """One run: reads some tables, writes some, merges; again if it lost. Returns: what is on main of it, if anything."""
        chance, nessie = random.Random(f"{seed} {number}"), client(self.settings.nessie)
        with Journal(self.settings.postgres) as journal:
            try:
                for attempt in range(ATTEMPTS):
                    run = open_run(nessie, journal, "model", None)
                    if attempt == 0:
                        forked.wait(120)
                    reads = set(chance.sample(self.names, chance.randint(1, 3)))
                    writes = set(chance.sample(self.names, chance.randint(1, 2)))
                    seen = {name: writer_of(run.base[name]) for name in reads}
                    contents = {name: pointer(run.id) | {"id": run.base[name]["id"]} for name in writes}
                    judged = put_on_branch(nessie, run, contents, "written")
                    run.reads = reads
                    run.writes = [{"dataset": name, "rows_out": 1} for name in sorted(writes)]
                    run.save(journal, "validated")
                    try:
                        merge(nessie, journal, run, judged, "model", {})
                    except CommitConflict as conflict:
                        fail(journal, run, str(conflict), "conflicted")
                        continue
                    journal.release(run.id)
                    return [Transaction(run.id, seen, frozenset(writes))]
                return []
            finally:
                nessie.close()

    def versions(self) -> dict[str, list[str]]:
        """Who wrote each table, in the order of main's log."""
        nessie = Nessie(self.settings.nessie)
        main = nessie.reference(MAIN)
        found = {name: [writer_of(content) for _, content in nessie.versions(main, name) if content][::-1] for name in self.names}
        nessie.close()
        return {name: [writer for writer in order if writer != INITIAL] for name, order in found.items()}


def at_once(tables: Tables, client: type[Nessie], seed: int) -> list[Transaction]:
    forked = threading.Barrier(RUNS)
    with ThreadPoolExecutor(RUNS) as pool:
        running = [pool.submit(tables.run, client, number, seed, forked) for number in range(RUNS)]
        return [one for each in running for one in each.result()]


def test_runs_at_once_have_a_serial_order(stack: Settings) -> None:
    tables = Tables.new(stack)
    history = at_once(tables, Nessie, seed=1)
    assert len(history) >= RUNS // 4, "too few passed to prove anything"
    assert violations(history, tables.versions()) == []


def test_without_unchanged_the_checker_finds_that_there_is_none(stack: Settings) -> None:
    tables = Tables.new(stack)
    history = at_once(tables, WithoutUnchanged, seed=1)
    (told,) = violations(history, tables.versions())
    assert told.startswith("no serial order: ")
    assert "before it was replaced by" in told, "what was read had been replaced: write skew, or worse"


def test_appends_that_are_rebased_and_those_who_read_them_have_a_serial_order(
    stack: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    backfill, appends = Backfill(stack, f"m{uuid.uuid4().hex[:10]}"), days(7)
    tables, rows, forked = Tables.new(stack), backfill.contract.dataset, threading.Barrier(12)
    open_a_run = pipeline.open_run

    def opened(*arguments: Any, **options: Any) -> Any:
        run = open_a_run(*arguments, **options)
        if options["retry_of"] is None:
            forked.wait(120)
        return run

    def append(day: date) -> list[Transaction]:
        outcome = backfill.run(day)
        return [Transaction(str(day), {}, frozenset({rows}))] if outcome.state == "merged" else []

    def read(number: int) -> list[Transaction]:
        """Reads all appended rows, and one table that another reader writes."""
        mine, other, nessie = tables.names[number], tables.names[(number + 1) % 6], Nessie(stack.nessie)
        with Journal(stack.postgres) as journal:
            for attempt in range(ATTEMPTS):
                run = open_run(nessie, journal, "model", None)
                if attempt == 0:
                    forked.wait(120)
                last = [day for _, _, day in backfill.snapshots(run.base[rows])][-1]
                seen = {rows: last, other: writer_of(run.base[other])}
                judged = put_on_branch(nessie, run, {mine: pointer(run.id) | {"id": run.base[mine]["id"]}}, "written")
                run.reads, run.writes = {rows, other}, [{"dataset": mine, "rows_out": 1}]
                run.save(journal, "validated")
                try:
                    merge(nessie, journal, run, judged, "model", {})
                except CommitConflict as conflict:
                    fail(journal, run, str(conflict), "conflicted")
                    continue
                journal.release(run.id)
                nessie.close()
                return [Transaction(run.id, seen, frozenset({mine}))]
        nessie.close()
        return []

    with backfill.written_by_pyiceberg():
        backfill.run(appends[0])
        monkeypatch.setattr(pipeline, "open_run", opened)
        with ThreadPoolExecutor(12) as pool:
            running = [pool.submit(append, day) for day in appends[1:]] + [pool.submit(read, number) for number in range(6)]
            history = [one for each in running for one in each.result()]
    versions = tables.versions() | {rows: [day for _, _, day in backfill.snapshots()]}
    assert sorted(versions[rows]) == [str(day) for day in appends], "every append is there once"
    assert len(history) > len(appends)
    assert violations([Transaction(str(appends[0]), {}, frozenset({rows})), *history], versions) == []
