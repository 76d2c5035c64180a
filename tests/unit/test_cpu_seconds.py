"""What a test is said to cost holds what processes used that it started, also after they have ended."""

from __future__ import annotations

import subprocess
import sys

from tests.cpu_seconds import Family

GRANDCHILD = "import sys, time\nwhile time.process_time() < 0.4: pass\nprint('used', flush=True)\nsys.stdin.read()"
CHILD = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {GRANDCHILD!r}], stdin=sys.stdin)"


def test_what_a_child_s_child_used_is_counted_and_stays_counted() -> None:
    family = Family()
    family.since_last_said()
    with subprocess.Popen([sys.executable, "-c", CHILD], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdin
        assert child.stdout
        assert child.stdout.readline() == b"used\n"
        whole, _ = family.look()
        child.stdin.close()
    assert family.look()[0] >= whole
    assert family.since_last_said()[0] >= 0.3
