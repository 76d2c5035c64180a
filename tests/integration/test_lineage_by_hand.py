"""A number of real flights, followed by a person through the code to the file, and by the command."""

from __future__ import annotations

import hashlib
import json

from typer.testing import CliRunner

from medallion.cli import app
from medallion.lakehouse.store import Store
from medallion.settings import Settings
from tests.demo_lake import DAY

pytest_plugins = ["tests.demo_lake"]

GOLD, SILVER, BRONZE = (
    f"{layer}.operations.{name}" for layer, name in (("gold", "route_performance"), ("silver", "flights"), ("bronze", "flights"))
)
FILE = "s3://bronze-raw-data/domain=operations/flights/year=2013/month=01/day=01/flights.csv"
# gold.py, route_performance: on_time_share = count_if(arr_delay_min <= 15) / count(arr_delay_min), of the flights' groups by
# flight_date, origin and dest. silver.py, flights: arr_delay_min is the text of arr_delay as a number. bronze.flights.odcs.yaml:
# arr_delay is a column of the delivered file, one a day.
BY_HAND = [
    (GOLD, "on_time_share", [f"{SILVER}.arr_delay_min"]),
    (SILVER, "arr_delay_min", [f"{BRONZE}.arr_delay"]),
    (BRONZE, "arr_delay", []),
]
DECIDED_BY_HAND = [f"{SILVER}.dest", f"{SILVER}.flight_date", f"{SILVER}.origin"]


def test_a_share_of_flights_on_time_down_to_the_file(demo_lake: Settings) -> None:
    words = ["lineage", GOLD, "--column", "on_time_share", "--date", DAY.isoformat(), "--json"]
    told = json.loads(CliRunner().invoke(app, words).stdout)
    assert [(row["dataset"], row["column"], row["made_of"]) for row in told["columns"]] == BY_HAND
    assert told["decided_by"] == DECIDED_BY_HAND
    delivered = Store(demo_lake.s3).get(FILE)
    [file] = [one for node in told["nodes"] for one in node["deliveries"]]
    assert (file["sha256"], file["rows"]) == (hashlib.sha256(delivered).hexdigest(), len(delivered.splitlines()) - 1)
    assert file["uri"].partition("?")[0] == FILE
    assert [node["dataset"] for node in told["nodes"]] == [GOLD, SILVER, BRONZE]
    assert all(node["proven"] for node in told["nodes"])
