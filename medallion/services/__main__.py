"""The stack alone, without the rest of the command line: `python -m medallion.services up`."""

from __future__ import annotations

import sys

from medallion.errors import MedallionError
from medallion.services import doctor, stack
from medallion.settings import load


def main() -> int:
    """Run `up`, `down`, `status` or `doctor`. Returns: the exit code."""
    command = sys.argv[1] if len(sys.argv) == 2 else ""
    try:
        if command == "up":
            stack.up(load(), print)
        elif command == "down":
            if not stack.down(load(), print):
                print("nothing was running")
        elif command == "status":
            for each in stack.status(load()):
                print(f"{each.name:10} {each.state:10} {each.address or '-':22} pid {each.pid or '-'}  {each.detail}")
        elif command == "doctor":
            checks = doctor.doctor(load())
            for check in checks:
                print(f"{'ok ' if check.ok else 'NOT'} {check.name}: {check.detail}")
                if not check.ok:
                    print(f"      → {check.remedy}")
            return 0 if all(check.ok for check in checks) else 5
        else:
            print("usage: python -m medallion.services up|down|status|doctor", file=sys.stderr)
            return 2
    except MedallionError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
