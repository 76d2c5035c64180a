"""Our columns' lineage beside that of OpenLineage's own listener in Spark, for real writes.

Every transform is applied to the tables of `main` and its result written to an Iceberg table of a folder that is removed
afterwards, under the listener. What it tells of each write is compared with what `medallion.lineage.columns` reads from the
plan over empty tables: of every column what it is made of, and what decides which rows there are.
The listener's jar (io.openlineage:openlineage-spark_2.13) is no part of medallion's class path: the caller names it.
"""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from medallion import domain, session
from medallion.lineage import columns
from medallion.lineage.columns import Source
from medallion.settings import Settings, load


def measure(jar: Path, events: Path | None = None) -> None:
    """Print for each silver and gold dataset whether both tell the same, and where they differ. Needs a running stack with runs.

    Raises: SystemExit if the jar is missing.
    """
    if not jar.is_file():
        raise SystemExit(f"{jar} is missing: take io.openlineage:openlineage-spark_2.13:1.53.0 from Maven Central")
    settings = load()
    with tempfile.TemporaryDirectory(prefix="medallion-openlineage-") as folder:
        told = events or Path(folder) / "events.ndjson"
        spark = session.start(_with_listener(settings, jar, told, Path(folder) / "tables"))
        spark.conf.set("spark.sql.catalog.scratch", "org.apache.iceberg.spark.SparkCatalog")
        spark.conf.set("spark.sql.catalog.scratch.type", "hadoop")
        spark.conf.set("spark.sql.catalog.scratch.warehouse", f"file://{folder}/tables")
        main = session.attach(spark, settings, "main")
        domains = domain.load(settings)
        with session.sized(spark, settings, 0):
            for dataset, transform in domains.transforms.items():
                frames = {
                    parameter: spark.table(f"{main}.{read}").select(*domains.contracts[read].schema())
                    for parameter, read in transform.inputs.items()
                }
                transform.function(**frames).writeTo(f"scratch.{dataset}").create()
        ours = {dataset: columns.of_transform(spark, domains, dataset) for dataset in domains.transforms}
        spark.stop()
        theirs = _of_events(told.read_text("utf-8").splitlines(), {*domains.contracts})
    print("columns of silver and gold: those that both say the same of; of which the listener names more; of which we do")
    nothing: tuple[dict[str, frozenset[Source]], frozenset[Source]] = ({}, frozenset())
    counted: Counter[str] = Counter()
    for dataset, mine in ours.items():
        direct, conditions = theirs.get(dataset, nothing)
        here = Counter(_compared(made, direct.get(name, frozenset())) for name, made in mine.direct.items())
        rows = "" if mine.conditions == conditions else f"; which rows: {_compared(mine.conditions, conditions)}"
        print(f"{dataset}: {len(mine.direct)} columns: {', '.join(f'{n} {what}' for what, n in here.most_common())}{rows}")
        counted += here
    print(f"all: {counted.total()} columns: {', '.join(f'{n} {what}' for what, n in counted.most_common())}")


def _compared(ours: frozenset[Source], theirs: frozenset[Source]) -> str:
    if ours == theirs:
        return "the same"
    return "the listener names more" if ours < theirs else "we name more" if theirs < ours else "different"


def _with_listener(settings: Settings, jar: Path, told: Path, tables: Path) -> Settings:
    conf = {
        "spark.jars": str(jar),
        "spark.extraListeners": "io.openlineage.spark.agent.OpenLineageSparkListener",
        "spark.openlineage.transport.type": "file",
        "spark.openlineage.transport.location": str(told),
    }
    return settings.model_copy(update={"spark": settings.spark.model_copy(update={"conf": settings.spark.conf | conf})})


def _of_events(lines: Iterable[str], datasets: set[str]) -> dict[str, tuple[dict[str, frozenset[Source]], frozenset[Source]]]:
    """Of each dataset what its columns are made of, and the columns that decide about its rows, as its events tell together."""
    found: dict[str, tuple[dict[str, frozenset[Source]], frozenset[Source]]] = {}
    for line in lines:
        event = json.loads(line)
        names = {(each["namespace"], each["name"]): _table(each, datasets) for each in (*event["inputs"], *event["outputs"])}
        for output in event["outputs"]:
            facet = output.get("facets", {}).get("columnLineage")
            written = _table(output, datasets)
            if facet and written:
                fields, conditions = found.get(written, ({}, frozenset()))
                for name, of in facet["fields"].items():
                    fields[name] = fields.get(name, frozenset()) | _sources(of["inputFields"], names)
                found[written] = fields, conditions | _sources(facet.get("dataset") or (), names)
    return found


def _table(dataset: dict[str, Any], known: set[str]) -> str | None:
    links = dataset.get("facets", {}).get("symlinks", {}).get("identifiers", ())
    names = [dataset["name"], *(each["name"] for each in links)]
    return next((name[at:] for name in names for at in range(len(name)) if name[at:] in known), None)


def _sources(fields: Iterable[dict[str, Any]], names: dict[tuple[str, str], str | None]) -> frozenset[Source]:
    return frozenset((names.get((each["namespace"], each["name"])) or each["name"], each["field"]) for each in fields)
