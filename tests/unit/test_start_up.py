"""Commands that answer at once import only what they need."""

from __future__ import annotations

import subprocess
import sys

import pytest

from medallion.settings import ROOT

LAKE = ("pyiceberg", "pynessie", "httpx", "minio", "pyspark")


def loaded_by(program: str, *modules: str) -> list[str]:
    """Which of the modules a process has loaded after a program."""
    words = [sys.executable, "-c", f"{program}; import sys; print(*[m for m in {modules} if m in sys.modules])"]
    return subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()


def test_the_list_of_runs_needs_the_journal_alone() -> None:
    program = "import medallion.cli, medallion.story, medallion.lakehouse.journal"
    assert loaded_by(program, *LAKE, "duckdb", "snowflake.connector", "psycopg") == ["psycopg"]


def test_a_session_with_the_warehouse_needs_no_lake() -> None:
    program = "import medallion.cli, medallion.query, medallion.publish.snowflake_session, snowflake.connector"
    assert loaded_by(program, *LAKE, "psycopg", "snowflake.connector") == ["snowflake.connector"]


@pytest.mark.parametrize(
    ("package", "user"), [("pandas", "import pyarrow.dataset, pyiceberg.io.pyarrow"), ("boto3", "import snowflake.connector")]
)
def test_what_is_left_out_is_not_loaded_by_those_who_find_it(package: str, user: str) -> None:
    leave_out = f"from medallion.left_out import leave_out; leave_out('{package}')"
    assert loaded_by(user, package) == [package], "else it need not be left out"
    assert loaded_by(f"{leave_out}; {user}", package) == []
