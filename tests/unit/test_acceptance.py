"""`make snowflake-acceptance`: which tests it takes, against what, and what it tells."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys

import pytest

from medallion.settings import ROOT
from tests import acceptance

SECRET = "open-sesame"


@pytest.fixture(scope="module")
def collected() -> tuple[set[str], str]:
    """The tests that the make target would run against an account, and all that is said."""
    (line,) = [line for line in (ROOT / "Makefile").read_text("utf-8").splitlines() if "-p tests.acceptance" in line]
    command = line.partition("&& python ")[2].replace("$(ARGS)", "-q --co")
    account = {"SNOWFLAKE_ACCOUNT": "org-acct", "SNOWFLAKE_USER": "me", "SNOWFLAKE_PASSWORD": SECRET}
    plain = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    command = f"{shlex.quote(sys.executable)} {command}"
    done = subprocess.run(command, shell=True, cwd=ROOT, capture_output=True, text=True, env=plain | account, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return {line.partition("::")[2] for line in done.stdout.splitlines() if "::" in line}, done.stdout + done.stderr


def test_nothing_is_asked_of_an_account_that_needs_a_proxy_or_a_wrong_password(collected: tuple[set[str], str]) -> None:
    found, said = collected
    for name in ("test_whatever_is_lost_it_is_published_once", "test_a_wrong_secret_is_named_and_not_shown"):
        mine = {each for each in found if each.startswith(f"{name}[")}
        assert mine
        assert not [each for each in mine if "snowflake" in each]
    assert SECRET not in said


def test_every_check_of_an_account_is_one_of_postgresql_as_well(collected: tuple[set[str], str]) -> None:
    found, _ = collected
    mine = {each for each in found if "snowflake" in each}
    assert len(mine) >= 30
    alone = {each for each in mine if each.replace("snowflake", "postgres") not in found}
    assert alone == {"test_a_publisher_that_was_ended_changes_nothing_by_itself[snowflake]"}, "PostgreSQL ends its session"


def test_other_runs_have_no_account() -> None:
    assert acceptance.ACCOUNT is None


def test_the_record_names_what_failed_and_what_was_not_run() -> None:
    check = {"check": "test_a", "warehouse": "snowflake", "outcome": "passed", "seconds": 1.0, "why": None}
    lines = acceptance.told(
        {
            "snowflake": "account org-acct, 9.1",
            "postgres": "PostgreSQL 18",
            "checks": [check, check | {"check": "test_b", "outcome": "failed", "why": "E assert 1 == 2"}],
            "not_run": ["test_c"],
            "path": "there",
        }
    ).splitlines()
    assert "snowflake: 1 of 2 checks passed" in lines
    assert "  failed: test_b: E assert 1 == 2" in lines
    assert "not run against an account (1): test_c" in lines
    assert "postgres: 0 of 0 checks passed" in lines
