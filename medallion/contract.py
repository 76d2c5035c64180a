"""A dataset's contract: the nouns. `odcs/reader.py` reads them from their ODCS file."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Literal

from medallion.rule_kinds import Change, Figure, Freshness, Reference

Layer = Literal["bronze", "silver", "gold"]
LAYERS: tuple[Layer, ...] = ("bronze", "silver", "gold")
Severity = Literal["error", "warning"]
Format = Literal["csv", "json", "parquet"]
Arrives = Literal["daily", "initial", "increments"]
PartitionTransform = Literal["identity", "year", "month", "day", "bucket", "truncate"]
PublishedAs = Literal["replace", "partitions"]
"""What a publication replaces of a table that changed: all of it, or the partitions that changed."""

METRICS = ("volume", "null_share", "bad_share", "mean", "distinct", "distribution")
"""What is known of a write and can be compared with the writes before it."""

BRONZE_COLUMNS = {
    "_delivery": "string",
    "_logical_date": "date",
    "_source_uri": "string",
    "_source_sha256": "string",
    "_source_row": "bigint",
    "_ingested_at": "timestamp",
    "_run_id": "string",
    "_row_hash": "string",
    "_repeat": "string",
    "_extra": "map<string,string>",
    "_malformed": "string",
}
"""What the engine adds to every bronze row. `_source_row` counts data rows from 1; `_repeat` is
null, `file` (the row stands earlier in the same file) or `delivery` (it came in an earlier one);
`_extra` holds columns the contract does not know; `_malformed` the raw text of a line that does
not fit the header."""
SILVER_COLUMNS = {"_logical_date": "date", "_delivery": "string", "_source_row": "bigint"}
"""What every silver transform carries on from bronze, so that a row can be traced to its source."""
UNPARSED = "_unparsed"
"""A silver transform's note on a row: names of the columns whose text does not parse, else null.
It feeds the built-in rule `parses` and is never written."""


@dataclass(frozen=True)
class Column:
    """One column. `type` is Spark SQL's name of the type, e.g. `decimal(10,2)`; `physical_name` is what a
    delivery calls it, if not the same."""

    name: str
    type: str
    required: bool
    description: str
    personal: bool
    physical_name: str | None = None

    @property
    def source(self) -> str:
        """The column's name in deliveries."""
        return self.physical_name or self.name


@dataclass(frozen=True)
class Rule:
    """What must hold. A row rule has `passes`, a Spark SQL condition on one row (null passes, as in
    SQL's CHECK); a table rule has `unique` columns, bounds of `rows`, a `measure`, `fresh` or `change`, and looks at
    what was written (a delivery, a date) or, where its `scope` is `table`, at all rows of the table.

    `tolerance` below 1 is a share of the rows judged, else a number of rows; beyond it an error
    rule fails the run. Up to it, rows that break an error rule only go to quarantine; they stay in the
    table if `quarantine` is false. A rule with a `reference` is a row rule whose `passes` reads a column that is
    joined to the rows while they are judged (see `medallion.quality.references`).
    """

    name: str
    severity: Severity
    tolerance: float
    description: str
    passes: str | None = None
    unique: tuple[str, ...] = ()
    rows: tuple[float, float] | None = None
    scope: Literal["write", "table"] = "write"
    quarantine: bool = True
    reference: Reference | None = None
    measure: Figure | None = None
    fresh: Freshness | None = None
    change: Change | None = None

    @property
    def puts_aside(self) -> bool:
        """Whether a row that breaks it is kept out of the table."""
        return self.on_rows and self.severity == "error" and self.quarantine

    @property
    def on_rows(self) -> bool:
        return self.passes is not None

    def allows(self, bad: int, judged: int) -> bool:
        """Whether `bad` rows of `judged` stay within the tolerance."""
        # divided, because 0.29 * 100 is less than 29 in binary
        return bad == 0 or (bad / judged if self.tolerance < 1 else bad) <= self.tolerance


@dataclass(frozen=True)
class Origin:
    """Where a run asks for a delivery that its owner does not bring.

    `endpoint` is a name under the setting `sources`, which has its address and secrets; `address` is
    what to ask for there: a path (http, ftp), with `{year}`, `{month}`, `{day}`, and `{part}` where
    the delivery has parts; or a table (jdbc, delta).
    """

    kind: str
    endpoint: str
    address: str


@dataclass(frozen=True)
class Delivery:
    """How and when a bronze dataset is handed over.

    `path` is the prefix in the zone's bucket with `{year}`, `{month}`, `{day}`: what is delivered lies
    there, as it came; `format` and `compression` say how it is read, `records` where in a JSON
    document the list of rows stands. `expected` is
    - `daily`: one delivery for each date; the newest of a date counts;
    - `initial`: reference data, whole each time: on the first day, later only when something changed;
      with `parts`, each of these files replaces its own earlier self;
    - `increments`: what is new since the last one, perhaps nothing; all of them count.
    """

    format: Format
    compression: Literal["none", "gzip"]
    records: str
    path: str
    expected: Arrives
    null_text: str
    repeats: Literal["file", "history"]
    parts: tuple[str, ...] = ()
    source: Origin | None = None

    def folder(self, when: date) -> str:
        """The prefix of one date in the bucket."""
        return self.path.format(**date_fields(when))


def date_fields(when: date) -> dict[str, str]:
    """What stands for a date in paths: year, month and day, with leading zeros."""
    return {"year": f"{when:%Y}", "month": f"{when:%m}", "day": f"{when:%d}"}


@dataclass(frozen=True)
class Materialisation:
    """What one logical date touches: `full` (the whole table), `date` (the rows whose `column`
    equals the date), `window` (the same rows, made from the inputs of `days` days that end with the date) or
    `upsert` (the keys that the date brings: of each the row with the greatest `latest_by` stays)."""

    kind: Literal["full", "date", "window", "upsert"]
    column: str | None = None
    days: int = 1
    latest_by: str | None = None

    @property
    def replaces_its_date(self) -> bool:
        """Whether a date's rows are a part of the table by themselves, which others can read alone."""
        return self.kind in ("date", "window")


@dataclass(frozen=True)
class PartitionBy:
    """One field of a partition spec; `argument` is the number of buckets, or the width to truncate to."""

    column: str
    transform: PartitionTransform = "identity"
    argument: int | None = None

    @property
    def text(self) -> str:
        """The transform as Iceberg writes it: `month`, `bucket[8]`."""
        return f"{self.transform}[{self.argument}]" if self.argument else self.transform


@dataclass(frozen=True)
class Layout:
    """How a dataset lies in its files, for the queries on it.

    `partitioned_by` comes after the column of its date, if it has one; rows are sorted by `sorted_by`
    within each file. Where a write leaves more than `compact_above` files in a partition that it
    touched, they are rewritten on the run's branch.
    """

    partitioned_by: tuple[PartitionBy, ...] = ()
    sorted_by: tuple[str, ...] = ()
    compact_above: int | None = None


@dataclass(frozen=True)
class Measure:
    """What is worked out of a column's new rows at each write, beyond what their files say anyway: their mean,
    how many values differ (about), and how they are distributed, over the most frequent `values` or between
    `edges`."""

    column: str
    mean: bool = False
    distinct: bool = False
    values: bool = False
    edges: tuple[float, ...] = ()


@dataclass(frozen=True)
class Watch:
    """What a contract says of anomalies: which metrics are compared with the dataset's past, how a finding
    counts, how much is unusual (`low`, `normal` or `high` sensitivity), how many earlier dates it takes, and
    the calendar of the holidays around which counts may differ more."""

    severity: Severity = "warning"
    metrics: tuple[str, ...] = METRICS
    sensitivity: str = "normal"
    minimum_history: int = 14
    holidays: str | None = None


@dataclass(frozen=True)
class Promise:
    """When data is to come, as the contract's `slaProperties` and its calendar say it: a date for each day on which its
    source works (one of `weekdays`, Monday is 0; no holiday of the named calendar; none of the days `closed`), or something
    every `hours` hours. `by` is how long after the beginning of a date, UTC, it is to be on main; None: no time is promised."""

    hours: int | None = None
    by: timedelta | None = None
    weekdays: tuple[int, ...] = (0, 1, 2, 3, 4, 5, 6)
    holidays: str | None = None
    closed: tuple[date, ...] = ()

    def due(self, when: date) -> datetime | None:
        """By when a date is to be there."""
        return None if self.by is None else datetime.combine(when, time(), UTC) + self.by


@dataclass(frozen=True)
class Near:
    """A column of names of which variants are looked for; `similarity` is from 0.5 to 1."""

    column: str
    similarity: float


@dataclass(frozen=True)
class Deduplication:
    """Which rows are dropped before they are judged: all but one of those that agree in every column
    (`exact`); all but the latest by a column of those of one key (`latest_by`). `near` drops none."""

    exact: bool = False
    latest_by: str | None = None
    near: tuple[Near, ...] = ()


@dataclass(frozen=True)
class Contract:
    """One dataset as its owner promises it."""

    layer: Layer
    domain: str
    name: str
    zone: str
    version: str
    owner: str
    description: str
    columns: tuple[Column, ...]
    key: tuple[str, ...]
    rules: tuple[Rule, ...]
    materialisation: Materialisation
    delivery: Delivery | None
    layout: Layout
    published: bool
    retention_days: int | None
    path: Path
    fingerprint: str = field(compare=False)
    """SHA-256 of the file: a changed contract rebuilds the dataset."""
    measures: tuple[Measure, ...] = ()
    anomalies: Watch | None = None
    deduplicate: Deduplication = Deduplication()
    publication: PublishedAs = "replace"
    promise: Promise | None = None
    critical: bool = False
    """Whether somebody is to be told when a run fails at it."""

    @property
    def dataset(self) -> str:
        return f"{self.layer}.{self.domain}.{self.name}"

    @property
    def bucket(self) -> str:
        return f"{self.layer}-{self.zone}"

    @property
    def quarantine(self) -> str:
        return f"{self.dataset}__quarantine"

    @property
    def row_rules(self) -> tuple[Rule, ...]:
        return tuple(rule for rule in self.rules if rule.on_rows)

    @property
    def references(self) -> tuple[str, ...]:
        """The datasets that rows must point into, each once."""
        return tuple(dict.fromkeys(rule.reference.to for rule in self.rules if rule.reference))

    @property
    def table_rules(self) -> tuple[Rule, ...]:
        return tuple(rule for rule in self.rules if not rule.on_rows)

    def schema(self) -> dict[str, str]:
        """All columns as stored, in order: name -> Spark SQL type."""
        own = {column.name: column.type for column in self.columns}
        system = {"bronze": BRONZE_COLUMNS, "silver": SILVER_COLUMNS, "gold": {}}[self.layer]
        return own | system

    @property
    def partition_column(self) -> str | None:
        """The column that the table is partitioned by, if one date touches a part of it only."""
        if self.layer == "bronze":
            return "_logical_date"
        if not self.materialisation.replaces_its_date:
            return None
        return "_logical_date" if self.layer == "silver" else self.materialisation.column

    @property
    def partitions(self) -> tuple[PartitionBy, ...]:
        """All fields of the table's partition spec, in order."""
        by_date = self.partition_column
        return ((PartitionBy(by_date),) if by_date else ()) + self.layout.partitioned_by
