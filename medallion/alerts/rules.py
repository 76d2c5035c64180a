"""What is to be told, as `conf/alerts.toml` says it."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from medallion.errors import SettingsError
from medallion.settings import ROOT

Severity = Literal["critical", "error", "warning"]
FILE = "alerts.toml"


class Rule(BaseModel):
    """What all rules have. `datasets` are names, with `*`; `channels` names of the settings, None: all of them."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    kind: str
    severity: Severity = "error"
    datasets: tuple[str, ...] = ("*",)
    channels: tuple[str, ...] | None = None

    def watches(self, dataset: str | None) -> bool:
        """Whether a dataset is one of its own; what is of no dataset is, unless it names some."""
        if dataset is None:
            return self.datasets == ("*",)
        return any(fnmatchcase(dataset, pattern) for pattern in self.datasets)


class QualityDrop(Rule):
    """The score of a write is more than `share` below the median of the dataset's `writes` last dates on main before it,
    of which there must be `least`."""

    kind: Literal["quality_drop"]
    share: float = Field(default=0.2, gt=0, lt=1)
    writes: int = Field(default=7, ge=1, le=90)
    least: int = Field(default=3, ge=1, le=90)


class RunFailed(Rule):
    """A run failed at a dataset that is critical: by its contract, or because it is one of `critical` (names, with `*`)."""

    kind: Literal["run_failed"]
    severity: Severity = "critical"
    critical: tuple[str, ...] = ()


class PublicationFailed(Rule):
    """A publication of gold, or the marts, failed. It is of no dataset: a rule that names some watches none."""

    kind: Literal["publication_failed"]


class Gap(Rule):
    """A date, or an hour, that a contract promises is not there `after_hours` after it was due; or a later one is there."""

    kind: Literal["gap"]
    after_hours: float = Field(default=0, ge=0, le=24 * 31)


class SchemaViolated(Rule):
    """A delivery with a broken header, or a contract that would break readers of its table, was refused."""

    kind: Literal["schema_violation"]


class Unusual(Rule):
    """A write is not like the dataset's past (`anomalies` of the contract)."""

    kind: Literal["anomaly"]
    severity: Severity = "warning"


class SlaMissed(Rule):
    """A date came, but later than the contract promises."""

    kind: Literal["sla_missed"]
    severity: Severity = "warning"


KINDS: dict[str, type[Rule]] = {
    "quality_drop": QualityDrop,
    "run_failed": RunFailed,
    "publication_failed": PublicationFailed,
    "gap": Gap,
    "schema_violation": SchemaViolated,
    "anomaly": Unusual,
    "sla_missed": SlaMissed,
}


@dataclass(frozen=True)
class Rules:
    """All rules, in the order of the file. Runs that ended longer than `look_back_hours` ago are not looked at."""

    rules: tuple[Rule, ...]
    look_back_hours: float = 168.0
    by_name: dict[str, Rule] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "by_name", {rule.name: rule for rule in self.rules})

    def of(self, kind: type[Rule], dataset: str | None) -> list[Any]:
        """The rules of a kind that watch a dataset."""
        return [rule for rule in self.rules if isinstance(rule, kind) and rule.watches(dataset)]


def path() -> Path:
    """The file: in the folder of the profiles, if there is one; else the one that comes with medallion."""
    own = Path(os.environ.get("MEDALLION_CONF", ROOT / "conf")) / FILE
    return own if own.is_file() else ROOT / "conf" / FILE


def load(channels: Mapping[str, Any], file: Path | None = None) -> Rules:
    """Read the rules.

    Args:
        channels: the names that rules may send to.
        file: another file than `path()`.
    Raises: SettingsError naming the file, the rule, the key and what is allowed.
    """
    file = file or path()
    try:
        document = tomllib.loads(file.read_text("utf-8"))
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{file} cannot be read: {error}", hint="mend the file") from error
    if unknown := sorted(set(document) - {"look_back_hours", "rules"}):
        raise SettingsError(
            f"{file}: there is no key '{unknown[0]}'", hint="use look_back_hours, and one table [rules.NAME] a rule"
        )
    back = document.get("look_back_hours", 168)
    if isinstance(back, bool) or not isinstance(back, int | float) or not 0 < back <= 24 * 366:
        raise SettingsError(f"{file}: look_back_hours is {back!r}", hint="write hours, up to a year of them")
    told = document.get("rules", {})
    if not isinstance(told, dict) or not all(isinstance(each, dict) for each in told.values()):
        raise SettingsError(f"{file}: rules are not tables", hint="write one table [rules.NAME] a rule")
    rules = tuple(_rule(file, name, table) for name, table in told.items())
    for rule in rules:
        for strange in sorted(set(rule.channels or ()) - set(channels)):
            known = ", ".join(sorted(channels)) or "none: name some under the setting alerts.channels"
            raise SettingsError(f"{file}: rule '{rule.name}', channels: there is no channel '{strange}'", hint=f"known: {known}")
    return Rules(rules, float(back))


def _rule(file: Path, name: str, table: dict[str, Any]) -> Rule:
    kind = table.get("kind")
    if kind not in KINDS:
        raise SettingsError(f"{file}: rule '{name}', kind: {kind!r} is none", hint=f"use one of {', '.join(KINDS)}")
    model = KINDS[kind]
    try:
        if "name" in table:
            raise SettingsError(f"{file}: rule '{name}': there is no key 'name'", hint="its table's name is its name")
        return model(**table, name=name)
    except ValidationError as error:
        problem = error.errors()[0]
        key = ".".join(str(part) for part in problem["loc"])
        if problem["type"] == "extra_forbidden":
            keys = ", ".join(each for each in model.model_fields if each != "name")
            raise SettingsError(
                f"{file}: rule '{name}': there is no key '{key}'", hint=f"a rule of kind {kind} has {keys}"
            ) from error
        allowed = ", ".join(get_args(Severity)) if key == "severity" else problem["msg"]
        raise SettingsError(f"{file}: rule '{name}', {key}: {problem['msg']}", hint=f"allowed: {allowed}") from error
