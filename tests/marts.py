"""Small marts for tests: a dbt project over two tables of a domain, and, where dbt adds nothing, marts made by SQL.

project = write_project(tmp_path, one, two)                       # models `copies` and `counts`
build(with_project(settings, project, "postgres_local"))
publish_marts(settings, by_sql(settings, version=1))              # marts `lefts` and `rights`, without dbt
"""

from __future__ import annotations

import shutil
from contextlib import closing
from pathlib import Path
from typing import Any

from medallion.contract import Contract
from medallion.domain import Domains
from medallion.marts import sources
from medallion.marts.targets import settings_of
from medallion.publish.columns import Column
from medallion.publish.ledger import Head
from medallion.publish.marts import Build, Columns
from medallion.settings import ROOT, MartTarget, Settings
from tests.warehouse import database, select, session

COLUMNS = (Column("id", "bigint"), Column("version", "bigint"))
_YAML = """
models:
  - name: copies
    columns:
      - {name: id, data_type: bigint, data_tests: [unique, not_null]}
      - {name: version, data_type: bigint, data_tests: [{within: {arguments: {least: 0, most: 99}}}]}
      - {name: main_hash, data_type: string}
  - name: counts
    columns:
      - {name: version, data_type: bigint}
      - {name: n, data_type: bigint}
      - {name: share, data_type: "numeric(18,6)"}
      - {name: main_hash, data_type: string}
"""


def write_project(folder: Path, one: Contract, two: Contract) -> Path:
    """A dbt project with the repository's settings and macros, and two marts of its own. A version above 99 in `one` breaks
    a test."""
    project = folder / "dbt"
    for part in ("macros", "tests/generic"):
        shutil.copytree(ROOT / "dbt" / part, project / part)
    for name in ("dbt_project.yml", "profiles.yml"):
        shutil.copy(ROOT / "dbt" / name, project / name)
    (project / "models" / "marts").mkdir(parents=True)
    (project / sources.PLACE).write_text(sources.text(Domains({c.dataset: c for c in (one, two)}, {})), "utf-8")
    of = [f"{{{{ source('{each.domain}', '{each.name}') }}}}" for each in (one, two)]
    _model(project, "copies", f"select cast(id as bigint) as id, cast(version as bigint) as version, @ from {of[0]}")
    counted = f"(select version, count(*) as n from {of[1]} group by version) as counted"
    share = "{{ rounded(share('1', 'n')) }}"
    _model(
        project,
        "counts",
        f"select cast(version as bigint) as version, cast(n as bigint) as n, {share} as share, @ from {counted}",
    )
    (project / "models" / "marts" / "marts.yml").write_text(_YAML, "utf-8")
    return project


def _model(project: Path, name: str, text: str) -> None:
    path = project / "models" / "marts" / f"{name}.sql"
    path.write_text(text.replace("@", "{{ main_hash() }} as main_hash"), "utf-8")


def poison(project: Path) -> None:
    """Let one model divide by zero, in every warehouse and only when it is run."""
    path = project / "models" / "marts" / "counts.sql"
    path.write_text(path.read_text("utf-8").replace("cast(n as bigint)", "cast(1 / (n - n) as bigint)"), "utf-8")


def with_project(settings: Settings, project: Path, target: MartTarget) -> Settings:
    """The settings with another dbt project, for a target."""
    marts = settings.marts.model_copy(update={"project": project})
    return settings_of(settings.model_copy(update={"marts": marts}), target)


def target_of(settings: Settings) -> MartTarget:
    """The target that is the settings' warehouse."""
    return "postgres_local" if settings.warehouse == "postgres" else "snowflake_dev"


# ── marts without dbt ─────────────────────────────────────────────────────────────────────────────
def by_sql(settings: Settings, version: int, rows: int = 20) -> Build:
    """Builds two marts whose rows all have this version, by SQL alone."""

    def into(head: Head, schema: str) -> Columns:
        place = f"{database(settings)}.{schema}"
        values = ", ".join(f"({number}, {version})" for number in range(rows))
        with closing(session(settings)) as building:
            building.execute(f"CREATE SCHEMA {schema if settings.warehouse == 'postgres' else place}")
            for mart in ("lefts", "rights"):
                building.execute(f"CREATE TABLE {place}.{mart} (id bigint, version bigint)")
                building.execute(f"INSERT INTO {place}.{mart} VALUES {values}")
        return {"lefts": COLUMNS, "rights": COLUMNS}

    return into


def shown(settings: Settings, mart: str, columns: str = "*") -> list[tuple[Any, ...]]:
    """What the warehouse shows of a mart, in order."""
    return sorted(select(settings, f"SELECT {columns} FROM {database(settings)}.marts.{mart}"), key=repr)


def versions(settings: Settings) -> set[tuple[int, ...]]:
    """The versions that the marts made by SQL show."""
    return {tuple(int(each) for each in row) for mart in ("lefts", "rights") for row in set(shown(settings, mart, "version"))}


def schemas_left(settings: Settings) -> list[str]:
    """Schemas that marts were built in and that are still there."""
    found = select(settings, f"SELECT schema_name FROM {database(settings)}.information_schema.schemata")
    return [name for (name,) in found if str(name).lower().startswith("marts_build_")]
