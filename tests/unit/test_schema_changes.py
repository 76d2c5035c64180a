"""What may become of a schema: columns and fields are added, types widened; all else is refused, side by side."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from pyiceberg.schema import Schema

from medallion.errors import ContractError
from medallion.lakehouse.schema import changes, columns, differences, of_contract, side_by_side, statements
from tests.lake_tables import gold

OLD = {
    "id": "int", "rate": "float", "amount": "decimal(10,2)", "tags": "array<struct<name:string>>",
    "address": "struct<city:string,zip:int>", "prices": "map<string,struct<eur:float>>",
}  # fmt: skip


def of(**types: str) -> Any:
    return of_contract(gold("t", types))


def table(**types: str) -> Any:
    return SimpleNamespace(schema=lambda: Schema(*of(**types)))


def test_what_does_not_break_readers_is_told_as_the_sql_that_does_it() -> None:
    new = {
        "first": "date", "id": "bigint", "rate": "double", "amount": "decimal(12,2)", "middle": "struct<x:int>",
        "tags": "array<struct<name:string,weight:int>>", "address": "struct<street:string,city:string,zip:bigint>",
        "prices": "map<string,struct<eur:double,usd:float>>",
    }  # fmt: skip
    assert statements("c.t", changes(table(**OLD), gold("t", new))) == [
        "ALTER TABLE c.t ADD COLUMNS (`first` date FIRST)",
        "ALTER TABLE c.t ADD COLUMNS (`middle` struct<x:int> AFTER `amount`)",
        "ALTER TABLE c.t ADD COLUMNS (`tags`.`element`.`weight` int AFTER `name`)",
        "ALTER TABLE c.t ADD COLUMNS (`address`.`street` string FIRST)",
        "ALTER TABLE c.t ADD COLUMNS (`prices`.`value`.`usd` float AFTER `eur`)",
        "ALTER TABLE c.t ALTER COLUMN `id` TYPE bigint",
        "ALTER TABLE c.t ALTER COLUMN `rate` TYPE double",
        "ALTER TABLE c.t ALTER COLUMN `amount` TYPE decimal(12,2)",
        "ALTER TABLE c.t ALTER COLUMN `address`.`zip` TYPE bigint",
        "ALTER TABLE c.t ALTER COLUMN `prices`.`value`.`eur` TYPE double",
    ]
    assert columns(Schema(*of(**new))) == new


@pytest.mark.parametrize("name", OLD)
@pytest.mark.parametrize(
    "now",
    [None, "string", "smallint", "float", "decimal(9,2)", "decimal(12,3)", "array<struct<label:string>>", "struct<city:string>",
     "map<int,struct<eur:float>>", "map<string,struct<usd:float>>"],
)  # fmt: skip
def test_what_breaks_readers_is_refused(name: str, now: str | None) -> None:
    new = {n: t for n, t in (OLD | {name: now}).items() if t}
    if (name, now) in (("id", "smallint"), ("rate", "float")):  # the same to Iceberg, and the same
        assert changes(table(**OLD), gold("t", new)) == []
        return
    with pytest.raises(ContractError, match=f"column '{name}[a-z.]*' is ") as refused:
        changes(table(**OLD), gold("t", new))
    assert "t_v2" in (refused.value.hint or "")


def test_order_is_no_difference_and_a_column_of_the_same_name_elsewhere_is_another() -> None:
    assert differences(of(a="int", s="struct<x:int,y:int>"), of(s="struct<y:int,x:int>", a="int")) == []
    found = differences(of(a="int", s="struct<x:int>"), of(s="struct<x:int,a:int>"))
    assert [(one.path, one.kind) for one in found] == [("s.a", "added"), ("a", "gone")]


def test_both_sides_stand_side_by_side() -> None:
    old, new = of(id="int", gone="date", s="struct<x:int>"), of(id="string", s="struct<y:int>", more="bigint")
    assert side_by_side(old, new, ("the table", "the contract")) == "\n".join(
        [
            "  column | the table     | the contract",
            "  id     | int           | string         ANOTHER TYPE",
            "  s      | struct<x:int> | struct<y:int>  s.y added; s.x GONE",
            "  more   | -             | bigint         added",
            "  gone   | date          | -              GONE",
        ]
    )
    with pytest.raises(ContractError) as refused:
        changes(table(id="int"), gold("t", {"id": "string"}, path=Path("gold.t.odcs.yaml")))
    first, *rest = refused.value.message.splitlines()
    assert first == "gold.t.odcs.yaml: column 'id' is int in the table and string in the contract"
    assert rest == ["  column | the table | the contract", "  id     | int       | string        ANOTHER TYPE"]
