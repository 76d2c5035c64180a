"""Where the journal finds what a dataset's earlier writes were like, without opening every run's story."""

from __future__ import annotations

import uuid
from datetime import date
from typing import Any

from medallion.lakehouse.journal import Journal
from medallion.services import postgres
from medallion.settings import Settings


def told(journal: Journal, dataset: str, state: str, when: date | None, *rows: int, of: date | None = None) -> str:
    """A run that wrote so many rows, once for each figure, and came to a state. Returns: its id."""
    run = f"test-{uuid.uuid4().hex[:12]}"
    journal.open(run, "test", when, f"run/{run}", "h0", None)
    writes: list[dict[str, Any]] = [{"dataset": "other", "logical_date": "2013-01-01"}]
    writes += [{"dataset": dataset, "logical_date": of, "metrics": {"rows": n}, "score": 99, "verdicts": []} for n in rows]
    journal.update(run, state="merging", story={"writes": writes})
    journal.update(run, state=state)
    journal.release(run)
    return run


def test_the_newest_write_of_each_date_that_is_on_main(stack: Settings) -> None:
    dataset = f"gold.test.{uuid.uuid4().hex[:8]}"
    first, second, third = (date(2013, 1, day) for day in (1, 2, 3))
    with Journal(stack.postgres) as journal:
        told(journal, dataset, "merged", first, 10)
        whole = told(journal, dataset, "merged", second, 20, 21)
        late = told(journal, dataset, "merged", third, 11, of=first)
        for state in ("failed", "conflicted", "unchanged"):
            told(journal, dataset, state, second, 99)
        told(journal, dataset, "merged", None, 98)
        journal.update(whole, state="published")
        journal.update(whole, state="merged")

        def metrics(before: date = third, limit: int = 9) -> list[tuple[str, str, int]]:
            rows = journal.merged_metrics(dataset, before, limit)
            assert all((row["score"], row["verdicts"]) == (99, []) for row in rows)
            return [(row["logical_date"], row["run_id"], row["metrics"]["rows"]) for row in rows]

        newest = [("2013-01-02", whole, 21), ("2013-01-01", late, 11)]
        assert (metrics(), metrics(limit=1), metrics(second), metrics(first)) == (newest, newest[:1], newest[1:], [])
        gone = told(journal, dataset, "merged", second, 30)
        assert metrics()[0] == ("2013-01-02", gone, 30)
        journal.update(gone, state="reverted")
        assert metrics() == newest


def test_who_was_taken_back_before_it_was_told_that_it_is_merged_takes_nobody_back(stack: Settings) -> None:
    """A revert's answer is late, and a restore that took it back is told first."""
    with Journal(stack.postgres) as journal:
        one = told(journal, "gold.test.late", "merged", date(2013, 1, 1), 1)
        late, newer = (told(journal, "gold.test.late", "merging", None) for _ in range(2))
        journal.update(late, story={"options": {"reverts": [one]}})
        journal.update(newer, story={"options": {"reverts": [late], "returns": [one]}})
        journal.update(newer, state="merged")
        journal.update(late, state="merged")
        assert [(row["state"], row["reverted_by"]) for row in map(journal.run, (one, late, newer))] == [
            ("merged", None), ("reverted", newer), ("merged", None)
        ]  # fmt: skip


def test_a_date_that_was_run_again_in_a_run_of_no_date_is_on_main(stack: Settings) -> None:
    when, dataset = date(2199, 12, 31), f"gold.test.{uuid.uuid4().hex[:8]}"
    with Journal(stack.postgres) as journal:
        assert not journal.merged(when)
        run = told(journal, dataset, "merging", None)
        write = {"dataset": dataset, "logical_date": None, "as_of": when, "metrics": {"rows": 1}}
        journal.update(run, story={"writes": [write]})
        assert not journal.merged(when)
        journal.update(run, state="merged")
        assert journal.merged(when)
        assert [row["run_id"] for row in journal.merged_metrics(dataset, date(2200, 1, 1), 9)] == [run]


def test_runs_of_before_are_found_too(stack: Settings) -> None:
    """A journal that was made when there was no such place gets it, with all that it has."""
    dataset, when = f"gold.test.{uuid.uuid4().hex[:8]}", date(2013, 1, 1)
    with Journal(stack.postgres) as journal:
        run = told(journal, dataset, "merged", when, 7)
    with postgres.connect(stack.postgres) as connection:
        connection.execute("DROP TRIGGER merged ON ops.runs; DROP TABLE ops.writes CASCADE")
    with Journal(stack.postgres) as journal:
        (row,) = journal.merged_metrics(dataset, date(2013, 1, 2), 9)
        assert (row["run_id"], row["metrics"]) == (run, {"rows": 7})
        told(journal, dataset, "merged", date(2013, 1, 3), 8)
        assert len(journal.merged_metrics(dataset, date(2014, 1, 1), 9)) == 2


def test_the_newest_runs_are_found_without_reading_all(stack: Settings) -> None:
    with Journal(stack.postgres), postgres.connect(stack.postgres) as connection:
        connection.execute("SET enable_seqscan = off")  # of a few runs, reading all is cheaper
        connection.execute("SET enable_sort = off")
        rows = connection.execute("EXPLAIN SELECT * FROM ops.runs ORDER BY opened_at DESC, run_id DESC LIMIT 50")
        assert "runs_by_opening" in rows.fetchall()[1][0]
