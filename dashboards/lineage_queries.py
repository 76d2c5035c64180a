"""What the page Lineage asks of schema `ops`. See `dashboards.queries`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

import pandas as pd
from psycopg import Connection

from dashboards.database import frame

Database = Connection[Any]
DEEPEST = 12
"""How many steps up or down are followed at most."""


class Node(NamedTuple):
    """A table as a whole (`column` empty) or one of its columns; `kind` is landing, dataset, warehouse, mart or exposure."""

    kind: str
    name: str
    column: str = ""


@dataclass(frozen=True)
class Edge:
    """What comes from what, and how: read, judged by, identity, expression, condition, copied."""

    source: Node
    target: Node
    how: str


def domains(db: Database) -> pd.DataFrame:
    """How many datasets each domain has in each layer."""
    return frame(db, {"domain": "text", "layer": "text", "datasets": "int"}, """
        SELECT domain, layer, count(*) FROM ops.datasets GROUP BY 1, 2 ORDER BY 1, 2""")  # fmt: skip


def between_domains(db: Database) -> pd.DataFrame:
    """How many edges lead from a layer of a domain to one of another domain."""
    columns = {"source_domain": "text", "source_layer": "text", "domain": "text", "layer": "text", "edges": "int"}
    return frame(
        db,
        columns,
        """
        SELECT s.domain, s.layer, t.domain, t.layer, count(*) FROM ops.lineage l
        JOIN ops.datasets s ON l.source_kind = 'dataset' AND s.dataset = l.source
        JOIN ops.datasets t ON l.target_kind = 'dataset' AND t.dataset = l.target
        WHERE l.source_column = '' AND l.target_column = '' AND s.domain <> t.domain GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4""",
    )


def of_domain(db: Database, domain: str) -> list[Edge]:
    """The edges between the datasets of a domain, as wholes."""
    rows = db.execute(
        """
        SELECT 'dataset', source, '', 'dataset', target, '', string_agg(how, ', ' ORDER BY how) FROM ops.lineage
        WHERE source_kind = 'dataset' AND target_kind = 'dataset' AND source_column = '' AND target_column = ''
          AND split_part(source, '.', 2) = %(domain)s AND split_part(target, '.', 2) = %(domain)s GROUP BY 2, 5 ORDER BY 2, 5""",
        {"domain": domain},
    ).fetchall()
    return [Edge(Node(*row[:3]), Node(*row[3:6]), row[6]) for row in rows]


def find(db: Database, words: str, limit: int = 30) -> list[Node]:
    """Tables and columns whose name has these words, tables first."""
    rows = db.execute(
        """
        SELECT kind, name, col FROM (
          SELECT target_kind AS kind, target AS name, target_column AS col FROM ops.lineage
          UNION ALL SELECT source_kind, source, source_column FROM ops.lineage
          UNION ALL SELECT 'dataset', dataset, '' FROM ops.datasets) every
        WHERE (col = '' AND strpos(lower(name), lower(%(words)s)) > 0)
          OR (col <> '' AND strpos(lower(name || '.' || col), lower(%(words)s)) > 0 AND strpos(lower(name), lower(%(words)s)) = 0)
        GROUP BY 1, 2, 3 ORDER BY col <> '', name, kind, col LIMIT %(limit)s""",
        {"words": words.strip(), "limit": limit},
    ).fetchall()
    return [Node(*row) for row in rows]


def known(db: Database, name: str) -> Node | None:
    """The table of a name, as a dataset rather than as its copy in the warehouse."""
    row = db.execute(
        """
        SELECT kind FROM (
          SELECT 'dataset' AS kind, dataset AS name FROM ops.datasets
          UNION ALL SELECT source_kind, source FROM ops.lineage UNION ALL SELECT target_kind, target FROM ops.lineage) every
        WHERE name = %s ORDER BY array_position(ARRAY['dataset', 'mart', 'landing', 'exposure', 'warehouse'], kind) LIMIT 1""",
        (name,),
    ).fetchone()
    return Node(row[0], name) if row else None


def columns_of(db: Database, node: Node) -> list[str]:
    """The columns of a table: of its newest schema, else those that lineage knows."""
    of_schema = """
        SELECT c->>'name' FROM (
          SELECT columns FROM ops.schema_versions WHERE dataset = %(name)s AND jsonb_typeof(columns) = 'array'
          ORDER BY version DESC LIMIT 1) newest, jsonb_array_elements(columns) WITH ORDINALITY AS one(c, n)
        WHERE jsonb_typeof(c) = 'object' ORDER BY n"""
    of_lineage = """
        SELECT DISTINCT col FROM (
          SELECT target_column AS col FROM ops.lineage WHERE target_kind = %(kind)s AND target = %(name)s
          UNION ALL SELECT source_column FROM ops.lineage WHERE source_kind = %(kind)s AND source = %(name)s) every
        WHERE col <> '' ORDER BY col"""
    of = {"kind": node.kind, "name": node.name}
    rows = db.execute(of_schema, of).fetchall() or db.execute(of_lineage, of).fetchall()
    return [row[0] for row in rows if row[0]]


def around(db: Database, node: Node, up: int, down: int) -> tuple[dict[Node, int], list[Edge]]:
    """The neighbourhood of a table, or of a column.

    Returns: node -> steps from the chosen one (negative: upstream), with the chosen one at 0; the edges between them. A node
        that is reached both ways is upstream.
    """
    places = {node: 0}
    edges: dict[Edge, None] = {}
    for sign, steps in ((-1, up), (1, down)):
        reached = {node}
        for step in range(1, min(steps, DEEPEST) + 1):
            found = _next(db, reached, sign)
            edges |= dict.fromkeys(found)
            reached = {edge.source if sign < 0 else edge.target for edge in found} - set(places)
            places |= dict.fromkeys(reached, sign * step)
            if not reached:
                break
    return places, list(edges)


def _next(db: Database, nodes: Iterable[Node], sign: int) -> list[Edge]:
    """The edges into these nodes (-1), or out of them (1): between columns for columns, else between tables."""
    kinds, names, columns = ([*part] for part in zip(*sorted(nodes), strict=True))
    ours, theirs = ("target", "source") if sign < 0 else ("source", "target")
    rows = db.execute(
        f"""
        SELECT source_kind, source, source_column, target_kind, target, target_column, string_agg(how, ', ' ORDER BY how)
        FROM ops.lineage JOIN unnest(%s::text[], %s::text[], %s::text[]) AS one(kind, name, col)
          ON {ours}_kind = kind AND {ours} = name AND {ours}_column = col
        WHERE ({theirs}_column = '') = (col = '') OR {theirs}_kind IN ('landing', 'exposure')
        GROUP BY 1, 2, 3, 4, 5, 6 ORDER BY 1, 2, 3, 4, 5, 6""",
        (kinds, names, columns),
    ).fetchall()
    return [Edge(Node(*row[:3]), Node(*row[3:6]), row[6]) for row in rows]


def files_of(db: Database, dataset: str, limit: int = 15) -> pd.DataFrame:
    """The newest landing files of a bronze dataset, with their hashes; without those of runs that were taken back."""
    columns = {"logical_date": "date", "uri": "text", "sha256": "text", "rows": "int", "run_id": "text"}
    return frame(db, columns, """
        SELECT d.logical_date, d.uri, d.sha256, d.rows, d.run_id FROM ops.deliveries d JOIN ops.runs r USING (run_id)
        WHERE d.dataset = %(dataset)s AND r.reverted_by IS NULL
        ORDER BY d.logical_date DESC, d.uri LIMIT %(limit)s""", {"dataset": dataset, "limit": limit})  # fmt: skip


def schema_versions(db: Database, dataset: str) -> pd.DataFrame:
    """The versions of a dataset's schema, the newest first."""
    columns = {"version": "int", "committed_at": "time", "run_id": "text", "contract_version": "text", "changed": "json"}
    return frame(db, columns, """
        SELECT version, committed_at, run_id, contract_version, changed FROM ops.schema_versions
        WHERE dataset = %(dataset)s ORDER BY version DESC LIMIT 10""", {"dataset": dataset})  # fmt: skip
