"""Jobs as people start them: `spark-submit jobs/….py --date D` in an activated shell, and nothing more."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from datetime import date
from pathlib import Path

import pytest

from medallion.settings import ROOT
from tests.shop import BRONZE, GOLD, GOOD, SILVER, Shop
from tests.small_domain import csv

pytest_plugins = ["tests.shop"]

DAY = date(2020, 7, 1)
Submit = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def submit(shop: Shop) -> Submit:
    """Types a line into a fresh shell of a person who has nothing but the activated environment."""
    keep = {name: os.environ[name] for name in ("HOME", "USER", "LANG", "TMPDIR") if name in os.environ}
    bin_ = str(Path(sys.prefix) / "bin")
    path = os.pathsep.join(part for part in os.environ["PATH"].split(os.pathsep) if part != bin_)
    environment = keep | {"PATH": path, "MEDALLION_HOME": str(shop.settings.home), "MEDALLION_DOMAINS": shop.settings.domains}

    def type_(line: str, code: int = 0) -> subprocess.CompletedProcess[str]:
        command = ["bash", "-c", f'. "{bin_}/activate" && {line}']
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=240)
        assert done.returncode == code, done.stdout + done.stderr
        assert "Traceback" not in done.stdout + done.stderr
        return done

    return type_


def test_layer_by_layer_each_job_opens_gates_and_merges_a_run_of_its_own(shop: Shop, submit: Submit) -> None:
    shop.deliver(DAY, csv(*GOOD, "5,eve,-1.00,"))
    before = shop.state()
    for layer, job, dataset, rows in (
        ("bronze", "bronze_ingest", BRONZE, 5),
        ("silver", "silver_refine", SILVER, 4),
        ("gold", "gold_build", GOLD, 1),
    ):
        done = submit(f"spark-submit jobs/{job}.py --date {DAY} --domain shop --json")
        outcome = json.loads(done.stdout)  # and nothing else stands there
        assert (outcome["state"], outcome["publication"]) == ("merged", None)
        assert [(w["dataset"], w["rows_out"]) for w in outcome["writes"]] == [(dataset, rows)]
        run = shop.newest_run()
        assert (run["run_id"], run["kind"], run["state"]) == (outcome["run_id"], layer, "merged")
    assert shop.state()[2] == before[2], "nothing is published yet"

    assert (
        f"published main@{outcome['merged_hash'][:12]}" in submit(f"spark-submit jobs/snowflake_publish.py --date {DAY}").stdout
    )
    assert len(shop.state()[2]) == len(before[2]) + 1
    assert shop.newest_run()["state"] == "published"
    sql = f"SELECT orders FROM {GOLD} WHERE ordered_on = '{DAY}'"
    assert json.loads(submit(f'medallion sql --warehouse --json "{sql}"').stdout) == [{"orders": 4}]


def test_wrong_words_and_missing_files_end_with_their_codes(shop: Shop, submit: Submit) -> None:
    before = shop.state()
    # spark-submit ends with a job's code, whichever, and pours its standard error into its standard output
    missing = submit("spark-submit jobs/pipeline.py --date 2020-07-09 --domain shop", code=6).stdout
    assert "error: bronze.shop.orders: no delivery for 2020-07-09" in missing
    assert "\n  → ask its owner" in missing
    assert "required: --date" in submit("python jobs/pipeline.py", code=2).stderr
    nowhere = "MEDALLION_NESSIE__URI=http://127.0.0.1:1"
    gone = submit(f"{nowhere} python jobs/pipeline.py --date 2020-07-09 --domain shop", code=5).stderr
    assert "error: Nessie at http://127.0.0.1:1 does not answer" in gone
    assert "\n  → `medallion up`" in gone
    assert shop.state() == before
