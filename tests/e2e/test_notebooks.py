"""The notebooks, executed as JupyterLab would, on the demo's lake; what they show is worked out again here."""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path
from typing import Any

import nbclient
import nbformat
import pandas as pd
import pytest
from PIL import Image

from medallion.lakehouse.nessie import MAIN, Nessie
from medallion.lakehouse.sandbox import BUCKET
from medallion.lakehouse.store import Store
from medallion.landing import content
from medallion.query import lake as sql
from medallion.settings import BUCKETS, ROOT, Settings

pytest_plugins = ["tests.demo_lake"]

FOLDER = ROOT / "notebooks"


class Executed:
    """A notebook with its outputs, and variables of its kernel as JSON says them."""

    def __init__(self, name: str, settings: Settings, monkeypatch: pytest.MonkeyPatch, folder: Path, ask: str) -> None:
        for variable in ("IPYTHONDIR", "JUPYTER_RUNTIME_DIR", "JUPYTER_CONFIG_DIR"):
            monkeypatch.setenv(variable, str(folder / variable.lower()))
        monkeypatch.setenv("PYTHONPATH", str(ROOT))
        monkeypatch.delenv("MPLBACKEND", raising=False)  # Streamlit sets it where it is imported, and pictures would be none
        nessie, store = Nessie(settings.nessie), Store(settings.s3)
        before = {bucket: {item.uri for item in store.versions(bucket, "")} for bucket in BUCKETS}
        main = nessie.reference(MAIN)
        notebook = nbformat.read(FOLDER / name, as_version=4)
        assert not any(cell.get("outputs") for cell in notebook.cells), "it is kept without outputs"
        notebook.cells.append(nbformat.v4.new_code_cell(f"print({ask})"))
        try:
            nbclient.NotebookClient(notebook, timeout=300, resources={"metadata": {"path": FOLDER}}).execute()
        finally:
            for reference in nessie.references("dev-sandbox/"):
                nessie.delete_branch(reference.name)
        self.outputs: list[Any] = [output for cell in notebook.cells for output in cell.get("outputs", ())]
        self.told = json.loads(self.outputs[-1]["text"])
        after = {bucket: {item.uri for item in store.versions(bucket, "")} for bucket in BUCKETS}
        self.buckets_written = {bucket for bucket in BUCKETS if after[bucket] != before[bucket]}
        self.main_moved = nessie.reference(MAIN) != main
        nessie.close()

    def images(self) -> list[Image.Image]:
        found = [output["data"]["image/png"] for output in self.outputs if "image/png" in output.get("data", {})]
        return [Image.open(io.BytesIO(base64.b64decode(each))) for each in found]

    def text(self) -> str:
        return "\n".join(output.get("data", {}).get("text/plain", "") for output in self.outputs)


@pytest.fixture(scope="module")
def flights(demo_lake: Settings) -> pd.DataFrame:
    """The source's own lines of the days that the lake holds."""
    days = sql(demo_lake, "SELECT DISTINCT flight_date FROM gold.operations.fact_flight ORDER BY 1").to_pydict()
    return pd.concat(
        pd.read_csv(io.BytesIO(content("bronze.operations.flights", day)), na_values="NA") for day in days["flight_date"]
    )


def test_explore_gold(demo_lake: Settings, flights: pd.DataFrame, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    ask = "'[' + routes.to_json(orient='records') + ',' + by_hour.to_json(orient='records') + ']'"
    found = Executed("explore_gold.ipynb", demo_lake, monkeypatch, tmp_path, ask)
    routes, by_hour = found.told
    flown = flights[flights.dep_time.notna()]
    expected = flown.groupby(flown.sched_dep_time // 100).dep_delay.agg(["size", "mean"])
    assert {row["hour"]: row["flights"] for row in by_hour} == expected["size"].to_dict()
    assert {row["hour"]: row["mean_dep_delay_min"] for row in by_hour} == pytest.approx(expected["mean"].to_dict())
    assert len(routes) == 10
    for row in routes:
        of_route = flights[(flights.origin == row["origin"]) & (flights.dest == row["dest"])]
        arrived = of_route[of_route.arr_delay.notna()]
        assert (row["flights"], row["cancelled"]) == (len(of_route), of_route.dep_time.isna().sum())
        by_day = (arrived.arr_delay <= 15).groupby([arrived.month, arrived.day]).mean()
        assert row["mean_on_time_share"] == pytest.approx(by_day.mean())
    assert routes[0]["flights"] == flights.groupby(["origin", "dest"]).size().max()
    (picture,) = found.images()
    assert picture.width > 400
    assert len(picture.convert("RGB").getcolors(100_000) or []) > 10, "it is not blank"
    assert "fact_flight" in found.text()
    assert (found.main_moved, found.buckets_written) == (False, {BUCKET})


def test_change_a_transform(demo_lake: Settings, flights: pd.DataFrame, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    ask = "'[' + ','.join(f.to_json(orient='records') for f in (difference, rows, statuses)) + ',\"' + str(day) + '\"]'"
    found = Executed("change_a_transform.ipynb", demo_lake, monkeypatch, tmp_path, ask)
    difference, rows, statuses, day = found.told
    of_day = flights[pd.to_datetime(flights[["year", "month", "day"]]) == day]
    diverted = of_day[of_day.dep_time.notna() & of_day.arr_delay.isna()]
    assert len(diverted) > 0
    expected = {"added": 0, "removed": 0, "changed": len(diverted), "columns": f"status ({len(diverted)})", "main_moved": False}
    shown = {row["dataset"]: {key: row[key] for key in expected} for row in difference}
    assert shown == dict.fromkeys(("silver.operations.flights", "gold.operations.fact_flight"), expected)
    keys = sorted((row["carrier"], row["flight_number"], row["status"]) for row in rows)
    assert keys == sorted((f.carrier, f.flight, s) for f in diverted.itertuples() for s in ("flown", "diverted"))
    cancelled, flown = of_day.dep_time.isna().sum(), of_day.dep_time.notna().sum()
    assert {row["status"]: (row["on_main"], row["on_sandbox"]) for row in statuses} == {
        "cancelled": (cancelled, cancelled), "diverted": (0, len(diverted)), "flown": (flown, flown - len(diverted)),
    }  # fmt: skip
    assert (found.main_moved, found.buckets_written) == (False, {BUCKET})
