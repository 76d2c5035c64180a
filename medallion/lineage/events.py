"""Runs, publications and marts as OpenLineage events (https://openlineage.io/spec/2-0-2/OpenLineage.json), for other tools.

A run is a run of the job `<kind>`; each of its writes is one of the job that is called like the dataset, with the run as its
parent, and so is the judging of it (`<dataset>.rules`). So that nobody takes all that a run read for the origin of all that it
wrote, inputs and outputs stand with the writes alone. A run's id there is made from its id here: what is sent twice is the
same. No value of a row is in any event: no samples, no least or greatest values.
"""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from medallion.contract import Contract
from medallion.domain import Domains
from medallion.lineage.columns import Columns
from medallion.lineage.dbt_models import MARTS, Project
from medallion.lineage.event_columns import column_lineage, folder
from medallion.publish.ledger import Entry
from medallion.settings import Settings

if TYPE_CHECKING:
    from openlineage.client.event_v2 import InputDataset, OutputDataset, RunEvent

PRODUCER = "urn:medallion"
_IDS = uuid.uuid5(uuid.NAMESPACE_URL, PRODUCER)
_ENDS = {"failed": "FAIL", "conflicted": "ABORT"}
"""How a run ended that is not on main; every other is complete."""
Event = dict[str, Any]
Version = dict[str, Any]


@dataclass(frozen=True)
class Known:
    """What is known beside the run or the publication itself. `columns` are those of datasets and marts, by full name."""

    settings: Settings
    domains: Domains
    project: Project
    columns: Mapping[str, Columns] = field(default_factory=dict)

    @property
    def lake(self) -> str:
        """The namespace of the lake's tables."""
        return f"nessie://{self._catalog}"

    @property
    def catalog(self) -> str:
        """Where the lake's catalog answers, without what may be secret in its address."""
        return f"{urlsplit(self.settings.nessie.uri).scheme}://{self._catalog}"

    @property
    def _catalog(self) -> str:
        return urlsplit(self.settings.nessie.uri).netloc.rpartition("@")[2]

    @property
    def warehouse(self) -> tuple[str, str]:
        """The namespace of the warehouse's tables, and its database, which their names begin with."""
        if self.settings.warehouse == "postgres":
            postgres = self.settings.warehouse_postgres
            return f"postgres://{postgres.host}:{postgres.port}", postgres.database
        return f"snowflake://{self.settings.snowflake.account}", self.settings.snowflake.database


def run_id(of: str) -> str:
    """The id of an OpenLineage run: a UUID that is always the same for a run, or a part of one."""
    return str(uuid.uuid5(_IDS, of))


def of_run(row: Mapping[str, Any], steps: Sequence[Mapping[str, Any]], evidence: Mapping[str, Any], known: Known) -> list[Event]:
    """A run that is at an end.

    Args:
        row, steps: as the journal has them; evidence: as `medallion.evidence.read` gives it, empty if there is none.
    """
    from openlineage.client.facet_v2 import error_message_run

    story, name = row["story"], str(row["run_id"])
    state = _ENDS.get(row["state"], "COMPLETE")
    facets = _nominal(row["logical_date"])
    why = str(row["error"] or "").partition("\n")[0].partition(":")[0]  # what follows may show rows
    error = {"errorMessage": error_message_run.ErrorMessageRunFacet(why, "python")} if why else {}
    began, ended = row["opened_at"], row["ended_at"] or row["changed_at"]
    events = _pair(known, row["kind"], "RUN", name, began, ended, state, facets, ended_with=error)
    parent = {"parent": _parent(known, row["kind"], name)}
    made = [write for write in story.get("writes", ()) if not write.get("takes_back")]
    to_come = Counter((write["dataset"], write.get("logical_date")) for write in made)
    number: Counter[str] = Counter()
    written: set[str] = set()
    for n, write in enumerate(story.get("writes", ())):
        dataset = write["dataset"]
        own: tuple[datetime, datetime] = began, ended
        inputs: list[InputDataset] = []
        if not write.get("takes_back"):  # that is done by metadata: it has no step, and reads nothing
            which = dataset, write.get("logical_date")
            done = _steps_of(steps, *which)
            if len(done) >= to_come[which]:  # the last ones are those that count
                own = done[-to_come[which]]["began_at"], done[-to_come[which]]["ended_at"]
            to_come[which] -= 1
            deliveries = [one for one in story.get("deliveries", ()) if one["dataset"] == dataset][number[dataset] :][:1]
            number[dataset] += 1
            inputs = _landed(known, deliveries) or _read(known, write, evidence, written)
        written.add(dataset)
        version = (evidence.get("wrote") or {}).get(dataset)
        output = _output(known, dataset, version, write)
        mine = _nominal(write.get("logical_date") or row["logical_date"]) | parent
        events += _pair(known, dataset, "JOB", f"{name}/{n}", *own, state, mine, inputs, [output], error)
        if write.get("verdicts"):
            events += _judged(known, write, f"{name}/{n}/rules", own, mine, version)
    return events


def _steps_of(steps: Sequence[Mapping[str, Any]], dataset: str, logical_date: str | None) -> list[Mapping[str, Any]]:
    """The steps that wrote one date of a dataset, in order."""
    return [
        each for each in steps
        if each["name"].partition(".")[::2] == ("write", dataset) and each["outcome"] == "done"
        and each["detail"].get("logical_date") == logical_date
    ]  # fmt: skip


def of_publication(entry: Entry, steps: Sequence[Mapping[str, Any]], known: Known) -> list[Event]:
    """A publication of gold, or of marts, by its entry in the ledger; `steps` are those of the journal under its id."""
    marts = [dataset for dataset in entry.changed if dataset.startswith(f"{MARTS}.")]
    job = f"{'marts' if marts else 'publish'}.{known.settings.warehouse}"
    ended = entry.published_at or datetime.now(UTC)
    ended = ended if ended.tzinfo else ended.replace(tzinfo=UTC)
    began = min([step["began_at"] for step in steps], default=ended)
    events = _pair(known, job, "RUN", entry.publication_id, began, ended, "COMPLETE", {})
    parent = {"parent": _parent(known, job, entry.publication_id)}
    for dataset in entry.changed:
        if dataset in marts:
            rows = entry.marts[dataset.removeprefix(f"{MARTS}.")].rows
            inputs = [_input(_table(known, read, None)) for read in known.project.reads.get(dataset, ())]
        else:
            rows = entry.tables[dataset].rows
            inputs = [_input(_dataset(known, dataset, {"snapshotId": entry.tables[dataset].snapshot_id}))]
        output = _out(_table(known, dataset, entry.hash), rows)
        events += _pair(known, f"{job}.{dataset}", "JOB", f"{entry.publication_id}/{dataset}", began, ended, "COMPLETE", parent,
                        inputs, [output])  # fmt: skip
    return events


# ── events ────────────────────────────────────────────────────────────────────────────────────────
def _pair(
    known: Known, job: str, kind: str, of: str, began: datetime, ended: datetime, state: str, facets: Mapping[str, Any],
    inputs: Sequence[InputDataset] = (), outputs: Sequence[OutputDataset] = (), ended_with: Mapping[str, Any] | None = None,
) -> list[Event]:  # fmt: skip
    """START, and how it ended."""
    from openlineage.client.event_v2 import Job, Run, RunEvent, RunState
    from openlineage.client.facet_v2 import job_type_job
    from openlineage.client.serde import Serde

    type_ = job_type_job.JobTypeJobFacet("BATCH", "MEDALLION", jobType=kind)

    def event(which: str, at: datetime, more: Mapping[str, Any], outputs: Sequence[OutputDataset]) -> RunEvent:
        return RunEvent(
            eventTime=at.astimezone(UTC).isoformat(),
            eventType=RunState(which),
            run=Run(run_id(of), {**facets, **more}),
            job=Job(known.settings.lineage.namespace, job, {"jobType": type_}),
            inputs=[*inputs],
            outputs=[*outputs],
            producer=PRODUCER,
        )

    both = event("START", began, {}, ()), event(state, ended, ended_with or {}, outputs)
    return [Serde.to_dict(each) for each in both]


def _judged(
    known: Known,
    write: Mapping[str, Any],
    of: str,
    times: tuple[datetime, datetime],
    facets: Mapping[str, Any],
    version: Version | None,
) -> list[Event]:
    """The rules of one write, as assertions on what was written."""
    from openlineage.client.facet_v2 import data_quality_assertions_dataset as assertions

    found = [
        assertions.Assertion(
            assertion=verdict["rule"],
            success=bool(verdict["passed"]),
            severity="error" if verdict["severity"] == "error" else "warn",
            description=verdict.get("description"),
            expected=f"at most {verdict['tolerance']:g}",
            actual=str(verdict["bad"]),
        )
        for verdict in write["verdicts"]
    ]
    dataset = _input(_dataset(known, write["dataset"], version))
    dataset.inputFacets = {"dataQualityAssertions": assertions.DataQualityAssertionsDatasetFacet(found)}
    broken = any(not verdict["passed"] and verdict["severity"] == "error" for verdict in write["verdicts"])
    return _pair(known, f"{write['dataset']}.rules", "TEST", of, *times, "FAIL" if broken else "COMPLETE", facets, [dataset])


def _parent(known: Known, job: str, of: str) -> Any:
    from openlineage.client.facet_v2 import parent_run

    return parent_run.ParentRunFacet(parent_run.Run(run_id(of)), parent_run.Job(known.settings.lineage.namespace, job))


def _nominal(when: date | str | None) -> dict[str, Any]:
    """The logical date, as the day that it is."""
    from openlineage.client.facet_v2 import nominal_time_run

    if when is None:
        return {}
    day = date.fromisoformat(when) if isinstance(when, str) else when
    start = datetime.combine(day, time(), UTC)
    return {"nominalTime": nominal_time_run.NominalTimeRunFacet(start.isoformat(), (start + timedelta(days=1)).isoformat())}


# ── datasets ──────────────────────────────────────────────────────────────────────────────────────
@dataclass(frozen=True)
class _Named:
    namespace: str
    name: str
    facets: dict[str, Any]


def _landed(known: Known, deliveries: Iterable[Mapping[str, Any]]) -> list[InputDataset]:
    """What a delivery is of: the folder that a source fills; its version is the SHA-256 of the file, which is linked to."""
    from openlineage.client.facet_v2 import dataset_version_dataset, symlinks_dataset

    found = []
    for one in deliveries:
        contract = known.domains.contracts.get(one["dataset"])
        bucket, _, key = one["uri"].partition("?")[0].removeprefix("s3://").partition("/")
        delivery = contract.delivery if contract else None
        at = folder(delivery.path) if delivery else key.rpartition("/")[0]
        facets = _of_contract(known, contract, delivered=True) | {
            "version": dataset_version_dataset.DatasetVersionDatasetFacet(one["sha256"]),
            "symlinks": symlinks_dataset.SymlinksDatasetFacet([symlinks_dataset.Identifier(f"s3://{bucket}", key, "LOCATION")]),
        }
        found.append(_input(_Named(f"s3://{bucket}", at, facets), one.get("rows")))
    return found


def _read(known: Known, write: Mapping[str, Any], evidence: Mapping[str, Any], written: set[str]) -> list[InputDataset]:
    """What a write read: of what the run itself had written before its own version, else that of main."""
    names = write.get("inputs") or known.project.reads.get(write["dataset"], ())
    of = {name: (evidence.get("wrote" if name in written else "read") or {}).get(name) for name in names}
    return [_input(_dataset(known, name, version)) for name, version in of.items()]


def _output(known: Known, dataset: str, version: Version | None, write: Mapping[str, Any]) -> OutputDataset:
    from openlineage.client.facet_v2 import data_quality_metrics_dataset as metrics

    named = _dataset(known, dataset, version)
    if measured := write.get("metrics"):
        rows = int(measured["rows"])
        nulls = {
            name: metrics.ColumnMetrics(nullCount=round(share * rows)) for name, share in measured.get("null_share", {}).items()
        }
        named.facets["dataQualityMetrics"] = metrics.DataQualityMetricsDatasetFacet(
            nulls, rowCount=rows, bytes=measured.get("bytes"), fileCount=measured.get("files")
        )
    if made := column_lineage(known, dataset):
        named.facets["columnLineage"] = made
    return _out(named, write.get("rows_out"))


def _dataset(known: Known, dataset: str, version: Version | None) -> _Named:
    """A table of the lake; its version is a snapshot."""
    from openlineage.client.facet_v2 import dataset_version_dataset, datasource_dataset

    facets: dict[str, Any] = {"dataSource": datasource_dataset.DatasourceDatasetFacet(name=known.lake, uri=known.catalog)}
    facets |= _of_contract(known, known.domains.contracts.get(dataset))
    if version and version.get("snapshotId") is not None:
        facets["version"] = dataset_version_dataset.DatasetVersionDatasetFacet(str(version["snapshotId"]))
    return _Named(known.lake, dataset, facets)


def _table(known: Known, dataset: str, hash_: str | None) -> _Named:
    """A table of the warehouse; its version is the commit of main that it shows."""
    from openlineage.client.facet_v2 import dataset_version_dataset, datasource_dataset

    namespace, database = known.warehouse
    facets: dict[str, Any] = {"dataSource": datasource_dataset.DatasourceDatasetFacet(name=namespace, uri=namespace)}
    facets |= _of_contract(known, known.domains.contracts.get(dataset))
    if hash_:
        facets["version"] = dataset_version_dataset.DatasetVersionDatasetFacet(hash_)
        if made := column_lineage(known, dataset, published=True):
            facets["columnLineage"] = made
    return _Named(namespace, f"{database}.{dataset.partition('.')[2]}", facets)


def _of_contract(known: Known, contract: Contract | None, *, delivered: bool = False) -> dict[str, Any]:
    from openlineage.client.facet_v2 import schema_dataset

    if contract is None:
        return {}
    described = {column.name: column.description or None for column in contract.columns}
    columns = (
        [(c.source, "string", c.name) for c in contract.columns]
        if delivered
        else [(n, t, n) for n, t in contract.schema().items()]
    )
    fields = [schema_dataset.SchemaDatasetFacetFields(name, type_, described.get(of)) for name, type_, of in columns]
    return {"schema": schema_dataset.SchemaDatasetFacet(fields)}


def _input(named: _Named, rows: int | None = None) -> InputDataset:
    from openlineage.client.event_v2 import InputDataset
    from openlineage.client.facet_v2 import input_statistics_input_dataset as statistics

    counted = {"inputStatistics": statistics.InputStatisticsInputDatasetFacet(rowCount=rows)} if rows is not None else {}
    return InputDataset(named.namespace, named.name, facets=named.facets, inputFacets={**counted})


def _out(named: _Named, rows: int | None) -> OutputDataset:
    from openlineage.client.event_v2 import OutputDataset
    from openlineage.client.facet_v2 import output_statistics_output_dataset as statistics

    counted = {"outputStatistics": statistics.OutputStatisticsOutputDatasetFacet(rowCount=rows)} if rows is not None else {}
    return OutputDataset(named.namespace, named.name, facets=named.facets, outputFacets={**counted})
