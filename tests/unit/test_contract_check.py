"""`medallion contract check` tells everything that is wrong, by file, line and column, and nothing that only follows."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from medallion.cli import app
from medallion.domain_folders import BUILT_IN
from medallion.errors import ContractError, UsageError
from medallion.odcs import reader
from medallion.odcs.check import check
from medallion.odcs.yaml_lines import read
from medallion.settings import Settings
from tests.small_domain import GOLD_PY, write

BROKEN = """\
apiVersion: v3.1.0
kind: DataContract
id: silver.shop.order
name: orders
domain: shop
version: 1.0.0
status: active
owner: me
customProperties:
  - {property: layer, value: silver}
  - {property: zone, value: analytics}
  - property: materialisation
    value:
      kind: date
      colour: red
schema:
  - name: orders
    logicalType: object
    properties:
      - name: order_id
        logicalType: integer
        primaryKey: perhaps
        logicalTypeOptions: {minimum: none, minimun: 1}
      - {name: amount, logicalType: money}
      - name: customer
        logicalType: string
        quality:
          - {name: known, metric: freshness, mustBe: 0}
    quality:
      - name: sums
        type: sql
        query: SELECT MAX(amount) FROM {object}
        mustBe: 0
        severity: fatal
      - metric: rowCount
        mustBeGreaterThan: 0
"""
# line, column, place
WRONG = [
    (3, 1, "id"),
    (8, 1, "owner"),
    (11, 29, "customProperties.zone"),
    (15, 7, "customProperties.materialisation.colour"),
    (22, 9, "schema[0].properties[0].primaryKey"),
    (23, 30, "schema[0].properties.order_id.logicalTypeOptions.minimum"),
    (23, 45, "schema[0].properties.order_id.logicalTypeOptions.minimun"),
    (24, 9, "schema[0].properties.amount"),
    (28, 13, "quality 'known' of customer"),
    (30, 9, "quality 'sums'"),
    (35, 9, "quality 'rowCount'"),
]


def test_every_problem_of_a_file_is_told_with_line_and_column(tmp_path: Path) -> None:
    path = tmp_path / "silver.orders.odcs.yaml"
    path.write_text(BROKEN)
    found = check(Settings(), [path])
    assert [(one.line, one.column, one.place) for one in found.problems] == WRONG
    assert {one.file for one in found.problems} == {str(path)}
    assert all(one.problem and one.hint for one in found.problems)
    with pytest.raises(ContractError) as refused:
        reader.read(path)
    assert set(refused.value.problems) == set(found.problems)
    assert f"and {len(WRONG) - 1} more: `medallion contract check {path}`" in (refused.value.hint or "")


def test_what_is_no_yaml_has_its_line_and_every_repeated_key(tmp_path: Path) -> None:
    path = tmp_path / "silver.orders.odcs.yaml"
    path.write_text("id: x\nname: [1, 2\ndomain: y\n")
    (one,) = check(Settings(), [path]).problems
    assert (one.line, one.column) == (3, 7)
    path.write_text("id: x\nid: y\nname: a\nid: z\nname: b\n")
    assert [(p.line, p.column) for p in check(Settings(), [path]).problems] == [(2, 1), (4, 1), (5, 1)]


def test_what_does_not_hang_together_is_told_beside_broken_files_and_nothing_that_follows(tmp_path: Path) -> None:
    gold = GOLD_PY.replace("(orders)", "(orders, oders, sales_bronze_purchases)") + "\ndef totals(orders):\n    return orders\n"
    folder = write(tmp_path / "shop", lambda documents: documents["silver.orders.odcs.yaml"].update(id="x"), gold=gold)
    found = check(Settings(), [tmp_path])
    told = [(Path(one.file).name, one.line, one.problem) for one in found.problems]
    assert found.files == 3
    assert [(file, line) for file, line, _ in told] == [("gold.py", 4)] * 2 + [("gold.py", 10), ("silver.orders.odcs.yaml", 3)]
    assert "'oders' of 'daily_totals' is no dataset" in told[0][2]
    assert "bronze.sales.purchases, the bronze of another domain" in told[1][2]
    assert told[2][2] == "transform 'totals' has no contract"
    (folder / "gold.py").unlink()
    (gone, _) = check(Settings(), [folder]).problems
    assert gone.text == f"{folder}/gold.daily_totals.odcs.yaml: gold.shop.daily_totals has no transform"


def test_a_cycle_is_told_at_a_transform_of_it(tmp_path: Path) -> None:
    silver = "def orders(bronze_orders, gold_daily_totals):\n    return bronze_orders\n"
    (one,) = check(Settings(), [write(tmp_path / "shop", silver=silver)]).problems
    assert "form a cycle" in one.problem
    assert (Path(one.file).name, one.line) in (("silver.py", 1), ("gold.py", 4))


def test_the_command_prints_what_editors_understand(tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.setenv("MEDALLION_HOME", str(tmp_path / "home"))
    folder = write(tmp_path / "shop")
    assert app(["contract", "check", str(folder)], standalone_mode=False) in (None, 0)
    assert capsys.readouterr().out == "3 contracts: no problem\n"
    path = folder / "silver.orders.odcs.yaml"
    path.write_text(BROKEN)
    assert app(["contract", "check", str(path)], standalone_mode=False) == 2
    out = capsys.readouterr().out
    assert f"{path}:24:9: schema[0].properties.amount: logicalType 'money' is no type\n  → use one of" in out
    assert app(["contract", "check", str(path), "--json"], standalone_mode=False) == 2
    shown = json.loads(capsys.readouterr().out)
    assert (shown["files"], len(shown["problems"]), shown["problems"][0]["line"]) == (1, len(WRONG), 3)
    with pytest.raises(UsageError, match="nowhere does not exist"):
        check(Settings(), [tmp_path / "nowhere"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="empty holds no contract"):
        check(Settings(), [tmp_path / "empty"])


def test_our_own_contracts_have_no_problem() -> None:
    for paths in ((), (BUILT_IN,)):
        found = check(Settings(), paths)
        assert (found.problems, found.files) == ((), 24)


def test_a_place_that_is_not_there_has_the_position_of_what_surrounds_it() -> None:
    document = read("a:\n  - {name: x, b: 1}\n  - property: y\n    value: {c: 2}\n")
    assert [document.position(p) for p in ("a.x.b", "a.y.c", "a.y", "a.x.q", "a.z", "q", "a[1].value.c")] == [
        (2, 15), (4, 13), (4, 12), (2, 5), (1, 1), (1, 1), (4, 13)
    ]  # fmt: skip


def test_that_something_is_missing_is_not_told_again_where_it_could_not_be_read(tmp_path: Path) -> None:
    path = tmp_path / "silver.orders.odcs.yaml"
    path.write_text(BROKEN.replace("name: orders\ndomain", "name: [orders]\ndomain"))
    (one,) = [each for each in check(Settings(), [path]).problems if each.line == 4]
    assert (one.place, one.problem) == ("name", "Input should be a valid string")
