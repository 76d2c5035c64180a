"""The benchmark's rules and rows: what a figure says must be what was done."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import duckdb
import pytest

from bench.quality import lineitem
from bench.quality.counters import _bytes, _number
from bench.quality.lake import Dataset, load, write_domain
from bench.quality.measure import Measured as Work
from bench.quality.measure import _ratio
from bench.quality.rules import MIXED, PROVABLE, many
from bench.quality.variants import safe
from medallion import settings as settings_module


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Some rows in the shape of lineitem, written clean and damaged."""
    folder = tmp_path_factory.mktemp("lineitem")
    duckdb.execute(f"""COPY (
        SELECT n::BIGINT AS l_orderkey, 1::BIGINT AS l_partkey, 1::BIGINT AS l_suppkey, (n % 7 + 1)::INT AS l_linenumber,
          2::DECIMAL(15,2) AS l_quantity, 3000::DECIMAL(15,2) AS l_extendedprice, 0.05::DECIMAL(15,2) AS l_discount,
          0.02::DECIMAL(15,2) AS l_tax, 'N' AS l_returnflag, 'O' AS l_linestatus, DATE '1996-01-01' AS l_shipdate,
          DATE '1996-01-05' AS l_commitdate, DATE '1996-01-09' AS l_receiptdate, 'NONE' AS l_shipinstruct,
          'REG AIR' AS l_shipmode, 'ly final deps' AS l_comment
        FROM range(1, 40001) AS t(n)) TO '{folder}/raw.parquet'""")
    for kind in ("clean", "damaged"):
        lineitem._write(folder / "raw.parquet", folder / kind / "0.parquet", damaged=kind == "damaged")
    return folder


def broken(file: Path, condition: str) -> int:
    condition = condition.replace("regexp_like", "regexp_matches")
    return int(duckdb.execute(f"SELECT count(*) FROM '{file}' WHERE NOT ({condition})").fetchall()[0][0])


def test_fifty_mixed_rules_are_of_the_kinds_that_they_are_said_to_be() -> None:
    assert Counter(check.kind for check in MIXED) == {"null": 16, "range": 17, "set": 8, "regex": 4, "cross": 5}
    assert Counter(check.kind for check in PROVABLE) == {"null": 16, "range": 34}
    assert Counter(check.kind for check in many()) == {"null": 16, "range": 314, "set": 80, "regex": 40, "cross": 50}
    for checks in (MIXED, PROVABLE, many()):
        assert len({check.sql for check in checks}) == len(checks)


def test_every_damaged_row_breaks_a_rule_and_no_other_does(rows: Path) -> None:
    assert broken(rows / "clean" / "0.parquet", safe(MIXED)) == 0
    damaged = rows / "damaged" / "0.parquet"
    bad = broken(rows / "clean" / "0.parquet", f"NOT ({lineitem._BAD})")
    assert bad == broken(damaged, safe(MIXED)) > 0
    by_kind = {check.kind for check in MIXED if broken(damaged, safe([check]))}
    assert by_kind == {"null", "range", "set", "regex", "cross"}


@pytest.mark.parametrize(("checks", "name"), [(MIXED, "mixed"), (PROVABLE, "proven"), (many(), "many")])
def test_the_contract_holds_every_rule(tmp_path: Path, checks: list, name: str) -> None:
    write_domain(tmp_path / "bench", [Dataset(name, tmp_path, checks)])
    contract = load(settings_module.load(), tmp_path / "bench").contracts[f"gold.bench.{name}"]
    assert len(contract.row_rules) == len(checks)
    assert {rule.tolerance for rule in contract.row_rules} == {0.01}


def test_a_program_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="no-such-program is not there: install the extra `bench`"):
        lineitem.prepare(tmp_path, 0.01, "no-such-program")


def test_figures_are_read_as_spark_writes_them() -> None:
    assert _number("1,234") == 1234
    assert _number("total (min, med, max (stageId: taskId))\n2.5 s (1 s, 1 s, 1 s)") == 2.5
    assert _bytes("total (min, med, max)\n1.5 MiB (1 KiB, 2 KiB, 1 MiB)") == 1.5 * 2**20
    assert _bytes("6003724") == 6003724


def test_a_marginal_cost_is_a_difference() -> None:
    taken = {"ours": [Work(seconds=8)], "floor": [Work(seconds=5)], "slow": [Work(seconds=9)]}
    assert _ratio(taken["slow"], "ours - floor", taken, "seconds") == "3.00"
    assert _ratio(taken["slow"], "floor - ours", taken, "seconds") == "∞"
    assert _ratio(taken["slow"], "unknown", taken, "seconds") == ""
