"""One run from end to end: plan, write on its branch, gate, merge; again if others were quicker."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import nullcontext, suppress
from dataclasses import asdict, dataclass, field
from datetime import date
from functools import partial
from typing import Any

from medallion import evidence, rebase, session
from medallion.contract import LAYERS, Contract, Layer
from medallion.errors import ConflictError, GateRefused, ServiceUnavailable
from medallion.lake import Lake as Lake
from medallion.lakehouse.branch import Branch
from medallion.lakehouse.catalog import ensure_tables
from medallion.lakehouse.history import Delivered, deliveries
from medallion.lakehouse.merge import merge
from medallion.lakehouse.nessie import CommitConflict
from medallion.lakehouse.run import Run, close_unchanged, fail, join_run, open_run, remove_branch
from medallion.layers.bronze import ingest
from medallion.layers.make import make
from medallion.layers.plan import Plan, Task
from medallion.quality import change, gate, score
from medallion.quality.past import compare, previous
from medallion.quality.table_rules import Previous
from medallion.sources.arrival import Arrival
from medallion.sources.fetch import fetch
from medallion.sources.inbox import discover

Report = Callable[[str], None]


@dataclass(frozen=True)
class Request:
    """What to run: which layers of which datasets, for which logical date. `publish` notes that the
    caller will publish afterwards, so that `resume` can finish it; `refetch` asks sources again that
    were asked for this date before; `note` says why there is a run, for its story."""

    logical_date: date
    layers: tuple[Layer, ...] = LAYERS
    domain: str | None = None
    dataset: str | None = None
    publish: bool = False
    refetch: bool = False
    note: str | None = None

    @property
    def kind(self) -> str:
        return "pipeline" if len(self.layers) > 1 else self.layers[0]


@dataclass
class Outcome:
    """What came of a run. `state` is `merged`, `unchanged`, or `written` for a joined run. Of its
    `attempts` to merge, `rebased` were made by putting what it had written onto a newer main."""

    run_id: str
    state: str
    merged_hash: str | None
    writes: list[dict[str, Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    attempts: int = 1
    rebased: int = 0
    seconds: float = 0.0


def execute(lake: Lake, request: Request, report: Report = print) -> Outcome:
    """Run a request as one transaction.

    Returns: what came of it; `main` has changed once, or not at all.
    Raises: GateRefused, InputError, ContractError, UsageError: nothing was merged, the run is
        `failed` and its branch sealed; ConflictError after the bounded retries; ServiceUnavailable.
    """
    began = time.monotonic()
    selected = lake.domains.select(layers=request.layers, domain=request.domain, dataset=request.dataset)
    if created := ensure_tables(lake.settings, lake.nessie, lake.journal, lake.domains.contracts.values()):
        report(f"catalog: created {created} tables")
    contested: tuple[str, ...] = ()
    run: Run | None = None
    rebased = 0
    for attempt in range(1, lake.settings.runs.conflict_retries + 2):
        try:
            with lake.journal.queue(list(contested)) if contested else nullcontext():
                if run and _rebase(lake, run, selected, report):
                    rebased += 1
                else:
                    run = _open(lake, request, run, report)
                    _write_or_fail(lake, run, request, selected, report)
                merged = judge_and_merge(lake, run, report)
        except CommitConflict as conflict:
            assert run is not None
            contested = conflict.keys or tuple(sorted(run.reads))
            report(f"run {run.id}: conflict on {', '.join(contested)}")
            run.save(lake.journal, "written")  # keys that its request names have moved: it never passes
            continue
        except BaseException as error:
            if run and run.state in ("open", "written"):  # while it stood in line
                fail(lake.journal, run, _reason(error))
            raise
        return Outcome(run.id, run.state, merged, run.writes, run.notes, attempt, rebased, time.monotonic() - began)
    assert run is not None
    _give_way(lake, run, f"{', '.join(contested)} changed in each of {attempt} attempts")
    raise ConflictError(
        f"run for {request.logical_date}: {', '.join(contested)} changed on main in each of {attempt} attempts; "
        "nothing was merged",
        hint="run it again when fewer runs write these tables, or raise runs.conflict_retries",
        run=run.id,
    )


def _open(lake: Lake, request: Request, previous: Run | None, report: Report) -> Run:
    of = previous.id if previous else None
    run = open_run(lake.nessie, lake.journal, request.kind, request.logical_date, retry_of=of, options=_options(request))
    run.notes += [request.note] if request.note else []
    report(f"run {run.id}: branch {run.branch} from main@{run.h0.hash[:12]}")
    return run


def _give_way(lake: Lake, run: Run, why: str) -> None:
    fail(lake.journal, run, why, "conflicted")
    remove_branch(lake.nessie, lake.journal, run.id, run.branch)


def _rebase(lake: Lake, run: Run, selected: tuple[str, ...], report: Report) -> bool:
    """Put a run that lost a conflict onto main as it is now, and make again what that changes. Returns:
    whether that could be done; if not, the run is `conflicted`, and has to be run again."""
    try:
        onto = rebase.rebase(lake, run, selected)
    except rebase.CannotRebase as error:
        report(f"run {run.id}: running again: {error}")
        _give_way(lake, run, f"conflict; {error}")
        return False
    report(f"run {run.id}: {run.notes[-1]}")
    for dataset, tasks in onto.again.items():
        _make(lake, run, lake.branch(run.branch), onto.plan, dataset, tasks, report)
    return True


def write(lake: Lake, run_id: str, request: Request, report: Report = print) -> Outcome:
    """Write one more part on the branch of an open run; `merge_run` ends it. Raises: as `execute`."""
    began = time.monotonic()
    selected = lake.domains.select(layers=request.layers, domain=request.domain, dataset=request.dataset)
    run = join_run(lake.nessie, lake.journal, run_id)
    before = len(run.writes)
    try:
        _write(lake, run, request, selected, report)
    except BaseException as error:
        fail(lake.journal, run, _reason(error))
        raise
    run.head = lake.nessie.reference(run.branch).hash
    run.save(lake.journal, "written")
    lake.journal.release(run.id)
    return Outcome(run.id, run.state, None, run.writes[before:], run.notes, seconds=time.monotonic() - began)


def merge_run(lake: Lake, run_id: str, report: Report = print) -> Outcome:
    """Gate and merge an open run that was written in parts.

    Raises: GateRefused; ConflictError at once, because its parts came from other processes.
    """
    began = time.monotonic()
    run = join_run(lake.nessie, lake.journal, run_id)
    try:
        merged = judge_and_merge(lake, run, report)
    except CommitConflict as conflict:
        fail(lake.journal, run, str(conflict), "conflicted")
        raise ConflictError(
            f"run {run.id}: {', '.join(conflict.keys)} changed on main since it began; nothing was merged",
            hint="open a new run and write its parts again",
            run=run.id,
        ) from conflict
    return Outcome(run.id, run.state, merged, run.writes, run.notes, seconds=time.monotonic() - began)


def _write_or_fail(lake: Lake, run: Run, request: Request, selected: tuple[str, ...], report: Report) -> None:
    try:
        _write(lake, run, request, selected, report)
    except BaseException as error:
        fail(lake.journal, run, _reason(error))
        if not run.writes:
            with suppress(ServiceUnavailable):  # nothing on it to look at
                remove_branch(lake.nessie, lake.journal, run.id, run.branch)
        raise


def _write(lake: Lake, run: Run, request: Request, selected: tuple[str, ...], report: Report) -> None:
    """Everything that the request asks for and that is not there yet, layer by layer."""
    lake.journal.contracts_seen(run.id, [(c.dataset, c.version, c.fingerprint) for c in lake.domains.contracts.values()])
    contents = run.base if not run.writes else lake.nessie.contents(lake.nessie.reference(run.branch))
    plan = Plan(lake.settings.s3, lake.domains, contents, selected, request.logical_date)
    arrivals = _discover(lake, run, plan, request, report)
    tasks = {d: plan.tasks(d) for d in selected if d in lake.domains.transforms}
    # that a table need not be made again was read from its inputs too
    run.reads |= set(selected).union(*(lake.domains.reads(d) for d in tasks))
    if not any(arrivals.values()) and not any(tasks.values()):
        return
    branch = lake.branch(run.branch)
    for dataset in selected:
        if arrivals.get(dataset):
            _evolve(lake, run, branch, dataset)
        for arrival in arrivals.get(dataset, ()):
            rows = sum(one.rows for one in plan.deliveries(dataset))  # its history too, for repeated rows
            ingesting = partial(_ingest, lake, branch, run, dataset, arrival)
            _one(lake, run, f"write.{dataset}", report, rows, request.logical_date, ingesting)
        _make(lake, run, branch, plan, dataset, tasks.get(dataset, []), report)


def _make(lake: Lake, run: Run, branch: Branch, plan: Plan, dataset: str, tasks: list[Task], report: Report) -> None:
    """Make what is asked for of one dataset; what the gate will refuse is not built upon."""
    if tasks and not gate.refusals(run.writes):
        _evolve(lake, run, branch, dataset)
    for task in tasks:
        if gate.refusals(run.writes):
            return
        rows = plan.rows_read(dataset, task.date)
        past = _previous(lake, lake.domains.contracts[dataset], task.date or plan.logical_date)
        making = partial(make, branch, lake.domains, plan, task, run.id, past)
        _one(lake, run, f"write.{dataset}", report, rows, plan.logical_date, making)


def _evolve(lake: Lake, run: Run, branch: Branch, dataset: str) -> None:
    with session.speaking_plainly():
        changed = branch.evolve(lake.domains.contracts[dataset])
    if changed:
        added, widened = ([one for one in changed if one.kind == kind] for kind in ("added", "widened"))
        told = [f"added columns {', '.join(one.path for one in added)}"] if added else []
        told += [f"widened {', '.join(one.text for one in widened)}"] if widened else []
        run.notes.append(f"{dataset}: {'; '.join(told)}")
        lake.journal.record("schema.changed", dataset, run_id=run.id, detail={"changed": [one.text for one in changed]})


def _discover(lake: Lake, run: Run, plan: Plan, request: Request, report: Report) -> dict[str, list[Arrival]]:
    """Look into the bronze buckets; count with what arrived, so that the plan sees what it touches."""
    arrivals: dict[str, list[Arrival]] = {}
    for dataset in lake.domains.select(layers=request.layers, domain=request.domain, dataset=request.dataset):
        contract = lake.domains.contracts[dataset]
        if contract.layer != "bronze":
            continue
        of = request.logical_date if plan.by_its_date(dataset) else None
        held = deliveries(lake.settings.s3, plan.contents[dataset], logical_date=of)
        notes = _fetch(lake, run, contract, request, held)
        found = discover(lake.store, contract, request.logical_date, held)
        arrivals[dataset] = found.new
        run.notes += notes + found.notes
        for note in notes + found.notes:
            report(f"  {note}")
        for arrival in found.new:
            plan.arrived(dataset, arrival.delivered)
    return arrivals


def _fetch(lake: Lake, run: Run, contract: Contract, request: Request, held: list[Delivered]) -> list[str]:
    """Ask the dataset's source: once for a date, unless told to ask again, nothing came of it, or a part may be missing."""
    delivery, step, landing = contract.delivery, f"fetch.{contract.dataset}", f"land.{contract.dataset}"
    if delivery is None or delivery.source is None:
        return []
    once = delivery.expected != "increments" and not (request.refetch and run.retry_of is None)
    if once and lake.journal.did(step, request.logical_date, run.retry_of) and not lake.journal.broke_off(landing):
        return []
    with lake.journal.step(run.id, step) as found, session.speaking_plainly():
        parts = partial(lake.journal.step, run.id, landing)
        found["notes"] = fetch(lake.store, lake.settings.sources, contract, request.logical_date, held, lake.spark, parts)
    notes: list[str] = found["notes"]
    return notes


def _ingest(lake: Lake, branch: Branch, run: Run, dataset: str, arrival: Arrival) -> dict[str, Any]:
    run.deliveries.append({"dataset": dataset} | asdict(arrival.delivered))
    contract = lake.domains.contracts[dataset]
    return ingest(branch, contract, run.id, arrival, _previous(lake, contract, arrival.delivered.logical_date))


def _previous(lake: Lake, contract: Contract, when: date | None) -> Previous:
    """The figures of earlier runs, where the contract has rules that compare with them."""
    back = change.runs(contract)
    return previous(lake.journal, contract.dataset, when, back) if back and when else ()


def _one(lake: Lake, run: Run, step: str, report: Report, rows: int, when: date, effect: Callable[[], dict[str, Any]]) -> None:
    """One write of the run, for what was asked for of `when`: a part of a run that has no date of its own has one."""
    sized = session.sized(lake.spark(), lake.settings, rows)
    with lake.journal.step(run.id, step) as found, session.speaking_plainly(), sized:
        written = effect()
        strange = compare(lake.journal, lake.domains.contracts[written["dataset"]], written, when)
        if written["logical_date"] is None and run.logical_date is None:
            written["as_of"] = when
        written["score"] = score.of_write(written, lake.domains.contracts[written["dataset"]])
        found |= {k: written[k] for k in ("logical_date", "rows_in", "rows_out", "quarantined", "seconds")}
    run.writes.append(written)
    run.save(lake.journal)
    of = f" {written['logical_date']}" if written["logical_date"] else ""
    put_aside = f", {written['quarantined']} quarantined" if written["quarantined"] else ""
    put_aside += "".join(f", {n} dropped ({reason})" for reason, n in written.get("dropped", {}).items() if n)
    counted = f"{written['rows_in']} rows in, {written['rows_out']} out{put_aside}"
    report(f"  {written['dataset']}{of}: {counted} ({written['seconds']:.1f} s)")
    for one in strange:
        report(f"    unusual: {one.text}")


def judge_and_merge(lake: Lake, run: Run, report: Report) -> str | None:
    """Judge the branch as it is now; what is written later is not merged. Raises: GateRefused, CommitConflict."""
    try:
        if not run.writes:
            close_unchanged(lake.nessie, lake.journal, run)
            report(f"run {run.id}: nothing to do, main@{run.h0.hash[:12]} has it all")
            return None
        judged = lake.nessie.reference(run.branch)
        run.save(lake.journal, "written")
        with lake.journal.step(run.id, "gate", judged=judged.hash):
            gate.check(run.id, run.branch, run.writes)
            properties = evidence.keep(lake.store, run, judged, lake.nessie.contents(judged))
        run.state = "validated"
        lake.journal.update(run.id, state="validated", judged_hash=judged.hash)
        merged = merge(lake.nessie, lake.journal, run, judged, _message(run), properties)
    except GateRefused as error:
        fail(lake.journal, run, str(error))
        raise
    except CommitConflict:
        raise
    except BaseException as error:
        if run.state != "merging":  # a merge whose outcome is unknown stays as it is, for `resume`
            fail(lake.journal, run, _reason(error))
        raise
    report(f"run {run.id}: gate passed, {f'main is at {merged[:12]}' if merged else 'nothing had changed'}")
    _remove_branch(lake, run, report)
    return merged


def _remove_branch(lake: Lake, run: Run, report: Report) -> None:
    try:
        remove_branch(lake.nessie, lake.journal, run.id, run.branch)
    except ServiceUnavailable as error:  # the run is merged all the same
        report(f"run {run.id}: its branch is still there: {error.message}")
    lake.journal.release(run.id)


def _message(run: Run) -> str:
    tables = len({w["dataset"] for w in run.writes})
    return f"{run.kind} {run.logical_date or run.id}: {tables} tables, {sum(w['rows_out'] for w in run.writes)} rows"


def _options(request: Request) -> dict[str, Any]:
    return {"layers": list(request.layers), "domain": request.domain, "dataset": request.dataset, "publish": request.publish}


def _reason(error: BaseException) -> str:
    return "interrupted" if isinstance(error, KeyboardInterrupt) else f"{type(error).__name__}: {error}"
