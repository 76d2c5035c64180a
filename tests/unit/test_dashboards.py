"""Parts of the dashboards without server and browser: the command, numbers, the graph's layout, what a run's state means."""

from __future__ import annotations

import socket
import tomllib
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest

from dashboards import charts, layered, look
from dashboards.layered import Box
from dashboards.views import run
from medallion.commands import dashboards as command
from medallion.errors import UsageError
from medallion.settings import ROOT


# ── the command ───────────────────────────────────────────────────────────────────────────────────
def test_a_port_that_is_taken_is_refused() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(UsageError) as told:
            command.dashboards(port)
    assert f"port {port} on 127.0.0.1 cannot be used" in told.value.message
    assert "leave it out" in str(told.value.hint)


def test_without_streamlit_the_command_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "find_spec", lambda name: None)
    with pytest.raises(UsageError) as told:
        command.dashboards(0)
    assert "medallion[dashboards]" in str(told.value.hint)


def test_outside_a_checkout_the_command_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    monkeypatch.setattr(command, "ROOT", tmp_path)
    with pytest.raises(UsageError) as told:
        command.dashboards(0)
    assert "part of the checkout" in str(told.value.hint)


def test_the_dashboards_are_on_loopback_and_tell_nobody() -> None:
    config = tomllib.loads((ROOT / "dashboards" / ".streamlit" / "config.toml").read_text("utf-8"))
    assert config["server"]["address"] == command.HOST == "127.0.0.1"
    assert config["browser"]["gatherUsageStats"] is False
    style = (ROOT / "dashboards" / "style.css").read_text("utf-8")
    assert "url(" not in style
    assert "@import" not in style


# ── numbers and words ─────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    ("found", "shown"),
    [
        (look.count(1234567), "1,234,567"), (look.count(pd.NA), look.BLANK), (look.score(98.26), "98.3"),
        (look.score(float("nan")), look.BLANK), (look.share(0, 10), "0 %"), (look.share(1, 1_000_000), "< 0.01 %"),
        (look.share(1, 30), "3.33 %"), (look.share(3, 4), "75 %"), (look.share(1, 0), look.BLANK), (look.size(999), "999 B"),
        (look.size(1_234_567), "1.2 MB"), (look.size(5e14), "500 TB"), (look.lasting(0.0123), "12 ms"),
        (look.lasting(59.94), "59.9 s"), (look.lasting(61), "1 min 1 s"), (look.lasting(7300), "2 h 1 min"),
        (look.lasting(200_000), "2 d 7 h"), (look.lasting(None), look.BLANK), (look.when(pd.NaT), look.BLANK),
        (look.ago(datetime.now(UTC) - timedelta(hours=5, minutes=1)), "5 h ago"),
        (look.ago(datetime.now(UTC) + timedelta(minutes=3, seconds=5)), "in 3 min"),
    ],
)  # fmt: skip
def test_numbers_are_shown_with_their_units(found: str, shown: str) -> None:
    assert found == shown


def test_what_others_wrote_is_text() -> None:
    evil = '"><script>x</script>'
    assert "<script>" not in look.link("run", evil, run=evil) + look.chip("bad", evil) + look.code(evil) + look.sample(
        f'{{"a": "{1}"}}'
    )
    assert "<script>" not in look.sample({"a": evil}) + look.sample(evil) + look.text(evil) + look.dataset_link(evil)


# ── the graph ─────────────────────────────────────────────────────────────────────────────────────
def boxes(**least: int) -> list[Box[str]]:
    return [Box(key, rank, key, "", "good", "#") for key, rank in least.items()]


def test_a_node_stands_right_of_all_that_it_comes_from() -> None:
    edges = [("a", "b"), ("b", "c"), ("b", "d"), ("d", "c"), ("c", "c"), ("x", "c")]
    assert layered.ranks(boxes(a=1, b=2, c=2, d=2, x=1), edges) == {"a": 0, "x": 0, "b": 1, "d": 2, "c": 3}


def test_a_circle_is_drawn_all_the_same() -> None:
    drawn = layered.draw(boxes(a=0, b=1), {("a", "b"): False, ("b", "a"): True})
    assert drawn.count("m-node") == 2


def test_neighbours_stand_beside_each_other() -> None:
    found = layered.ordered({"a": 0, "b": 0, "c": 0, "z": 1, "y": 1, "x": 1}, [("a", "x"), ("b", "y"), ("c", "z")])
    assert [(dict(zip("abc", "xyz", strict=True))[left], right) for left, right in zip(*found, strict=True)] == [
        (right, right) for right in found[1]
    ]


# ── what to do next ───────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    ("state", "level", "says", "to_do"),
    [
        ("failed", "bad", "main is as it was", "medallion run --date 2013-01-05"),
        ("conflicted", "warn", "run again as another", None),
        ("reverted", "quiet", "taken back", None),
        ("unchanged", "good", "nothing to do", None),
        ("merged", "good", "on main", "medallion publish"),
        ("published", "good", "in the warehouse", None),
        ("written", "quiet", "under way", "medallion resume r"),
    ],
)
def test_a_run_says_what_comes_next(state: str, level: str, says: str, to_do: str | None) -> None:
    row = {"run_id": "r", "logical_date": "2013-01-05", "state": state, "merged_hash": "0" * 64, "reverted_by": None}
    found = run.next_step(row, pd.DataFrame())
    assert (found[0], found[3]) == (level, to_do)
    assert says in found[1]


def test_a_refused_run_shows_the_rows_that_broke_the_rule() -> None:
    refused = pd.DataFrame([vars(SimpleNamespace(dataset="gold.a.b", rule="key", bad=3, judged=10))])
    row = {"run_id": "r", "logical_date": None, "state": "failed", "merged_hash": None, "reverted_by": None}
    _, title, below, command = run.next_step(row, refused)
    assert "gate refused" in title
    assert "3 of 10 rows" in below
    assert command == "medallion quarantine show gold.a.b --run r"


# ── charts ────────────────────────────────────────────────────────────────────────────────────────
def test_scores_are_drawn_where_nothing_was_ever_unusual() -> None:
    scores = pd.DataFrame({"date": pd.to_datetime(["2021-06-01"]), "layer": ["gold"], "score": [99.0], "datasets": [1]})
    text = {name: pd.Series([], dtype="object") for name in ("dataset", "description")}
    unusual = pd.DataFrame({"date": pd.to_datetime([])} | text)
    line = charts.scores_of_layers(scores, unusual).to_dict()["layer"][0]["mark"]
    assert line["point"], "one date is no line"
