"""What the audit log costs: a command's two records, a run's state with and without its record, and a verification.

`sql` is the whole process `medallion sql "SELECT 1"`, against the same program with that command taken out of the table of
recorded commands; CPU seconds of the process, as the clock tells of the machine's other work too. The command line itself is
the same in both.
"""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from functools import partial

from medallion.audit.log import verify
from medallion.audit.record import recorded
from medallion.lakehouse.journal import Journal
from medallion.services import postgres
from medallion.settings import Settings
from tests.conftest import new_stack

PLAIN = "from medallion.audit import actions; actions.ACTIONS['sql'] = actions.NotRecorded('measured'); "
CALL = "import sys; {}sys.argv = ['medallion', 'sql', 'SELECT 1']; from medallion import cli; cli.main()"


def measure(rounds: int, records: int) -> None:
    """Print medians and the best of so many rounds, the variants in turn."""
    with new_stack() as settings:
        environment = dict(os.environ) | {"MEDALLION_HOME": str(settings.home)}
        timed: dict[str, list[float]] = {}
        with Journal(settings.postgres) as journal:
            journal.open("bench", "bench", None, "run/bench", "0", None)
            for number in range(rounds + 1):
                for name, program in (("sql, recorded", CALL.format("")), ("sql, not recorded", CALL.format(PLAIN))):
                    spent = _cpu(program, environment)
                    if number:
                        timed.setdefault(f"{name}: CPU of the process", []).append(spent)
                for _ in range(10):
                    _note(timed, "two records of a command", lambda: _two(settings))
                    for state in ("failed", "unchanged"):
                        change = partial(journal.update, "bench", state=state)
                        _note(timed, "a state, recorded", change)
                        _note(timed, "a state that stays", change)
        for name, each in timed.items():
            print(f"{name}: {1000 * statistics.median(each):.1f} ms, the best {1000 * min(each):.1f} ms")
        with closing(postgres.connect(settings.postgres)) as connection:
            connection.execute(
                "INSERT INTO ops.audit (action, object, outcome) SELECT 'bench', n::text, 'done' FROM generate_series(1, %s) n",
                (records,),
            )
        began, cpu = time.monotonic(), time.process_time()
        found = verify(settings)
        assert not found.problems
        print(f"verify {found.records:,} records: {time.monotonic() - began:.1f} s, {time.process_time() - cpu:.1f} s CPU")


def _two(settings: Settings) -> None:
    with recorded(settings.postgres, "bench.command", "x"):
        pass


def _note(timed: dict[str, list[float]], name: str, work: Callable[[], object]) -> None:
    began = time.monotonic()
    work()
    timed.setdefault(name, []).append(time.monotonic() - began)


def _cpu(program: str, environment: dict[str, str]) -> float:
    """CPU seconds of a process that runs this program."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-c", program], env=environment, check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return (after.ru_utime + after.ru_stime) - (before.ru_utime + before.ru_stime)
