"""Where data comes from and where it goes: domain, dataset, column, from landing files to the warehouse and beyond."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from html import escape
from typing import Any

import pandas as pd
import streamlit as st
from psycopg import Connection

from dashboards import layered, lineage_queries, look, queries
from dashboards.asking import asked
from dashboards.layered import Box
from dashboards.lineage_queries import DEEPEST, Edge, Node
from dashboards.views import quality

LAYERS = ("bronze", "silver", "gold")
MOST = 14
"""How many nodes a rank shows before the rest is counted."""
_TITLES = {0: "Landing", 1: "Bronze", 2: "Silver", 3: "Gold", 4: "Warehouse and marts", 5: "Exposures"}
_STEPS = {"1": 1, "2": 2, "3": 3, "all": DEEPEST}


def show(db: Connection[Any]) -> None:
    given = st.query_params
    known = asked(db, queries.datasets_now)
    if name := given.get("dataset"):
        node = asked(db, lineage_queries.known, name)
        kind = given.get("kind") or (node.kind if node else None)
        if kind is None:
            look.head(name, look.link("lineage", "← all domains"))
            look.nothing("Nothing is known of it: no contract has this name, and nothing that is made comes from it.")
            return
        _around(db, known, Node(kind, name, given.get("column") or ""))
    elif domain := given.get("domain"):
        _domain(db, known, domain, given.get("layer"))
    else:
        _domains(db, known)


def _search(db: Connection[Any]) -> None:
    words = st.text_input(
        "Search", placeholder="Search a table, a column or a landing path", label_visibility="collapsed", key="words"
    )
    if not words.strip():
        return
    found = asked(db, lineage_queries.find, words)
    if not found:
        look.nothing("No table and no column has this in its name.")
    else:
        look.html('<div class="m-columns">' + "".join(
            f'<a href="{_address(node)}">{escape(node.name + ("." + node.column if node.column else ""))} '
            f'<span class="m-quiet">{"column" if node.column else escape(node.kind)}</span></a>' for node in found
        ) + "</div>")  # fmt: skip


# ── all domains ───────────────────────────────────────────────────────────────────────────────────
def _domains(db: Connection[Any], known: pd.DataFrame) -> None:
    look.head("Lineage", "Domains by layer. Choose one to see its datasets, then a dataset to walk from it up and down.")
    _search(db)
    if known.empty:
        look.nothing(
            f"Nothing is known of any dataset yet. It comes with the end of the next run; {look.code('medallion ops rebuild')} "
            "fills it from the runs that there were."
        )
        return
    boxes, places = [], {}
    for row, (domain, mine) in enumerate(known.groupby("domain")):
        for rank, layer in enumerate(LAYERS):
            here = mine[mine["layer"] == layer]
            if here.empty:
                continue
            key = (str(domain), layer)
            level, below = _summed_up(here)
            boxes.append(
                Box(
                    key,
                    rank,
                    str(domain),
                    below,
                    level,
                    look.address("lineage", domain=domain, layer=layer),
                    f"{domain}, {layer}",
                )
            )
            places[key] = (
                layered.SIDE + rank * (layered.WIDTH + layered.GAP_X),
                layered.TOP + row * (layered.HEIGHT + layered.GAP_Y),
            )
    edges = {((str(d), a), (str(d), b)): False for d in known["domain"].unique() for a, b in (LAYERS[:2], LAYERS[1:])}
    across = asked(db, lineage_queries.between_domains)
    edges |= {((e.source_domain, e.source_layer), (e.domain, e.layer)): True for e in across.itertuples()}
    edges = {(a, b): dashed for (a, b), dashed in edges.items() if a in places and b in places}
    headers = {layered.SIDE + n * (layered.WIDTH + layered.GAP_X): _TITLES[n + 1] for n in range(3)}
    look.html(layered.canvas(boxes, places, edges, headers))
    look.html(
        '<p class="m-quiet">Dashed: what one domain reads of another. ✔ well · ▲ something to keep an eye on · '
        "✖ something is wrong</p>"
    )


def _summed_up(datasets: pd.DataFrame) -> tuple[look.Level, str]:
    """How some datasets are together: level, and a line of HTML."""
    levels = [_level(d) for _, d in datasets.iterrows()]
    count = f"{len(datasets)} {'dataset' if len(datasets) == 1 else 'datasets'}"
    mean = datasets["score"].mean()
    points = f" · {look.score(mean)}" if not look.is_missing(mean) else ""
    worse: tuple[look.Level, ...] = ("bad", "warn")
    for level in worse:
        if number := levels.count(level):
            return level, f'<span style="display:inline" class="m-{level}">{look.ICONS[level]} {number} of {count}</span>{points}'
    return "good", f"{count}{points}"


def _level(dataset: pd.Series) -> look.Level:
    levels: tuple[look.Level, ...] = ("bad", "warn", "quiet")
    for level in levels:
        if f"m-{level}" in quality.state_of(dataset):
            return level
    return "good"


# ── one domain ────────────────────────────────────────────────────────────────────────────────────
def _domain(db: Connection[Any], known: pd.DataFrame, domain: str, layer: str | None) -> None:
    mine = known[known["domain"] == domain]
    back = look.link("lineage", "← all domains")
    look.head(domain, f"{back} · {len(mine)} datasets")
    _search(db)
    if mine.empty:
        look.nothing("No contract is of this domain.")
        return
    edges = asked(db, lineage_queries.of_domain, domain)
    nodes = [Node("dataset", name) for name in mine["dataset"]]
    _draw(nodes, edges, known, None)
    shown = mine[mine["layer"] == layer] if layer else mine
    others = " · ".join(look.link("lineage", each, domain=domain, layer=each) for each in LAYERS if each != layer)
    look.section(f"{layer.capitalize() if layer else 'All'} datasets", others)
    quality.datasets(shown, len(shown), "lineage")


# ── one dataset or column ─────────────────────────────────────────────────────────────────────────
def _around(db: Connection[Any], known: pd.DataFrame, node: Node) -> None:
    parts = node.name.split(".")
    domain = parts[1] if node.kind in ("dataset", "warehouse") and len(parts) == 3 else None
    crumbs = [look.link("lineage", "all domains")]
    if domain:
        crumbs.append(look.link("lineage", domain, domain=domain))
    if node.column:
        crumbs.append(f'<a href="{_address(node._replace(column=""))}">{escape(node.name)}</a>')
    if node.kind == "dataset":
        crumbs.append(look.link("quality", "its quality", dataset=node.name))
    look.head(f"{node.name}.{node.column}" if node.column else node.name, f"{escape(node.kind)} · " + " · ".join(crumbs))
    _search(db)
    mine = known[known["dataset"] == node.name] if node.kind == "dataset" else known.head(0)
    if len(mine):
        one = mine.iloc[0]
        look.facts(
            [
                ("State", quality.state_of(one)),
                ("Score", look.score(one["score"])),
                ("Newest date", look.day(one["date"])),
                ("Last run", look.run_link(one["run_id"])),
                ("Next is due", look.ago(one["due_at"])),
                ("Owner", look.text(one["owner"])),
            ]
        )
    with st.container(horizontal=True):
        up = st.segmented_control("Steps up", list(_STEPS), default="2", key="up", required=True)
        down = st.segmented_control("Steps down", list(_STEPS), default="2", key="down", required=True)
    places, edges = asked(db, lineage_queries.around, node, _STEPS[up or "2"], _STEPS[down or "2"])
    if len(places) == 1:
        look.nothing(
            "Nothing that it comes from, and nothing that is made of it, is known."
            + (
                f" {look.code(f'medallion lineage {node.name} --column {node.column}')} reads the transforms."
                if node.column
                else ""
            )
        )
    else:
        above, below = sum(n < 0 for n in places.values()), sum(n > 0 for n in places.values())
        what = "columns and files" if node.column else "tables and files"
        look.html(
            f'<p class="m-quiet">{above} {what} up, {below} down within these steps. '
            "Dashed: it only decides which rows there are.</p>"
        )
        _draw(_fitting(places), edges, known, node)
    _columns(db, node)
    if node.kind == "dataset" and node.name.startswith("bronze."):
        files = asked(db, lineage_queries.files_of, node.name)
        look.section("Newest landing files")
        if files.empty:
            look.nothing("No delivery of it was ingested yet.")
        else:
            look.table(
                ("Date", "#Rows", "*File", "SHA-256", "Run"),
                [
                    (look.day(f.logical_date), look.count(f.rows), escape(f.uri), look.code(f.sha256), look.run_link(f.run_id))
                    for f in files.itertuples()
                ],
            )
    command = f"medallion lineage {node.name}" + (f" --column {node.column}" if node.column else "")
    if node.kind == "dataset":
        look.html(f'<p class="m-quiet">Down to the landing files of one run, with hashes: {look.code(command + " --at RUN")}</p>')


def _columns(db: Connection[Any], node: Node) -> None:
    columns = asked(db, lineage_queries.columns_of, node)
    if not columns:
        return
    look.section("Columns", "Choose one to follow it")
    links = "".join(
        f'<a class="{"chosen" if column == node.column else ""}" '
        f'href="{_address(node._replace(column=column))}">{escape(column)}</a>'
        for column in columns
    )
    look.html(f'<div class="m-columns">{links}</div>')


def _fitting(places: Mapping[Node, int]) -> list[Node]:
    """Of each step the first MOST nodes; they are drawn, the others counted."""
    shown: list[Node] = []
    left = 0
    for step in sorted(set(places.values())):
        here = sorted((node for node, at in places.items() if at == step))
        shown += here[:MOST]
        left += max(0, len(here) - MOST)
    if left:
        look.html(f'<p class="m-quiet">{look.chip("warn", f"{left} more are not drawn")}: choose a node, or fewer steps.</p>')
    return shown


def _draw(nodes: Iterable[Node], edges: Iterable[Edge], known: pd.DataFrame, chosen: Node | None) -> None:
    rows = {row["dataset"]: row for _, row in known.iterrows()}
    boxes = [_box(node, rows.get(node.name), chosen) for node in nodes]
    look.html(layered.draw(boxes, {(e.source, e.target): e.how in ("condition", "judged by") for e in edges}, _TITLES))


def _box(node: Node, dataset: pd.Series | None, chosen: Node | None) -> Box[Node]:
    if node.kind == "dataset":
        rank = LAYERS.index(layer) + 1 if (layer := node.name.partition(".")[0]) in LAYERS else 3
    else:
        rank = {"landing": 0, "warehouse": 4, "mart": 4, "exposure": 5}[node.kind]
    short = node.name.partition(".")[2] if node.kind in ("dataset", "warehouse", "mart") else node.name.removeprefix("s3://")
    level: look.Level = "quiet"
    below = escape(node.kind)
    if dataset is not None and node.kind == "dataset":
        level = _level(dataset)
        state = f'<span style="display:inline" class="m-{level}">{look.ICONS[level]}</span>'
        below = f"{state} {look.score(dataset['score'])}"
        if not look.is_missing(dataset["date"]):
            below += f" · {dataset['date']:%d %b}"
        if dataset["is_late"]:
            below += " · late"
        if dataset["alerts"]:
            below += f" · {dataset['alerts']} alert{'s' if dataset['alerts'] > 1 else ''}"
    title = node.column or short
    if node.column:
        below = f"{escape(node.kind if node.kind != 'dataset' else '')} {escape(node.name)}".strip()
    tip = f"{node.kind} {node.name}" + (f", column {node.column}" if node.column else "")
    return Box(node, rank, title, below, level, _address(node), tip, node == chosen)


def _address(node: Node) -> str:
    kind = node.kind if node.kind in ("warehouse",) else None
    return look.address("lineage", dataset=node.name, column=node.column or None, kind=kind)
