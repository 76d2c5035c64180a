"""A run that lost a conflict, put onto `main` as it is now instead of being run again.

The plan is made once more, over what `main` holds now. A recorded hash says of every write what it
was made from: so where the new plan asks for a write that the run has already made, with the same
hash, running again would make the very same rows. Such writes are taken over by metadata: their data
files stay where they are. What the new plan asks for beyond them is made again, on the same branch.

A delivery is taken over if nothing that decided about it has changed: bronze was only appended to,
by runs, with deliveries of other dates, and (where repeated rows are marked) without a row like ours.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from functools import cached_property, partial
from typing import Any

from medallion import session
from medallion.contract import Contract, Rule
from medallion.domain import Domains
from medallion.lake import Lake
from medallion.lakehouse.branch import Branch
from medallion.lakehouse.history import Delivered, deliveries, total_records
from medallion.lakehouse.journal import Journal
from medallion.lakehouse.nessie import MAIN, Content, Nessie, Reference
from medallion.lakehouse.replay import Changes, NotReplayable, changes, replay, shared_values, writes
from medallion.lakehouse.run import Run, put_on_branch
from medallion.layers.plan import Plan, Task
from medallion.quality import change, gate, score
from medallion.quality.past import compare, previous
from medallion.quality.table_rules import verdicts_over
from medallion.settings import S3

Story = list[dict[str, Any]]
"""A part of what a run tells of itself, as the journal keeps it."""


class CannotRebase(Exception):
    """Nothing that the run wrote can be taken over, or not all that must be; the message says why."""


@dataclass(frozen=True)
class Rebase:
    """What becomes of a run on a newer main: the `kept` ones of its writes, its `deliveries`, and the
    `tables` that hold them by metadata, `replayed` where others wrote to them too; and what must be
    made `again`."""

    onto: Reference
    base: dict[str, Content]
    plan: Plan
    kept: Story
    deliveries: Story
    tables: dict[str, Content]
    replayed: frozenset[str]
    again: dict[str, list[Task]]


def rebase(lake: Lake, run: Run, selected: tuple[str, ...]) -> Rebase:
    """Put a run that lost a conflict onto main as it is now: its branch is forked anew and holds what is
    kept; rules on all rows of a table are judged again. What is to be made `again` is left to the caller.

    Args:
        selected: the datasets that the run was asked for.
    Raises: CannotRebase if it has to be run again as a whole: nothing has changed then; ServiceUnavailable.
    """
    nessie, journal, domains = lake.nessie, lake.journal, lake.domains
    main = nessie.reference(MAIN)
    judged = nessie.contents(Reference(run.branch, journal.run(run.id)["judged_hash"]))
    onto = Newer(lake.settings.s3, domains, run, judged, main, nessie.contents(main), selected).rebase()
    again = sum(map(len, onto.again.values()))
    run.notes.append(f"put onto main@{main.hash[:12]} by metadata: {len(onto.kept)} writes kept, {again} to make again")
    apply(nessie, journal, run, onto)
    kept = {write["dataset"] for write in onto.kept}
    if rejudged := sorted(d for d in kept & onto.replayed if _of_all_rows(domains.contracts[d])):
        sized = session.sized(lake.spark(), lake.settings, sum(total_records(lake.settings.s3, onto.tables[d]) for d in rejudged))
        with journal.step(run.id, "rebase.rules", tables=rejudged), session.speaking_plainly(), sized:
            judge_again(lake.branch(run.branch), domains, onto.kept, rejudged, run.logical_date)
    compare_again(journal, domains, onto.kept, run.logical_date)
    return onto


def apply(nessie: Nessie, journal: Journal, run: Run, rebase: Rebase) -> None:
    """Fork the run's branch anew, from the newer main, and put on it what is kept.

    From the first step on the journal says what the run is: open, forked from the newer main. Its first
    merge request was refused for good, because keys that it names have moved.
    """
    moved_on = {"from": run.h0.hash, "onto": rebase.onto.hash, "kept": len(rebase.kept)}
    run.h0, run.base, run.state = rebase.onto, rebase.base, "open"
    run.writes, run.deliveries = rebase.kept, rebase.deliveries
    journal.update(run.id, state="open", h0=run.h0.hash, judged_hash=None, story=run.story())
    with journal.step(run.id, "rebase.branch", branch=run.branch, **moved_on):
        nessie.delete_branch(run.branch)
        nessie.create_branch(run.branch, run.h0)
    with journal.step(run.id, "rebase.commit", tables=sorted(rebase.tables)):
        put_on_branch(nessie, run, rebase.tables, f"what run {run.id} wrote, by metadata")


def judge_again(branch: Branch, domains: Domains, kept: Story, datasets: Iterable[str], as_of: date | None) -> None:
    """Judge the rules on all rows of these tables as they are on the branch now, and put the verdicts in
    the place of those that the last kept write to each of them has. Rules on what was written need no
    second look: their rows are the same."""
    for dataset in datasets:
        contract, write = domains.contracts[dataset], [write for write in kept if write["dataset"] == dataset][-1]
        when = write["logical_date"] or as_of
        anew = verdicts_over(_of_all_rows(contract), contract, partial(branch.read, dataset), as_of=when)
        names = {verdict.rule for verdict in anew}
        write["verdicts"] = [v for v in write["verdicts"] if v["rule"] not in names] + [v.as_json() for v in anew]


def compare_again(journal: Journal, domains: Domains, kept: Story, run_date: date | None) -> None:
    """Compare the kept writes with their datasets' past as it is now, because others may have merged dates before theirs;
    their own figures are the same. So no row is read, and a score that depends on it is given anew."""
    for write in kept:
        contract = domains.contracts[write["dataset"]]
        change.again(write, contract, partial(previous, journal, contract.dataset), run_date)
        write["verdicts"] = [verdict for verdict in write["verdicts"] if verdict["rule"] != gate.AS_USUAL]
        compare(journal, contract, write, run_date)
        write["score"] = score.of_write(write, contract)


def _of_all_rows(contract: Contract) -> list[Rule]:
    return [rule for rule in contract.table_rules if rule.scope == "table"]


@dataclass(frozen=True)
class Newer:
    """A run and the main that it is to be put onto. `judged` is every key of what the run had judged,
    `now` every key of `onto`."""

    s3: S3
    domains: Domains
    run: Run
    judged: dict[str, Content]
    onto: Reference
    now: dict[str, Content]
    selected: tuple[str, ...]

    def rebase(self) -> Rebase:
        """Work out what can be kept. Changes nothing that anyone reads. Raises: as the function `rebase`."""
        if self.run.logical_date is None:
            raise CannotRebase("it has no logical date")
        self._check_upserted(self.run.writes)
        plan = Plan(self.s3, self.domains, self.now, self.selected, self.run.logical_date)
        try:
            known = {dataset for dataset in self.selected if dataset in self.moved and self._check_deliveries(plan, dataset)}
            brought = [one for one in self.run.deliveries if one["dataset"] not in known]
            for one in brought:
                plan.arrived(one["dataset"], _delivered(one))
            tasks = {dataset: plan.tasks(dataset) for dataset in self.selected if dataset in self.domains.transforms}
            kept = [w for w in self.run.writes if w["dataset"] not in known and self._stays(w, tasks)]
            self._check_upserted(kept)
            if not kept:
                raise CannotRebase("all that it wrote was made from what has changed")
            tables = self._tables(kept)
        except NotReplayable as error:
            raise CannotRebase(str(error)) from error
        done = {(w["dataset"], w["logical_date"], w.get("inputs_hash")) for w in kept}
        again = {d: [t for t in wanted if (d, t.date, t.made.inputs) not in done] for d, wanted in tasks.items()}
        return Rebase(
            onto=self.onto,
            base=self.now,
            plan=plan,
            kept=kept,
            deliveries=brought,
            tables=tables,
            replayed=frozenset(table for table, content in tables.items() if content != self.judged[table]),
            again={dataset: left for dataset, left in again.items() if left},
        )

    @cached_property
    def written(self) -> list[str]:
        """The tables that the run changed."""
        return [table for table, content in self.judged.items() if content != self.run.base.get(table)]

    @cached_property
    def moved(self) -> dict[str, Changes]:
        """How the tables that the run read or wrote, and their quarantines, have changed on main since it began."""
        known = self.run.reads | set(self.written)
        quarantines = {self.domains.contracts[d].quarantine for d in known if d in self.domains.contracts}
        found = {}
        for table in sorted(known | quarantines):
            if self.run.base.get(table) == self.now.get(table):
                continue
            if table not in self.run.base or table not in self.now:
                raise CannotRebase(f"{table} was created or dropped")
            try:
                found[table] = changes(self.s3, self.run.base[table], self.now[table])
            except NotReplayable as error:
                raise CannotRebase(f"{table}: {error}") from error
        return found

    def _check_deliveries(self, plan: Plan, dataset: str) -> bool:
        """See that the run's deliveries to a bronze table are as new to it as they were.

        Returns: whether they are known by now instead: reference data that others brought as well.
        """
        contract = self.domains.contracts[dataset]
        if contract.layer != "bronze":
            return False
        of = self.run.logical_date if plan.by_its_date(dataset) else None
        before, after = ({_key(d) for d in deliveries(self.s3, c[dataset], logical_date=of)} for c in (self.run.base, self.now))
        mine = {_key(_delivered(one)) for one in self.run.deliveries if one["dataset"] == dataset}
        if after != before:
            if mine and plan.whole(dataset) and after == before | mine:
                return True
            raise CannotRebase(f"{dataset}: a delivery{f' for {of}' if of else ''} came in between")
        if mine:
            self._check_appended(dataset, marks=contract.delivery is not None and contract.delivery.repeats == "history")
        return False

    def _check_appended(self, dataset: str, *, marks: bool) -> None:
        """See that others only appended to a bronze table that the run appended to, and nothing that it met."""
        theirs, mine = self.moved[dataset], changes(self.s3, self.run.base[dataset], self.judged[dataset])
        if not (theirs.only_added and mine.only_added) or theirs.dates & mine.dates or None in theirs.dates | mine.dates:
            raise CannotRebase(f"{dataset}: it was not only appended to, by other dates")
        if marks and (shared := shared_values(self.s3, self.now[dataset], "_row_hash", mine, theirs, where_null="_repeat")):
            raise CannotRebase(f"{dataset}: {shared} of its rows came in between, in another delivery")

    def _stays(self, write: dict[str, Any], tasks: dict[str, list[Task]]) -> bool:
        """Whether a write would come out the same on the newer main, and nobody else wrote in its place."""
        dataset, when = write["dataset"], write["logical_date"]
        if dataset not in self.domains.transforms:
            return True  # a delivery: all of a table are kept, or there is no rebase
        if not any((t.date, t.made.inputs) == (when, write["inputs_hash"]) for t in tasks[dataset]):
            return False
        places = (dataset, self.domains.contracts[dataset].quarantine)
        others = [self.moved[table].dates for table in places if table in self.moved]
        return not any(when is None or when in dates or None in dates for dates in others)

    def _check_upserted(self, staying: Story) -> None:
        """See that what the run wrote to an upserted table can stay as a whole, on the very version that it was merged
        into: others may have brought the same keys, and files put side by side would hold both rows."""
        for dataset in sorted({write["dataset"] for write in self.run.writes}):
            if self.domains.contracts[dataset].materialisation.kind == "upsert" and (
                self.run.base.get(dataset) != self.now.get(dataset)
                or _dates(staying, dataset) != _dates(self.run.writes, dataset)
            ):
                raise CannotRebase(f"{dataset}: it is upserted, and what decides about its rows has changed")

    def _tables(self, kept: Story) -> dict[str, Content]:
        """The tables that the run changed, with what is kept of that on top of what main holds now."""
        made = sorted({write["dataset"] for write in self.run.writes})
        of_table = {table: dataset for dataset in made for table in (dataset, self.domains.contracts[dataset].quarantine)}
        found = {}
        for table in self.written:
            if table not in of_table:
                raise CannotRebase(f"{table} was changed by none of its writes")
            base, now, all_ = self.run.base[table], self.now[table], _dates(self.run.writes, of_table[table])
            staying = _dates(kept, of_table[table])
            if staying == all_ and now == base:
                found[table] = self.judged[table]
            elif staying:
                mine = [write for write in writes(self.s3, base, self.judged[table]) if write.logical_date in staying]
                found[table] = replay(self.s3, now, mine)
        return found


def _dates(story: Story, dataset: str) -> set[date | None]:
    return {write["logical_date"] for write in story if write["dataset"] == dataset}


def _delivered(one: dict[str, Any]) -> Delivered:
    return Delivered(**{name: value for name, value in one.items() if name != "dataset"})


def _key(one: Delivered) -> tuple[date, str, str, str]:
    """What tells one delivery from another."""
    return one.logical_date, one.delivery, one.uri, one.sha256
