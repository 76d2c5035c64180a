"""What all tests share: a clean environment, a Spark session, and a stack of real servers."""

from __future__ import annotations

import os
import secrets
import signal
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from medallion import left_out
from medallion.services import stack as services
from medallion.settings import ROOT, Settings, load

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

collect_ignore = ["ui"]
"""They need Chromium: `make test-ui` names their folder, and so runs them."""

# A test must not reach what its user has configured, such as a real warehouse.
for _name in [name for name in os.environ if name.startswith(("MEDALLION_", "SNOWFLAKE_", "AWS_", "DBT_"))]:
    del os.environ[_name]
# A shell lets what it starts in the background ignore Ctrl-C, and so does all that is started from there.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
# What activation sets; so `.venv/bin/pytest` alone works as well.
_spark_environment = Path(sys.prefix) / "spark.env"
if _spark_environment.is_file():
    for _line in _spark_environment.read_text("utf-8").splitlines():
        os.environ.setdefault(*_line.split("=", 1))
# Tests are small work: the quick compiler alone halves their CPU time. It has to be given room for what it makes.
_QUICK = "-XX:TieredStopAtLevel=1 -XX:ReservedCodeCacheSize=240m"
os.environ["SPARK_SUBMIT_OPTS"] = f"{os.environ.get('SPARK_SUBMIT_OPTS', '')} {_QUICK}".strip()
os.environ["PATH"] = f"{Path(sys.prefix) / 'bin'}{os.pathsep}{os.environ.get('PATH', os.defpath)}"


_LONGEST = (
    "tests.demo_lake",
    "tests/crash/test_every_step.py",
    "tests/integration/test_order_of_days.py",
    "tests/integration/test_command_line.py",
    "tests/integration/test_upsert.py",
    "tests/integration/test_two_writers.py",
    "tests/integration/test_publish_races.py",
    "tests/integration/test_interrupt.py",
    "tests/integration/test_jobs.py",
    "tests/integration/test_services.py",
    "tests/e2e/test_domains_page.py",
    "tests/integration/test_marts.py",
    "tests/integration/test_publish_left_open.py",
    "tests/integration/test_audit.py",
    "tests/integration/test_backup.py",
    "tests/integration/test_marts_spark.py",
    "tests/integration/test_source_delta.py",
    "tests/integration/test_upsert_rules.py",
    "tests/integration/test_blind_appends.py",
    "tests/integration/test_sales_and_finance.py",
    "tests/integration/test_publish.py",
    "tests/integration/test_judged_writes.py",
    "tests/integration/test_marts_races.py",
    "tests/integration/test_retried_tasks.py",
    "tests/integration/test_readers_and_runs.py",
)
"""Groups of tests that take longest, the longest first."""
_SHARED = ("tests.demo_lake", "tests.ops_tables")
"""Plugins whose fixtures are dear: the modules that use one of them run in one process."""


def pytest_configure(config: pytest.Config) -> None:
    """Have `--dist loadgroup` hand the groups out in our order: its own begins with those of many tests, so that a long
    group of few tests comes last, and one process waits for it."""
    if hasattr(config.option, "loadscopereorder"):
        config.option.loadscopereorder = False


@pytest.hookimpl(tryfirst=True)  # xdist reads the groups in a hook of its own
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """With `--dist loadgroup` a module runs in one process, and modules that share a dear fixture in the same one.
    The longest come first and those without servers last: then both processes end at about the same time."""
    place = {group: number for number, group in enumerate(_LONGEST)}
    groups = {}
    for item in items:
        plugins = getattr(getattr(item, "module", None), "pytest_plugins", ())
        groups[item] = next((each for each in _SHARED if each in plugins), item.nodeid.partition("::")[0])
        item.add_marker(pytest.mark.xdist_group(groups[item]))

    def order(item: pytest.Item) -> tuple[int, bool, bool]:
        changes = item.nodeid.startswith("tests/e2e/test_demo.py")  # a day more: after those that read the lake as it is played
        return place.get(groups[item], len(place)), groups[item].startswith("tests/unit/"), changes

    items.sort(key=order)


def pytest_runtest_teardown() -> None:
    """What a command leaves out (see `medallion.left_out`) it does for good; here the next test may need it."""
    sys.meta_path[:] = [each for each in sys.meta_path if not isinstance(each, left_out.LeftOut)]


def new_home() -> Path:
    """A state folder of its own, inside the checkout's; it does not exist yet."""
    parent = ROOT / ".medallion" / "tests"
    parent.mkdir(mode=0o711, parents=True, exist_ok=True)
    return parent / f"{os.getpid()}-{secrets.token_hex(4)}"


@contextmanager
def new_stack(*, current: bool = True) -> Iterator[Settings]:
    """The settings of a running stack with nothing in it. It ends with the test process, even if that is killed.

    Args:
        current: whether it is also what `load` returns, until it ends; else that is what it was before.
    """
    with ExitStack() as here:
        here.enter_context(at_home(new_home()))
        settings = load()
        try:
            services.up(settings, lambda line: None, guard=os.getpid())
            load.cache_clear()
            settings = load()
            if not current:
                here.close()
            yield settings
        finally:
            services.down(settings, lambda line: None, remove=True)


@contextmanager
def at_home(home: Path) -> Iterator[None]:
    """Within this `load` returns the settings of this state folder."""
    before = os.environ.get("MEDALLION_HOME")
    os.environ["MEDALLION_HOME"] = str(home)
    load.cache_clear()
    try:
        yield
    finally:
        os.environ.pop("MEDALLION_HOME")
        if before:
            os.environ["MEDALLION_HOME"] = before
        load.cache_clear()


@pytest.fixture(scope="session")
def stack() -> Iterator[Settings]:
    """The stack that is shared by all tests of this process."""
    with new_stack() as settings:
        yield settings


@pytest.fixture(scope="session")
def stack_environment(stack: Settings) -> dict[str, str]:
    """The environment for programs that a test starts: they use the stack of this session."""
    return dict(os.environ) | {"MEDALLION_HOME": str(stack.home)}


@pytest.fixture(scope="session")
def spark() -> Iterator[SparkSession]:
    """A small local session without catalogs. Code is not generated: for a few rows that takes longer than it saves."""
    from medallion import session

    spark = session.local()
    for key, value in session.SMALL.items():
        spark.conf.set(key, value)
    # rows made by hand are worked on as those of a file are, in tasks, not while the plan is made
    spark.conf.set("spark.sql.optimizer.excludedRules", "org.apache.spark.sql.catalyst.optimizer.ConvertToLocalRelation")
    yield spark
    spark.stop()
