"""`medallion sql`: one read-only query over the lake or the warehouse, without a JVM.

The lake: tables come through Nessie's Iceberg REST endpoint at any branch or commit, only the columns
that the query names are read, of the files only those that its simple conditions leave, and DuckDB
answers. The warehouse: its own SQL, through its client, in a transaction that is rolled back. Tables are
called the same on both sides and everywhere else: `gold.operations.fact_flight`.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from medallion.answers import to_json, to_rich
from medallion.errors import ServiceUnavailable, UsageError
from medallion.query_filter import Condition, conditions, row_filter
from medallion.settings import Settings

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa
    from pyiceberg.catalog.rest import RestCatalog
    from pyiceberg.table import Table as IcebergTable

__all__ = ["lake", "one_read", "to_json", "to_rich", "warehouse"]

_LAYERS = ("bronze", "silver", "gold")
_HASH = re.compile(r"[0-9a-f]{16,64}")
_READS = ("SELECT", "WITH", "SHOW", "DESCRIBE", "DESC", "EXPLAIN")
_ONE_QUERY = "give one SELECT (or WITH … SELECT); nothing can be changed here"


# ── the lake ──────────────────────────────────────────────────────────────────────────────────────
def lake(settings: Settings, sql: str, at: str = "main") -> pa.Table:
    """Answer one query over the lake.

    Args:
        sql: a SELECT in DuckDB's SQL; tables are named in full, `layer.domain.name`.
        at: a branch, or a commit's hash in full.

    Raises: UsageError for anything but one SELECT, an unknown table, branch or column;
        ServiceUnavailable.
    """
    import duckdb

    with duckdb.connect() as engine:
        engine.execute("SET TimeZone = 'UTC'")
        for layer in _LAYERS:
            engine.execute(f"ATTACH ':memory:' AS {layer}")
        # from here on a query reaches what is attached, and no file, network or extension
        engine.execute("SET enable_external_access = false")
        engine.execute("SET autoinstall_known_extensions = false")
        named = _named(engine, sql)
        if named.tables:
            catalog = _catalog(settings, at)
            with ThreadPoolExecutor(4) as pool:
                found = list(pool.map(lambda dataset: _scan(catalog, dataset, named, at), named.tables))
            for dataset, rows in zip(named.tables, found, strict=True):
                _, domain, _ = dataset.split(".")
                place = dataset.replace(f".{domain}.", f'."{domain}".')
                engine.execute(f'CREATE SCHEMA IF NOT EXISTS {dataset.split(".")[0]}."{domain}"')
                with rows:
                    engine.register("incoming", rows)
                    engine.execute(f"CREATE TABLE {place} AS FROM incoming")
                    engine.unregister("incoming")
        try:
            return engine.sql(sql).to_arrow_table()
        except duckdb.Error as error:
            raise UsageError(f"the query fails: {error}", hint="the SQL is DuckDB's") from error


@dataclass(frozen=True)
class _Named:
    """What a query names: tables in full, and every word in it that could be a column; None for all. And the
    conditions that every row has to meet, where they are simple and there is one table."""

    tables: tuple[str, ...]
    words: frozenset[str] | None
    conditions: tuple[Condition, ...] = ()


def _named(engine: duckdb.DuckDBPyConnection, sql: str) -> _Named:
    """Parse a query with DuckDB's own parser. Raises: UsageError if it is not one SELECT."""
    import duckdb

    try:
        statements = duckdb.extract_statements(sql)
        if len(statements) != 1:
            raise UsageError(f"{len(statements)} statements instead of one", hint=_ONE_QUERY)
        kind = statements[0].type
        text = engine.execute("SELECT json_serialize_sql(?::VARCHAR)", [sql]).fetchall()[0][0]
    except duckdb.Error as error:
        raise UsageError(f"the query cannot be read: {error}", hint="the SQL is DuckDB's") from error
    tree = json.loads(text)
    if tree.get("error"):
        raise UsageError(f"this is a {kind.name}, and only queries are answered", hint=_ONE_QUERY)
    tables: dict[str, None] = {}
    local: set[str] = set()
    words: set[str] = set()
    called: set[str] = set()  # names and aliases of tables: a reference to one is a whole row
    referred: set[str] = set()
    every = False
    for node in _nodes(tree):
        if isinstance(node, str):
            words.add(node.lower())
        elif node.get("type") in ("BASE_TABLE", "SHOW_REF") and node.get("table_name"):
            parts = (node.get("catalog_name"), node.get("schema_name"), node["table_name"])
            tables[".".join(part for part in parts if part).strip('"').lower()] = None
            every = every or node["type"] == "SHOW_REF"
        elif "cte_map" in node:
            local |= {str(entry["key"]).lower() for entry in (node["cte_map"] or {}).get("map", [])}
        if isinstance(node, dict):
            every = every or node.get("class") in ("STAR", "POSITIONAL_REFERENCE") or node.get("ref_type") == "NATURAL"
            every = every or node.get("type") == "PIVOT" or bool(node.get("column_name_alias"))
            if "class" not in node:
                called |= {str(node[key]).lower() for key in ("alias", "table_name") if node.get(key)}
            elif node["class"] == "COLUMN_REF":
                referred.add(str(node["column_names"][-1]).lower())
    full = tuple(name for name in tables if "." in name or name not in local)
    for name in full:
        if name.count(".") != 2 or name.split(".")[0] not in _LAYERS:
            raise UsageError(
                f"there is no table '{name}'",
                hint="name tables in full: layer.domain.name, as gold.operations.fact_flight",
            )
    every = every or not called.isdisjoint(referred)
    return _Named(full, None if every else frozenset(words), conditions(tree))


def _nodes(tree: Any) -> Iterator[Any]:
    """Every mapping and every text of a JSON tree."""
    if isinstance(tree, dict):
        yield tree
        for value in tree.values():
            yield from _nodes(value)
    elif isinstance(tree, list):
        for value in tree:
            yield from _nodes(value)
    elif isinstance(tree, str):
        yield tree


def _catalog(settings: Settings, at: str) -> RestCatalog:
    """Nessie's REST catalog at a branch or hash."""
    from pyiceberg.catalog.rest import RestCatalog
    from pyiceberg.exceptions import ForbiddenError, RESTError, UnauthorizedError
    from requests import RequestException

    s3 = settings.s3
    properties = {
        "uri": settings.nessie.iceberg_rest,
        "prefix": quote(f"@{at}" if _HASH.fullmatch(at) else at, safe="@"),
        "py-io-impl": "pyiceberg.io.pyarrow.PyArrowFileIO",
        "s3.region": s3.region,
        "s3.access-key-id": s3.access_key,
        "s3.secret-access-key": s3.secret_key.get_secret_value(),
    }
    if s3.endpoint:
        properties["s3.endpoint"] = s3.endpoint
    if settings.nessie.token:
        properties["token"] = settings.nessie.token.get_secret_value()
    try:
        return RestCatalog("nessie", **properties)
    except (UnauthorizedError, ForbiddenError) as error:
        raise _refused(settings.nessie.iceberg_rest) from error
    except (RequestException, RESTError, OSError) as error:
        raise _down(settings, error) from error


def _scan(catalog: RestCatalog, dataset: str, named: _Named, at: str) -> pa.RecordBatchReader:
    """The columns of a table that the query may need, as a stream. Raises: UsageError."""
    from pyiceberg.exceptions import BadRequestError, ForbiddenError, NoSuchTableError, RESTError, UnauthorizedError
    from requests import RequestException

    try:
        table: IcebergTable = catalog.load_table(tuple(dataset.split(".")))
        fields = [field.name for field in table.schema().fields]
        wanted = [name for name in fields if named.words is None or name.lower() in named.words] or fields[:1]
        kept = row_filter(table.schema(), named.conditions)
        return table.scan(row_filter=kept, selected_fields=tuple(wanted)).to_arrow_batch_reader()
    except NoSuchTableError as error:
        raise _unknown(catalog, dataset, at) from error
    except BadRequestError as error:
        if "NoSuchReference" in str(error) or "not found" in str(error):
            raise UsageError(f"there is no branch or commit '{at}'", hint="`medallion branches` lists the branches") from error
        raise ServiceUnavailable(f"the catalog refuses {dataset} at {at}: {error}", hint="`medallion doctor`") from error
    except (UnauthorizedError, ForbiddenError) as error:
        raise _refused(catalog.properties["uri"]) from error
    except (RequestException, RESTError, OSError) as error:
        if _no_right(error):
            raise _refused_by_store(catalog.properties) from error
        raise ServiceUnavailable(
            f"{dataset} cannot be read: {error}",
            hint="`medallion up` starts the embedded stack, `medallion doctor` says what is wrong",
        ) from error


def _unknown(catalog: RestCatalog, dataset: str, at: str) -> UsageError:
    tables = [
        ".".join(name)
        for layer in catalog.list_namespaces()
        for domain in catalog.list_namespaces(layer)
        for name in catalog.list_tables(domain)
    ]
    near = difflib.get_close_matches(dataset, tables, n=3, cutoff=0.5)
    known = [name for name in sorted(tables) if not name.endswith("__quarantine")]
    return UsageError(
        f"there is no table '{dataset}' at {at}",
        hint=f"did you mean {' or '.join(near)}?" if near else f"there are: {', '.join(known) or 'none yet'}",
    )


def _down(settings: Settings, error: Exception) -> ServiceUnavailable:
    return ServiceUnavailable(
        f"Nessie's REST endpoint at {settings.nessie.iceberg_rest} does not answer: {error}",
        hint="`medallion up` starts the embedded stack, `medallion doctor` says what is wrong",
    )


def _refused(uri: str) -> ServiceUnavailable:
    return ServiceUnavailable(f"Nessie at {uri.removesuffix('/iceberg')} refuses us", hint="check the setting nessie.token")


def _refused_by_store(properties: dict[str, str]) -> ServiceUnavailable:
    return ServiceUnavailable(
        f"the object store at {properties.get('s3.endpoint') or 'AWS'} refuses us",
        hint="check the settings s3.access_key and s3.secret_key",
    )


def _no_right(error: Exception) -> bool:
    """Whether the object store knows our keys not, or gives them no right: pyarrow says so in words alone."""
    return isinstance(error, PermissionError) or bool(_NO_RIGHT.search(str(error)))


_NO_RIGHT = re.compile(r"AWS Error (ACCESS_DENIED|INVALID_ACCESS_KEY_ID|SIGNATURE_DOES_NOT_MATCH|INVALID_SIGNATURE)")


# ── the warehouse ─────────────────────────────────────────────────────────────────────────────────
def warehouse(settings: Settings, sql: str) -> pa.Table:
    """Answer one query by the warehouse itself.

    Args:
        sql: one SELECT, WITH, SHOW, DESCRIBE or EXPLAIN in the warehouse's SQL. It runs in a
            transaction that is rolled back, and in PostgreSQL can only read; use a role that may
            only read where more is at stake.

    Raises: UsageError for anything else and for what the warehouse refuses; ServiceUnavailable.
    """
    statement = one_read(sql)
    from medallion.publish.target import answer

    return answer(settings, statement)


def one_read(sql: str) -> str:
    """The statement, without what ends it, if it is one that reads. Raises: UsageError."""
    bare = _SKIPPED.sub(lambda m: " " if m[0][:2] in ("--", "//", "/*") else "x", sql)
    parts = [part for part in bare.split(";") if part.strip()]
    if len(parts) != 1:
        raise UsageError(f"{len(parts)} statements instead of one", hint=_ONE_QUERY)
    first = re.match(r"[\s(]*(\w+)", parts[0])
    if first is None or first[1].upper() not in _READS:
        raise UsageError(f"'{first[1] if first else parts[0].strip()[:20]}' is no query", hint=_ONE_QUERY)
    if found := re.search(r"\bsystem\$\w+|\bcall\b", bare, re.I):
        raise UsageError(f"'{found[0]}' may change something", hint=_ONE_QUERY)
    return sql.strip().rstrip(";").rstrip() if bare.rstrip().endswith(";") else sql.strip()


_SKIPPED = re.compile(
    r"'(?:[^'\\]|\\.|'')*'" r'|"(?:[^"]|"")*"' r"|\$\$.*?\$\$|--[^\n]*|//[^\n]*|/\*.*?\*/", re.S
)  # texts, quoted names and comments
