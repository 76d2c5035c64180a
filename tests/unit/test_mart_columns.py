"""What a dbt project says without dbt: marts, exposures, and which columns the marts' columns are made of."""

from __future__ import annotations

from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from medallion import domain
from medallion.domain import Domains
from medallion.errors import UsageError
from medallion.lineage import dbt_models, mart_columns
from medallion.lineage.beyond import Kind, OfColumns, Place, down, find, up
from medallion.lineage.edges import Edge, fingerprint, published, rows
from medallion.settings import ROOT, Settings
from tests.lake_tables import gold

SCHEMAS = {"gold.operations.left": ["k", "a", "b"], "gold.operations.right": ["k", "c"]}
STAGED = "select k, upper(c) as c from {{ source('operations', 'right') }}"
QUERIES = {
    "with t as (select *, a + 1 as x from {{ source('operations', 'left') }}) select k, x, 1 as never from t where b > 0": (
        {"k": "left.k", "x": "left.a", "never": ""}, "left.b", {"k"},
    ),
    "select l.k, r.c from {{ source('operations', 'left') }} as l left join {{ ref('staged') }} as r on l.k = r.k": (
        {"k": "left.k", "c": "right.c"}, "left.k right.k", {"k"},
    ),
    "select k, a as v from {{ source('operations', 'left') }} union all select k, c from {{ source('operations', 'right') }}": (
        {"k": "left.k right.k", "v": "left.a right.c"}, "", set(),
    ),
    "select k from {{ source('operations', 'left') }} except select k from {{ source('operations', 'right') }}": (
        {"k": "left.k right.k"}, "left.k right.k", set(),
    ),
    "select k, sum({{ twice('a') }}) as t, count(*) as n from {{ source('operations', 'left') }} group by k": (
        {"k": "left.k", "t": "left.a", "n": ""}, "left.k", {"k"},
    ),
    "select k, row_number() over (partition by k order by b) as n from {{ source('operations', 'left') }} order by n": (
        {"k": "left.k", "n": "left.k left.b"}, "left.k left.b", {"k"},
    ),
    "select k, (select max(c) from {{ ref('staged') }} as r where r.k = l.k) as m from {{ source('operations', 'left') }} as l": (
        {"k": "left.k", "m": "right.c right.k left.k"}, "right.k left.k", {"k"},
    ),
    "select k from {{ ref('other') }}": ({"k": "marts.other.k"}, "", {"k"}),
}  # fmt: skip
"""SQL of a mart -> of each column what it is made of, what decides which rows there are, and which are a column as it is."""


def project(folder: Path, sql: str) -> dbt_models.Project:
    models = folder / "models"
    (models / "marts").mkdir(parents=True)
    (folder / "macros").mkdir()
    top = "name: p\nvars: {v: 1}\nmodels: {p: {+materialized: view, marts: {+materialized: table}}}\n"
    (folder / "dbt_project.yml").write_text(top, "utf-8")
    (folder / "macros" / "m.sql").write_text("{% macro twice(x) %}2 * {{ x }} * {{ var('v') }}{% endmacro %}", "utf-8")
    sources = "sources: [{name: operations, tables: [{name: left}, {name: right}]}]\n"
    exposures = "exposures: [{name: people, depends_on: [ref('mart')]}, {name: others, depends_on: [ref('staged')]}]\n"
    (models / "s.yml").write_text(sources + exposures + "models: [{name: other, columns: [{name: k}]}]\n", "utf-8")
    (models / "staged.sql").write_text(STAGED, "utf-8")
    (models / "marts" / "other.sql").write_text("{# ref('nothing') #} select k from {{ source('operations', 'left') }}", "utf-8")
    (models / "marts" / "mart.sql").write_text(sql, "utf-8")
    return dbt_models.read(folder)


def short(sources: frozenset[tuple[str, str]]) -> set[str]:
    return {f"{dataset}.{column}".removeprefix("gold.").removeprefix("operations.") for dataset, column in sources}


@pytest.mark.parametrize("sql", QUERIES)
def test_what_the_columns_of_a_mart_are_made_of(tmp_path: Path, sql: str) -> None:
    direct, conditions, same = QUERIES[sql]
    found = mart_columns.of_marts(project(tmp_path, sql), SCHEMAS)["gold.marts.mart"]
    assert {name: short(sources) for name, sources in found.direct.items()} == {
        name: {*of.split()} for name, of in direct.items()
    }
    assert short(found.conditions) == {*conditions.split()}
    assert found.same == same


def test_where_the_sql_cannot_be_followed_the_tables_are_known(tmp_path: Path) -> None:
    models = project(tmp_path, "select {{ dbt_utils.star(ref('staged')) }} from {{ ref('staged') }}")
    assert {*mart_columns.of_marts(models, SCHEMAS)} == {"gold.marts.other"}
    assert models.reads == {
        "gold.marts.mart": ("gold.operations.right",), "gold.marts.other": ("gold.operations.left",),
        "exposure:others": ("gold.operations.right",), "exposure:people": ("gold.marts.mart",),
    }  # fmt: skip
    left, right = gold("left", dict.fromkeys("kab", "int")), gold("right", {"k": "int", "c": "string"})
    domains = Domains({left.dataset: left, right.dataset: right}, {})
    told = OfColumns(domains, models, _no_session).down(find(domains, models, right.dataset), "c")
    assert [of for of, _ in told] == [
        ("warehouse:gold.operations.right", "c"), ("gold.marts.mart", "*"), ("exposure:others", ""), ("exposure:people", ""),
    ]  # fmt: skip


def _no_session() -> SparkSession:
    raise AssertionError("no transform is to be read")


def test_no_project_and_one_that_is_no_yaml(tmp_path: Path) -> None:
    assert dbt_models.read(tmp_path) == dbt_models.Project()
    (tmp_path / "dbt_project.yml").write_text("name: [", "utf-8")
    with pytest.raises(UsageError, match=r"dbt_project\.yml is not what dbt reads"):
        dbt_models.read(tmp_path)


# ── the marts that come with medallion, followed by hand ──────────────────────────────────────────
FACT, AIRLINES = "gold.operations.fact_flight", "gold.operations.dim_airline"


def test_the_league_table_as_a_person_reads_it() -> None:
    """airline_league.sql with stg_flights.sql and stg_airlines.sql: `on_time` sums `is_on_time`, which looks at arr_delay_min
    alone, and `arrived` sums `has_arrived`, which does too; `cancelled` looks at the status; groups are airline_key's."""
    domains, models = domain.load(Settings()), dbt_models.read(ROOT / "dbt")
    found = mart_columns.of_marts(models, published(domains))
    assert {*found} == {*models.marts}, "every mart's SQL can be followed"
    league = found["gold.marts.airline_league"]
    assert league.direct == {
        "place": {(FACT, "arr_delay_min")}, "airline_key": {(FACT, "airline_key")}, "airline": {(AIRLINES, "name")},
        "flights": set(), "cancelled_share": {(FACT, "status")}, "on_time_share": {(FACT, "arr_delay_min")},
        "mean_arr_delay_min": {(FACT, "arr_delay_min")}, "main_hash": set(),
    }  # fmt: skip
    assert league.conditions == {(FACT, "airline_key"), (AIRLINES, "airline_key"), (FACT, "arr_delay_min")}
    for name, made in found.items():
        nothing = {column for column, sources in made.direct.items() if not sources}
        assert nothing <= {"main_hash", "flights", "customers", "cohort_customers", "active_customers", "retention_share"}, name


def test_names_beyond_gold_and_what_is_there() -> None:
    domains, models = domain.load(Settings()), dbt_models.read(ROOT / "dbt")
    cases: tuple[tuple[str, Kind, str], ...] = (
        (FACT, "dataset", FACT), (f"warehouse:{FACT}", "warehouse", f"warehouse:{FACT}"),
        ("operations.fact_flight", "warehouse", f"warehouse:{FACT}"), ("airline_league", "mart", "gold.marts.airline_league"),
        ("marts.airline_league", "mart", "gold.marts.airline_league"), ("punctuality", "exposure", "exposure:punctuality"),
    )  # fmt: skip
    for text, kind, name in cases:
        assert find(domains, models, text) == Place(kind, name)
    with pytest.raises(UsageError, match="no dataset, table, mart or exposure 'airline_leage'") as refused:
        find(domains, models, "airline_leage")
    assert "airline_league" in str(refused.value.hint)
    made_of = {
        node.dataset: [name for name, _ in node.made_of]
        for node in up(domains, models, Place("exposure", "exposure:punctuality"))
    }
    assert made_of == {
        "exposure:punctuality": ["gold.marts.airline_league", "gold.marts.airline_seasonality"],
        "gold.marts.airline_league": [AIRLINES, FACT], "gold.marts.airline_seasonality": [FACT],
    }  # fmt: skip
    below = dict(down(domains, models, Place("dataset", "silver.operations.airlines")))
    assert below["gold.marts.airline_league"] == (AIRLINES, FACT)
    assert below[f"warehouse:{AIRLINES}"] == (AIRLINES,)
    assert below["exposure:punctuality"] == ("gold.marts.airline_league", "gold.marts.airline_seasonality")
    of = OfColumns(domains, models, _no_session)
    with pytest.raises(UsageError, match="exposure:punctuality has no columns"):
        of.up(Place("exposure", "exposure:punctuality"), "place")
    with pytest.raises(UsageError, match=r"gold\.marts\.airline_league has no column 'places'"):
        of.up(Place("mart", "gold.marts.airline_league"), "places")


def test_edges_from_landing_to_exposures() -> None:
    domains, models = domain.load(Settings()), dbt_models.read(ROOT / "dbt")
    found = rows(domains, {}, models, mart_columns.of_marts(models, published(domains)))
    assert len({(e.source_kind, e.source, e.source_column, e.target_kind, e.target, e.target_column) for e in found}) == len(
        found
    )
    flights = "s3://bronze-raw-data/domain=operations/flights/year={year}/month={month}/day={day}/"
    silver, league = "silver.operations.flights", "gold.marts.airline_league"
    assert {
        Edge("landing", flights, "", "dataset", "bronze.operations.flights", "", "read"),
        Edge("landing", flights, "arr_delay", "dataset", "bronze.operations.flights", "arr_delay", "copied"),
        Edge("dataset", "bronze.operations.flights", "", "dataset", silver, "", "read"),
        Edge("dataset", FACT, "", "warehouse", FACT, "", "copied"),
        Edge("dataset", FACT, "status", "warehouse", FACT, "status", "copied"),
        Edge("dataset", FACT, "", "mart", league, "", "read"),
        Edge("dataset", FACT, "arr_delay_min", "mart", league, "on_time_share", "expression"),
        Edge("dataset", AIRLINES, "name", "mart", league, "airline", "identity"),
        Edge("dataset", FACT, "airline_key", "mart", league, "", "condition"),
        Edge("mart", league, "", "exposure", "punctuality", "", "read"),
    } <= {*found}
    reached, ends = {flights}, {e.target for e in found if e.target_kind == "exposure"}
    for _ in range(8):
        reached |= {edge.target for edge in found if edge.source in reached}
    assert reached & ends == {"punctuality"}


def test_the_fingerprint_is_of_contracts_code_and_the_dbt_project(tmp_path: Path) -> None:
    one, two = gold("one", {"k": "int"}), gold("one", {"k": "int"}, fingerprint="changed")
    project(tmp_path, "select 1 as k")
    before = fingerprint(Domains({one.dataset: one}, {}), tmp_path)
    assert before == fingerprint(Domains({one.dataset: one}, {}), tmp_path)
    assert before != fingerprint(Domains({two.dataset: two}, {}), tmp_path)
    (tmp_path / "models" / "marts" / "mart.sql").write_text("select 2 as k", "utf-8")
    assert before != fingerprint(Domains({one.dataset: one}, {}), tmp_path)
