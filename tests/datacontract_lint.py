"""A program of its own: datacontract-cli's linter over contract files, without anything of ours.

`python tests/datacontract_lint.py FILE…` with a folder of packages (see `datacontract` in scripts/setup.py)
in front on the path. Prints JSON: file -> reasons for which it is refused; the schemas it checks against lie
in its package, and it cannot open a connection.
"""

from __future__ import annotations

import json
import socket
import sys


def _refuse(*_: object, **__: object) -> None:
    raise OSError("no network here")


def main() -> None:
    socket.socket.connect = _refuse
    socket.getaddrinfo = _refuse
    from datacontract.data_contract import DataContract

    found = {}
    for file in sys.argv[1:]:
        run = DataContract(data_contract_file=file, all_errors=True).lint()
        found[file] = [f"{check.name}: {check.reason}" for check in run.checks if str(check.result.value) != "passed"]
        found[file] += [] if run.result.value == "passed" else [f"result: {run.result.value}"]
    print(json.dumps(found))


if __name__ == "__main__":
    main()
