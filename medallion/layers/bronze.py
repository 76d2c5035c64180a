"""Bronze: a delivery as it came, with where it came from, appended."""

from __future__ import annotations

import dataclasses
import time
from typing import TYPE_CHECKING, Any

from medallion.contract import Contract
from medallion.lakehouse.branch import Branch
from medallion.lakehouse.history import DATE_PROPERTY
from medallion.lakehouse.staging import Staging
from medallion.layers.compact import compact
from medallion.quality import change
from medallion.quality.judge import judge
from medallion.quality.metrics import measure
from medallion.quality.rules import lenient
from medallion.quality.table_rules import Previous
from medallion.sources.arrival import Arrival

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

DELIVERY_PROPERTY = "medallion.delivery"


def ingest(branch: Branch, contract: Contract, run_id: str, arrival: Arrival, previous: Previous = ()) -> dict[str, Any]:
    """Append one delivery to its bronze table, judged by the contract's rules.

    Args:
        previous: as in `medallion.layers.make.make`.
    Returns: what was written, for the run's story.
    """
    began = time.monotonic()
    delivered = arrival.delivered
    frame = _frame(branch, contract, run_id, arrival)
    notes = {DATE_PROPERTY: delivered.logical_date.isoformat(), DELIVERY_PROPERTY: delivered.delivery}
    judged = judge(
        frame,
        dataclasses.replace(contract, rules=tuple(lenient(rule) for rule in contract.rules)),
        run_id,
        delivered.logical_date,
        write=lambda rows: branch.append(rows, contract.dataset, notes),
        quarantine=lambda rows: _append(branch, rows, contract, notes),
        written=lambda: branch.read(contract.dataset).filter(f"_delivery = '{delivered.delivery}'"),
        table=lambda: branch.read(contract.dataset),
        staging=None if branch.few_rows else Staging(branch, contract, notes, appends=True),
        previous=previous,
    )
    rewritten = compact(branch, contract, delivered.logical_date)
    of_it = f"_logical_date = '{delivered.logical_date}' AND _delivery = '{delivered.delivery}'"
    metrics = measure(
        branch.settings.s3,
        branch.content(contract.dataset),
        contract,
        of_it,
        lambda: branch.read(contract.dataset).filter(of_it),
        judged,
    )
    return {
        "dataset": contract.dataset,
        "contract": {"version": contract.version, "fingerprint": contract.fingerprint},
        "logical_date": delivered.logical_date,
        "delivery": delivered.delivery,
        "rows_in": judged.rows_in,
        "rows_out": judged.rows_out,
        "quarantined": judged.quarantined,
        "warned": judged.warned,
        "files_compacted": rewritten,
        "verdicts": [v.as_json() for v in judged.verdicts],
        "metrics": change.merged(metrics, judged.verdicts),
        "seconds": round(time.monotonic() - began, 3),
    }


def _append(branch: Branch, rows: DataFrame, contract: Contract, notes: dict[str, str]) -> DataFrame:
    branch.append(rows, contract.quarantine, notes)
    return branch.read(contract.quarantine).filter(f"_delivery = '{notes[DELIVERY_PROPERTY]}'")


def _frame(branch: Branch, contract: Contract, run_id: str, arrival: Arrival) -> DataFrame:
    """The delivery's rows with all of BRONZE_COLUMNS."""
    from pyspark.sql import Window
    from pyspark.sql import functions as f

    delivered, names = arrival.delivered, [column.name for column in contract.columns]
    text = [f.coalesce(f.col(f"`{name}`").cast("string"), f.lit("\x00")) for name in names]  # null is not ''
    rows = branch.spark.createDataFrame(arrival.rows).select(
        *names,
        f.lit(delivered.delivery).alias("_delivery"),
        f.lit(delivered.logical_date).alias("_logical_date"),
        f.lit(delivered.uri).alias("_source_uri"),
        f.lit(delivered.sha256).alias("_source_sha256"),
        f.col("_source_row"),
        f.current_timestamp().alias("_ingested_at"),
        f.lit(run_id).alias("_run_id"),
        f.sha2(f.concat_ws("\x1f", *text, f.coalesce("_malformed", f.lit(""))), 256).alias("_row_hash"),
        f.col("_extra"),
        f.col("_malformed"),
    )
    within = f.row_number().over(Window.partitionBy("_row_hash").orderBy("_source_row")) > 1
    repeat = f.when(within, f.lit("file"))
    rows = rows.withColumn("_repeat", repeat)
    if contract.delivery and contract.delivery.repeats == "history" and branch.content(contract.dataset)["snapshotId"] != -1:
        earlier = branch.read(contract.dataset).select(f.col("_row_hash").alias("_earlier_hash")).distinct()
        rows = rows.join(earlier, rows["_row_hash"] == earlier["_earlier_hash"], "left").withColumn(
            "_repeat", f.coalesce("_repeat", f.when(f.col("_earlier_hash").isNotNull(), f.lit("delivery")))
        )
    return rows.select(*contract.schema())
