"""`medallion sql`: one read-only query over lake or warehouse."""

from __future__ import annotations

import json
import socket
import uuid
from contextlib import closing
from datetime import UTC, date, datetime
from pathlib import Path

import pyarrow as pa
import pytest
from pyiceberg.table import Table
from pyiceberg.types import StringType

from medallion import query
from medallion.contract import Layout, PartitionBy
from medallion.errors import ServiceUnavailable, UsageError
from medallion.lakehouse.nessie import MAIN, Reference
from medallion.publish.publication import publish
from medallion.settings import Settings
from tests.lake_tables import Contracts, LakeTables, gold
from tests.opened_files import opening
from tests.warehouse import rows

pytest_plugins = ["tests.warehouse"]

COLUMNS = {"kind": "string", "id": "bigint", "name": "string", "unused": "string"}
"""The first is the same in all rows: an answer from it alone shows."""


def test_the_lake_answers_on_a_branch_and_at_a_commit(settings: Settings, lake: LakeTables, domain: str) -> None:
    one, two = gold("one", COLUMNS, domain=domain), gold("two", COLUMNS, domain=domain, layer="silver")
    old = lake.commit({one: [{"id": 1, "name": "old"}], two: [{"id": 1, "name": "right"}, {"id": 9, "name": "no"}]})
    lake.nessie.create_branch(f"run/{domain}", Reference(MAIN, old))
    lake.commit({one: [{"id": 1, "name": "branch"}]}, branch=f"run/{domain}")
    lake.commit({one: [{"id": 1, "name": "main"}]})
    sql = f"""WITH picked AS (SELECT * FROM gold.{domain}.one)
        SELECT p.name AS name, s.name AS other FROM picked p JOIN silver.{domain}.TWO s USING (id)"""
    answers = {at: query.lake(settings, sql, at=at).to_pylist() for at in (MAIN, f"run/{domain}", old)}
    assert answers == {
        MAIN: [{"name": "main", "other": "right"}],
        f"run/{domain}": [{"name": "branch", "other": "right"}],
        old: [{"name": "old", "other": "right"}],
    }


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("SELECT count(*) AS n FROM {t}", [{"n": 2}]),
        ("SELECT * FROM {t} ORDER BY ID DESC LIMIT 1", [{"kind": None, "id": 2, "name": "b", "unused": "y"}]),
        ("SELECT name FROM {t} WHERE unused = 'x'", [{"name": "a"}]),
        ("SELECT a.id FROM {t} a NATURAL JOIN (SELECT 1 AS id) b", [{"id": 1}]),
        ("SELECT max(name) AS m FROM {t} GROUP BY unused ORDER BY max(id)", [{"m": "a"}, {"m": "b"}]),
        ("SELECT columns('na.*') FROM {t} WHERE id = (SELECT min(id) FROM {t})", [{"name": "a"}]),
        ("FROM {t} SELECT unused ORDER BY 1;", [{"unused": "x"}, {"unused": "y"}]),
        ("SELECT 1 AS one", [{"one": 1}]),
        ("SELECT count(DISTINCT r) AS n FROM {t} r", [{"n": 2}]),
        ("SELECT r FROM {t} r WHERE name = 'b'", [{"r": {"kind": None, "id": 2, "name": "b", "unused": "y"}}]),
        ("SELECT one FROM {t} WHERE id = 2", [{"one": {"kind": None, "id": 2, "name": "b", "unused": "y"}}]),
        ("SELECT R.unused FROM {t} r WHERE (r).name = 'b'", [{"unused": "y"}]),
        ("SELECT to_json({t})::VARCHAR AS j FROM {t} WHERE id = 2", [{"j": '{"kind":null,"id":2,"name":"b","unused":"y"}'}]),
        ("SELECT c FROM {t} r(a, b, c) ORDER BY b DESC LIMIT 1", [{"c": "b"}]),
        ("SELECT #3 AS third FROM {t} WHERE unused = 'y'", [{"third": "b"}]),
        ("SELECT count(*) AS n FROM {t} PIVOT (max(id) FOR name IN ('a', 'b'))", [{"n": 2}]),
    ],
)
def test_only_the_named_columns_are_read_and_none_is_missing(
    settings: Settings, lake: LakeTables, domain: str, sql: str, expected: list[dict[str, object]]
) -> None:
    one = gold("one", COLUMNS, domain=domain)
    lake.commit({one: [{"id": 1, "name": "a", "unused": "x"}, {"id": 2, "name": "b", "unused": "y"}]})
    assert query.lake(settings, sql.format(t=f"gold.{domain}.one")).to_pylist() == expected


@pytest.fixture(scope="module")
def days(stack: Settings) -> str:
    """A table of four days, each in a file of its own; the last has a column that the others lack."""
    domain = f"d{uuid.uuid4().hex[:10]}"
    columns = {"day": "date", "id": "bigint", "name": "string"}
    one = gold("one", columns, domain=domain, layout=Layout(partitioned_by=(PartitionBy("day"),)))
    rows = [(5, 11, "x"), (5, 12, "y"), (6, 21, "x"), (6, 22, "y"), (7, 31, "x"), (7, 32, None)]

    def one_more(table: Table) -> None:
        with table.update_schema() as change:
            change.add_column("late", StringType())
        table.append(pa.table({"day": [date(2013, 1, 8)], "id": [40], "name": ["x"], "late": ["since"]}))

    with closing(LakeTables(stack)) as lake:
        lake.commit({one: [{"day": date(2013, 1, day), "id": id_, "name": name} for day, id_, name in rows]})
        lake.commit({one: one_more})
    return one.dataset


@pytest.mark.parametrize(
    ("sql", "files", "answer"),
    [
        ("SELECT sum(id) FROM {t} WHERE day = '2013-01-05'", 1, 23),
        ("SELECT sum(R.id) FROM {t} r WHERE r.day >= DATE '2013-01-06' AND lower(r.name) = 'x'", 3, 21 + 31 + 40),
        ("SELECT sum(id) FROM {t} WHERE DAY BETWEEN '2013-01-05' AND '2013-01-06' AND name = 'y'", 2, 12 + 22),
        ("SELECT sum(id) FROM {t} WHERE 30 < id", 2, 31 + 32 + 40),
        ("SELECT sum(id) FROM {t} WHERE id IN (12, 21)", 2, 33),
        ("SELECT count(*) FROM {t} WHERE day = '2012-12-31'", 0, 0),
        ("SELECT sum(id) FROM {t} WHERE late = 'since'", 4, 40),
        ("SELECT sum(id) FROM {t} WHERE day = '2013-01-05' OR id = 31", 4, 23 + 31),
        ("SELECT sum(id) FROM {t} WHERE NOT day = '2013-01-05' AND name IS NOT NULL", 4, 21 + 22 + 31 + 40),
        ("SELECT max(id) FROM {t} WHERE day = '2013-01-05' AND id < (SELECT avg(id) - 12.5 FROM {t})", 4, 11),
        ("SELECT count(*) FROM {t} a, {t} b WHERE a.day = '2013-01-05' AND b.id = 31", 4, 2),
        ("WITH r AS (SELECT * FROM {t} WHERE day = '2013-01-05') SELECT sum(id) FROM r", 4, 23),
    ],
)
def test_only_the_files_that_may_hold_an_answer_are_opened(
    settings: Settings, days: str, monkeypatch: pytest.MonkeyPatch, sql: str, files: int, answer: int
) -> None:
    found, opened = opening(monkeypatch, lambda: query.lake(settings, sql.format(t=days)).to_pylist())
    assert ([*found[0].values()], opened) == ([answer], files)


@pytest.mark.parametrize(
    ("sql", "says"),
    [
        ("SELECT * FROM gold.{d}.onne", "gold.{d}.one"),
        ("SELECT * FROM one", "layer.domain.name"),
        ("SELECT nope FROM gold.{d}.one", "nope"),
        ("DELETE FROM gold.{d}.one", "DELETE"),
        ("SELECT 1; SELECT 2", "2 statements"),
        ("", "0 statements"),
        ("SELEC 1", "SELEC"),
        ("SELECT * FROM read_text('{file}')", "disabled"),
        ("SELECT * FROM '{file}'", "there is no table"),
        ("COPY (SELECT 1) TO '{file}.csv'", "COPY"),
        ("SET enable_external_access = true", "SET"),
    ],
)
def test_anything_but_one_query_of_known_tables_is_refused(
    settings: Settings, lake: LakeTables, domain: str, tmp_path: Path, sql: str, says: str
) -> None:
    lake.commit({gold("one", COLUMNS, domain=domain): []})
    file = tmp_path / "secret.txt"
    file.write_text("secret")
    with pytest.raises(UsageError) as refused:
        query.lake(settings, sql.format(d=domain, file=file))
    assert says.format(d=domain) in str(refused.value)
    assert refused.value.hint
    assert list(tmp_path.iterdir()) == [file]


def test_an_unknown_branch_is_named(settings: Settings, lake: LakeTables, domain: str) -> None:
    lake.commit({gold("one", COLUMNS, domain=domain): []})
    for at in ("no-such-branch", "0123456789abcdef" * 4):
        with pytest.raises(UsageError, match=at):
            query.lake(settings, f"SELECT * FROM gold.{domain}.one", at=at)


def test_the_warehouse_answers_and_stays_as_it_is(settings: Settings, lake: LakeTables, domain: str) -> None:
    one = gold("one", COLUMNS, domain=domain)
    lake.commit({one: [{"id": 1, "name": "a"}, {"id": 2, "name": None}]})
    publish(settings, Contracts(one))
    table = f"{settings.snowflake.database}.{domain}.one"
    answer = query.warehouse(settings, f"SELECT id, name FROM {table} ORDER BY id;")
    assert json.loads(query.to_json(answer)) == [{"id": 1, "name": "a"}, {"id": 2, "name": None}]
    assert query.warehouse(settings, f"SELECT id FROM {table} WHERE 1 = 0").num_rows == 0
    assert "ID" in query.to_json(query.warehouse(settings, f"DESCRIBE TABLE {table}"))
    before = rows(settings, one)
    for sql in (f"DELETE FROM {table}", f"SELECT 1; DELETE FROM {table}", f"DROP TABLE {table}", "COMMIT"):
        with pytest.raises(UsageError):
            query.warehouse(settings, sql)
    query.warehouse(settings, f"WITH x AS (SELECT 1) DELETE FROM {table}")  # only the emulator takes this
    assert rows(settings, one) == before
    with pytest.raises(UsageError, match="NOPE"):
        query.warehouse(settings, "SELECT nope FROM nope.nope.nope")


def test_a_missing_time_stays_missing_in_the_warehouse(settings: Settings, lake: LakeTables, domain: str) -> None:
    flown = gold("flown", {"id": "bigint", "at": "timestamp", "local_at": "timestamp_ntz"}, domain=domain)
    moment = datetime(1969, 7, 20, 20, 17, 40, 250_000)
    lake.commit(
        {flown: [{"id": 1, "at": moment.replace(tzinfo=UTC), "local_at": moment}, {"id": 2, "at": None, "local_at": None}]}
    )
    publish(settings, Contracts(flown))
    answer = query.warehouse(settings, f"SELECT * FROM {settings.snowflake.database}.{domain}.flown ORDER BY id").to_pylist()
    assert [(row["at"], row["local_at"]) for row in answer] == [(moment.replace(tzinfo=UTC), moment), (None, None)]


def test_a_service_that_is_down_is_named(settings: Settings, domain: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    nessie = settings.nessie.model_copy(update={"uri": f"http://127.0.0.1:{port}"})
    with pytest.raises(ServiceUnavailable, match=str(port)) as down:
        query.lake(settings.model_copy(update={"nessie": nessie}), f"SELECT * FROM gold.{domain}.one")
    assert (down.value.exit_code, "medallion up" in (down.value.hint or "")) == (5, True)
