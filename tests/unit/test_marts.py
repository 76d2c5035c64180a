"""The marts' project and what stands around it: sources as the contracts say, targets, and what dbt's results mean."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from medallion import domain
from medallion.commands import marts as commands
from medallion.errors import GateRefused, SettingsError, UsageError
from medallion.marts import dbt, lineage, plain, sources, targets
from medallion.publish.ledger import Entry, MartState, TableState
from medallion.settings import ROOT, Settings, load

PROJECT = ROOT / "dbt"
EMULATED = Settings().model_copy(update={"snowflake": Settings().snowflake.model_copy(update={"host": "127.0.0.1", "port": 1})})


@pytest.fixture(autouse=True)
def _fresh() -> Any:
    load.cache_clear()
    yield
    load.cache_clear()


# ── the project ───────────────────────────────────────────────────────────────────────────────────
def test_the_sources_are_what_the_contracts_say() -> None:
    domains = domain.load(Settings())
    text = (PROJECT / sources.PLACE).read_text("utf-8")
    assert text == sources.text(domains), "run `medallion marts sources`"
    found = {(s["name"], t["name"]): t for s in yaml.safe_load(text)["sources"] for t in s["tables"]}
    tables = {table["config"]["meta"]["dataset"]: table for table in found.values()}
    assert set(tables) >= {name for name, contract in domains.contracts.items() if contract.published}
    assert not {name for name in tables if name.startswith("gold.")} - {n for n, c in domains.contracts.items() if c.published}
    assert found["silver_sales", "purchases"] == tables["silver.sales.purchases"], "beside gold.sales of the same name"
    month = tables["gold.sales.customer_month"]
    assert {column["name"]: column["data_type"] for column in month["columns"]} == {
        "customer_id": "string", "month": "date", "first_month": "date", "purchases": "bigint", "revenue_usd": "decimal(20,2)",
    }  # fmt: skip
    assert month["config"]["meta"]["made_of"] == ["silver.sales.purchases"]
    assert tables["silver.sales.purchases"]["config"]["meta"]["made_of"] == ["bronze.sales.purchases"], (
        "lineage goes back to bronze"
    )


def test_the_documentation_draws_what_gold_is_made_of(tmp_path: Path) -> None:
    told = {
        "source.m.d.one": {"dataset": "gold.d.one", "made_of": ["silver.d.one", "gold.d.hidden"]},
        "source.m.silver_d.one": {"dataset": "silver.d.one", "made_of": ["bronze.d.one"]},
        "source.m.bronze_d.one": {"dataset": "bronze.d.one", "made_of": []},
        "source.m.theirs.one": {},
    }
    manifest = {
        "sources": {key: {"meta": meta} for key, meta in told.items()},
        "parent_map": {key: [] for key in told} | {"model.m.mart": ["source.m.d.one"]},
        "child_map": {"source.m.d.one": ["model.m.mart"], "source.m.silver_d.one": []},
    }
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    (tmp_path / "catalog.json").write_text('{"nodes": "of the catalog"}')
    (tmp_path / "index.html").write_text('n={manifest:"MANIFEST.JSON INLINE DATA",catalog:"CATALOG.JSON INLINE DATA"}')
    for _ in range(2):
        lineage.draw(tmp_path)
        drawn = json.loads((tmp_path / "manifest.json").read_text())
        assert drawn["parent_map"] == {
            "model.m.mart": ["source.m.d.one"], "source.m.d.one": ["source.m.silver_d.one"],
            "source.m.silver_d.one": ["source.m.bronze_d.one"], "source.m.bronze_d.one": [], "source.m.theirs.one": [],
        }  # fmt: skip
        assert drawn["child_map"]["source.m.silver_d.one"] == ["source.m.d.one"]
        assert drawn["child_map"]["source.m.d.one"] == ["model.m.mart"]
    page = (tmp_path / lineage.PAGE).read_text()
    assert page == f'n={{manifest:{(tmp_path / "manifest.json").read_text()},catalog:{{"nodes": "of the catalog"}}}}'


def test_every_mart_has_an_exposure_a_description_of_each_column_and_its_hash() -> None:
    models: dict[str, dict[str, Any]] = {}
    for path in sorted((PROJECT / "models" / "marts").glob("*/*.yml")):
        models |= {model["name"]: model for model in yaml.safe_load(path.read_text("utf-8"))["models"]}
    assert {path.stem for path in (PROJECT / "models" / "marts").glob("*/*.sql")} == set(models)
    for name, model in models.items():
        assert all(column.get("description") and column.get("data_type") for column in model["columns"]), name
        assert model["columns"][-1]["name"] == "main_hash"
        assert any("not_null" in column.get("data_tests", ()) for column in model["columns"])
    exposures = yaml.safe_load((PROJECT / "models" / "marts" / "exposures.yml").read_text("utf-8"))["exposures"]
    named = {re.sub(r"ref\('(\w+)'\)", r"\1", each) for exposure in exposures for each in exposure["depends_on"]}
    assert named == set(models)


def test_nothing_comes_from_a_hub() -> None:
    assert not [path.name for path in PROJECT.iterdir() if path.name in ("packages.yml", "dependencies.yml")]


def test_the_command_writes_the_sources_and_tells_where_they_differ(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MEDALLION_HOME", str(tmp_path))
    monkeypatch.setenv("MEDALLION_MARTS__PROJECT", str(tmp_path))
    (tmp_path / "models").mkdir()
    with pytest.raises(UsageError, match=r"sources.yml is not as the contracts say") as refused:
        commands.sources(check=True)
    assert refused.value.hint == "`medallion marts sources` writes it"
    commands.sources()
    assert (tmp_path / sources.PLACE).read_text("utf-8") == (PROJECT / sources.PLACE).read_text("utf-8")
    commands.sources(check=True)
    assert capsys.readouterr().out.splitlines() == [
        f"{tmp_path / sources.PLACE}: {said}" for said in ("written", "as the contracts say")
    ]
    with pytest.raises(UsageError, match="there is no target 'oracle'"):
        commands._compare("spark", "oracle", False)


# ── targets ───────────────────────────────────────────────────────────────────────────────────────
def test_dbt_target_chooses_and_names_what_does_not_exist(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MEDALLION_HOME", str(tmp_path))
    assert load().marts.target == "postgres_local"
    for target in ("snowflake_dev", "spark"):
        monkeypatch.setenv("DBT_TARGET", target)
        load.cache_clear()
        assert load().marts.target == target
    monkeypatch.setenv("DBT_TARGET", "oracle")
    load.cache_clear()
    with pytest.raises(SettingsError, match=r"marts\.target: Input should be 'postgres_local', 'snowflake_dev'"):
        load()


def test_a_target_means_a_warehouse_and_what_dbt_is_told_of_it() -> None:
    assert targets.settings_of(EMULATED, "postgres_local").warehouse == "postgres"
    assert targets.settings_of(EMULATED, "snowflake_dev").warehouse == "snowflake"
    assert targets.variables(EMULATED, "postgres_local")["DBT_POSTGRES_DATABASE"] == "gold"
    emulated = targets.variables(EMULATED, "snowflake_dev")
    assert (emulated["DBT_SNOWFLAKE_HOST"], emulated["DBT_SNOWFLAKE_THREADS"]) == ("127.0.0.1", "1")
    assert "SNOWFLAKE_ROLE" not in emulated
    with pytest.raises(SettingsError, match="snowflake_prod needs a Snowflake account") as refused:
        targets.variables(EMULATED, "snowflake_prod")
    assert "SNOWFLAKE_ACCOUNT" in (refused.value.hint or "")
    account = Settings().snowflake.model_copy(update={"account": "org-real", "role": "TRANSFORMER", "password": None})
    real = targets.variables(Settings().model_copy(update={"snowflake": account}), "snowflake_prod")
    assert (real["SNOWFLAKE_ACCOUNT"], real["SNOWFLAKE_ROLE"]) == ("org-real", "TRANSFORMER")
    assert not {"SNOWFLAKE_PASSWORD", "DBT_SNOWFLAKE_HOST"} & set(real)


def test_plain_dbt_follows_its_own_option_before_the_settings() -> None:
    assert plain.chosen(EMULATED, ["build"]) == "postgres_local"
    assert plain.chosen(EMULATED, ["build", "--target", "snowflake_dev"]) == "snowflake_dev"
    assert plain.chosen(EMULATED, ["build", "-t", "spark"]) == "spark"
    assert plain.chosen(EMULATED, ["--target=spark", "run"]) == "spark"
    with pytest.raises(UsageError, match="there is no target 'oracle'"):
        plain.chosen(EMULATED, ["run", "--target", "oracle"])


# ── what dbt says ─────────────────────────────────────────────────────────────────────────────────
def result(unique_id: str, status: str, message: str = "") -> dict[str, Any]:
    return {"unique_id": unique_id, "status": status, "message": message}


def test_what_failed_is_named_and_what_was_left_out_because_of_it_is_not() -> None:
    sound = [result("model.medallion.copies", "success"), result("test.medallion.unique_copies_id.1a2b", "pass")]
    dbt._refuse(sound)
    failed = [result(f"test.medallion.within_{n}.1a2b", "fail", f"Got {n} results") for n in range(7)]
    with pytest.raises(GateRefused) as refused:
        dbt._refuse(sound + failed)
    lines = refused.value.message.splitlines()
    assert lines[0] == "7 of the marts' tests failed; the marts are as they were"
    assert (lines[1], lines[-1]) == ("  test within_0: Got 0 results", "  and 2 more")
    with pytest.raises(UsageError) as broken:
        dbt._refuse([*sound, result("model.medallion.counts", "error", "Database Error\n  division by zero"),
                     result("test.medallion.unique_counts.3c", "skipped")])  # fmt: skip
    assert broken.value.message.splitlines()[1:] == ["  model counts: Database Error division by zero"]


def test_a_mart_is_a_table_with_a_contract_in_types_that_every_warehouse_has() -> None:
    node = {
        "resource_type": "model", "name": "counts", "config": {"materialized": "table", "contract": {"enforced": True}},
        "columns": {"n": {"name": "n", "data_type": "bigint"}, "share": {"name": "share", "data_type": "numeric(18, 6)"}},
        "depends_on": {"nodes": ["model.m.stg"]},
    }  # fmt: skip
    view = {
        "resource_type": "model", "name": "stg", "config": {"materialized": "view"}, "depends_on": {"nodes": ["source.m.d.one"]},
    }  # fmt: skip
    manifest = {
        "nodes": {"model.m.counts": node, "model.m.stg": view},
        "sources": {"source.m.d.one": {"source_name": "d", "name": "one"}},
    }
    [mart] = dbt._marts(manifest)
    assert (mart.name, [column.type for column in mart.columns]) == ("counts", ["bigint", "decimal(18,6)"])
    assert mart.reads == {"gold.d.one"}, "also through a model that is no table"
    node["columns"]["share"]["data_type"] = "float"  # type: ignore[index]  # the texts in it are no mappings
    with pytest.raises(UsageError, match="column 'share' is declared as float, which is not the same in every warehouse"):
        dbt._marts(manifest)
    node["config"]["contract"]["enforced"] = False  # type: ignore[index]  # the texts in it are no mappings
    with pytest.raises(UsageError, match="model counts is a table without an enforced contract"):
        dbt._marts(manifest)


# ── the ledger ────────────────────────────────────────────────────────────────────────────────────
def test_an_entry_keeps_the_marts_and_one_of_before_there_were_any_is_read() -> None:
    table = TableState("c", 1, 0, "s3://x", 3, "ab", "h")
    mart = MartState(2, "cd", "h", {"n": "bigint"})
    entry = Entry(2, "p", "h", (), None, {"gold.d.one": table}, ("gold.marts.counts",), marts={"counts": mart})
    assert Entry.read(2, "p", "h", "[]", None, entry.details()) == entry  # type: ignore[arg-type]  # nobody asks when
    old = '{"tables": {}, "changed": []}'
    assert Entry.read(1, "p", "h", "[]", None, old).marts == {}  # type: ignore[arg-type]  # nobody asks when
