"""What is unusual about a write, compared with the same dataset's own past.

Each metric of a write (rows, shares, means, distinct values, shares of a distribution's bins) is a
series over logical dates. Only dates before the one that is judged are looked at:

1. The value is brought to a scale on which its spread depends less on its size: `log(1 + n)` for counts,
   `asin(sqrt(p))` for a bin's share, `asinh(x / typical)` for means, which may be negative. Shares of nulls
   and of rows that break a rule stay as they are; only more of them than usual is told.
2. Season and trend, robustly: a weekday's effect is the median, over its last 8, of the distance to the
   median of the 7 days around it; the level is the median of the last 14 days without their
   weekdays' effects. Expected is level plus effect. Up to half of the days may be wrong without moving it. An effect
   that one or two days alone tell of may be theirs alone, because something was wrong with them: then whatever lies
   between the level with it and the level without it is expected too, and one day's effect is not taken out of others'.
3. The spread is that of the same forecast's past errors: their median / 0.6745 (the Hampel identifier's
   MAD). For shares and means, whose tails are long and often to one side only, upwards and downwards apart,
   and their 90th percentile / 1.645 where that is more. Never less than _LEAST_SPREAD, or for bins what
   chance alone brings about; wider while the history is short.
4. Unusual is what lies more than the metric's THRESHOLD of these spreads away, and is a change worth telling.

F. R. Hampel, "The Influence Curve and its Role in Robust Estimation", JASA 69 (1974); L. Davies and U. Gather,
"The Identification of Multiple Outliers", JASA 88 (1993); the split by median smoothing follows R. B. Cleveland
et al., "STL", Journal of Official Statistics 6 (1990), with medians for its local regressions, looking back only.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Any

from medallion.contract import Watch
from medallion.quality.holidays import is_near

if TYPE_CHECKING:
    import numpy as np

THRESHOLDS = {"volume": 4.5, "distinct": 5.0, "mean": 5.0, "null_share": 6.0, "bad_share": 6.0, "distribution": 5.0}
"""How many robust deviations are unusual, at sensitivity `normal`."""
SENSITIVITIES = {"low": 1.5, "normal": 1.0, "high": 0.7}
"""What the thresholds are multiplied by."""
NEAR_HOLIDAYS = {"volume": 3.5, "distinct": 3.5, "distribution": 1.5}
"""What the thresholds are multiplied by on and around holidays."""
DAYS = 98
"""How far back the history is looked at."""
_LEVEL, _WEEKS, _LEAST_ERRORS = 14, 8, 6
_FEW = 3
"""Fewer days than these do not settle what a weekday's effect is."""
_ONLY_MORE = ("null_share", "bad_share")
_COUNTS = ("volume", "distinct")
_LEAST_SPREAD = {"volume": 0.03, "distinct": 0.03, "mean": 0.01, "null_share": 0.01, "bad_share": 0.01}

_LEAST_CHANGE = {"volume": 0.1, "distinct": 0.1, "mean": 0.1, "null_share": 0.03, "bad_share": 0.03, "distribution": 0.03}
"""What changes less is not worth telling, however steady it was: of counts and means a part of what is
usual, of shares the difference."""

Key = tuple[str, str, str]


@dataclass(frozen=True)
class Anomaly:
    """One metric of a write that is unusual. `expected` is what is usual for its date and weekday, `low` and
    `high` bound it; `deviations` says how many robust deviations `value` is off, negative below.
    `column` is the column or rule, `bin` the value or bin of a distribution."""

    metric: str
    column: str
    bin: str
    value: float
    expected: float
    low: float
    high: float
    deviations: float
    season: str

    @property
    def text(self) -> str:
        """As a person reads it: what it is, what is usual, by how much."""
        of = {
            "volume": "rows",
            "distinct": f"distinct values of {self.column}",
            "mean": f"mean of {self.column}",
            "null_share": f"nulls in {self.column}",
            "bad_share": f"rows breaking {self.column}",
            "distribution": f"share of {self.bin} in {self.column}",
        }[self.metric]
        where = "below" if self.deviations < 0 else "above"
        usual = f"usual for a {self.season}: {self._shown(self.low)} to {self._shown(self.high)}"
        value = f"{self._shown(self.value)} rows" if self.metric == "volume" else f"{of}: {self._shown(self.value)}"
        return f"{value}, {usual}; {abs(self.deviations):.1f} robust deviations {where}"

    def as_json(self) -> dict[str, Any]:
        """Its figures and its text, as a run's story keeps them; a bound that no number holds is None."""
        figures = {name: getattr(self, name) for name in ("value", "expected", "low", "high", "deviations")}
        of = {"metric": self.metric, "column": self.column, "bin": self.bin, "text": self.text}
        return of | {name: value if math.isfinite(value) else None for name, value in figures.items()}

    def _shown(self, value: float) -> str:
        if self.metric in _COUNTS:
            return f"{value:,.0f}"
        return f"{value:,.4g}" if self.metric == "mean" else f"{value:.1%}"


def unusual(today: Mapping[str, Any], history: Sequence[Mapping[str, Any]], watch: Watch) -> list[Anomaly]:
    """What of a write's metrics is unusual, the most unusual first.

    Args:
        today: the write's metrics, as `medallion.quality.metrics` has them.
        history: those of other writes, one for each logical date; those of `today`'s date and later are left out.
        watch: what the contract says of anomalies; the history's length that it asks for counts for
            each metric by itself.
    """
    import numpy as np

    when = _day(today["logical_date"])
    past = sorted(
        (h for h in history if 0 < (when - _day(h["logical_date"])).days <= DAYS), key=lambda h: _day(h["logical_date"])
    )
    if len(past) < watch.minimum_history:
        return []
    keys, values = _table([*past, today], watch.metrics)
    rows = min(float(np.median([h["rows"] for h in past])), float(today["rows"]))
    typical = _median(np.abs(values[:-1]).T)
    typical[~(typical > 0)] = 1.0
    kinds = np.array([kind for kind, _, _ in keys])
    scaled = _scaled(values, kinds, typical)
    known = np.full((DAYS, len(keys)), np.nan)
    known[[DAYS - (when - _day(h["logical_date"])).days for h in past]] = scaled[:-1]
    expected, without, down, up = _forecast(known, (when.weekday() - 1) % 7, ~np.isin(kinds, _COUNTS))
    least = np.array([_LEAST_SPREAD.get(kind, 0.5 / max(rows, 1.0) ** 0.5) for kind in kinds])
    down, up = np.maximum(down, least), np.maximum(up, least)
    enough = (~np.isnan(known)).sum(axis=0) >= watch.minimum_history
    factor = SENSITIVITIES[watch.sensitivity]
    more = NEAR_HOLIDAYS if watch.holidays and is_near(when, watch.holidays) else {}
    limits = np.array([THRESHOLDS[kind] * factor * more.get(kind, 1.0) for kind in kinds])
    least_expected, most_expected = np.minimum(expected, without), np.maximum(expected, without)
    off = scaled[-1] - np.clip(scaled[-1], least_expected, most_expected)
    deviations = off / np.where(off < 0, down, up)
    found = []
    usual = np.array([_unscaled(e, kind, t) for e, kind, t in zip(expected, kinds, typical, strict=True)])
    whole = np.where(np.isin(kinds, _COUNTS), np.maximum(usual, 1), np.where(kinds == "mean", typical, 1))
    change = np.abs(values[-1] - usual) / whole
    worth_telling = change > np.array([_LEAST_CHANGE[kind] for kind in kinds])
    beyond = np.where(np.isin(kinds, _ONLY_MORE), deviations, np.abs(deviations)) > limits
    for i in np.flatnonzero(enough & worth_telling & beyond):
        kind, column, bin_ = keys[i]
        ends = least_expected[i] - limits[i] * down[i], most_expected[i] + limits[i] * up[i]
        low, high = (_unscaled(end, kind, typical[i]) for end in ends)
        value, off_by = float(values[-1, i]), round(float(deviations[i]), 2)
        found.append(Anomaly(kind, column, bin_, value, float(usual[i]), low, high, off_by, f"{when:%A} in {when:%B}"))
    return sorted(found, key=lambda a: -abs(a.deviations) / THRESHOLDS[a.metric])


def _forecast(y: np.ndarray, weekday_of_last: int, tails: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """For each column of `y` (one row for each of the DAYS days before the target, NaN where unknown): expected value on
    the target day, NaN if nothing is known of its weekday; the same without its weekday's effect, where few days tell of
    that; and the spread of such forecasts' errors downwards and upwards. `tails`: whether a column's spread is that of its
    tails."""
    import numpy as np
    from numpy.lib.stride_tricks import sliding_window_view

    weekdays = (weekday_of_last - np.arange(len(y))[::-1]) % 7
    distance = y - _median(sliding_window_view(_padded(y, 3, 3), 7, axis=0))
    recent, of = distance[-7 * _WEEKS :], weekdays[-7 * _WEEKS :]
    effects = np.stack([_median(recent[of == weekday].T) for weekday in range(7)])
    seen = np.stack([(~np.isnan(recent[of == weekday])).sum(axis=0) for weekday in range(7)])
    plain = y - np.where(seen > 1, effects, 0.0)[weekdays]
    levels = _median(sliding_window_view(_padded(plain, _LEVEL, 0), _LEVEL, axis=0))  # before each day, and before the target
    begun = np.cumsum(~np.isnan(y), axis=0) > _LEAST_ERRORS
    errors = np.where(begun, plain - levels[:-1], np.nan)
    today = (weekday_of_last + 1) % 7
    expected = levels[-1] + effects[today]
    without = np.where(seen[today] < _FEW, levels[-1], expected)
    wider = np.sqrt(1 + 12 / np.maximum((~np.isnan(errors)).sum(axis=0), 1))
    middle = _quantile(np.abs(errors).T, 0.5) / 0.6745
    both = np.where(tails, _spread(np.abs(errors)), middle)
    sides = []
    for side in (-errors, errors):
        of_side = np.where(side > 0, side, np.nan)
        few = (~np.isnan(of_side)).sum(axis=0) < _LEAST_ERRORS
        sides.append(np.nan_to_num(np.where(few | ~tails, both, _spread(of_side)) * wider))
    return expected, without, sides[0], sides[1]


def _padded(y: np.ndarray, before: int, after: int) -> np.ndarray:
    import numpy as np

    return np.pad(y, ((before, after), (0, 0)), constant_values=np.nan)


def _spread(errors: np.ndarray) -> np.ndarray:
    """By column: the standard deviation whose half-normal has this median, or this 90th percentile if that is more."""
    import numpy as np

    return np.nan_to_num(np.maximum(_quantile(errors.T, 0.5) / 0.6745, _quantile(errors.T, 0.9) / 1.645))


def _median(values: np.ndarray) -> np.ndarray:
    return _quantile(values, 0.5)


def _quantile(values: np.ndarray, q: float) -> np.ndarray:
    """Over the last axis, leaving NaN out; NaN where there is nothing else. numpy's own is ten times slower on these."""
    import numpy as np

    ordered = np.sort(values, axis=-1)  # NaN last
    at = np.maximum((~np.isnan(ordered)).sum(axis=-1) - 1, 0) * q
    low, high = np.floor(at).astype(int), np.ceil(at).astype(int)
    below: np.ndarray = np.take_along_axis(ordered, low[..., None], -1)[..., 0]
    above: np.ndarray = np.take_along_axis(ordered, high[..., None], -1)[..., 0]
    found: np.ndarray = below + (above - below) * (at - low)
    return found


def _scaled(values: np.ndarray, kinds: np.ndarray, typical: np.ndarray) -> np.ndarray:
    import numpy as np

    counts, means = np.isin(kinds, _COUNTS), kinds == "mean"
    scaled = np.empty_like(values)
    scaled[:, counts] = np.log1p(values[:, counts])
    scaled[:, means] = np.arcsinh(values[:, means] / typical[means])
    shares = kinds == "distribution"
    plain = ~counts & ~means & ~shares
    scaled[:, plain] = values[:, plain]
    scaled[:, shares] = np.arcsin(np.sqrt(np.clip(values[:, shares], 0, 1)))
    return scaled


def _unscaled(value: float, kind: str, typical: float) -> float:
    import numpy as np

    if kind in _COUNTS:
        return max(float(np.expm1(value)), 0.0)
    if kind == "mean":
        return float(np.sinh(value) * typical)
    if kind != "distribution":
        return min(max(value, 0.0), 1.0)
    return float(np.sin(np.clip(value, 0, np.pi / 2)) ** 2)


def _table(writes: Sequence[Mapping[str, Any]], metrics: Sequence[str]) -> tuple[list[Key], np.ndarray]:
    """One row for each write, one column for each series that the last one has; NaN where a write lacks it."""
    import numpy as np

    flat = [_flat(one, metrics) for one in writes]
    columns = {column for kind, column, _ in flat[-1] if kind == "distribution"}
    bins = {key for one in flat for key in one if key[0] == "distribution" and key[1] in columns}
    keys = sorted({*flat[-1]} | bins)
    values = np.array([[one.get(key) for key in keys] for one in flat], dtype=float)  # None becomes NaN
    for column in columns:
        mine = np.array([key[:2] == ("distribution", column) for key in keys])
        of_it = values[:, mine]
        has_any = ~np.isnan(of_it).all(axis=1, keepdims=True)
        values[:, mine] = np.where(np.isnan(of_it) & has_any, 0.0, of_it)  # a value that did not occur
    return keys, values


def _flat(write: Mapping[str, Any], metrics: Sequence[str]) -> dict[Key, float]:
    found: dict[Key, float] = {}
    if "volume" in metrics:
        found["volume", "", ""] = float(write["rows"])
    for kind in ("mean", "distinct", "null_share", "bad_share"):
        if kind in metrics:
            found |= {(kind, column, ""): float(value) for column, value in write.get(kind, {}).items() if value is not None}
    if "distribution" in metrics:
        for column, counted in write.get("distribution", {}).items():
            total = sum(counted.values())
            found |= {("distribution", column, str(bin_)): n / total for bin_, n in counted.items() if total}
    return found


def _day(value: Any) -> date:
    return value if isinstance(value, date) else date.fromisoformat(str(value))
