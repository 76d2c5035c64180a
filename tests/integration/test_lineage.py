"""Which landing files made this: at every version, to the SHA-256, and only what was really read."""

from __future__ import annotations

import hashlib
import json
import uuid
from datetime import date
from pathlib import Path

import pytest
from typer.testing import CliRunner

from medallion import settings as settings_module
from medallion.cli import app
from medallion.errors import UsageError
from medallion.lakehouse.nessie import MAIN, Reference
from medallion.lineage import tables as lineage
from medallion.lineage.tables import Node
from medallion.pipeline import Lake, Request, execute
from medallion.settings import Settings
from tests.toy_domains import deliver, readings

pytest_plugins = ["tests.quick_sessions"]

D1, D2 = date(2024, 2, 28), date(2024, 2, 29)
SITES, FIRST, SECOND = ["site,name", "a,Aachen"], ["site,value", "a,1"], ["site,value", "a,10"]
CORRECTED = ["site,value", "a,11"]


def sha(lines: list[str]) -> str:
    return hashlib.sha256("".join(f"{line}\n" for line in lines).encode()).hexdigest()


def files(nodes: list[Node]) -> dict[tuple[str, date], tuple[str, int]]:
    return {
        (str(row["dataset"]).rpartition(".")[2], row["logical_date"]): (row["sha256"], row["rows"])
        for row in lineage.files(nodes)
    }


def test_from_gold_to_the_landing_files(quick_settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = f"l{uuid.uuid4().hex[:10]}"
    toys = readings(tmp_path, name)
    gold, silver, bronze = (f"{layer}.{name}.{{}}".format for layer in ("gold", "silver", "bronze"))
    deliver(quick_settings, name, "sites", D1, SITES)
    deliver(quick_settings, name, "readings", D1, FIRST)
    deliver(quick_settings, name, "readings", D2, SECOND)
    with Lake(quick_settings, toys.load(quick_settings)) as lake:

        def up(dataset: str, when: date | None = None, at: str | None = None) -> list[Node]:
            where = Reference(MAIN, at) if at else lake.nessie.reference(MAIN)
            return lineage.up(lake.settings.s3, lake.domains, lake.nessie.tables(where), dataset, when)

        with pytest.raises(UsageError, match="has no rows there"):
            up(gold("daily"))
        first, _ = (execute(lake, Request(day, domain=name), report=lambda line: None) for day in (D1, D2))
        then = lake.nessie.reference(MAIN).hash

        nodes = up(gold("daily"), D2)
        assert [(node.dataset, node.date, node.made_of, node.proven) for node in nodes] == [
            (gold("daily"), D2, ((silver("readings"), D2),), True),
            (silver("readings"), D2, ((bronze("readings"), D2), (silver("sites"), None)), True),
            (bronze("readings"), D2, (), True),
            (silver("sites"), None, ((bronze("sites"), None),), True),
            (bronze("sites"), None, (), True),
        ]
        assert files(nodes) == {("readings", D2): (sha(SECOND), 1), ("sites", D1): (sha(SITES), 1)}
        window = {part for node in up(gold("trailing"), D2) for part in node.made_of if part[0] == silver("readings")}
        assert window == {(silver("readings"), D1), (silver("readings"), D2)}, "of three days there are two"
        whole = {("readings", D1): (sha(FIRST), 1), ("readings", D2): (sha(SECOND), 1), ("sites", D1): (sha(SITES), 1)}
        assert files(up(gold("total"))) == whole

        deliver(quick_settings, name, "readings", D2, CORRECTED)
        execute(lake, Request(D2, ("bronze",), domain=name), report=lambda line: None)
        told = {node.dataset: node.proven for node in up(gold("daily"), D2)}
        assert (told[silver("readings")], told[gold("daily")]) == (False, True), "silver was made of an older delivery"
        execute(lake, Request(D2, domain=name), report=lambda line: None)
        assert all(node.proven for node in up(gold("total")))
        assert files(up(gold("total"))) == whole | {("readings", D2): (sha(CORRECTED), 1)}
        assert files(up(gold("total"), at=then)) == whole, "as it was then"

        for dataset, when, why in (
            (gold("nothing"), None, "there is no dataset"), (gold("daily"), date(2024, 3, 9), "has no rows of 2024-03-09"),
            (gold("total"), D1, "has no rows of"),
        ):  # fmt: skip
            with pytest.raises(UsageError, match=why):
                up(dataset, when)
        assert lineage.down(lake.domains, bronze("sites")) == [
            (silver("sites"), (bronze("sites"),)), (silver("readings"), (silver("sites"),)),
            *[(gold(each), (silver("readings"),)) for each in ("daily", "total", "trailing")],
        ]  # fmt: skip

    monkeypatch.setenv("MEDALLION_HOME", str(quick_settings.home))
    monkeypatch.setenv("MEDALLION_DOMAINS", ":".join(toys.folders))
    settings_module.load.cache_clear()
    shown = CliRunner().invoke(app, ["lineage", gold("daily"), "--date", D2.isoformat(), "--at", then])
    assert shown.exit_code == 0, shown.output
    assert sha(SECOND) in shown.output.replace("\n", "") or sha(SECOND)[:12] in shown.output
    told_json = json.loads(CliRunner().invoke(app, ["lineage", gold("total"), "--json"]).stdout)
    of_files = {d["sha256"] for node in told_json["nodes"] for d in node["deliveries"]}
    assert of_files == {sha(SITES), sha(FIRST), sha(CORRECTED)}
    of_column = json.loads(CliRunner().invoke(app, ["lineage", gold("total"), "--column", "total", "--json"]).stdout)
    assert [(row["column"], row["made_of"]) for row in of_column["columns"]] == [
        ("total", [silver("readings.value")]), ("value", [bronze("readings.value")]), ("value", [])
    ]  # fmt: skip
    assert of_column["decided_by"] == [silver("readings.name")]
    of_files = {d["sha256"] for node in of_column["nodes"] for d in node["deliveries"]}
    assert of_files == {sha(FIRST), sha(CORRECTED)}, "the sites have no part in it"
    below = json.loads(CliRunner().invoke(app, ["lineage", silver("readings"), "--down", "--json"]).stdout)
    tables = [gold("daily"), gold("total"), gold("trailing")]
    assert [row["dataset"] for row in below] == [*tables, *(f"warehouse:{table}" for table in tables)]
    of_run = json.loads(CliRunner().invoke(app, ["lineage", gold("total"), "--run", first.run_id, "--json"]).stdout)
    read = {row["dataset"]: row for row in of_run["read"]}
    assert {row["hash"] for row in read.values()} == {of_run["h0"]}
    assert {d["sha256"] for node in of_run["nodes"] for d in node["deliveries"]} == {sha(SITES), sha(FIRST)}, (
        "as that run left it"
    )
    assert {row["sha256"] for row in of_run["deliveries"]} == {sha(SITES), sha(FIRST)}
