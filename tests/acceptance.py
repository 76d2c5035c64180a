"""The publication's suite against the Snowflake account that the environment names, recorded.

    make snowflake-acceptance

Without an account it runs against the emulator, and always against PostgreSQL as well. As a plugin this is read before
`tests/conftest.py`, which takes the user's own settings out of the environment; in every other run there is no account here.
"""

from __future__ import annotations

import json
import os
import subprocess
from contextlib import closing
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from medallion.settings import ROOT, Settings, Snowflake, load

NOT_FOR_AN_ACCOUNT = pytest.mark.not_for_an_account
"""A test that needs a proxy before the server, or what an account punishes, such as wrong passwords."""


def _account() -> Snowflake | None:
    if not os.environ.get("SNOWFLAKE_ACCOUNT"):
        return None
    settings = load().snowflake
    load.cache_clear()
    return settings


ACCOUNT = _account()
"""The account that Snowflake's part of the suite runs against; None for the emulator."""
RECORD: dict[str, Any] = {"snowflake": "not asked", "postgres": "not asked", "checks": [], "not_run": []}


def new_database() -> str:
    """A name that nobody else has; whoever makes it drops it."""
    return f"medallion_acceptance_{datetime.now(UTC):%Y%m%d%H%M%S}_{os.urandom(4).hex()}"


def _warehouse(item: pytest.Item) -> str:
    callspec = getattr(item, "callspec", None)
    return str(callspec.params.get("settings", "snowflake")) if callspec else "snowflake"


# ── pytest ────────────────────────────────────────────────────────────────────────────────────────
@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what an account cannot be asked, and record that."""
    left_out = [
        item for item in items if ACCOUNT and _warehouse(item) == "snowflake" and item.get_closest_marker("not_for_an_account")
    ]
    RECORD["not_run"] = [item.name for item in left_out]
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if item not in left_out]


@pytest.fixture(scope="session", autouse=True)
def asked_for_versions(stack: Settings) -> None:
    """Record what the suite runs against."""
    from medallion.publish.postgres_session import Session as PostgresSession
    from medallion.publish.snowflake_session import Session

    with closing(Session(ACCOUNT or stack.snowflake)) as session:
        [(found,)] = session.rows("SELECT CURRENT_VERSION()")
    RECORD["snowflake"] = f"account {ACCOUNT.account}, {found}" if ACCOUNT else f"emulator, fakesnow {version('fakesnow')}"
    with closing(PostgresSession(stack.warehouse_postgres)) as postgres:
        [(found,)] = postgres.rows("SHOW server_version")
    RECORD["postgres"] = f"PostgreSQL {found}"


def pytest_sessionstart() -> None:
    RECORD["begun"] = datetime.now(UTC).isoformat(timespec="seconds")


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """One check for each test; what fails before or after it counts as its failure."""
    if report.when != "call" and report.passed:
        return
    warehouse = next((each for each in ("postgres", "snowflake") if each in report.nodeid.partition("[")[2]), "snowflake")
    RECORD["checks"].append(
        {
            "check": report.nodeid.partition("::")[2].partition("@")[0],
            "warehouse": warehouse,
            "outcome": report.outcome,
            "seconds": round(report.duration, 1),
            "why": str(report.longrepr).splitlines()[-1] if report.failed else None,
        }
    )


def pytest_sessionfinish(session: pytest.Session) -> None:
    if session.config.option.collectonly:
        return
    commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False).stdout.strip()
    RECORD.update(
        ended=datetime.now(UTC).isoformat(timespec="seconds"),
        commit=commit,
        client=f"snowflake-connector-python {version('snowflake-connector-python')}",
    )
    folder = ROOT / ".medallion" / "acceptance"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}.json"
    path.write_text(json.dumps(RECORD, indent=1) + "\n", "utf-8")
    RECORD["path"] = path


def pytest_terminal_summary(terminalreporter: Any) -> None:
    if "path" in RECORD:
        terminalreporter.write_sep("=", "acceptance")
        terminalreporter.write_line(told(RECORD))


def told(record: dict[str, Any]) -> str:
    """A record in lines: what ran against what, what failed, what was not run, and where it is kept."""
    lines = [f"Snowflake: {record['snowflake']}", f"PostgreSQL: {record['postgres']}"]
    for warehouse in ("snowflake", "postgres"):
        mine = [each for each in record["checks"] if each["warehouse"] == warehouse]
        passed = sum(each["outcome"] == "passed" for each in mine)
        lines.append(f"{warehouse}: {passed} of {len(mine)} checks passed")
        lines += [f"  failed: {each['check']}: {each['why']}" for each in mine if each["outcome"] != "passed"]
    if record["not_run"]:
        lines.append(f"not run against an account ({len(record['not_run'])}): {', '.join(record['not_run'])}")
    path = record.get("path")
    return "\n".join([*lines, f"recorded in {path.relative_to(ROOT) if isinstance(path, Path) else path}"])
