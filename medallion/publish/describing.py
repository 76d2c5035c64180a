"""Let the warehouse's tables say what their contracts say: comments, NOT NULL, keys.

It is done before the transaction and is seen at once, as it changes no row. Whatever the warehouse refuses of it,
rows are published all the same: it is told, and tried again by the next publication. What is done is noted in
the ledger, so that it costs nothing where nothing has changed.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping

from medallion.contract import Contract
from medallion.errors import MedallionError
from medallion.publish import description, lake_files
from medallion.publish.columns import from_iceberg
from medallion.publish.description import Description
from medallion.publish.fitting import Fit
from medallion.publish.ledger import TableState
from medallion.publish.plan import Plan
from medallion.publish.staging import Attempts, Report, Steps
from medallion.publish.target import Outrun, Target
from medallion.settings import S3

log = logging.getLogger(__name__)


def describe(
    s3: S3,
    target: Target,
    todo: Plan,
    contracts: Mapping[str, Contract],
    fits: Mapping[str, Fit],
    known: Mapping[str, TableState],
    report: Report,
    steps: Steps,
    attempts: Attempts,
) -> dict[str, str]:
    """Describe the tables that change, and those whose contracts say something else than when they were described.

    Args:
        fits: the tables that change.
        known: what the ledger's head says.
    Returns: of each dataset, what the ledger is to keep of it: empty where it did not work out.
    Raises: Unanswered.
    """
    marks: dict[str, str] = {}
    wanted: dict[str, Description] = {}
    for dataset in todo.contents:
        before = known[dataset].described if dataset in known else ""
        said = description.said(contracts[dataset], contracts)
        if dataset not in fits and before.partition(".")[0] == said:
            marks[dataset] = before
            continue
        told = fits[dataset].description if dataset in fits else _of_the_lake(s3, todo, contracts, dataset)
        if todo.rewinds or dataset in attempts.bare:  # rows of then need not keep what is promised now
            told = told.without_promises()
        marks[dataset] = f"{said}.{told.fingerprint}"
        done = attempts.described.get(dataset, before)
        if marks[dataset] != done and (done or told != Description()):
            wanted[dataset] = told
    for work in (_describe, _relate):
        for dataset, told in wanted.items():
            if work is _relate and not told.references:
                continue
            try:
                work(target, dataset, told, steps)
                attempts.described[dataset] = marks[dataset]
            except (MedallionError, Outrun) as error:
                marks[dataset] = ""
                attempts.described.pop(dataset, None)
                log.warning("the description of %s", dataset, exc_info=True)
                why = error.message if isinstance(error, MedallionError) else str(error)
                report(f"{dataset}: not all of its comments and keys are in the warehouse yet: {why}")
    return marks


def _describe(target: Target, dataset: str, told: Description, steps: Steps) -> None:
    with steps("describe", dataset=dataset):
        target.describe(dataset, told)


def _relate(target: Target, dataset: str, told: Description, steps: Steps) -> None:
    with steps("relate", dataset=dataset):
        target.relate(dataset, told)


def _of_the_lake(s3: S3, todo: Plan, contracts: Mapping[str, Contract], dataset: str) -> Description:
    table = lake_files.open_table(s3, todo.contents[dataset])
    names = [column.name for column in from_iceberg(dataset, table.schema())]
    return description.of(contracts[dataset], contracts, names, lake_files.without_nulls(table, lake_files.planned(table)))
