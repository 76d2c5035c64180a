"""dbt as a program: where it is, how it is called, and what came of it.

It stands in a folder of its own, because it needs other versions of packages than medallion does.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from medallion.errors import GateRefused, MedallionError, UsageError
from medallion.publish.columns import Column
from medallion.settings import ROOT, Settings

_BESIDE = Path(sys.prefix) / ".setup" / "dbt"
PROGRAM = ("-P", "-c", "from dbt.cli.main import cli; cli()")
_BROKEN = ("error", "fail", "runtime error")
_SHOWN = 5


@dataclass(frozen=True)
class Mart:
    """One mart as its model's contract says, and the gold datasets that it is made of."""

    name: str
    columns: tuple[Column, ...]
    reads: frozenset[str]


@dataclass(frozen=True)
class Built:
    """What a build has made: the marts, how many models there are and how many tests passed."""

    marts: tuple[Mart, ...]
    models: int
    tests: int


def packages() -> Path:
    """The folder of packages that dbt is in. Raises: UsageError if it is not installed."""
    if (_BESIDE / "dbt").is_dir():
        return _BESIDE
    if find_spec("dbt") and (spec := find_spec("dbt.cli")) and spec.origin:
        return Path(spec.origin).parents[2]
    raise UsageError("dbt is not installed", hint="`make setup` puts it beside the environment; its log is .venv/.setup/dbt.log")


def environment(variables: Mapping[str, str]) -> dict[str, str]:
    """The environment of a dbt process: ours, these variables, and dbt's packages before those of medallion."""
    path = os.pathsep.join([str(packages()), str(ROOT)])
    mine = {name: value for name, value in os.environ.items() if not name.startswith("PYSPARK_GATEWAY")}  # a JVM of its own
    return mine | {"PYTHONPATH": path, "DBT_SEND_ANONYMOUS_USAGE_STATS": "false"} | dict(variables)


def build(
    settings: Settings,
    folder: Path,
    variables: Mapping[str, str],
    values: Mapping[str, str],
    program: Sequence[str] = PROGRAM,
) -> Built:
    """Build and test every model, aside.

    Args:
        folder: for dbt's own files; exists.
        variables: of the environment, for the profile.
        values: the project's variables.
        program: what Python is to run.

    Raises: GateRefused naming each test that failed; UsageError naming each model that could not be built;
        MedallionError with dbt's own words if it did not come that far.
    """
    project = settings.marts.project
    if not (project / "dbt_project.yml").is_file():
        raise UsageError(f"{project} is no dbt project", hint="set marts.project to the folder of dbt_project.yml")
    words = [
        sys.executable, *program, "--no-use-colors", "--log-path", str(folder / "logs"), "build",
        "--project-dir", str(project), "--profiles-dir", str(project), "--target-path", str(folder / "target"),
        "--vars", json.dumps(dict(values)),
    ]  # fmt: skip
    done = subprocess.run(words, env=environment(variables), cwd=folder, capture_output=True, text=True)
    results = folder / "target" / "run_results.json"
    if not results.is_file():
        raise _silent(done.stdout, done.stderr)
    manifest = json.loads((folder / "target" / "manifest.json").read_text("utf-8"))
    found = json.loads(results.read_text("utf-8"))["results"]
    _refuse(found)
    if done.returncode != 0:
        raise _silent(done.stdout, done.stderr)
    kinds = [one["unique_id"].split(".")[0] for one in found]
    return Built(_marts(manifest), kinds.count("model"), kinds.count("test") + kinds.count("unit_test"))


def _refuse(results: Sequence[Mapping[str, Any]]) -> None:
    broken = [one for one in results if one["status"] in _BROKEN]
    if not broken:
        return
    lines = [f"  {_called(one['unique_id'])}: {' '.join(str(one['message']).split())[:400]}" for one in broken[:_SHOWN]]
    lines += [f"  and {len(broken) - _SHOWN} more"] if len(broken) > _SHOWN else []
    models = [one for one in broken if one["unique_id"].startswith("model.")]
    told = f"{len(models)} models cannot be built" if models else f"{len(broken)} of the marts' tests failed"
    raise (UsageError if models else GateRefused)(
        "\n".join([f"{told}; the marts are as they were", *lines]),
        hint="mend the model, or have the data behind it corrected, and run `medallion marts` again",
    )


def _called(unique_id: str) -> str:
    """`model airline_league`, `test not_null_…`: a node as people name it."""
    kind, _, *parts = unique_id.split(".")
    return f"{kind.replace('_', ' ')} {'.'.join(parts[:-1] if kind == 'test' and len(parts) > 1 else parts)}"


def _silent(out: str, err: str) -> MedallionError:
    """dbt ended before it built anything: what it said, without its times."""
    said = [line.partition("  ")[2] or line for line in (out + err).splitlines() if line.strip()]
    return MedallionError(
        "dbt could not begin; the marts are as they were:\n" + "\n".join(f"  {line}" for line in said[-12:]),
        hint="`dbt debug` in the project's folder says more",
    )


def _marts(manifest: Mapping[str, Any]) -> tuple[Mart, ...]:
    """The models that are tables with an enforced contract: what is published. The rest is on the way to them."""
    nodes = manifest["nodes"]
    found = []
    for key, node in sorted(nodes.items()):
        if node["resource_type"] != "model" or node["config"]["materialized"] != "table":
            continue
        if not node["config"]["contract"]["enforced"]:
            raise UsageError(
                f"model {node['name']} is a table without an enforced contract; the marts are as they were",
                hint="leave `contract: {enforced: true}` as dbt_project.yml has it, and give every column its data_type",
            )
        columns = tuple(Column(c["name"], _type(node["name"], c["name"], c["data_type"])) for c in node["columns"].values())
        found.append(Mart(node["name"], columns, frozenset(_reads(manifest, key))))
    return tuple(found)


def _reads(manifest: Mapping[str, Any], key: str) -> set[str]:
    """The gold datasets that a node is made of."""
    if source := manifest["sources"].get(key):
        return {f"gold.{source['source_name']}.{source['name']}"}
    above = manifest["nodes"].get(key, {}).get("depends_on", {}).get("nodes", ())
    return {dataset for each in above for dataset in _reads(manifest, each)}


def _type(model: str, column: str, declared: str) -> str:
    """A type of a model's contract by Spark SQL's name. Raises: UsageError for one that marts do not have."""
    name = declared.lower().replace(" ", "")
    if name.startswith("numeric("):
        return name.replace("numeric", "decimal")
    if name in ("bigint", "date", "boolean", "string"):
        return name
    raise UsageError(
        f"model {model}: column '{column}' is declared as {declared}, which is not the same in every warehouse",
        hint="use bigint, numeric(p, s), date, boolean or string",
    )
