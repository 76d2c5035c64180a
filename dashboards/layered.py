"""A graph drawn in ranks from left to right: nodes are links, edges an image behind them; readable on light and dark."""

from __future__ import annotations

import base64
from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)
WIDTH, HEIGHT, GAP_X, GAP_Y, TOP, SIDE = 204, 46, 60, 14, 34, 14
_EDGE = "#8593a2"
_SWEEPS = 6


@dataclass(frozen=True)
class Box(Generic[Key]):
    """A node: `least` is the rank that it stands on at least, `level` colours its edge, `below` is HTML."""

    key: Key
    least: int
    title: str
    below: str
    level: str
    to: str
    tip: str = ""
    chosen: bool = False


def ranks(boxes: Sequence[Box[Key]], edges: Iterable[tuple[Key, Key]]) -> dict[Key, int]:
    """Node -> rank: right of all that it comes from, empty ranks left out. Edges that close a circle do not count."""
    found = {box.key: box.least for box in boxes}
    real = [(a, b) for a, b in edges if a != b and a in found and b in found]
    for _ in range(len(found)):
        moved = False
        for a, b in real:
            if found[b] <= found[a] and found[a] + 1 <= len(found) + 8:
                found[b], moved = found[a] + 1, True
        if not moved:
            break
    used = {rank: n for n, rank in enumerate(sorted(set(found.values())))}
    return {key: used[rank] for key, rank in found.items()}


def ordered(of_rank: Mapping[Key, int], edges: Iterable[tuple[Key, Key]]) -> list[list[Key]]:
    """The nodes of each rank from top to bottom, so that few edges cross: each near the middle of its neighbours."""
    rows: dict[int, list[Key]] = defaultdict(list)
    for key, rank in of_rank.items():
        rows[rank].append(key)
    near: dict[Key, list[Key]] = defaultdict(list)
    for a, b in edges:
        near[a].append(b)
        near[b].append(a)
    for sweep in range(_SWEEPS):
        places = {key: n / max(len(row) - 1, 1) for row in rows.values() for n, key in enumerate(row)}
        for rank in sorted(rows, reverse=bool(sweep % 2)):
            beside = {key: [places[o] for o in near[key] if (of_rank[o] < rank) != bool(sweep % 2)] for key in rows[rank]}
            rows[rank].sort(key=lambda key: sum(beside[key]) / len(beside[key]) if beside[key] else places[key])
            places |= {key: n / max(len(rows[rank]) - 1, 1) for n, key in enumerate(rows[rank])}
    return [rows[rank] for rank in sorted(rows)]


def draw(boxes: Sequence[Box[Key]], edges: Mapping[tuple[Key, Key], bool], titles: Mapping[int, str] | None = None) -> str:
    """The graph as HTML.

    Args:
        edges: (from, to) -> whether it is drawn dashed.
        titles: what stands above the boxes of a `least` rank.
    """
    of = {box.key: box for box in boxes}
    real = {(a, b): dashed for (a, b), dashed in edges.items() if a in of and b in of and a != b}
    rows = ordered(ranks(boxes, real), real)
    tallest = max(len(row) for row in rows)
    places = {}
    for rank, row in enumerate(rows):
        top = TOP + (tallest - len(row)) * (HEIGHT + GAP_Y) / 2
        for n, key in enumerate(row):
            places[key] = (SIDE + rank * (WIDTH + GAP_X), top + n * (HEIGHT + GAP_Y))
    headers = {}
    for rank, row in enumerate(rows):
        names = dict.fromkeys((titles or {}).get(of[key].least, "") for key in row)
        headers[SIDE + rank * (WIDTH + GAP_X)] = " · ".join(filter(None, names))
    return canvas(of.values(), places, real, headers)


def canvas(
    boxes: Iterable[Box[Key]],
    places: Mapping[Key, tuple[float, float]],
    edges: Mapping[tuple[Key, Key], bool],
    headers: Mapping[float, str],
) -> str:
    """Boxes at their places (left, top), with the edges between them, as HTML."""
    width = max(x for x, _ in places.values()) + WIDTH + SIDE
    height = max(y for _, y in places.values()) + HEIGHT + SIDE
    paths = "".join(_path(places[a], places[b], dashed) for (a, b), dashed in edges.items())
    arrow = (
        '<marker id="a" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
        f'<path d="M0 0L8 4L0 8z" fill="{_EDGE}"/></marker>'
    )
    svg = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height:.0f}"><defs>{arrow}</defs>'
        f'<g fill="none" stroke="{_EDGE}" stroke-width="1.4" marker-end="url(#a)">{paths}</g></svg>'
    )
    image = base64.b64encode(svg.encode()).decode()
    tops = "".join(f'<div class="m-rank" style="left:{x:.0f}px;top:8px">{escape(name)}</div>' for x, name in headers.items())
    return (
        f'<div class="m-graph"><div class="m-canvas" style="width:{width:.0f}px;height:{height:.0f}px">'
        f'<img alt="" width="{width:.0f}" height="{height:.0f}" src="data:image/svg+xml;base64,{image}">{tops}'
        f"{''.join(_node(box, *places[box.key]) for box in boxes)}</div></div>"
    )


def _node(box: Box[Key], x: float, y: float) -> str:
    chosen = " chosen" if box.chosen else ""
    return (
        f'<a class="m-node {box.level}{chosen}" href="{box.to}" title="{escape(box.tip or box.title)}" '
        f'style="left:{x:.0f}px;top:{y:.0f}px;width:{WIDTH}px;height:{HEIGHT}px"><b>{escape(box.title)}</b><span>{box.below}</span></a>'
    )


def _path(source: tuple[float, float], target: tuple[float, float], dashed: bool) -> str:
    (x1, y1), (x2, y2) = source, target
    x1, y1, x2, y2 = x1 + WIDTH, y1 + HEIGHT / 2, x2 - 1, y2 + HEIGHT / 2
    bend = max(abs(x2 - x1) / 2, 30)
    line = f"M{x1:.0f} {y1:.0f}C{x1 + bend:.0f} {y1:.0f} {x2 - bend:.0f} {y2:.0f} {x2:.0f} {y2:.0f}"
    dash = ' stroke-dasharray="5 4"' if dashed else ""
    return f'<path d="{line}"{dash}/>'
