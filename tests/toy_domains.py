"""Small domains for tests: contracts and transforms written into a folder, deliveries of a few lines.

toys = toy_domains.pair(folder, "p1", "q1")         # two domains, each reads the other's silver
with Lake(settings, toys.load(settings)) as lake: …
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import yaml

from medallion import domain as domain_module
from medallion.domain import Domains
from medallion.lakehouse.store import Store
from medallion.settings import Settings

_LOGICAL = {"string": "string", "double": "number", "int": "integer", "bigint": "integer", "date": "date"}
_ZONES = {"bronze": "batch", "silver": "validated", "gold": "analytics"}
_HEAD = "from pyspark.sql import DataFrame\nfrom pyspark.sql import functions as F\n\n\n"
_LINEAGE = '"_logical_date", "_delivery", "_source_row"'


QUICK = {
    "spark.sql.codegen.wholeStage": "false",
    "spark.sql.codegen.factoryMode": "NO_CODEGEN",
    "spark.sql.adaptive.enabled": "false",
}
"""For a few rows, compiling a query takes longer than running it."""


def quick(settings: Settings) -> Settings:
    """Settings whose session is made for few rows: a third of the time for each run of a toy."""
    conf = QUICK | {"spark.driver.extraJavaOptions": "-XX:TieredStopAtLevel=1 -XX:ReservedCodeCacheSize=240m -XX:+UseSerialGC"}
    spark = settings.spark.model_copy(update={"master": "local[1]", "shuffle_partitions": 1, "conf": conf})
    return settings.model_copy(update={"spark": spark})


@dataclass(frozen=True)
class Toys:
    """Domain folders, to be loaded in any process."""

    folders: tuple[str, ...]

    def load(self, settings: Settings) -> Domains:
        """These domains alone."""
        every = domain_module.load(settings.model_copy(update={"domains": ":".join(self.folders)}))
        mine = {d: c for d, c in every.contracts.items() if str(c.path.parent) in self.folders}
        return Domains(mine, {d: t for d, t in every.transforms.items() if d in mine})


def deliver(settings: Settings, domain: str, name: str, day: date, lines: Iterable[str]) -> None:
    """Lay a CSV file into its bronze bucket; again, it is a new version of the file."""
    uri = f"s3://bronze-{_ZONES['bronze']}/domain={domain}/{name}/{day:%Y/%m/%d}/{name}.csv"
    Store(settings.s3).put(uri, "".join(f"{line}\n" for line in lines).encode(), "text/csv")


def pair(folder: Path, first: str, second: str) -> Toys:
    """Two domains; `gold.<domain>.balance` has for each day the sum of the domain's own amounts and
    of the other's. Neither writes a table that the other writes, and each reads what the other writes."""
    for domain, other in ((first, second), (second, first)):
        _write(folder / domain, "silver", _counts())
        _write(folder / domain, "gold", _balance(other))
        _contract(folder, "bronze", domain, "counts", {"amount": "string"}, expected="daily")
        _contract(folder, "silver", domain, "counts", {"day": "date", "amount": "int"}, kind={"kind": "date"})
        columns = {"day": "date", "own": "bigint", "other": "bigint"}
        _contract(folder, "gold", domain, "balance", columns, kind={"kind": "date", "column": "day"})
    return Toys((str(folder / first), str(folder / second)))


def takings(folder: Path, domain: str) -> Toys:
    """One domain: amounts every day; gold has them by day and in all."""
    _write(folder / domain, "silver", _counts())
    _write(folder / domain, "gold", _TAKINGS_GOLD)
    _contract(folder, "bronze", domain, "counts", {"amount": "string"}, expected="daily")
    _contract(folder, "silver", domain, "counts", {"day": "date", "amount": "int"}, kind={"kind": "date"})
    by_day = {"day": "date", "counted": "bigint", "total": "bigint"}
    _contract(folder, "gold", domain, "daily", by_day, kind={"kind": "date", "column": "day"})
    in_all = {"days": "bigint", "counted": "bigint", "total": "bigint"}
    _contract(folder, "gold", domain, "in_all", in_all, kind={"kind": "full"})
    return Toys((str(folder / domain),))


def readings(folder: Path, domain: str) -> Toys:
    """One domain: readings every day, a reference of sites; gold by day, over three days, and in all.
    A reading below 0 goes to quarantine."""
    _write(folder / domain, "silver", _READINGS_SILVER)
    _write(folder / domain, "gold", _READINGS_GOLD)
    _contract(folder, "bronze", domain, "sites", {"site": "string", "name": "string"}, expected="initial")
    _contract(folder, "bronze", domain, "readings", {"site": "string", "value": "string"}, expected="daily")
    full: dict[str, Any] = {"kind": "full"}
    _contract(folder, "silver", domain, "sites", {"site": "string", "name": "string"}, kind=full, key=("site",))
    columns = {"day": "date", "site": "string", "name": "string", "value": "int"}
    _contract(folder, "silver", domain, "readings", columns, kind={"kind": "date"}, bad={"below_zero": "value < 0"})
    by_day = {"day": "date", "name": "string", "readings": "bigint", "total": "bigint"}
    _contract(folder, "gold", domain, "daily", by_day, kind={"kind": "date", "column": "day"}, bad={"huge": "total > 999"})
    window = {"kind": "window", "column": "day", "days": 3}
    _contract(folder, "gold", domain, "trailing", {"day": "date", "days": "bigint", "total": "bigint"}, kind=window)
    _contract(folder, "gold", domain, "total", {"name": "string", "total": "bigint"}, kind=full)
    return Toys((str(folder / domain),))


def changes(folder: Path, domain: str, layout: Mapping[str, Any] | None = None, key: str = "int") -> Toys:
    """One domain: changes of customers every day. `silver.<domain>.latest` is upserted by them; `in_all` is the same,
    made whole. Whoever lives nowhere goes to quarantine. `key`: the type of a customer's id."""
    _write(folder / domain, "silver", _CHANGES_SILVER.replace('F.col("id").cast("int")', f'F.col("id").cast("{key}")'))
    _write(folder / domain, "gold", _CHANGES_GOLD)
    columns = {"id": key, "city": "string", "at": "int"}
    _contract(folder, "bronze", domain, "changes", dict.fromkeys(columns, "string"), expected="daily")
    bad = {"nowhere": "city = 'nowhere'"}
    by_key = {"kind": "upsert", "latestBy": "at"}
    _contract(folder, "silver", domain, "latest", columns, key=("id",), kind=by_key, bad=bad, layout=layout)
    _contract(
        folder, "silver", domain, "in_all", columns, key=("id",), kind={"kind": "full"}, bad=bad, deduplicate={"latestBy": "at"}
    )
    _contract(folder, "gold", domain, "cities", {"city": "string", "people": "bigint"}, kind={"kind": "full"})
    return Toys((str(folder / domain),))


def stays(folder: Path, domain: str, kind: Mapping[str, Any], deduplicate: Mapping[str, Any]) -> Toys:
    """One domain: stays of guests, by house and number, with rules of all kinds. `silver.<domain>.latest` is made as
    `kind` says; `in_all` is the same, made whole. A stay's region has to stand among `regions`; no room (a city and a
    region) is taken twice in all of the table; rows that do not parse or lack a key go to quarantine."""
    _write(folder / domain, "silver", _STAYS_SILVER)
    columns = {"house": "string", "number": "int", "city": "string", "region": "string", "at": "int"}
    _contract(folder, "bronze", domain, "stays", dict.fromkeys(columns, "string"), expected="daily")
    _contract(folder, "bronze", domain, "regions", {"region": "string"}, expected="initial")
    _contract(folder, "silver", domain, "regions", {"region": "string"}, key=("region",), kind={"kind": "full"})
    whole: tuple[dict[str, Any], dict[str, Any]] = {"kind": "full"}, {"latestBy": "at", "exact": True}
    for name, (made, once), strict in (("latest", (kind, deduplicate), "error"), ("in_all", whole, "warning")):
        _contract(folder, "silver", domain, name, columns, key=("house", "number"), kind=made, deduplicate=once, strict=strict)
    return Toys((str(folder / domain),))


def _counts() -> str:
    return (
        "def counts(bronze_counts: DataFrame) -> DataFrame:\n"
        '    day, amount = F.col("_logical_date").alias("day"), F.col("amount").cast("int").alias("amount")\n'
        f'    return bronze_counts.select(day, amount, {_LINEAGE}, F.lit(None).cast("string").alias("_unparsed"))\n'
    )


def _balance(other: str) -> str:
    return (
        f"def balance(counts: DataFrame, {other}_counts: DataFrame) -> DataFrame:\n"
        '    own = counts.groupBy("day").agg(F.sum("amount").alias("own"))\n'
        f'    theirs = {other}_counts.groupBy("day").agg(F.sum("amount").alias("_theirs"))\n'
        '    return own.join(theirs, "day", "left").select("day", "own", F.coalesce("_theirs", F.lit(0)).alias("other"))\n'
    )


_TAKINGS_GOLD = """def daily(counts: DataFrame) -> DataFrame:
    return counts.groupBy("day").agg(F.count("*").alias("counted"), F.sum("amount").alias("total"))


def in_all(counts: DataFrame) -> DataFrame:
    return counts.agg(
        F.count_distinct("day").alias("days"), F.count("*").alias("counted"), F.sum("amount").alias("total")
    )
"""
_READINGS_SILVER = f"""def sites(bronze_sites: DataFrame) -> DataFrame:
    return bronze_sites.select("site", "name", {_LINEAGE}, F.lit(None).cast("string").alias("_unparsed"))


def readings(bronze_readings: DataFrame, sites: DataFrame) -> DataFrame:
    return bronze_readings.join(sites.select("site", "name"), "site", "left").select(
        F.col("_logical_date").alias("day"), "site", "name", F.col("value").cast("int").alias("value"),
        {_LINEAGE}, F.lit(None).cast("string").alias("_unparsed"),
    )
"""
_READINGS_GOLD = """def daily(readings: DataFrame) -> DataFrame:
    return readings.groupBy("day", "name").agg(F.count("*").alias("readings"), F.sum("value").alias("total"))


def trailing(readings: DataFrame) -> DataFrame:
    sums = F.count_distinct("day").alias("days"), F.sum("value").alias("total")
    return readings.agg(F.max("day").alias("day"), *sums)


def total(readings: DataFrame) -> DataFrame:
    return readings.groupBy("name").agg(F.sum("value").alias("total"))
"""


_CHANGES_SILVER = f"""def latest(bronze_changes: DataFrame) -> DataFrame:
    return bronze_changes.select(
        F.col("id").cast("int").alias("id"), "city", F.col("at").try_cast("int").alias("at"),
        {_LINEAGE}, F.lit(None).cast("string").alias("_unparsed"),
    )


def in_all(bronze_changes: DataFrame) -> DataFrame:
    return latest(bronze_changes)
"""
_STAYS_SILVER = f"""def latest(bronze_stays: DataFrame) -> DataFrame:
    at = F.col("at").try_cast("int")
    return bronze_stays.select(
        F.nullif("house", F.lit("")).alias("house"), F.col("number").try_cast("int").alias("number"),
        "city", "region", at.alias("at"),
        {_LINEAGE}, F.when(at.isNull() & (F.col("at") != ""), "at").alias("_unparsed"),
    )


def in_all(bronze_stays: DataFrame) -> DataFrame:
    return latest(bronze_stays)


def regions(bronze_regions: DataFrame) -> DataFrame:
    return bronze_regions.select("region", {_LINEAGE}, F.lit(None).cast("string").alias("_unparsed"))
"""
_CHANGES_GOLD = """def cities(latest: DataFrame) -> DataFrame:
    return latest.groupBy("city").agg(F.count("*").alias("people"))
"""


def _write(folder: Path, layer: str, transforms: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{layer}.py").write_text(_HEAD + transforms, "utf-8")


def _contract(
    folder: Path,
    layer: str,
    domain: str,
    name: str,
    columns: Mapping[str, str],
    *,
    key: tuple[str, ...] = (),
    kind: Mapping[str, Any] | None = None,
    expected: str | None = None,
    bad: Mapping[str, str] | None = None,
    deduplicate: Mapping[str, Any] | None = None,
    layout: Mapping[str, Any] | None = None,
    strict: str = "",
) -> None:
    """Write a contract. `bad` are rules by name: what a bad row looks like; nine rows of ten may be bad.
    `strict`: with the rules of `stays`, and how severe that on the whole table is."""
    custom: dict[str, Any] = {"layer": layer, "zone": _ZONES[layer]}
    if kind:
        custom["materialisation"] = dict(kind)
    custom |= {name: dict(value) for name, value in (("deduplicate", deduplicate), ("layout", layout)) if value}
    if expected:
        path = f"domain={domain}/{name}/{{year}}/{{month}}/{{day}}/"
        custom["delivery"] = {"format": "csv", "path": path, "expected": expected, "repeats": "file"}
    first = next(iter(columns))
    conditions = dict(bad or {}) | {"without_its_first_column": f"{first} IS NULL"}
    document = {
        "apiVersion": "v3.1.0", "kind": "DataContract", "id": f"{layer}.{domain}.{name}", "name": name, "domain": domain,
        "version": "1.0.0", "status": "active", "description": {"purpose": "A toy."},
        "team": {"members": [{"username": "tests", "role": "owner"}]},
        "customProperties": [{"property": p, "value": v} for p, v in custom.items()],
        "schema": [{
            "name": name, "physicalName": f"{layer}.{domain}.{name}", "logicalType": "object",
            "properties": [
                {"name": c, "logicalType": _LOGICAL[t], "physicalType": t}
                | ({"primaryKey": True, "primaryKeyPosition": key.index(c) + 1} if c in key else {})
                for c, t in columns.items()
            ],
            "quality": [
                {"name": rule, "type": "sql", "query": f"SELECT COUNT(*) FROM {{object}} WHERE {condition}", "mustBe": 0,
                 "severity": "warning" if layer == "bronze" else "error",
                 "customProperties": [{"property": "tolerance", "value": 0.9}]}
                for rule, condition in conditions.items()
            ],
        }],
    }  # fmt: skip
    if strict:
        _be_strict(document["schema"][0], strict)
    (folder / domain / f"{layer}.{name}.odcs.yaml").write_text(yaml.safe_dump(document, sort_keys=False), "utf-8")


def _be_strict(table: dict[str, Any], severity: str) -> None:
    tolerance = [{"property": "tolerance", "value": 0.9}]
    table["customProperties"] = [{"property": "parseTolerance", "value": 0.9}]
    for column in table["properties"]:
        if column.get("primaryKey"):
            column["customProperties"] = tolerance
        if column["name"] == "region":
            column["relationships"] = [{"to": "regions.region", "customProperties": tolerance}]
    table["quality"] = [{
        "name": "no_room_twice", "metric": "duplicateValues", "mustBe": 0, "arguments": {"properties": ["city", "region"]},
        "severity": severity, "customProperties": [{"property": "scope", "value": "table"}],
    }]  # fmt: skip
