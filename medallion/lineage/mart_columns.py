"""Which columns a mart's columns are made of: read from its model's SQL, with its macros written out, by sqlglot.

jinja2 and sqlglot are not of medallion's own packages: they come with the extras `dashboards` and `embedded`. Without them, and
for a model that uses more of dbt than references, variables and its own macros, the tables are known, and not the columns.
What decides which rows there are is told apart, as in `columns.py`.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, cast

from medallion.lineage.columns import Columns, Source
from medallion.lineage.dbt_models import Project, mart

if TYPE_CHECKING:
    from sqlglot import exp
    from sqlglot.optimizer.scope import Scope

log = logging.getLogger(__name__)

_DIALECT = "postgres"
_DECIDING = ("where", "group", "having", "qualify", "order", "distinct")


def of_marts(project: Project, schemas: Mapping[str, Iterable[str]]) -> dict[str, Columns]:
    """What the columns of each mart are made of.

    Args:
        schemas: dataset -> its columns, of what is published.
    Returns: full name of each mart whose SQL can be followed -> its columns; sources are datasets, and marts that it reads.
    """
    if not (find_spec("jinja2") and find_spec("sqlglot")):
        log.warning("jinja2 or sqlglot is not installed: the columns of the marts are not known")
        return {}
    found = {}
    for name, model in project.marts.items():
        try:
            found[name] = _Models(project, schemas).columns(model.name)
        except Exception:  # another's SQL, with whatever its dialect and dbt know
            log.warning("the columns of %s are not known", name, exc_info=True)
    return found


class _Models:
    """The models of a project as SQL, each with what it reads within it."""

    def __init__(self, project: Project, schemas: Mapping[str, Iterable[str]]) -> None:
        self._project = project
        self._tables: list[str] = []  # by number, as names of datasets have dots
        self._schemas = {
            **{name: [*columns] for name, columns in schemas.items()},
            **{name: [*model.columns] for name, model in project.marts.items()},
        }

    def columns(self, model: str) -> Columns:
        from sqlglot.optimizer.qualify import qualify
        from sqlglot.optimizer.scope import build_scope

        query = self._query(model)
        schema: dict[str, object] = {
            f"table_{n}": dict.fromkeys(self._schemas[name], "text") for n, name in enumerate(self._tables)
        }
        qualified = qualify(query, schema=schema, dialect=_DIALECT, quote_identifiers=False)
        scope = build_scope(qualified)
        if scope is None:
            raise ValueError(f"{model} is no query")
        return _Query(scope, self._tables).columns()

    def _query(self, model: str) -> exp.Query:
        """A model's query, with those of the models on the way to it in the place of their names."""
        from sqlglot import exp, parse_one

        parsed = parse_one(self._text(model), dialect=_DIALECT)
        if not isinstance(parsed, exp.Query):
            raise ValueError(f"{model} is no query")
        for table in [*parsed.find_all(exp.Table)]:
            if table.name.startswith("model_"):
                read = table.name.removeprefix("model_")
                table.replace(
                    exp.Subquery(this=self._query(read), alias=exp.TableAlias(this=exp.to_identifier(table.alias_or_name)))
                )
        return parsed

    def _text(self, model: str) -> str:
        """A model's SQL without its Jinja."""
        import jinja2

        def ref(*names: str, **_: Any) -> str:
            read = self._project.models[names[-1]]
            return self._table(mart(read.name)) if read.mart else f"model_{read.name}"

        def var(name: str, default: Any = None) -> Any:
            return self._project.variables.get(name, default)

        words: dict[str, Any] = {
            "ref": ref, "source": lambda *names: self._table(self._project.sources[".".join(names)]), "var": var,
            "config": lambda **_: "", "is_incremental": lambda: False, "dbt": _Dbt(),
            "target": {"type": _DIALECT, "name": _DIALECT, "schema": "public"}, "this": f"model_{model}",
        }  # fmt: skip
        macros = jinja2.Environment(undefined=jinja2.StrictUndefined)
        return macros.from_string(f"{self._project.macros}\n{self._project.models[model].sql}").render(words)

    def _table(self, name: str) -> str:
        if name not in self._schemas:
            raise ValueError(f"{name} is in no contract")
        if name not in self._tables:
            self._tables.append(name)
        return f"table_{self._tables.index(name)}"


class _Dbt:
    """What models ask of the namespace `dbt`: names of types."""

    def __getattr__(self, name: str) -> Any:
        if not name.startswith("type_"):
            raise AttributeError(name)
        return lambda: {"string": "text", "float": "double precision"}.get(name.removeprefix("type_"), name.removeprefix("type_"))


class _Query:
    """A qualified query: every column in it names its table, and no star is left."""

    def __init__(self, root: Scope, tables: list[str]) -> None:
        from sqlglot import exp

        self._root, self._tables, self._exp = root, tables, exp
        self._scopes = [*root.traverse()]
        self._home = {id(column): scope for scope in self._scopes for column in scope.find_all(exp.Column)}
        self._known: dict[tuple[int, str], frozenset[Source]] = {}

    def columns(self) -> Columns:
        names = _query(self._root).named_selects
        decided: set[Source] = set()
        for scope in self._scopes:
            query = scope.expression
            parts = [query.args.get(name) for name in _DECIDING] + [*(query.args.get("joins") or ())]
            parts += [part for window in scope.find_all(self._exp.Window) for part in _window(window)]
            for part in parts:
                if isinstance(part, self._exp.Expression):
                    decided |= self._sources(self._columns_in(part, scope))
            if isinstance(query, self._exp.Except | self._exp.Intersect):
                for side in scope.set_operation_scopes:
                    decided |= {source for name in _query(side).named_selects for source in self._of(side, name)}
        return Columns(
            {name: self._of(self._root, name) for name in names},
            frozenset(decided),
            frozenset(name for name in names if self._same(self._root, name)),
        )

    def _columns_in(self, part: exp.Expression, scope: Scope) -> list[exp.Column]:
        """The columns in an expression; of a subquery that is joined, only those outside of it."""
        return [each for each in part.find_all(self._exp.Column) if self._home.get(id(each)) is scope]

    def _sources(self, columns: Iterable[exp.Column]) -> frozenset[Source]:
        found: set[Source] = set()
        for column in columns:
            scope = self._home[id(column)]
            while column.table not in scope.sources and scope.parent:  # of a query around this one
                scope = scope.parent
            read = scope.sources.get(column.table)
            if read is None:  # an alias of the same query, as in ORDER BY
                scope = self._home[id(column)]
                if column.name in _query(scope).named_selects:
                    found |= self._of(scope, column.name)
            elif isinstance(read, self._exp.Table):
                found.add((self._tables[int(read.name.removeprefix("table_"))], column.name))
            else:
                found |= self._of(read, column.name)
        return frozenset(found)

    def _of(self, scope: Scope, name: str) -> frozenset[Source]:
        """What a column of a query is made of."""
        key = (id(scope), name)
        if key not in self._known:
            self._known[key] = frozenset()  # of a query that reads itself: what it begins with
            found: set[Source] = set()
            for each, called in self._sides(scope, name):
                found |= self._sources(self._columns_of(each, called))
            self._known[key] = frozenset(found)
        return self._known[key]

    def _columns_of(self, scope: Scope, name: str) -> list[exp.Column]:
        chosen = next(each for each in _query(scope).selects if each.alias_or_name == name)
        return [*chosen.find_all(self._exp.Column)]

    def _sides(self, scope: Scope, name: str) -> list[tuple[Scope, str]]:
        """A query and the name; of a union each side with the name that stands at the same place."""
        if not scope.set_operation_scopes:
            return [(scope, name)]
        place = _query(scope).named_selects.index(name)
        return [side for each in scope.set_operation_scopes for side in self._sides(each, _query(each).named_selects[place])]

    def _same(self, scope: Scope, name: str) -> bool:
        """Whether a column is one column of a table as it is."""
        if scope.set_operation_scopes:
            return False
        chosen = next(each for each in _query(scope).selects if each.alias_or_name == name).unalias()
        if not isinstance(chosen, self._exp.Column):
            return False
        read = scope.sources.get(chosen.table)
        return isinstance(read, self._exp.Table) or (read is not None and self._same(read, chosen.name))


def _query(scope: Scope) -> exp.Query:
    return cast("exp.Query", scope.expression)


def _window(window: exp.Window) -> list[Any]:
    return [*(window.args.get("partition_by") or ()), window.args.get("order")]
