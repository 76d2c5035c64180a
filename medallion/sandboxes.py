"""What a notebook imports: `import medallion`, then `medallion.sandbox("name")`.

Everything heavy is imported on use, so that `import medallion` stays light.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa
    from pyspark.sql import DataFrame, SparkSession

    from medallion.lakehouse.nessie import Nessie
    from medallion.settings import Settings


def sandbox(name: str, *, create: bool = False) -> SparkSession:
    """A Spark session whose tables are those of a sandbox: `spark.table("gold.operations.route_performance")`.

    What it writes goes to the sandbox's branch and to the bucket `dev-sandbox`, and to nothing else. The
    catalog `main` beside it shows main as it is now, read only: `spark.table("main.gold.operations.…")`.
    Args:
        create: make the sandbox if there is none of that name.
    Raises: UsageError for a name that is none or is not there; ServiceUnavailable.
    """
    from medallion import session
    from medallion.audit.record import recorded
    from medallion.lakehouse import sandbox as branches
    from medallion.lakehouse.nessie import MAIN
    from medallion.lakehouse.store import Store

    with _opened() as (settings, nessie):
        main = nessie.reference(MAIN)
        if create and branches.branch(name) not in {known.name for known in nessie.references(branches.PREFIX)}:
            with recorded(settings.postgres, "sandbox.created", name):
                branches.create(nessie, Store(settings.s3), name, main)
        opened = branches.find(nessie, name)
        # a session of its own: two sandboxes in one process do not meet
        spark = session.start(settings).newSession()
        session.attach(spark, settings, MAIN, main.hash, name=MAIN)  # a catalog at a hash refuses to write
        spark.sql(f"USE {session.attach(spark, settings, opened.head.name)}")
        return spark


def sandbox_make(
    name: str, dataset: str, on: date | str | None = None, function: Callable[..., DataFrame] | None = None
) -> dict[str, Any]:
    """Make a silver or gold table on a sandbox as a run would: the same inputs, rules and quarantine.

    Args:
        on: the logical date; leave it out for a dataset that is made whole.
        function: used in place of the dataset's transform; its parameters are named as there.
    Returns: what was written: `rows_in`, `rows_out`, `quarantined`, the verdict of each rule in `verdicts`,
        and in `refused` the rules for which the gate would refuse it (none: it would pass).
    Raises: UsageError for a dataset or date that cannot be made; ContractError if the columns are not
        the contract's; ServiceUnavailable.
    """
    import inspect

    from medallion import domain, session
    from medallion.errors import UsageError
    from medallion.lakehouse import sandbox as branches
    from medallion.lakehouse.branch import Branch
    from medallion.lakehouse.history import Made
    from medallion.layers.make import make
    from medallion.layers.plan import Plan, Task
    from medallion.quality import gate
    from medallion.terminal import parse_date

    when = parse_date(on) if isinstance(on, str) else on
    with _opened() as (settings, nessie):
        domains = domain.load(settings)
        contract = domains.contract(dataset)
        if dataset not in domains.transforms:
            raise UsageError(f"{dataset} is not made by a transform", hint="name a silver or gold dataset")
        if contract.materialisation.kind == "full":
            when = None
        elif when is None:
            raise UsageError(f"{dataset} is made a date at a time", hint='say which, as in on="2013-01-05"', dataset=dataset)
        transform = domains.transforms[dataset]
        if function is not None:
            asked = list(inspect.signature(function).parameters)
            if strange := [parameter for parameter in asked if parameter not in transform.inputs]:
                raise UsageError(
                    f"the transform of {dataset} has no parameter {', '.join(strange)}",
                    hint=f"it has {', '.join(transform.inputs)}; to read another table, change silver.py or gold.py",
                )
            inputs = {parameter: transform.inputs[parameter] for parameter in asked}
            transform = dataclasses.replace(transform, function=function, inputs=inputs)
            domains = dataclasses.replace(domains, transforms=domains.transforms | {dataset: transform})
        head = branches.find(nessie, name).head
        plan = Plan(settings.s3, domains, nessie.tables(head), (dataset,), when or date.min)
        task = Task(dataset, when, Made(inputs=f"tried on {head.name}", code=""), "tried in a sandbox")
        spark = session.start(settings).newSession()
        target = Branch(spark, settings, nessie, head.name, session.attach(spark, settings, head.name))
        with session.speaking_plainly(), session.sized(spark, settings, plan.rows_read(dataset, when)):
            written = make(target, domains, plan, task, head.name)
        return written | {"refused": [verdict["rule"] for _, verdict in gate.refusals([written])]}


def sandbox_diff(name: str, dataset: str | None = None) -> pa.Table:
    """How a sandbox differs from main as it was forked.

    Args:
        dataset: show the rows of this table instead of all tables.
    Returns: for all tables one row for each that was changed: `dataset`, `change` (added, removed, changed),
        `rows_main`, `rows_sandbox`; of its rows `added`, `removed` and, where the contract has a key, `changed`;
        `columns`: in which columns, with the number of rows; `main_moved`: whether main has
        another version of the table by now. For one table its rows that differ: `_change` (removed, added,
        before, after) and the table's columns.
    Raises: UsageError for a sandbox or table that does not exist; ServiceUnavailable.
    """
    import pyarrow as pa

    from medallion import domain
    from medallion.difference import difference
    from medallion.errors import UsageError
    from medallion.lakehouse import sandbox as branches
    from medallion.lakehouse.history import total_records
    from medallion.lakehouse.nessie import MAIN, Reference

    with _opened() as (settings, nessie):
        opened = branches.find(nessie, name)
        old, new = nessie.tables(opened.began), nessie.tables(opened.head)
        keys = {d: c.key for d, c in domain.load(settings).contracts.items()}
        if dataset is not None:
            if dataset not in {*old, *new}:
                raise UsageError(
                    f"neither main nor the sandbox '{opened.name}' has a table '{dataset}'",
                    hint=f"`medallion sandbox diff {opened.name}` lists those that differ",
                )
            return difference(settings.s3, old.get(dataset), new.get(dataset), keys.get(dataset, ())).rows
        forked = nessie.tables(Reference(opened.head.name, opened.forked_at))
        main = nessie.tables(nessie.reference(MAIN))
        rows = []
        for each in sorted({*old, *new}):
            before, after = old.get(each), new.get(each)
            if before == after:
                continue
            found = difference(settings.s3, before, after, keys.get(each, ()))
            rows.append({
                "dataset": each,
                "change": "added" if before is None else "removed" if after is None else "changed",
                "rows_main": None if before is None else total_records(settings.s3, before),
                "rows_sandbox": None if after is None else total_records(settings.s3, after),
                "added": found.added, "removed": found.removed, "changed": found.changed,
                "columns": found.of_columns(),
                "main_moved": main.get(each) != forked.get(each),
            })  # fmt: skip
        return pa.Table.from_pylist(rows, schema=_summary_schema())


def _summary_schema() -> pa.Schema:
    import pyarrow as pa

    text, number = pa.string(), pa.int64()
    return pa.schema({
        "dataset": text, "change": text, "rows_main": number, "rows_sandbox": number,
        "added": number, "removed": number, "changed": number, "columns": text, "main_moved": pa.bool_(),
    })  # fmt: skip


@contextmanager
def _opened() -> Iterator[tuple[Settings, Nessie]]:
    from medallion.lakehouse.nessie import Nessie
    from medallion.settings import load

    settings = load()
    nessie = Nessie(settings.nessie)
    try:
        yield settings, nessie
    finally:
        nessie.close()
