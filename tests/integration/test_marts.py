"""Marts that dbt builds in a warehouse: all of them with the ledger, or none; what people hang on to them stays."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest
from pydantic import SecretStr

from medallion.commands import dbt as command
from medallion.domain import Domains
from medallion.errors import GateRefused, MedallionError, ServiceUnavailable, UsageError
from medallion.lake import Lake
from medallion.marts import plain
from medallion.marts.build import build
from medallion.publish.publication import history, publish
from medallion.settings import MartTarget, Settings, Snowflake
from tests.lake_tables import Contracts, LakeTables, gold
from tests.marts import poison, schemas_left, shown, target_of, with_project, write_project
from tests.warehouse import BOTH, POSTGRES, database, rows, select

pytest_plugins = ["tests.warehouse"]

COLUMNS = {"id": "bigint", "version": "bigint"}
MARTS = ("copies", "counts")
BUILD = ["build"]


def version(of: int, count: int = 4) -> list[dict[str, int]]:
    return [{"id": number, "version": of} for number in range(count)]


@BOTH
def test_marts_are_built_tested_and_published_or_stay_as_they_were(
    settings: Settings, lake: LakeTables, domain: str, tmp_path: Path
) -> None:
    one, two = gold("one", COLUMNS, domain=domain), gold("two", COLUMNS, domain=domain)
    project = write_project(tmp_path, one, two)
    mine = with_project(settings, project, target_of(settings))
    with pytest.raises(UsageError, match="no gold is published") as nothing:
        build(mine)
    assert nothing.value.hint == "`medallion publish`, with the same warehouse"

    at = lake.commit({one: version(1), two: version(1, 3)})
    publish(settings, Contracts(one, two))
    lines: list[str] = []
    first = build(mine, lines.append)
    assert (first.outcome, first.sequence, first.hash) == ("published", 2, at)
    assert "2 models built, 3 tests passed" in lines
    assert [tuple(map(str, row)) for row in shown(settings, "copies")] == [(str(n), "1", at) for n in range(4)]
    assert [tuple(map(str, row)) for row in shown(settings, "counts")] == [("1", "3", "0.333333", at)]
    assert {mart: (state.rows, state.hash) for mart, state in first.marts.items()} == {"copies": (4, at), "counts": (1, at)}
    assert schemas_left(settings) == []

    # gold goes on, and the ledger keeps what it says of the marts
    then = lake.commit({one: version(100), two: version(2)})
    assert publish(settings, Contracts(one, two)).sequence == 3
    [entry] = history(settings, 1)
    assert (entry.hash, entry.marts) == (then, first.marts)

    before = [shown(settings, mart) for mart in MARTS]
    with pytest.raises(GateRefused, match=r"1 of the marts' tests failed; the marts are as they were\n  test within_copies"):
        build(mine)
    poison(project)
    with pytest.raises(UsageError, match=r"1 models cannot be built; the marts are as they were\n  model counts: .*(zero|INT)"):
        build(mine)
    assert [shown(settings, mart) for mart in MARTS] == before
    assert history(settings, 1) == [entry]
    assert schemas_left(settings) == []


@POSTGRES
def test_grants_views_and_tables_stay_and_the_same_again_changes_nothing(
    settings: Settings, lake: LakeTables, domain: str, tmp_path: Path
) -> None:
    one, two = gold("one", COLUMNS, domain=domain), gold("two", COLUMNS, domain=domain)
    mine = with_project(settings, write_project(tmp_path, one, two), "postgres_local")
    lake.commit({one: version(1), two: version(1)})
    publish(settings, Contracts(one, two))
    build(mine)
    role, place = f"reader_{domain}", f"{database(settings)}.marts"
    select(settings, f"CREATE ROLE {role}")
    select(settings, f"GRANT SELECT ON {place}.copies TO {role}")
    select(settings, f"CREATE VIEW {place}.newest AS SELECT max(version) AS version FROM {place}.copies")
    [(oid,)] = select(settings, "SELECT 'marts.copies'::regclass::oid")
    try:
        before = history(settings)
        assert build(mine).outcome == "already"
        assert history(settings) == before

        lake.commit({one: version(2, 5)})
        publish(settings, Contracts(one, two))
        assert build(mine).outcome == "published"
        assert select(settings, f"SELECT version FROM {place}.newest") == [(2,)]
        assert select(settings, "SELECT 'marts.copies'::regclass::oid") == [(oid,)]
        assert select(settings, f"SELECT has_table_privilege('{role}', 'marts.copies', 'SELECT')") == [(True,)]
    finally:
        select(settings, f"DROP OWNED BY {role}")
        select(settings, f"DROP ROLE {role}")


@POSTGRES
def test_a_project_that_cannot_be_read_is_told_as_dbt_tells_it(
    settings: Settings, lake: LakeTables, domain: str, tmp_path: Path
) -> None:
    one, two = gold("one", COLUMNS, domain=domain), gold("two", COLUMNS, domain=domain)
    mine = with_project(settings, write_project(tmp_path, one, two), "postgres_local")
    lake.commit({one: version(1), two: version(1)})
    publish(settings, Contracts(one, two))
    contract = mine.marts.project / "models" / "marts" / "marts.yml"
    sound = contract.read_text("utf-8")
    for damage, error, said in (
        ("models: [", MedallionError, "dbt could not begin; the marts are as they were:\n(.*\n)*.*marts.yml"),
        (sound.replace("data_type: bigint}", "data_type: int}"), UsageError, "model counts: .*enforced contract that failed"),
    ):
        contract.write_text(damage, "utf-8")
        with pytest.raises(error, match=said):
            build(mine)
    with pytest.raises(UsageError, match="is no dbt project"):
        build(with_project(settings, tmp_path, "postgres_local"))
    assert (schemas_left(settings), len(history(settings))) == ([], 1)


@BOTH
def test_plain_dbt_finds_gold_in_a_warehouse_that_never_showed_any(settings: Settings, lake: LakeTables, domain: str) -> None:
    one, target, lines = gold("one", COLUMNS, domain=domain), target_of(settings), list[str]()
    at = lake.commit({one: version(1)})
    with Lake(settings, Domains({one.dataset: one}, {})) as opened:
        assert plain.lacks_gold(settings, target, BUILD)
        command.show_gold(opened, target, lines.append)
    assert not plain.lacks_gold(settings, target, BUILD)
    assert lines[0] == f"{target} shows no gold yet: publishing it, as it is on main"
    assert [entry.hash for entry in history(settings)] == [at]
    assert len(rows(settings, one)) == 4
    assert not plain.lacks_gold(settings, "spark", BUILD), "which is no warehouse"


def test_plain_dbt_does_not_ask_what_others_keep() -> None:
    """Nobody answers at these addresses: whoever asked would hear that."""
    account = Snowflake(account="theirs", user="someone", password=SecretStr("-"))
    theirs = Settings().warehouse_postgres.model_copy(update={"host": "127.0.0.1", "port": 1})
    settings = Settings().model_copy(update={"snowflake": account, "warehouse_postgres": theirs})
    for target in get_args(MartTarget):
        assert not plain.lacks_gold(settings, target, BUILD)
    mine = settings.model_copy(update={"postgres": theirs})
    with pytest.raises(ServiceUnavailable):
        plain.lacks_gold(mine, "postgres_local", BUILD)
    for words in (["ls", "--resource-type", "test"], ["run", "--help"], ["docs", "serve"], ["compile", "--select", "source"]):
        assert not plain.lacks_gold(mine, "postgres_local", words)


@POSTGRES
def test_plain_dbt_asks_for_gold_before_it_runs_models_and_not_before_it_lists_them(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    became: list[list[str]] = []
    monkeypatch.setattr(command, "load", lambda: settings)
    monkeypatch.setattr(command.os, "execve", lambda program, words, environment: became.append(list(words)))
    for words in (["list"], ["build"]):
        monkeypatch.setattr("sys.argv", ["dbt", *words])
        command.main()
    assert [words[-1] for words in became] == ["list", "build"]
    told = capsys.readouterr().err
    assert told.count("postgres_local shows no gold yet") == 1, told
