"""The charts. Colours are legible on light and dark, and told apart by more than colour: shape, dash or place."""

from __future__ import annotations

import altair as alt
import pandas as pd

LAYERS = ["bronze", "silver", "gold", "quarantine"]
LAYER_COLOURS = ["#b0622c", "#6f8aa6", "#c79a1b", "#a05195"]
LAYER_DASHES = [[1, 0], [6, 2], [2, 2], [8, 3, 2, 3]]
STATES = ["ended well", "under way", "conflicted", "failed"]
STATE_COLOURS = ["#3a9b7a", "#4a8fd0", "#d99a1c", "#d5473f"]
_LINE = "#4a8fd0"
_UNUSUAL = "#d5473f"


def _days(shown: pd.Series) -> alt.Axis:
    """One tick a day at most."""
    few = alt.TimeIntervalStep(interval="day", step=1) if shown.nunique() < 15 else alt.Undefined
    return alt.Axis(format="%-d %b", labelOverlap=True, tickCount=few)


def _layer(present: pd.Series) -> tuple[alt.Color, alt.StrokeDash]:
    """Colour and dash of the layers that there are."""
    there = [n for n, layer in enumerate(LAYERS) if layer in set(present)]
    legend = alt.Legend(title=None, orient="top")
    names, colours, dashes = ([of[n] for n in there] for of in (LAYERS, LAYER_COLOURS, LAYER_DASHES))
    return (
        alt.Color("layer:N", scale=alt.Scale(domain=names, range=colours), legend=legend),
        alt.StrokeDash("layer:N", scale=alt.Scale(domain=names, range=dashes), legend=legend),
    )


def scores_of_layers(scores: pd.DataFrame, unusual: pd.DataFrame) -> alt.LayerChart:
    """Scores by layer over dates; days on which datasets were unusual are marked on their layer's line."""
    shown = scores[scores["layer"].isin(LAYERS)]
    x = alt.X("date:T", title=None, axis=_days(shown["date"]))
    y = alt.Y("score:Q", title="Score (of 100)", scale=alt.Scale(zero=False, domainMax=100))
    line = (
        alt.Chart(shown)
        .mark_line(strokeWidth=2, point=shown["date"].nunique() == 1)
        .encode(
            x,
            y,
            *_layer(shown["layer"]),
            tooltip=[
                alt.Tooltip("date:T"),
                "layer:N",
                alt.Tooltip("score:Q", format=".1f"),
                alt.Tooltip("datasets:Q", title="Datasets"),
            ],
        )
    )
    marked = unusual.assign(layer=unusual["dataset"].str.split(".").str[0]).groupby(["date", "layer"], as_index=False).agg(
        what=("description", lambda found: found.iloc[0] + (f" (and {len(found) - 1} more)" if len(found) > 1 else "")),
        dataset=("dataset", "first"),
    ).merge(shown, on=["date", "layer"])  # fmt: skip
    marks = alt.Chart(marked).mark_point(shape="triangle-up", size=70, filled=True, color=_UNUSUAL, opacity=1).encode(
        x, y, tooltip=[alt.Tooltip("date:T"), "dataset:N", alt.Tooltip("what:N", title="Unusual")]
    )  # fmt: skip
    return alt.layer(line, marks).properties(height=280)


def scores_of_dataset(scores: pd.DataFrame, unusual: pd.DataFrame) -> alt.LayerChart:
    """A dataset's score over its dates, unusual ones marked."""
    x = alt.X("date:T", title=None, axis=_days(scores["date"]))
    y = alt.Y("score:Q", title="Score (of 100)", scale=alt.Scale(zero=False, domainMax=100))
    tips = [alt.Tooltip("date:T"), alt.Tooltip("score:Q", format=".1f"), alt.Tooltip("run_id:N", title="Run")]
    line = (
        alt.Chart(scores)
        .mark_line(color=_LINE, strokeWidth=2, point=alt.OverlayMarkDef(size=16, color=_LINE))
        .encode(x, y, tooltip=tips)
    )
    marked = scores.drop(columns="run_id").merge(unusual[["date", "description", "run_id"]], on="date")
    marks = alt.Chart(marked).mark_point(shape="triangle-up", size=110, filled=True, color=_UNUSUAL, opacity=1).encode(
        x, y, tooltip=[*tips, alt.Tooltip("description:N", title="Unusual")]
    )  # fmt: skip
    refused = alt.Chart(scores[~scores["merged"].fillna(False).astype(bool)]).mark_point(
        shape="cross", size=90, filled=True, color=_UNUSUAL, angle=45, opacity=1
    ).encode(x, y, tooltip=tips)  # fmt: skip
    return alt.layer(line, refused, marks).properties(height=240)


def rows_of_dataset(scores: pd.DataFrame, unusual: pd.DataFrame) -> alt.LayerChart:
    """A dataset's rows over its dates; where a volume was unusual, the band that would have been usual."""
    x = alt.X("date:T", title=None, axis=_days(scores["date"]))
    y = alt.Y("rows_in:Q", title="Rows", scale=alt.Scale(zero=False), axis=alt.Axis(format="~s"))
    tips = [
        alt.Tooltip("date:T"),
        alt.Tooltip("rows_in:Q", title="Rows", format=","),
        alt.Tooltip("quarantined:Q", title="Quarantined", format=","),
    ]
    line = alt.Chart(scores).mark_line(color=_LINE, strokeWidth=2, point=len(scores) == 1).encode(x, y, tooltip=tips)
    volumes = unusual[unusual["metric"] == "volume"]
    bands = (
        alt.Chart(volumes)
        .mark_rule(color="#3a9b7a", strokeWidth=6, opacity=0.5)
        .encode(
            x,
            alt.Y("low:Q"),
            alt.Y2("high:Q"),
            tooltip=[alt.Tooltip("low:Q", title="Usual from", format=","), alt.Tooltip("high:Q", title="to", format=",")],
        )
    )
    marks = alt.Chart(volumes).mark_point(shape="triangle-up", size=110, filled=True, color=_UNUSUAL, opacity=1).encode(
        x, alt.Y("value:Q"), tooltip=[alt.Tooltip("date:T"), alt.Tooltip("description:N", title="Unusual")]
    )  # fmt: skip
    return alt.layer(line, bands, marks).properties(height=200)


def timeline(runs: pd.DataFrame) -> alt.Chart:
    """Runs as bars from opening to end, in as many lanes as ran at once; a bar is at least wide enough to be seen."""
    span = (runs["ended_at"].max() - runs["opened_at"].min()).total_seconds()
    shown = runs.assign(outcome=_outcome(runs["state"]), until=runs[["ended_at"]].assign(
        least=runs["opened_at"] + pd.Timedelta(seconds=max(span / 220, 1))).max(axis=1))  # fmt: skip
    shown["lane"] = lanes(shown)
    shown["took"] = shown["seconds"].round(1)
    shown["logical_date"] = shown["logical_date"].dt.strftime("%Y-%m-%d")
    return (
        alt.Chart(shown)
        .mark_bar(height=13, cornerRadius=2)
        .encode(
            alt.X("opened_at:T", title=None, axis=alt.Axis(labelOverlap=True)),
            alt.X2("until:T"),
            alt.Y("lane:O", title=None, axis=None),
            _state(),
            alt.Stroke(
                "outcome:N",
                scale=alt.Scale(domain=STATES, range=["transparent", "transparent", "#7a4d00", "#7d0f0a"]),
                legend=None,
            ),
            tooltip=[
                alt.Tooltip("run_id:N", title="Run"),
                "state:N",
                alt.Tooltip("logical_date:N", title="Logical date"),
                alt.Tooltip("opened_at:T", title="Opened", format="%Y-%m-%d %H:%M"),
                alt.Tooltip("took:Q", title="Took (s)"),
                alt.Tooltip("domains:N", title="Domains"),
                alt.Tooltip("datasets:Q", title="Datasets"),
            ],
        )
        .properties(height=20 * (int(shown["lane"].max()) + 1) + 100)
    )


def lanes(runs: pd.DataFrame) -> list[int]:
    """For each run the first lane that is free when it opens."""
    free: list[pd.Timestamp] = []
    found = []
    for opened, until in zip(runs["opened_at"], runs["until"], strict=True):
        lane = next((n for n, at in enumerate(free) if at <= opened), len(free))
        free[lane : lane + 1] = [until]
        found.append(lane)
    return found


def _outcome(states: pd.Series) -> pd.Series:
    named = {"failed": "failed", "conflicted": "conflicted"} | dict.fromkeys(
        ("open", "written", "validated", "merging"), "under way"
    )
    return states.map(lambda state: named.get(state, "ended well"))


def _state() -> alt.Color:
    return alt.Color(
        "outcome:N", scale=alt.Scale(domain=STATES, range=STATE_COLOURS), legend=alt.Legend(title=None, orient="top")
    )


def outcomes(found: pd.DataFrame) -> alt.Chart:
    """How runs of each day ended."""
    order = found.assign(place=found["outcome"].map(STATES.index))
    return alt.Chart(order).mark_bar().encode(
        alt.X("day:T", title=None, axis=_days(found["day"])), alt.Y("runs:Q", title="Runs"), _state(), alt.Order("place:Q"),
        tooltip=[alt.Tooltip("day:T"), "outcome:N", "runs:Q"],
    ).properties(height=220)  # fmt: skip


def step_times(found: pd.DataFrame) -> alt.LayerChart:
    """Of each step the usual band, the median, and what the newest run spent; seconds on a logarithmic axis."""
    shown = found.assign(**{name: found[name].clip(lower=0.001) for name in ("low", "median", "high", "newest")})
    shown["slow"] = (shown["newest"] > shown["high"] * 1.5) & (shown["newest"] > 1)
    y = alt.Y("step:N", title=None, sort=list(shown["step"]), axis=alt.Axis(labelLimit=180))
    x = alt.Scale(type="log")
    axis = alt.Axis(format="~g", labelOverlap=True, grid=False)
    tips = [
        "step:N",
        *(alt.Tooltip(f"{name}:Q", title=f"{name} (s)", format=".2f") for name in ("low", "median", "high", "newest")),
        alt.Tooltip("run_id:N", title="Newest run"),
        alt.Tooltip("runs:Q", title="Runs"),
    ]
    base = alt.Chart(shown)
    return alt.layer(
        base.mark_bar(height=11, color="#6f8aa6", opacity=0.45).encode(
            alt.X("low:Q", scale=x, title="Seconds in one run", axis=axis),
            alt.X2("high:Q"),
            y,
            tooltip=tips,
        ),
        base.mark_tick(thickness=2, size=17, color="#6f8aa6").encode(alt.X("median:Q"), y, tooltip=tips),
        base.mark_point(size=60, filled=True, opacity=1).encode(
            alt.X("newest:Q"),
            y,
            alt.Color("slow:N", scale=alt.Scale(domain=[False, True], range=["#4a8fd0", _UNUSUAL]), legend=None),
            alt.Shape("slow:N", scale=alt.Scale(domain=[False, True], range=["circle", "triangle-up"]), legend=None),
            tooltip=tips,
        ),
    ).properties(height=26 * len(shown) + 40)


def volume(found: pd.DataFrame, what: str) -> alt.Chart:
    """Rows or bytes that the layers hold, over days."""
    title = {"rows": "Rows on main", "bytes": "Bytes on main"}[what]
    return (
        alt.Chart(found)
        .mark_line(interpolate="step-after", strokeWidth=2, point=found["day"].nunique() == 1)
        .encode(
            alt.X("day:T", title=None, axis=_days(found["day"])),
            alt.Y(f"{what}:Q", title=title, axis=alt.Axis(format="~s")),
            *_layer(found["layer"]),
            tooltip=[alt.Tooltip("day:T"), "layer:N", alt.Tooltip(f"{what}:Q", title=title, format=",.0f")],
        )
        .properties(height=220)
    )


def steps_of_run(steps: pd.DataFrame) -> alt.Chart:
    """The steps of a run, one below the other, in seconds since the first."""
    begun = steps["began_at"].min()
    shown = steps.assign(
        begins=(steps["began_at"] - begun).dt.total_seconds(),
        ends=(steps["ended_at"] - begun).dt.total_seconds(),
        label=[f"{n}. {name}" for n, name in enumerate(steps["step"], 1)],
        outcome_=[
            "ended well" if outcome == "done" else "under way" if outcome is None else "failed" for outcome in steps["outcome"]
        ],
    )
    shown["ends"] = shown["ends"].clip(lower=shown["begins"] + max(shown["ends"].max() / 250, 0.001))
    return (
        alt.Chart(shown)
        .mark_bar(height=12, cornerRadius=2)
        .encode(
            alt.X("begins:Q", title="Seconds since the first step"),
            alt.X2("ends:Q"),
            alt.Y("label:N", sort=list(shown["label"]), title=None, axis=alt.Axis(labelLimit=200, labelOverlap=False)),
            alt.Color("outcome_:N", scale=alt.Scale(domain=STATES, range=STATE_COLOURS), legend=None),
            tooltip=[alt.Tooltip("step:N"), alt.Tooltip("seconds:Q", format=".2f", title="Took (s)"), alt.Tooltip("outcome:N")],
        )
        .properties(height=24 * len(shown) + 40)
    )
