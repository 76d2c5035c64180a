"""The invariants of docs/guarantees.md, checked over what the stores hold. `Watch.look` returns what is violated."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

from tests.crash.place import ROWS_A_DAY, Place, Told
from tests.crash.stores import Commit, Row, Stores

LIVE = {"open", "written", "validated", "merging"}
ON_MAIN = {"merged", "published", "reverted"}
FORESEEN = {0, 3, 4, 5}
"""Exit codes that a fault may lead to: it went well, or the gate, others, or a server stopped it."""


class Watch:
    """Follows one place from its beginning."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.stores = Stores(place.settings)
        self._seen: str | None = self.stores.main()
        self._order: dict[str, int] = {self._seen: 0}
        self.commits: list[Commit] = []
        self._before: dict[str, Any] = {"bronze": []}
        self.told: list[tuple[str, Told]] = []

    def close(self) -> None:
        self.stores.close()

    def look(self, *, at_the_end: bool) -> list[str]:
        """What is violated now. `at_the_end`: after everything was resumed; else right after the fault."""
        runs = self.stores.runs()  # first: what is on main later may only be more
        wrong = self._main({row["run_id"]: row for row in runs})
        wrong += self._states(runs, at_the_end)
        wrong += self._warehouse(runs, at_the_end)
        for what, told in self.told:
            wrong += [f"{what}: {each}" for each in self._truth(told, runs)]
        return wrong

    # ── 1: main only ever holds whole, validated runs, in some serial order ───────────────────
    def _main(self, runs: dict[str, Row]) -> list[str]:
        wrong = []
        for commit in self.stores.since(self._seen):
            self._seen = commit.hash
            self._order[commit.hash] = len(self._order)
            if any(f".{self.place.domain}." in key for key in commit.puts | commit.deletes):
                self.commits.append(commit)
                wrong += [f"main@{commit.hash[:12]}: {each}" for each in self._commit(commit, runs.get(str(commit.run)))]
        twice = [run for run, count in Counter(commit.run for commit in self.commits).items() if count > 1]
        return wrong + [f"run {run} is on main more than once" for run in twice]

    def _commit(self, commit: Commit, run: Row | None) -> list[str]:
        place = self.place
        if run is None:
            return [f"its run {commit.run} is not in the journal"]
        mine = {key for key in commit.puts if f".{place.domain}." in key}
        if commit.deletes:
            return ["it removes tables"]
        if run["kind"] == "init":
            every = {c.dataset for c in place.domains.contracts.values()} | {
                c.quarantine for c in place.domains.contracts.values()
            }
            return [] if mine == every else [f"it creates {sorted(mine)} and not every table"]
        if not run["gated"]:
            return [f"run {commit.run} never passed the gate"]
        if run["kind"] == "revert":
            return self._revert(commit)
        before = {(row["_logical_date"], row["_source_row"]) for row in self._before["bronze"]}
        bronze = self.stores.rows(place.bronze.dataset, commit.hash) or []
        after = Counter((row["_logical_date"], row["_source_row"]) for row in bronze)
        self._before = {"bronze": bronze}
        wrong = [f"bronze holds {row} {count} times" for row, count in after.items() if count > 1]
        if before - set(after):
            wrong.append(f"{len(before - set(after))} rows of bronze are gone")
        days = Counter(row["_logical_date"] for row in bronze)
        wrong += [f"bronze has {count} rows of {day}" for day, count in days.items() if count != ROWS_A_DAY]
        new = {row["_logical_date"] for row in bronze if (row["_logical_date"], row["_source_row"]) not in before}
        if {row["_run_id"] for row in bronze if row["_logical_date"] in new} - {commit.run} or len(new) > 1:
            wrong.append(f"the new rows of bronze, of {sorted(map(str, new))}, are not of run {commit.run}")
        if run["kind"] == "bronze":
            return wrong + ([] if mine == {place.bronze.dataset} else [f"a bronze run put {sorted(mine)}"])
        totals = self.stores.rows(place.totals.dataset, commit.hash) or []
        latest = self.stores.rows(place.latest.dataset, commit.hash) or []
        refused = self.stores.rows(place.totals.quarantine, commit.hash) or []
        if {row["day"]: row["counted"] for row in totals} != dict(days):
            wrong.append("gold's totals are not those of bronze at this commit")
        whose = {row["run"] for row in (*totals, *latest)} | {row["_run_id"] for row in refused}
        if whose != {commit.run} or [row["days"] for row in latest] != [len(days)] or not refused:
            wrong.append(f"it holds a part of run {commit.run} only: {sorted(whose)}")
        return wrong

    def _revert(self, commit: Commit) -> list[str]:
        """Everything is as it was before the run that it takes back, which was the newest."""
        taken, place = commit.properties.get("medallion.reverts"), self.place
        earlier = self.commits[:-1]
        if not earlier or earlier[-1].run != taken:
            return [f"it takes back {taken}, and not the newest run"]
        then = earlier[-2].hash
        tables = (place.bronze.dataset, place.totals.dataset, place.latest.dataset, place.totals.quarantine)
        found = {name: [self.stores.rows(name, at) or [] for at in (then, commit.hash)] for name in tables}
        self._before = {"bronze": found[place.bronze.dataset][1]}
        return [
            f"{name} is not as it was before run {taken}"
            for name, (was, now) in found.items()
            if _values(was, list(was[0]) if was else []) != _values(now, list(was[0]) if was else [])
        ]

    # ── 2 and 5: a run is on main exactly once or not at all, and the journal says which ──────
    def _states(self, runs: list[Row], at_the_end: bool) -> list[str]:
        at = {commit.run: commit.hash for commit in self.commits}
        wrong = []
        for row in runs:
            found = at.get(row["run_id"])
            if row["state"] in ON_MAIN and found != row["merged_hash"]:
                wrong.append(f"run {row['run_id']} is {row['state']} at {row['merged_hash']}, and on main at {found}")
            elif row["state"] not in ON_MAIN | {"merging"} and found:
                wrong.append(f"run {row['run_id']} is {row['state']}, and on main at {found}")
            elif at_the_end and row["state"] in LIVE:
                wrong.append(f"run {row['run_id']} was left {row['state']}")
        if at_the_end:
            there = self.stores.branches()
            wrong += [
                f"the branch of run {row['run_id']}, {row['state']}, was left behind"
                for row in runs
                if row["branch"] in there and row["state"] in ON_MAIN | {"unchanged"}
            ]
        return wrong

    # ── 3: the warehouse equals a commit of main, never goes back, and its ledger has it once ─
    def _warehouse(self, runs: list[Row], at_the_end: bool) -> list[str]:
        ledger, head, tables = self.stores.shown(self.place.published)
        wrong = []
        if [row["sequence"] for row in ledger] != list(range(1, len(ledger) + 1)):
            wrong.append(f"the ledger's numbers are {[row['sequence'] for row in ledger]}")
        for name in ("publication_id", "main_hash"):
            wrong += [f"the ledger has {name} {v} twice" for v, n in Counter(row[name] for row in ledger).items() if n > 1]
        self._main_again()
        places = [self._order.get(row["main_hash"], -1) for row in ledger]
        if -1 in places or places != sorted(places):
            wrong.append(f"the ledger's commits stand on main in the order {places}")
        last = ledger[-1] if ledger else {"sequence": 0, "main_hash": None, "publication_id": None}
        shows = head[0] if head else {"sequence": 0, "main_hash": None, "publication_id": None}
        if (shows["sequence"], shows["main_hash"], shows["publication_id"]) != (
            last["sequence"], last["main_hash"], last["publication_id"],
        ):  # fmt: skip
            wrong.append(f"the head is {shows}, the ledger's last entry {last}")
        at = last["main_hash"]
        for dataset, rows in tables.items():
            lake = (self.stores.rows(dataset, at) or []) if at else []
            names = list(rows[0]) if rows else list(lake[0]) if lake else []
            if _values(rows, names) != _values(lake, names):
                told = f"{_values(rows, names)[-2:]} instead of {_values(lake, names)[-2:]}"
                wrong.append(f"the warehouse's {dataset} is not that of main@{str(at)[:12]}: {told}")
        brought = Counter(run for row in ledger for run in row["runs"])
        mine = {row["run_id"]: row for row in runs}
        wrong += [f"the ledger brings run {run} {n} times" for run, n in brought.items() if n > 1 and run in mine]
        published = [row["run_id"] for row in runs if row["state"] == "published"]
        shown = self._order.get(str(at), -1)
        at_commit = {commit.run: self._order[commit.hash] for commit in self.commits}
        wrong += [f"run {run} is published, and not shown" for run in published if at_commit.get(run, 0) > shown]
        if at_the_end and ledger:
            wrong += [f"run {run} is shown, and not in the ledger" for run in published if brought[run] != 1]
        return wrong

    def _main_again(self) -> None:
        """Commits of other places that came while we looked."""
        for commit in self.stores.since(self._seen):
            if any(f".{self.place.domain}." in key for key in commit.puts | commit.deletes):
                return
            self._seen = commit.hash
            self._order[commit.hash] = len(self._order)

    # ── 6: what a person was told is true ─────────────────────────────────────────────────────
    def _truth(self, told: Told, runs: list[Row]) -> list[str]:
        at = {commit.run: commit.hash for commit in self.commits}
        states = {row["run_id"]: row["state"] for row in runs}
        wrong = [] if told.code in FORESEEN else [f"exit code {told.code}: {told.err[-300:]}"]
        if told.code:
            if told.json is not None:
                wrong.append(f"exit code {told.code}, and JSON as if it had gone well")
            for run in re.findall(r"run (\S+) ended, .*?nothing of it is on main", told.err):
                wrong += [f"run {run} is on main, and it was told that it is not"] if run in at else []
            for run, short in re.findall(r"run (\S+) is merged, main is at (\w+)", told.err):
                wrong += [f"run {run} was told to be on main at {short}"] if not at.get(run, "").startswith(short) else []
            return wrong
        if isinstance(told.json, list):
            return wrong + [
                f"resume told that run {row['run_id']} is {row['after']}, and it is {states.get(row['run_id'])}"
                for row in told.json
                if row["after"] != states.get(row["run_id"])
                and (row["after"], states.get(row["run_id"])) != ("merged", "published")
            ]
        outcome = told.json
        found = at.get(outcome["run_id"])
        if (outcome["state"], outcome["merged_hash"]) != (("merged", found) if found else ("unchanged", None)):
            wrong.append(f"told that run {outcome['run_id']} is {outcome['state']} at {outcome['merged_hash']}; it is at {found}")
        if shown := outcome["publication"]:
            ledger = {row["sequence"]: row for row in self.stores.shown({})[0]}
            entry = ledger.get(shown["sequence"], {"publication_id": None, "main_hash": None})
            if (entry["publication_id"], entry["main_hash"]) != (shown["publication_id"], shown["shown"]):
                wrong.append(f"told of publication {shown['sequence']} at {shown['shown']}; the ledger has {entry}")
        return wrong


def _values(rows: list[Row], names: list[str]) -> list[tuple[str, ...]]:
    return sorted(tuple(str(row[name]) for name in names) for row in rows)
