"""A dbt project as its files say, without dbt: which gold its marts are made of, table by table, and who uses them.

A model that is a table is a mart; the others are on the way to one. What a model reads stands in its `ref` and `source`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from medallion.errors import UsageError

_REF = re.compile(r"""\bref\(\s*(?:['"][^'"]+['"]\s*,\s*)?['"]([^'"]+)['"]""")
_SOURCE = re.compile(r"""\bsource\(\s*['"]([^'"]+)['"]\s*,\s*['"]([^'"]+)['"]""")
_MATERIALIZED = re.compile(r"""\bconfig\([^)]*\bmaterialized\s*=\s*['"](\w+)['"]""")
_COMMENT = re.compile(r"\{#.*?#\}", re.DOTALL)
MARTS = "gold.marts"
"""What comes before a mart's name."""
EXPOSURE = "exposure:"
"""What comes before an exposure's name."""


@dataclass(frozen=True)
class Model:
    """One model: its SQL as it is written; which models and sources (`source.table`) it reads; its columns, if it says."""

    name: str
    sql: str
    mart: bool
    models: tuple[str, ...]
    sources: tuple[str, ...]
    columns: tuple[str, ...]


@dataclass(frozen=True)
class Exposure:
    """Who uses marts: `models` and `sources` as in `Model`."""

    name: str
    label: str
    kind: str
    models: tuple[str, ...]
    sources: tuple[str, ...]


@dataclass(frozen=True)
class Project:
    """Models and exposures by name; `sources`: `source.table` -> dataset; `macros` and `variables` as the files have them."""

    models: dict[str, Model] = field(default_factory=dict)
    exposures: dict[str, Exposure] = field(default_factory=dict)
    sources: dict[str, str] = field(default_factory=dict)
    macros: str = ""
    variables: dict[str, Any] = field(default_factory=dict)

    @cached_property
    def reads(self) -> dict[str, tuple[str, ...]]:
        """Mart or exposure, by its full name -> the datasets and marts that it is made of, sorted."""
        made = {mart(name): self._above(model) for name, model in sorted(self.models.items()) if model.mart}
        return made | {exposure(name): self._above(each) for name, each in sorted(self.exposures.items())}

    @cached_property
    def marts(self) -> dict[str, Model]:
        """The marts by their full names, each after those that it reads."""
        todo = {mart(name): model for name, model in sorted(self.models.items()) if model.mart}
        found: dict[str, Model] = {}
        while todo:
            ready = {name: model for name, model in todo.items() if not {*self.reads[name]} & {*todo}} or todo
            found |= ready
            todo = {name: model for name, model in todo.items() if name not in ready}
        return found

    def _above(self, node: Model | Exposure, within: tuple[str, ...] = ()) -> tuple[str, ...]:
        found = {self.sources[each] for each in node.sources if each in self.sources}
        for name in node.models:
            model = self.models.get(name)
            if model is None or name in within:  # dbt itself refuses both
                continue
            found |= {mart(name)} if model.mart else {*self._above(model, (*within, name))}
        return tuple(sorted(found))


def mart(name: str) -> str:
    """A mart's full name: `gold.marts.<name>`."""
    return f"{MARTS}.{name}"


def exposure(name: str) -> str:
    """An exposure's full name: `exposure:<name>`."""
    return f"{EXPOSURE}{name}"


def files(folder: Path) -> list[Path]:
    """All files that say what is made of what, sorted: none if there is no project."""
    if not (folder / "dbt_project.yml").is_file():
        return []
    found = [folder / "dbt_project.yml"]
    for kind in ("model-paths", "macro-paths"):
        for place in _yaml(found[0]).get(kind) or [kind.partition("-")[0] + "s"]:
            found += [path for end in ("*.sql", "*.yml", "*.yaml") for path in sorted((folder / place).rglob(end))]
    return found


def read(folder: Path) -> Project:
    """Read a project; an empty one if the folder holds none.

    Raises: UsageError naming a file that is no YAML.
    """
    found = files(folder)
    if not found:
        return Project()
    top = _yaml(found[0])
    under = [folder / place for place in top.get("model-paths") or ["models"]]
    said: dict[str, dict[str, Any]] = {}
    exposures: dict[str, Exposure] = {}
    sources: dict[str, str] = {}
    for path in found[1:]:
        if path.suffix == ".sql":
            continue
        document = _yaml(path)
        said |= {each["name"]: each for each in document.get("models") or ()}
        for each in document.get("exposures") or ():
            text = " ".join(map(str, each.get("depends_on") or ()))
            exposures[each["name"]] = Exposure(
                each["name"], each.get("label") or each["name"], each.get("type", ""), *_named(text)
            )
        for source in document.get("sources") or ():
            for table in source.get("tables") or ():
                dataset = {**table.get("meta", {}), **table.get("config", {}).get("meta", {})}.get("dataset")
                sources[f"{source['name']}.{table['name']}"] = dataset or f"gold.{source['name']}.{table['name']}"
    models = {}
    for path in found:
        place = next((each for each in under if path.suffix == ".sql" and path.is_relative_to(each)), None)
        if place is None:
            continue
        sql = path.read_text("utf-8")
        more = said.get(path.stem, {})
        kind = _MATERIALIZED.search(sql)
        kind_ = kind[1] if kind else (more.get("config") or {}).get("materialized") or _materialized(top, path.relative_to(place))
        columns = tuple(column["name"] for column in more.get("columns") or ())
        models[path.stem] = Model(path.stem, sql, kind_ in ("table", "incremental"), *_named(_COMMENT.sub("", sql)), columns)
    macros = [path for path in found if path.suffix == ".sql" and path.stem not in models]
    return Project(models, exposures, sources, "\n".join(path.read_text("utf-8") for path in macros), top.get("vars") or {})


def _named(text: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The models and the sources that a text refers to."""
    models, sources = dict.fromkeys(_REF.findall(text)), dict.fromkeys(f"{s}.{t}" for s, t in _SOURCE.findall(text))
    return tuple(models), tuple(sources)


def _materialized(top: Mapping[str, Any], path: Path) -> str:
    """How the project's own file has a model made: the innermost folder that says it counts."""
    found = "view"
    level: Any = (top.get("models") or {}).get(top.get("name"), {})
    for step in (*path.parent.parts, path.stem):
        found = _own(level, found)
        level = level.get(step) if isinstance(level, dict) else None
    return _own(level, found)


def _own(level: Any, before: str) -> str:
    return str(level.get("+materialized", level.get("materialized", before))) if isinstance(level, dict) else before


def _yaml(path: Path) -> dict[str, Any]:
    import yaml

    try:
        return dict(yaml.safe_load(path.read_text("utf-8")) or {})
    except (yaml.YAMLError, ValueError, TypeError) as error:
        raise UsageError(f"{path} is not what dbt reads: {str(error).splitlines()[0]}", hint="`dbt parse` says more") from error
