"""The command line: help, exit codes, JSON and nothing else, a run in parts, and no secret anywhere."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from medallion import cli, job, pipeline
from medallion.settings import ROOT, Settings, load
from tests.shop import BRONZE, GOLD, GOOD, SILVER, Shop
from tests.small_domain import csv

pytest_plugins = ["tests.shop"]

MERGED, PARTS, GIVEN_UP, NOTHING, REFUSED, OUTRUN, QUICKER, MADE = (f"2020-06-0{n}" for n in range(1, 9))
COMMANDS = sorted(command.name or command.callback.__name__ for command in cli.app.registered_commands)
PRINTED: list[str] = []
"""Everything that any command printed in this module."""


class Commands:
    """Runs commands in this process, as a terminal would see them."""

    def __init__(self, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
        self.capfd, self.monkeypatch = capfd, monkeypatch

    def __call__(self, *words: str, code: int | None = 0) -> tuple[str, str]:
        """Run a command that must end with this code, None for any.

        Returns: what was printed to standard output and to standard error.
        """
        self.monkeypatch.setattr(sys, "argv", ["medallion", *words])
        self.capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            cli.main()
        return self._printed(int(ended.value.code or 0), code)

    def job(self, layer: Any, *words: str, code: int = 0) -> tuple[str, str]:
        self.capfd.readouterr()
        return self._printed(job.layer_job(layer, words), code)

    def json(self, *words: str, code: int | None = 0) -> Any:
        return json.loads(self(*words, "--json", code=code)[0])

    def _printed(self, ended: int, code: int | None) -> tuple[str, str]:
        out, err = self.capfd.readouterr()
        PRINTED.extend((out, err))
        assert code in (ended, None), err
        assert "Traceback" not in err
        if code:
            assert "\n  → " in err or "Usage: " in err + out, "an error says what to do next"
        return out, err


@pytest.fixture(scope="module")
def domains(shop: Shop) -> Iterator[None]:
    """The shop is one of the domains of this process's settings."""
    os.environ["MEDALLION_DOMAINS"] = shop.settings.domains
    load.cache_clear()
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)
    del os.environ["MEDALLION_DOMAINS"]
    load.cache_clear()


@pytest.fixture
def medallion(domains: None, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Commands:
    return Commands(capfd, monkeypatch)


# ── usage ─────────────────────────────────────────────────────────────────────────────────────────
def test_alone_it_shows_its_commands_and_each_has_help(medallion: Commands) -> None:
    out, _ = medallion(code=2)
    for command in COMMANDS:
        assert f"│ {command} " in out
        told = medallion(command, "--help")[0]
        assert "Usage:" in told
        assert len(told.splitlines()) > 5
    assert medallion("--help")[0].strip() == out.strip()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["nosuch"], "No such command 'nosuch'"),
        (["runs", "--nosuch"], "No such option: --nosuch"),
        (["run"], "Missing option '--date'"),
        (["show"], "Missing argument"),
        (["runs", "--limit", "many"], "Invalid value for '--limit'"),
        (["run", "--date", "2013-02-30"], "'2013-02-30' is not a date"),
        (["landing", "--date", "yesterday"], "'yesterday' is not a date"),
        (["run", "--date", MERGED, "--dataset", "silver.shop.oders"], "no dataset 'silver.shop.oders'"),
        (["run", "--date", MERGED, "--domain", "shopp"], "no domain 'shopp'"),
        (["run", "--date", MERGED, "--domain", "operations", "--dataset", SILVER], "is not of domain operations"),
        (["demo", "--domain", "shop"], "no domain 'shop'"),
        (["show", "nosuch"], "no run 'nosuch'"),
        (["diff", "nosuch"], "no branch 'nosuch'"),
        (["diff", "main", "nosuch"], "no branch 'nosuch'"),
        (["merge", "nosuch"], "no run 'nosuch'"),
        (["abandon", "nosuch"], "no run 'nosuch'"),
        (["resume", "nosuch"], "no run 'nosuch'"),
        (["revert", "nosuch"], "no run 'nosuch'"),
        (["restore", "--to", "yesterday"], "'yesterday' is neither a commit of main nor a time"),
        (["publish", "--at", "nosuch"], "nosuch"),
        (["sql", "DROP TABLE gold.shop.daily_totals"], "this is a DROP"),
        (["sql", "INSERT INTO gold.shop.daily_totals SELECT 1"], "this is a INSERT"),
        (["sql", "--warehouse", "DROP TABLE gold.shop.daily_totals"], "'DROP' is no query"),
        (["sql", "--warehouse", "INSERT INTO gold.shop.daily_totals SELECT 1"], "'INSERT' is no query"),
        (["sql", "SELECT 1; SELECT 2"], "2 statements"),
        (["sql", "SELECT * FROM gold.shop.daily_total"], "no table 'gold.shop.daily_total'"),
        (["sql", "SELECT * FROM gold.shop.daily_totals", "--at", "nosuch"], "no branch or commit 'nosuch'"),
    ],
)
def test_wrong_usage_is_2_and_changes_nothing(medallion: Commands, shop: Shop, words: list[str], told: str) -> None:
    before, runs = shop.state(), shop.newest_run()["run_id"]
    out, err = medallion(*words, code=2)
    assert (out, told in err) == ("", True), err
    assert (shop.state(), shop.newest_run()["run_id"]) == (before, runs)


# ── a run, told in every way ──────────────────────────────────────────────────────────────────────
def test_a_run_is_told_as_json_and_nothing_else(medallion: Commands, shop: Shop) -> None:
    shop.deliver(date.fromisoformat(MERGED), csv(*GOOD))
    found = medallion.json("run", "--date", MERGED, "--domain", "shop")
    assert (found["state"], found["publication"]["outcome"]) == ("merged", "published")
    assert {w["dataset"]: w["rows_out"] for w in found["writes"]} == {BRONZE: 4, SILVER: 4, GOLD: 1}
    run = found["run_id"]

    runs = {row["run"]: row for row in medallion.json("runs")}
    assert (runs[run]["state"], runs[run]["rows_out"], runs[run]["merged"]) == ("published", 9, found["merged_hash"][:12])
    story = medallion.json("show", run)
    (delivery,) = story["deliveries"]
    assert (delivery["dataset"], delivery["rows"], len(delivery["sha256"])) == (BRONZE, 4, 64)
    assert delivery["uri"].startswith("s3://bronze-raw-data/domain=shop/orders/year=2020/month=06/day=01/orders.csv?versionId=")
    assert {dataset for dataset, pointer in story["read"].items() if pointer} == {BRONZE, SILVER, GOLD}
    assert all(v["passed"] for write in story["writes"] for v in write["verdicts"])
    steps = [step["name"] for step in story["steps"]]
    written = [f"write.{dataset}" for dataset in (BRONZE, SILVER, GOLD)]
    assert steps == ["run.branch", *written, "gate", "merge.request", "merge.commit", "run.branch.remove"]
    assert all(step["ended_at"] >= step["began_at"] and step["outcome"] == "done" for step in story["steps"])
    assert [p["hash"] for p in story["publications"]] == [found["merged_hash"]]
    assert story["evidence"]

    changed = {row["dataset"]: (row["change"], row["rows_after"] - row["rows_before"]) for row in medallion.json("diff", run)}
    assert changed == {BRONZE: ("changed", 4), SILVER: ("changed", 4), GOLD: ("changed", 1)}
    assert medallion.json("diff", "main", "main") == []
    assert [b["hash"] for b in medallion.json("branches", "main")] == [found["merged_hash"]]
    assert all(row["agreed"] for row in medallion.json("reconcile"))
    sql = f"SELECT orders, amount FROM {GOLD} WHERE ordered_on = '{MERGED}'"
    assert medallion.json("sql", sql) == medallion.json("sql", sql, "--warehouse") == [{"orders": 4, "amount": "6.75"}]
    assert medallion.json("sql", sql, "--at", story["h0"]) == []
    assert medallion.json("publish")["outcome"] in ("already", "unchanged")
    assert medallion.json("run", "--date", MERGED, "--domain", "shop")["state"] == "unchanged"
    assert medallion.json("resume") == []

    told = medallion("show", run)[0]
    for text in (run, found["merged_hash"], delivery["sha256"][:40], SILVER, "write.silver.shop.orders", "publications"):
        assert text in told
    for words in (["runs"], ["diff", run], ["branches"], ["reconcile"], ["sql", sql], ["status"]):
        assert medallion(*words)[0].count("\n") > 2
    assert "4" in medallion("sql", sql)[0]


def test_the_other_warehouse_is_published_to_by_its_setting_alone(
    medallion: Commands, shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MEDALLION_WAREHOUSE", "postgres")
    load.cache_clear()
    try:
        main = medallion.json("branches", "main")[0]["hash"]
        assert (found := medallion.json("publish"))["outcome"] == "published"
        assert (found["sequence"], found["shown"], GOLD in found["changed"]) == (1, main, True)
        assert medallion.json("publish")["outcome"] == "already"
        assert all(row["agreed"] for row in medallion.json("reconcile"))
        sql = f"SELECT * FROM {GOLD} ORDER BY ordered_on"
        assert medallion.json("sql", sql) == medallion.json("sql", sql, "--warehouse") != []
        assert "is no query" in medallion("sql", "--warehouse", f"DROP TABLE {GOLD}", code=2)[1]
        assert "read-only" in medallion("sql", "--warehouse", f"WITH x AS (DELETE FROM {GOLD}) SELECT 1", code=2)[1]
        warehouse = {row["name"]: row for row in medallion.json("doctor", code=None)}["PostgreSQL warehouse"]
        assert (warehouse["ok"], "database gold" in warehouse["detail"]) == (True, True)
    finally:
        monkeypatch.undo()
        load.cache_clear()


def test_the_stack_is_told_as_json_and_nothing_else(medallion: Commands) -> None:
    assert {row["state"] for row in medallion.json("status")} == {"running"}
    found = {row["name"]: row["ok"] for row in medallion.json("doctor", code=None)}  # the set-up is not ours to judge
    assert all(found[name] for name in ("PostgreSQL", "MinIO", "buckets", "Nessie", "Snowflake endpoint"))


def test_what_the_gate_or_the_source_refuses_has_its_code(medallion: Commands, shop: Shop) -> None:
    before = shop.state()
    assert "no delivery for" in medallion("run", "--date", NOTHING, "--domain", "shop", code=6)[1]
    shop.deliver(date.fromisoformat(REFUSED), csv("x,ann,1.50,", "y,bob,2.00,"))
    out, err = medallion("run", "--date", REFUSED, "--domain", "shop", "--json", code=3)
    assert out == "", "no half an answer"
    assert "parses — 2 of 2 rows" in err
    run = shop.newest_run()["run_id"]
    verdicts = {v["rule"]: v for w in medallion.json("show", run)["writes"] for v in w["verdicts"]}
    assert (verdicts["parses"]["passed"], verdicts["parses"]["bad"]) == (False, 2)
    told = medallion("show", run)[0]
    assert "failed" in told
    assert "parses" in told
    assert {row["dataset"] for row in medallion.json("diff", run)} == {BRONZE, SILVER, f"{SILVER}__quarantine"}
    assert shop.state() == before


@pytest.fixture
def setting(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str, str], None]]:
    """Sets a variable of the environment for one test."""

    def set_(name: str, value: str) -> None:
        monkeypatch.setenv(name, value)
        load.cache_clear()

    yield set_
    monkeypatch.undo()
    load.cache_clear()


def test_a_run_that_is_outrun_is_4(
    medallion: Commands, shop: Shop, setting: Callable[[str, str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    for day in (OUTRUN, QUICKER):
        shop.deliver(date.fromisoformat(day), csv(*GOOD))
    setting("MEDALLION_RUNS__CONFLICT_RETRIES", "0")
    merge, others = pipeline.merge, [QUICKER]

    def outrun(*arguments: Any) -> str | None:
        if others:
            assert shop.run(date.fromisoformat(others.pop())).state == "merged"
        return merge(*arguments)

    monkeypatch.setattr(pipeline, "merge", outrun)
    out, err = medallion("run", "--date", OUTRUN, "--domain", "shop", "--json", code=4)
    assert (out, "changed on main in each of 1 attempts; nothing was merged" in err) == ("", True)
    assert shop.newest_run()["state"] == "merged", "that of the other, which was opened later"
    assert shop.select(f"SELECT count(*) FROM {GOLD} WHERE ordered_on = '{OUTRUN}'") == [(0,)]


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("NESSIE__URI", "http://127.0.0.1:1", "Nessie"),
        ("S3__ENDPOINT", "http://127.0.0.1:1", "the object store at http://127.0.0.1:1 does not"),
        ("S3__SECRET_KEY", "open-sesame", "check the settings s3.access_key and s3.secret_key"),
        ("POSTGRES__PORT", "1", "PostgreSQL"),
    ],
)
def test_a_service_that_is_missing_or_refuses_us_is_5(
    medallion: Commands, shop: Shop, setting: Callable[[str, str], None], name: str, value: str, told: str
) -> None:
    before = shop.state()
    setting(f"MEDALLION_{name}", value)
    out, err = medallion("run", "--date", NOTHING, "--domain", "shop", code=5)
    assert (told in err, "open-sesame" in out + err) == (True, False), err
    assert shop.state() == before


# ── a run in parts ────────────────────────────────────────────────────────────────────────────────
def test_a_run_can_be_written_in_parts(medallion: Commands, shop: Shop) -> None:
    shop.deliver(date.fromisoformat(PARTS), csv(*GOOD))
    run = medallion("open", "--date", PARTS)[0].strip()
    before = shop.state()
    words = ["--date", PARTS, "--domain", "shop", "--run", run]
    for layer in ("bronze", "silver", "gold"):
        assert f"run {run}: written" in medallion.job(layer, *words)[0]
        assert shop.state() == before, "parts change the branch and nothing else"
    assert medallion("resume")[0].strip() == "nothing was left behind", "a run that waits for its parts is left alone"
    assert f"run {run}: merged, main is at" in medallion("merge", run)[0]
    assert shop.select(f"SELECT orders FROM {GOLD} WHERE ordered_on = '{PARTS}'") == [(4,)]
    assert "is merged" in medallion("merge", run, code=2)[1]
    assert "is merged" in medallion.job("gold", *words, code=2)[1]


def test_an_open_run_can_be_given_up(medallion: Commands, shop: Shop) -> None:
    run = medallion("open", "--date", GIVEN_UP)[0].strip()
    before = shop.state()
    assert "failed (abandoned)" in medallion("abandon", run)[0]
    assert "is failed" in medallion("abandon", run, code=2)[1]
    assert "is failed" in medallion("merge", run, code=2)[1]
    assert "is failed" in medallion.job("bronze", "--date", GIVEN_UP, "--run", run, code=2)[1]
    assert medallion.json("show", run)["error"] == "abandoned"
    assert medallion.json("resume", run) == [{"run_id": run, "before": "failed", "after": "failed", "why": "it is at an end"}]
    assert shop.state() == before


# ── make ──────────────────────────────────────────────────────────────────────────────────────────
def test_make_alone_lists_its_targets_and_a_day_s_target_needs_its_day() -> None:
    def make(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(["make", *words], cwd=ROOT, capture_output=True, text=True, check=False)

    told = make()
    assert told.returncode == 0
    targets = {line.split()[1] for line in told.stdout.splitlines() if line.strip()}
    assert targets >= {"demo", "test", "up", "down", "bronze", "silver", "gold", "publish", "run"}
    for target in ("bronze", "silver", "gold", "publish", "run"):
        refused = make(target)
        assert refused.returncode == 2
        assert f"make {target} DATE=2013-01-05" in refused.stderr
        assert refused.stdout == "", "nothing was begun"


def test_make_runs_a_day_of_one_domain(shop: Shop, stack_environment: dict[str, str]) -> None:
    shop.deliver(date.fromisoformat(MADE), csv(*GOOD))
    environment = stack_environment | {"MEDALLION_DOMAINS": shop.settings.domains}
    for target, told in (("run", "merged, main is at"), ("silver", "unchanged")):
        words = ["make", target, f"DATE={MADE}", "DOMAIN=shop"]
        done = subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=300)
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
        assert re.search(rf"run {MADE}-\S+: {told}", done.stdout)
    assert shop.select(f"SELECT orders FROM {GOLD} WHERE ordered_on = '{MADE}'") == [(4,)]


# ── secrets ───────────────────────────────────────────────────────────────────────────────────────
def test_no_secret_was_printed_or_logged(stack: Settings) -> None:
    secrets = [stack.s3.secret_key, stack.postgres.password, stack.snowflake.password]
    log = Path(stack.home / "logs" / "medallion.log").read_text("utf-8")
    assert "failed" in log, "errors are logged"
    assert len(PRINTED) > 50
    for secret in secrets:
        assert secret is not None
        for text in (*PRINTED, log):
            assert secret.get_secret_value() not in text
