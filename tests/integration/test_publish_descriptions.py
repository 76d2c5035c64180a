"""What contracts say of tables beyond their rows is in the warehouse too: comments, NOT NULL, keys; and any name is."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Mapping
from contextlib import closing
from dataclasses import replace
from typing import Any

import pyarrow as pa
import pytest
from pyiceberg.types import DecimalType, LongType

from medallion.contract import Column, Contract, Materialisation, Rule
from medallion.errors import ConflictError, UsageError
from medallion.publish.publication import history, publish
from medallion.publish.target import BUILD, connect
from medallion.rule_kinds import Reference
from medallion.settings import Settings
from tests.lake_tables import Contracts, LakeTables, gold
from tests.warehouse import BOTH, POSTGRES, agreed, columns, database, rows, select, session

pytest_plugins = ["tests.warehouse"]

HOSTILE = 'it\'s; DROP TABLE x; -- "%s" \\ ünï\nsecond line'
PLACES = {"code": "string", "name": "string"}
TRIPS = {"day": "date", "number": "bigint", "place": "string"}


def described(name: str, columns: Mapping[str, str], domain: str, *, key: tuple[str, ...], **more: Any) -> Contract:
    told = tuple(Column(each, type_, each in key, f"{each}: {HOSTILE}", False) for each, type_ in columns.items())
    return replace(gold(name, columns, domain=domain, key=key, description=f"{name}: {HOSTILE}", **more), columns=told)


def places(domain: str) -> Contract:
    return described("places", PLACES, domain, key=("code",))


def trips(domain: str, **more: Any) -> Contract:
    to = Reference(("place",), f"gold.{domain}.places", ("code",))
    known = Rule("place_reference", "error", 0, "", passes="true", reference=to)
    seen = Rule("number_reference", "warning", 0, "", passes="true", reference=Reference(("day",), to.to, ("code",)))
    return described("trips", TRIPS, domain, key=("number",), rules=(known, seen), **more)


def not_null(settings: Settings, contract: Contract) -> set[str]:
    _, domain, name = contract.dataset.split(".")
    if settings.warehouse == "snowflake":
        found = select(settings, f"DESCRIBE TABLE {settings.snowflake.database}.{domain}.{name}")
        return {row[0].lower() for row in found if row[3] == "N"}
    question = f"SELECT attname FROM pg_attribute WHERE attrelid = '{domain}.\"{name}\"'::regclass AND attnum > 0 AND attnotnull"
    return {name for (name,) in select(settings, question)}


def constraints(settings: Settings, domain: str) -> list[tuple[Any, ...]]:
    return select(
        settings,
        "SELECT conrelid::regclass::text, contype::text, pg_get_constraintdef(oid) FROM pg_constraint "
        f"WHERE connamespace = '{domain}'::regnamespace AND contype IN ('p', 'f') ORDER BY 1, 2",
    )


@POSTGRES
def test_comments_and_keys_are_there_from_the_start_or_come_later(settings: Settings, lake: LakeTables, domain: str) -> None:
    plain = [gold("places", PLACES, domain=domain), gold("trips", TRIPS, domain=domain)]
    told = [places(domain), trips(domain)]
    data = {told[0]: [{"code": "a", "name": "A"}], told[1]: [{"number": 1, "place": "a"}, {"number": 2, "place": None}]}
    lake.commit(data)
    for round_, contracts in enumerate((plain, told)):
        lake.commit({told[1]: [*data[told[1]], {"number": 3 + round_, "place": "a"}]})  # the other one stays as it is
        lines: list[str] = []
        publish(settings, Contracts(*contracts), report=lines.append)
        assert not [line for line in lines if "yet" in line]
        question = f"SELECT col_description('{domain}.trips'::regclass, 2), obj_description('{domain}.places'::regclass)"
        comments = (f"number: {HOSTILE}", f"places: {HOSTILE}")
        assert select(settings, question) == [comments if round_ else (None, None)]
        assert (not_null(settings, told[1]), not_null(settings, told[0])) == (
            ({"number"}, {"code"}) if round_ else (set(), set())
        )
    keys = [
        (f"{domain}.places", "p", "PRIMARY KEY (code)"),
        (f"{domain}.trips", "f", f"FOREIGN KEY (place) REFERENCES {domain}.places(code) NOT ENFORCED"),
        (f"{domain}.trips", "p", "PRIMARY KEY (number)"),
    ]
    assert constraints(settings, domain) == keys
    assert agreed(settings, Contracts(*told))

    lake.commit({told[0]: [{"code": "b", "name": "B"}]})  # what is pointed to may be exchanged, and be gone
    publish(settings, Contracts(*told))
    assert constraints(settings, domain) == keys
    lake.commit({told[0]: [{"code": "c", "name": "C"}]})
    publish(settings, Contracts(*plain))  # nobody says so any more
    assert constraints(settings, domain) == []
    assert not_null(settings, told[0]) == set()


@BOTH
def test_not_null_is_said_while_it_holds(settings: Settings, lake: LakeTables, domain: str) -> None:
    one = places(domain)
    lake.commit({one: [{"code": "a", "name": "A"}]})
    publish(settings, Contracts(one))
    assert not_null(settings, one) == {"code"}
    old = lake.commit({one: [{"code": None, "name": "B"}, {"code": "b", "name": "B"}]})  # as judged by an older contract
    publish(settings, Contracts(one))
    assert not_null(settings, one) == set()
    lake.commit({one: [{"code": "c", "name": None}]})
    publish(settings, Contracts(one))
    lake.commit({one: [{"code": "d", "name": None}]})  # by now the rows that are there allow it
    publish(settings, Contracts(one))
    assert not_null(settings, one) == {"code"}
    publish(settings, Contracts(one), at=old, allow_rewind=True)
    assert not_null(settings, one) == set()
    assert agreed(settings, Contracts(one))


@POSTGRES
def test_rows_that_repeat_a_key_are_published_without_it(settings: Settings, lake: LakeTables, domain: str) -> None:
    """A contract's new key was never judged on older dates. What is not our constraint is named."""
    one = places(domain)
    lake.commit({one: [{"code": "a", "name": "A"}]})
    publish(settings, Contracts(one))
    assert len(constraints(settings, domain)) == 1
    lake.commit({one: [{"code": "a", "name": "A"}, {"code": "a", "name": "B"}]})
    lines: list[str] = []
    publish(settings, Contracts(one), report=lines.append)
    assert any("gets no keys" in line and "(code)=(a) already exists" in line for line in lines)
    assert constraints(settings, domain) == []
    assert agreed(settings, Contracts(one))

    by_day = trips(domain, materialisation=Materialisation("date", "day"))
    lake.commit({by_day: [{"number": 1, "place": "a"}]})
    publish(settings, Contracts(one, by_day))
    assert not [each for each in constraints(settings, domain) if each[1] == "p"], "it is judged within a date only"

    select(settings, f"ALTER TABLE {domain}.places ADD CONSTRAINT of_hers CHECK (name <> 'X')")
    lake.commit({one: [{"code": "a", "name": "X"}]})
    before = history(settings)
    with pytest.raises(UsageError, match="of_hers") as refused:
        publish(settings, Contracts(one, by_day))
    assert "not of our making" in str(refused.value.hint)
    assert history(settings) == before


@POSTGRES
def test_a_reader_delays_a_description_and_not_the_rows(settings: Settings, lake: LakeTables, domain: str) -> None:
    plain, one = gold("places", PLACES, domain=domain), places(domain)
    lake.commit({one: [{"code": "a", "name": "A"}]})
    publish(settings, Contracts(plain))
    lake.commit({one: [{"code": "b", "name": "B"}]})
    lines: list[str] = []
    with closing(session(settings)) as reader:
        reader.execute("BEGIN")
        reader.execute(f"SELECT * FROM {domain}.places")
        publish(settings, Contracts(one), report=lines.append)
    assert any("not all of its comments and keys are in the warehouse yet" in line for line in lines)
    assert rows(settings, one) == [("b", "B")]
    assert constraints(settings, domain) == []
    lake.commit({one: [{"code": "c", "name": "C"}]})
    publish(settings, Contracts(one))
    assert len(constraints(settings, domain)) == 1


@POSTGRES
def test_a_reader_who_keeps_our_own_not_null_in_place_is_waited_for(settings: Settings, lake: LakeTables, domain: str) -> None:
    required = replace(places(domain), columns=tuple(replace(each, required=True) for each in places(domain).columns))
    lake.commit({required: [{"code": "a", "name": "A"}]})
    publish(settings, Contracts(required))
    assert not_null(settings, required) == {"code", "name"}
    lake.commit({required: [{"code": "b", "name": None}]})
    lines: list[str] = []
    with closing(session(settings)) as reader:
        reader.execute("BEGIN")
        reader.execute(f"SELECT * FROM {domain}.places")
        leaves = threading.Timer(5, lambda: reader.execute("ROLLBACK"))
        leaves.start()
        publish(settings, Contracts(places(domain)), report=lines.append)
        leaves.join()
    assert any("not all of its comments and keys" in line for line in lines)
    assert rows(settings, required) == [("b", None)]
    assert not_null(settings, required) == set(), "keys come again with the next version"


@POSTGRES
def test_a_view_upon_a_column_that_is_to_change_is_named(settings: Settings, lake: LakeTables, domain: str) -> None:
    one = gold("one", {"id": "bigint", "worth": "decimal(6,2)"}, domain=domain)
    lake.commit({one: [{"id": 1, "worth": None}]})
    publish(settings, Contracts(one))
    select(settings, f"CREATE VIEW {domain}.total AS SELECT sum(worth) AS worth FROM {domain}.one")
    select(settings, f"CREATE VIEW {domain}.counted AS SELECT count(id) AS id FROM {domain}.one")

    def widen(table: Any) -> None:
        with table.update_schema() as update:
            update.update_column("worth", DecimalType(8, 2))

    def drop(table: Any) -> None:
        with table.update_schema(allow_incompatible_changes=True) as update:
            update.delete_column("worth")

    lake.commit({one: widen})
    before = history(settings)
    said = rf"column 'worth' \(numeric\(8,2\)\) cannot become wider in the warehouse, because {domain}\.total depends on it"
    with pytest.raises(UsageError, match=said) as refused:
        publish(settings, Contracts(one))
    assert f"pg_get_viewdef('{domain}.total')" in str(refused.value.hint)
    lake.commit({one: drop})
    with pytest.raises(UsageError, match=rf"column 'worth' cannot be dropped .* {domain}\.total depends on it"):
        publish(settings, Contracts(one), allow_breaking=[f"{one.dataset}.worth"])
    assert history(settings) == before
    select(settings, f"DROP VIEW {domain}.total")
    publish(settings, Contracts(one), allow_breaking=[f"{one.dataset}.worth"])
    assert columns(settings, one) == ["id"]
    assert agreed(settings, Contracts(one))


@POSTGRES
def test_views_that_a_dead_build_of_marts_has_left_are_in_nobody_s_way(settings: Settings, lake: LakeTables, domain: str) -> None:
    one = gold("one", {"worth": "decimal(6,2)"}, domain=domain)
    lake.commit({one: [{"worth": None}]})
    publish(settings, Contracts(one))

    def widen(table: Any) -> None:
        with table.update_schema() as update:
            update.update_column("worth", DecimalType(8, 2))

    lake.commit({one: widen})
    publication = uuid.uuid4().hex
    schema = f"{BUILD}20260102t030405_{publication[:12]}_0"
    select(settings, f"CREATE SCHEMA {schema}")
    select(settings, f"CREATE VIEW {schema}.stg AS SELECT worth FROM {domain}.one")
    once = settings.model_copy(update={"runs": settings.runs.model_copy(update={"conflict_retries": 0})})
    with closing(connect(settings, f"marts {publication}")), pytest.raises(ConflictError, match=f"being built in {schema}"):
        publish(once, Contracts(one))
    publish(once, Contracts(one))
    assert select(settings, f"SELECT to_regnamespace('{schema}')") == [(None,)]
    assert agreed(settings, Contracts(one))


@POSTGRES
def test_a_key_that_others_point_to_is_exchanged_on_purpose(settings: Settings, lake: LakeTables, domain: str) -> None:
    told = [places(domain), trips(domain)]
    lake.commit({told[0]: [{"code": "a", "name": "A"}], told[1]: [{"number": 1, "place": "a"}]})
    publish(settings, Contracts(*told))
    assert {kind for _, kind, _ in constraints(settings, domain)} == {"p", "f"}

    def anew(table: Any) -> None:
        with table.update_schema(allow_incompatible_changes=True) as update:
            update.delete_column("code")
        with table.update_schema() as update:
            update.add_column("code", LongType())
        table.overwrite(pa.table({"name": ["A"], "code": [1]}))

    changed = Contracts(described("places", {"name": "string", "code": "bigint"}, domain, key=("code",)), told[1])
    lake.commit({told[0]: anew})
    publish(settings, changed, allow_breaking=[f"{told[0].dataset}.code"])
    assert rows(settings, told[0]) == [("A", 1)]
    assert agreed(settings, changed)
    lake.commit({told[1]: [{"number": 2, "place": "a"}]})
    lines: list[str] = []
    publish(settings, changed, report=lines.append)
    assert {(table.rpartition(".")[2], kind) for table, kind, _ in constraints(settings, domain)} == {
        ("trips", "p"),
        ("places", "p"),
    }
    assert any("not all of its comments and keys" in line for line in lines), "a text cannot point to a number"


NAMES = (
    "select", "order", "a b", 'say "hi"', "it's", "semi;colon", "dot.ted", "100%", "%s", "{x}", "back\\slash", "--", "straße",
    "GROSS", "ünïcode", "Ärger", "東京", "🛫", "a,b", "$1", "null",
)  # fmt: skip


@BOTH
def test_any_name_is_a_name(settings: Settings, lake: LakeTables, domain: str) -> None:
    emulated = settings.warehouse == "snowflake"
    names = [name for name in NAMES if not emulated or name not in ("it's", "straße")]  # at these the emulator fails by itself
    key = ('say "hi"', "semi;colon")
    table = described("select", dict.fromkeys(names, "string") | {"day ;": "date"}, domain, key=key)
    for count in (2, 3):
        lake.commit({table: [{name: f"{name} {n}" for name in names} for n in range(count)]})
        publish(settings, Contracts(table))
        assert agreed(settings, Contracts(table))
    assert set(columns(settings, table)) == {name.lower() for name in (*names, "day ;")}
    fold = str.upper if emulated else str.lower
    place = f'{database(settings)}.{domain}."{fold("select")}"'
    found = select(settings, fold(f'SELECT "say ""hi""", "semi;colon", "東京" FROM {place}'))
    assert sorted(found) == [(f'say "hi" {n}', f"semi;colon {n}", f"東京 {n}") for n in range(3)]
    if not emulated:
        assert not_null(settings, table) == set(key)
