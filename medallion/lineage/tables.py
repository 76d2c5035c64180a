"""Where a dataset's rows come from, down to landing files with their SHA-256, and which datasets are made of them.

Each write keeps a hash of all that it was made of. The plan works out the same hash from the tables of the version that is
asked about: if both are equal, the rows were made of just what is told; if not, something came after they were made
(`proven` is false, and the next run makes them again). No row is read, and no JVM is started.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from medallion.contract import Contract
from medallion.domain import Domains
from medallion.errors import UsageError
from medallion.lakehouse.history import Delivered
from medallion.lakehouse.nessie import Content
from medallion.layers.plan import Plan
from medallion.lineage.dbt_models import MARTS
from medallion.settings import S3

Part = tuple[str, date | None]
"""A dataset, and the date that is meant of it; None: all of it."""
NEVER = date.min
"""A plan's own date, where nothing is to be made."""


@dataclass(frozen=True)
class Node:
    """One part of the lake and what it is made of.

    `made_of` are the parts that it was read from; `judged_by` those that decided which of its rows were put aside;
    `deliveries` the landing files of bronze. `inputs` is the hash that its write recorded.
    """

    dataset: str
    date: date | None
    made_of: tuple[Part, ...] = ()
    judged_by: tuple[Part, ...] = ()
    deliveries: tuple[Delivered, ...] = ()
    inputs: str | None = None
    proven: bool = True

    def as_json(self) -> dict[str, Any]:
        """With texts for dates."""

        def parts(of: Iterable[Part]) -> list[dict[str, Any]]:
            return [{"dataset": dataset, "date": when and when.isoformat()} for dataset, when in of]

        return {
            "dataset": self.dataset,
            "date": self.date and self.date.isoformat(),
            "made_of": parts(self.made_of),
            "judged_by": parts(self.judged_by),
            "deliveries": [
                {"logical_date": d.logical_date.isoformat(), "uri": d.uri, "sha256": d.sha256, "rows": d.rows}
                for d in self.deliveries
            ],
            "inputs": self.inputs,
            "proven": self.proven,
        }


def up(s3: S3, domains: Domains, contents: dict[str, Content], dataset: str, when: date | None = None) -> list[Node]:
    """Where a dataset, or its rows of one date, come from.

    Args:
        contents: of the version that is asked about.
    Returns: what is asked about first, every part before what it is made of, each once.
    Raises: UsageError for a dataset that there is not, was never written there, or has not this date;
        ServiceUnavailable.
    """
    return up_from(s3, domains, contents, [(dataset, when)])


def up_from(s3: S3, domains: Domains, contents: dict[str, Content], parts: Sequence[Part]) -> list[Node]:
    """As `up`, of several parts at once, of which some may have no rows."""
    for dataset, _ in parts:
        domains.contract(dataset)
    never_written: dict[str, Content] = {dataset: {"snapshotId": -1} for dataset in domains.contracts if dataset not in contents}
    plan = Plan(s3, domains, contents | never_written, (), NEVER)
    todo = [part for part in parts if _there(plan, part)]
    if not todo:
        raise _nothing(plan, *parts[0])
    found: dict[Part, Node] = {}
    while todo:
        part = todo.pop(0)
        if part not in found:
            found[part] = _node(plan, *part)
            todo += [*found[part].made_of, *found[part].judged_by]
    return list(found.values())


def down(domains: Domains, dataset: str) -> list[tuple[str, tuple[str, ...]]]:
    """The datasets that are made of one, directly or not, each with those of them that it reads itself; in order.

    Raises: UsageError for a dataset that there is not.
    """
    domains.contract(dataset)
    reached = {dataset}
    found = []
    for each in domains.order:
        through = tuple(sorted(domains.reads(each) & reached - {each}))
        if through:
            reached.add(each)
            found.append((each, through))
    return found


def _node(plan: Plan, dataset: str, when: date | None) -> Node:
    contract = plan.domains.contracts[dataset]
    if contract.layer == "bronze":
        return Node(dataset, when, deliveries=tuple(plan.counting(dataset, when)))
    if when is None and plan.made_by_date(dataset):
        return Node(dataset, None, made_of=tuple((dataset, each) for each in _dates(plan, contract)))
    made = plan.made(dataset)[when]
    read = [(i, d) for i in plan.domains.transforms[dataset].inputs.values() for d in plan.read_dates(contract, i, when)]
    judged = sorted({rule.reference.to for rule in contract.rules if rule.reference and rule.puts_aside})
    return Node(
        dataset,
        when,
        made_of=tuple(dict.fromkeys(part for part in read if _there(plan, part))),
        judged_by=tuple((to, None) for to in judged if _there(plan, (to, None))),
        inputs=made.inputs,
        proven=plan.wanted(dataset, when).inputs == made.inputs,
    )


def _nothing(plan: Plan, dataset: str, when: date | None) -> UsageError:
    contract = plan.domains.contracts[dataset]
    if when is None or not _dates(plan, contract):
        return UsageError(f"{dataset} has no rows there", hint="`medallion runs` lists what was written; name a later --at")
    return UsageError(f"{dataset} has no rows of {when} there", hint=_known(plan, contract))


def _there(plan: Plan, part: Part) -> bool:
    """Whether an input has the rows that may be read of it."""
    dates = _dates(plan, plan.domains.contracts[part[0]])
    return bool(dates) and (part[1] is None or part[1] in dates)


def _dates(plan: Plan, contract: Contract) -> list[date | None]:
    """The dates that a dataset has rows of, oldest first; [None] if it is made whole."""
    if contract.layer == "bronze":
        return [*sorted({one.logical_date for one in plan.deliveries(contract.dataset)})]
    made = plan.made(contract.dataset)
    dates = sorted(each for each in made if each is not None)
    return [*dates] if plan.made_by_date(contract.dataset) else [None] if None in made else []


def _known(plan: Plan, contract: Contract) -> str:
    dates = [each for each in _dates(plan, contract) if each is not None]
    return f"it has {len(dates)} dates, from {dates[0]} to {dates[-1]}" if dates else "it is made whole: leave the date out"


# ── for people ────────────────────────────────────────────────────────────────────────────────────
TABLES = ("dataset", "dates", "made_of", "judged_by", "proven")
FILES = ("dataset", "logical_date", "rows", "sha256", "uri")


def by_table(nodes: Iterable[Node]) -> list[dict[str, Any]]:
    """One row for each dataset, with TABLES, in the order of the nodes; dates are counted, with the first and the last."""
    of: dict[str, list[Node]] = {}
    for node in nodes:
        of.setdefault(node.dataset, []).append(node)
    return [
        {
            "dataset": dataset,
            "dates": _span([node.date for node in mine if node.date]) or "whole",
            "made_of": _names(dataset, [part for node in mine for part in node.made_of]),
            "judged_by": _names(dataset, [part for node in mine for part in node.judged_by]),
            "proven": ""
            if not dataset.startswith(("silver.", "gold.")) or dataset.startswith(f"{MARTS}.")
            else "yes"
            if all(node.proven for node in mine)
            else "no: newer inputs",
        }
        for dataset, mine in of.items()
    ]


def files(nodes: Iterable[Node]) -> list[dict[str, Any]]:
    """The landing files, with FILES, each once."""
    rows = {(node.dataset, one.delivery): one for node in nodes for one in node.deliveries}
    return [
        {"dataset": dataset, "logical_date": one.logical_date, "rows": one.rows, "sha256": one.sha256, "uri": one.uri}
        for (dataset, _), one in sorted(rows.items(), key=lambda item: (item[0][0], item[1]))
    ]


def _names(own: str, parts: Iterable[Part]) -> str:
    return ", ".join(sorted({name for name, _ in parts} - {own}))


def _span(dates: list[date]) -> str:
    return "" if not dates else f"{min(dates)}" if len(dates) == 1 else f"{len(dates)}: {min(dates)} to {max(dates)}"
