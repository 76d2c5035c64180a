"""Small files of what a run has just written, rewritten into fewer on the run's own branch.

It is part of the run: judged, merged or thrown away with it. So readers never meet a table half compacted.
"""

from __future__ import annotations

from collections import Counter
from datetime import date

from pyiceberg.table import ALWAYS_TRUE

from medallion.contract import Contract
from medallion.lakehouse.branch import Branch
from medallion.lakehouse.table import open_static, reaching


def compact(branch: Branch, contract: Contract, when: date | None) -> int:
    """Rewrite the files of a date (None: of the table), if a partition has more than the contract allows.

    Returns: how many files were rewritten; 0 where there was nothing to do.
    """
    above = contract.layout.compact_above
    if above is None or max(files_by_partition(branch, contract, when).values(), default=0) <= above:
        return 0
    upserted = contract.materialisation.kind == "upsert"
    return branch.rewrite_files(contract.dataset, _where(contract, when), deleted=upserted)


def files_by_partition(branch: Branch, contract: Contract, when: date | None) -> Counter[str]:
    """How many files each partition of a date has, those that mark deleted rows as well, from manifests alone."""
    content = branch.content(contract.dataset)
    if content["snapshotId"] in (-1, None):
        return Counter()
    table = open_static(branch.settings.s3, content)
    column = contract.partition_column
    of_date = f"{column} = '{when}'" if column and when else ALWAYS_TRUE
    with reaching(branch.settings.s3, table.location()):
        tasks = list(table.scan(row_filter=of_date).plan_files())
    marks = {file.file_path: file for task in tasks for file in task.delete_files}
    return Counter(str(file.partition) for file in (*(task.file for task in tasks), *marks.values()))


def _where(contract: Contract, when: date | None) -> str:
    column = contract.partition_column
    return f"`{column}` = DATE '{when}'" if column and when else ""
