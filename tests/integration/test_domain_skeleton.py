"""The skeleton as `medallion domain new` writes it: its test passes, its delivery arrives, its run merges."""

from __future__ import annotations

import importlib.util
import json
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from medallion import domain, query
from medallion.contract import Origin
from medallion.deliver import deliver
from medallion.domain_skeleton import create
from medallion.errors import InputError, UsageError
from medallion.lakehouse.store import Store
from medallion.pipeline import Lake, Request, execute
from medallion.settings import Settings

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

DAY = date(2024, 5, 1)
ORDERS = "bronze.bakery.orders"


@pytest.fixture(scope="module")
def bakery(stack: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """Settings with a domain fresh from the skeleton."""
    folder = tmp_path_factory.mktemp("domains") / "bakery"
    create(stack, "bakery", folder)
    return stack.model_copy(update={"domains": str(folder)})


def folder_of(settings: Settings) -> Path:
    return Path(settings.domains)


def own_tests(folder: Path) -> list[Callable[[SparkSession], None]]:
    """The tests that the skeleton brings. docs/domains.md runs such a file with `pytest`; here a JVM is spared."""
    spec = importlib.util.spec_from_file_location("bakery_tests", folder / "test_transforms.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return [value for name, value in vars(module).items() if name.startswith("test_")]


def test_it_works_as_it_is(bakery: Settings, stack_environment: dict[str, str]) -> None:
    environment = stack_environment | {"MEDALLION_DOMAINS": bakery.domains}
    words = ["medallion", "deliver", ORDERS, "sample/orders.csv", "--date", str(DAY), "--json"]
    run = subprocess.run(words, cwd=bakery.domains, env=environment, capture_output=True, text=True, check=True)
    assert json.loads(run.stdout)["uri"] == "s3://bronze-raw-data/domain=bakery/orders/year=2024/month=05/day=01/orders.csv"
    with Lake(bakery) as lake:
        outcome = execute(lake, Request(DAY, domain="bakery"), lambda line: None)
        tests = own_tests(folder_of(bakery))
        assert len(tests) == 2
        for test in tests:
            test(lake.spark())
    assert {w["dataset"]: (w["rows_out"], w["quarantined"]) for w in outcome.writes} == {
        ORDERS: (5, 0), "silver.bakery.orders": (4, 1), "gold.bakery.daily_orders": (1, 0),
    }  # fmt: skip
    (row,) = query.lake(bakery, "SELECT orders, revenue_eur FROM gold.bakery.daily_orders", "main").to_pylist()
    assert (row["orders"], str(row["revenue_eur"])) == (4, "42.75")


def test_the_same_bytes_again_are_said_and_not_written(bakery: Settings, tmp_path: Path) -> None:
    day = date(2024, 5, 2)
    file = tmp_path / "orders.csv"
    store = Store(bakery.s3)
    versions = []
    for data, state in ((b"a", "delivered"), (b"a", "already there"), (b"b", "corrected"), (b"a", "corrected")):
        file.write_bytes(data)
        done = deliver(bakery, ORDERS, file, day)
        versions.append(len(store.versions("bronze-raw-data", "domain=bakery/orders/year=2024/month=05/day=02/")))
        assert (done.state, store.get(done.uri), done.bytes) == (state, data, 1)
    assert versions == [1, 1, 2, 3], "going back to the first bytes is a correction, and written"
    other = file.rename(tmp_path / "again.csv")
    assert deliver(bakery, ORDERS, other, day).state == "corrected", "the newest delivery counts, whatever its name"


@pytest.mark.parametrize(
    ("dataset", "name", "error", "told"),
    [
        ("silver.bakery.orders", "orders.csv", UsageError, r"silver\.bakery\.orders is made, not delivered"),
        ("bronze.bakery.ordres", "orders.csv", UsageError, r"there is no dataset 'bronze\.bakery\.ordres'"),
        (ORDERS, "nothing.csv", InputError, r"nothing\.csv cannot be read: No such file"),
        (ORDERS, "sample", InputError, "sample cannot be read: Is a directory"),
        (ORDERS, "what?.csv", InputError, r"'what\?\.csv' cannot be the name of a delivery"),
    ],
)
def test_what_cannot_be_delivered_is_refused(bakery: Settings, dataset: str, name: str, error: type, told: str) -> None:
    (folder_of(bakery) / "what?.csv").write_text("x")
    file = folder_of(bakery) / ("sample/orders.csv" if name == "orders.csv" else name)
    with pytest.raises(error, match=told) as refused:
        deliver(bakery, dataset, file, date(2024, 5, 3))
    assert refused.value.hint
    assert not Store(bakery.s3).versions("bronze-raw-data", "domain=bakery/orders/year=2024/month=05/day=03/")


def test_what_a_run_fetches_itself_nobody_delivers(bakery: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    domains = domain.load(bakery)
    contract = domains.contracts[ORDERS]
    assert contract.delivery
    fetched = replace(contract.delivery, source=Origin("http", "till", "orders.csv"))
    parted = replace(contract.delivery, expected="initial", parts=("north.csv", "south.csv"))
    for delivery, error, told in (
        (fetched, UsageError, "a run fetches it itself, over http"),
        (parted, InputError, "'orders.csv' is none of its parts"),
    ):
        domains.contracts[ORDERS] = replace(contract, delivery=delivery)
        monkeypatch.setattr(domain, "load", lambda settings: domains)
        with pytest.raises(error, match=told) as refused:
            deliver(bakery, ORDERS, folder_of(bakery) / "sample" / "orders.csv", DAY)
        assert refused.value.hint


def test_a_wrong_date_ends_the_command(bakery: Settings, stack_environment: dict[str, str]) -> None:
    words = ["medallion", "deliver", ORDERS, "orders.csv", "--date", "1.5.2024"]
    environment = stack_environment | {"MEDALLION_DOMAINS": bakery.domains}
    done = subprocess.run(words, cwd=bakery.domains, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, "'1.5.2024' is not a date" in done.stderr) == (2, True)
