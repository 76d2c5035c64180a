"""What is said of a table in the warehouse, and the statements that say it to Snowflake."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from medallion.contract import Column, Materialisation, Rule
from medallion.publish import snowflake_schema
from medallion.publish.columns import Column as Published
from medallion.publish.columns import wider
from medallion.publish.description import Description, of, reference_name, said
from medallion.publish.snowflake_session import quoted
from medallion.rule_kinds import Reference
from tests.lake_tables import gold

CITIES = replace(gold("cities", {"id": "bigint"}), key=("id",))
TO_CITIES = Reference(("city",), CITIES.dataset, ("id",))
ORDERS = replace(
    gold("orders", {}),
    description="What was ordered.",
    columns=tuple(
        Column(name, "bigint", required, text, False)
        for name, required, text in (("id", True, "Number."), ("city", True, ""), ("day", False, ""), ("later", True, "New."))
    ),
    key=("id",),
    rules=(Rule("city_reference", "error", 0, "", passes="true", reference=TO_CITIES),),
)
PUBLISHED = {each.dataset: each for each in (CITIES, ORDERS)}
COLUMNS = ("id", "city", "day")


def told(without_nulls: tuple[str, ...] = COLUMNS, **changes: Any) -> Description:
    return of(replace(ORDERS, **changes), PUBLISHED, COLUMNS, without_nulls)


def test_what_is_known_to_hold_is_said() -> None:
    assert told() == Description("What was ordered.", {"id": "Number."}, ("id", "city"), ("id",), (TO_CITIES,))
    assert (told(("city",)).required, told(("city",)).key) == (("city",), ()), "a null in the key"
    by_date = Materialisation("date", "day")
    assert told(materialisation=by_date).key == (), "judged within each date"
    assert told(materialisation=by_date, key=("day", "id")).key == ("day", "id")
    rule = ORDERS.rules[0]
    elsewhere = replace(rule, reference=replace(TO_CITIES, to="gold.operations.hidden"))
    for broken in (replace(rule, severity="warning"), replace(rule, quarantine=False), elsewhere):
        assert told(rules=(broken,)).references == ()
    assert told().without_promises() == Description("What was ordered.", {"id": "Number."})


def test_a_fingerprint_changes_with_what_is_said() -> None:
    others = [told(("id",)), told(description="Else."), told(rules=())]
    assert len({each.fingerprint for each in (told(), *others)}) == 4
    assert told().fingerprint == told().fingerprint
    assert said(ORDERS, PUBLISHED) != said(replace(ORDERS, description="Else."), PUBLISHED)


def test_the_statements_for_snowflake() -> None:
    table, wanted = '"G"."O"."ORDERS"', told()
    key, points = wanted.key_name(ORDERS.dataset), reference_name(ORDERS.dataset, TO_CITIES)
    assert snowflake_schema.requirements(table, wanted, {"id": False, "city": True, "day": True}) == [
        f'ALTER TABLE {table} ALTER COLUMN "ID" SET NOT NULL',
        f'ALTER TABLE {table} ALTER COLUMN "DAY" DROP NOT NULL',
    ]
    spoken = replace(wanted, comment="it's", comments={"id": "a\\b", 'x"y': "z"})
    assert snowflake_schema.comments(table, spoken) == [
        f"ALTER TABLE {table} SET COMMENT = 'it''s'",
        f"""ALTER TABLE {table} ALTER COLUMN "ID" COMMENT 'a\\\\b', COLUMN "X""Y" COMMENT 'z'""",
    ]
    add_key = f'ALTER TABLE {table} ADD CONSTRAINT "{key.upper()}" PRIMARY KEY ("ID")'
    assert snowflake_schema.keys(table, ORDERS.dataset, wanted, [], []) == [add_key]
    assert snowflake_schema.keys(table, ORDERS.dataset, wanted, [key.upper()], [points.upper()]) == []
    assert snowflake_schema.keys(table, ORDERS.dataset, wanted, ["HERS"], ["HERS_TOO"]) == []
    gone = [f'ALTER TABLE {table} DROP CONSTRAINT "MEDALLION_{name}"' for name in ("B", "A")]
    assert snowflake_schema.keys(table, ORDERS.dataset, wanted, ["MEDALLION_A"], ["MEDALLION_B"]) == [*gone, add_key]
    others = {CITIES.dataset: '"G"."O"."CITIES"'}
    add = f'ALTER TABLE {table} ADD CONSTRAINT "{points.upper()}" FOREIGN KEY ("CITY") REFERENCES "G"."O"."CITIES" ("ID")'
    assert snowflake_schema.references(table, ORDERS.dataset, wanted, [], others) == [add]
    assert snowflake_schema.references(table, ORDERS.dataset, wanted, [points.upper()], others) == []
    assert snowflake_schema.widened(table, [Published("worth", "decimal(8,2)")], {"worth": "NUMBER(8,2)"}) == [
        f'ALTER TABLE {table} ALTER COLUMN "WORTH" SET DATA TYPE NUMBER(8,2)'
    ]


def test_wider_is_more_digits_before_the_point() -> None:
    assert wider("numeric(6,2)", "numeric(8,2)")
    assert wider("NUMBER(6,0)", "NUMBER(38,0)")
    for there, now in (
        ("numeric(8,2)", "numeric(6,2)"), ("numeric(6,2)", "numeric(8,3)"), ("numeric(6,2)", "NUMBER(8,2)"), ("text", "text"),
        ("numeric(6,2)", "numeric(6,2)"), ("bigint", "numeric(38,0)"),
    ):  # fmt: skip
        assert not wider(there, now)


def test_a_name_is_quoted_in_upper_case_if_it_comes_back() -> None:
    names = {"order": '"ORDER"', 'a "b"': '"A ""B"""', "ünïcode": '"ÜNÏCODE"', "straße": '"STRAßE"', "semi;": '"SEMI;"'}
    assert {name: quoted(name) for name in names} == names
