"""Silver of sales on rows written by hand, and on the package's whole file."""

from __future__ import annotations

from datetime import date
from decimal import Decimal

import pyarrow as pa
import pytest
from chispa import assert_df_equality
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from medallion.contract import BRONZE_COLUMNS, UNPARSED
from medallion.domains.sales import silver
from medallion.quality.deduplicate import Deduplicated
from medallion.quality.verdict import Judged
from tests import independent_sales
from tests.unit.planted_rows import Row
from tests.unit.sales_rows import SALES

BRONZE, SILVER = "bronze.sales.purchases", "silver.sales.purchases"


def made(spark: SparkSession, *rows: Row) -> DataFrame:
    return silver.purchases(SALES.frame(spark, BRONZE, list(rows)))


CASES: dict[str, tuple[Row, Row]] = {  # case -> (changes to the sound row, what silver must say)
    "as it comes": (
        {},
        {
            "customer_id": "00001", "purchased_on": date(1997, 1, 1), "cds": 1, "amount_usd": Decimal("11.77"),
            "_logical_date": date(2013, 1, 1), "_delivery": "d1", "_source_row": 1, UNPARSED: None,
        },
    ),
    "spaces around it": (
        {"customer_id": " 00001 ", "dollars": "  11.77"}, {"customer_id": "00001", "amount_usd": Decimal("11.77")}
    ),
    "a number that is none stays text": ({"customer_id": "0001A"}, {"customer_id": "0001A", UNPARSED: None}),
    "empty is missing": ({"customer_id": " ", "cds": ""}, {"customer_id": None, "cds": None, UNPARSED: None}),
    "null is missing": ({"dollars": None}, {"amount_usd": None, UNPARSED: None}),
    "worth nothing": ({"dollars": "0.00"}, {"amount_usd": Decimal("0.00"), UNPARSED: None}),
    "given back": ({"dollars": "-11.77"}, {"amount_usd": Decimal("-11.77"), UNPARSED: None}),
    "whole dollars": ({"dollars": "12"}, {"amount_usd": Decimal("12.00"), UNPARSED: None}),
    "a third decimal is not rounded away": ({"dollars": "11.775"}, {"amount_usd": None, UNPARSED: "dollars"}),
    "more than the column holds": ({"dollars": "123456789.00"}, {"amount_usd": None, UNPARSED: "dollars"}),
    "a decimal comma": ({"dollars": "11,77"}, {"amount_usd": None, UNPARSED: "dollars"}),
    "words": ({"dollars": "free", "cds": "two"}, {"amount_usd": None, "cds": None, UNPARSED: "cds,dollars"}),
    "half a CD": ({"cds": "1.5"}, {"cds": None, UNPARSED: "cds"}),
    "a leap day": ({"purchased_on": "19960229"}, {"purchased_on": date(1996, 2, 29), UNPARSED: None}),
    "a day that no calendar has": ({"purchased_on": "19970229"}, {"purchased_on": None, UNPARSED: "purchased_on"}),
    "day and month swapped": ({"purchased_on": "19973101"}, {"purchased_on": None, UNPARSED: "purchased_on"}),
    "a date of six digits": ({"purchased_on": "970101"}, {"purchased_on": None, UNPARSED: "purchased_on"}),
    "a date with dashes": ({"purchased_on": "1997-01-01"}, {"purchased_on": None, UNPARSED: "purchased_on"}),
    "a row that did not fit": (
        {"_malformed": "x", "customer_id": "", "purchased_on": "", "cds": "", "dollars": ""}, {UNPARSED: "_malformed"}
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def purchases(spark: SparkSession) -> dict[str, Row]:
    """case -> its row of silver."""
    rows = [{"cds": str(n), "_source_row": n} | row for n, (row, _) in enumerate(CASES.values(), 1)]  # no copies
    found = sorted(made(spark, *rows).collect(), key=lambda row: row._source_row)
    return {case: row.asDict() for case, row in zip(CASES, found, strict=True)}


@pytest.mark.parametrize("case", CASES)
def test_purchases(purchases: dict[str, Row], case: str) -> None:
    assert {name: purchases[case][name] for name in CASES[case][1]} == CASES[case][1]


def test_purchases_have_the_columns_of_their_contract(spark: SparkSession) -> None:
    assert_df_equality(made(spark, {}), SALES.frame(spark, SILVER, [{}]), ignore_nullable=True)
    assert made(spark).isEmpty()


def kept(frame: DataFrame) -> list[tuple]:
    """Which rows the contract's `deduplicate` keeps of what the transform makes."""
    once = Deduplicated(frame, SALES.contracts[SILVER]).frame
    return sorted(tuple(row) for row in once.select("_delivery", "_source_row").collect())


def test_of_copies_the_first_delivered_is_kept_whatever_bronze_marked(spark: SparkSession) -> None:
    rows = [
        {"_delivery": "d2", "_source_row": 1},
        {"_delivery": "d1", "_source_row": 7, "_repeat": "file"},
        {"_delivery": "d1", "_source_row": 10, "_repeat": "delivery"},
        {"_delivery": "d3", "_source_row": 1, "dollars": "11.770"[:5]},
    ]
    assert kept(made(spark, *rows)) == kept(made(spark, *reversed(rows))) == [("d1", 7)]


def test_copies_are_found_by_what_they_say_not_by_how_it_is_written(spark: SparkSession) -> None:
    rows = [{}, {"_source_row": 2, "dollars": " 11.77"}, {"_source_row": 3, "cds": "01"}]
    assert kept(made(spark, *rows)) == [("d1", 1)]


def test_baskets_that_differ_in_one_thing_are_two(spark: SparkSession) -> None:
    others = [{"customer_id": "00002"}, {"purchased_on": "19970102"}, {"cds": "2"}, {"dollars": "11.78"}]
    rows = [{}, *(other | {"_source_row": n} for n, other in enumerate(others, 2))]
    assert kept(made(spark, *rows)) == [("d1", n) for n in range(1, 6)]


def test_what_does_not_parse_is_a_copy_of_nothing(spark: SparkSession) -> None:
    broken = [{"dollars": "free"}, {"dollars": "gift", "_source_row": 2}, {"dollars": "gift", "_source_row": 3}]
    missing = {"dollars": "", "_source_row": 4}
    assert kept(made(spark, *broken, missing)) == [("d1", 1), ("d1", 2), ("d1", 3), ("d1", 4)]


# ── the whole file ────────────────────────────────────────────────────────────────────────────────
@pytest.fixture(scope="module")
def once(spark: SparkSession) -> Deduplicated:
    """Silver of all 69,659 lines, in one delivery, each purchase once."""
    source = independent_sales.source_purchases()
    system = {"_delivery": "d1", "_logical_date": date(2013, 1, 1)}
    rows = source.assign(_source_row=range(1, len(source) + 1), **system)
    table = pa.Table.from_pandas(rows, preserve_index=False)
    for name in BRONZE_COLUMNS.keys() - set(table.column_names):
        table = table.append_column(name, pa.nulls(table.num_rows, pa.string()))
    made = silver.purchases(spark.createDataFrame(table))
    return Deduplicated(made, SALES.contracts[SILVER])


@pytest.fixture(scope="module")
def whole(once: Deduplicated) -> DataFrame:
    return once.frame.cache()


def test_purchases_of_the_whole_file_lose_255_copies_and_nothing_else(once: Deduplicated, whole: DataFrame) -> None:
    rows = whole.count()
    assert (rows, once.dropped(Judged(rows, rows, 0, 0))) == (69_404, {"exact_copy": 255})


def test_purchases_of_the_whole_file_equal_pandas(whole: DataFrame) -> None:
    expected = independent_sales.purchases()
    found = whole.orderBy("_source_row").toArrow().to_pandas()
    assert (len(found), found[UNPARSED].notna().sum()) == (69_659 - 255, 0)
    assert found._source_row.tolist() == [n + 1 for n in expected.index], "of copies the first is kept"
    for column in expected:
        assert found[column].tolist() == expected[column].tolist(), column


def test_the_rules_find_in_the_whole_file_what_is_known_of_it(whole: DataFrame) -> None:
    contract = SALES.contracts[SILVER]
    broken = [F.count_if(F.expr(f"NOT coalesce(({rule.passes}), true)")).alias(rule.name) for rule in contract.row_rules]
    row = whole.agg(F.count_distinct(*contract.key).alias("keys"), *broken).collect()[0].asDict()
    assert {name: count for name, count in row.items() if count} == {"keys": 69_404, "worth_nothing": 80}
