"""The command `medallion dashboards`; `medallion.cli` takes it in."""

from __future__ import annotations

import os
import socket
import sys
from importlib.util import find_spec
from typing import Annotated

import typer

from medallion.errors import UsageError
from medallion.settings import ROOT, load

app = typer.Typer()
HOST = "127.0.0.1"


@app.command()
def dashboards(
    port: Annotated[int, typer.Option(min=0, max=65535, help="The port on loopback; 0 chooses a free one.")] = 0,
) -> None:
    """Open the dashboards: quality, operations, lineage, runs, alerts. Ends on Ctrl-C."""
    if find_spec("streamlit") is None:
        raise UsageError(
            "the dashboards need Streamlit, which is not installed", hint="run `make setup`, or install medallion[dashboards]"
        )
    folder = ROOT / "dashboards"
    if not (folder / "app.py").is_file():
        raise UsageError(f"there are no dashboards in {folder}", hint="they are part of the checkout: run it from there")
    load()  # a setting that cannot be read is told here, not on every page
    port = _free(port)
    print(f"dashboards: http://{HOST}:{port}  (Ctrl-C ends them)", flush=True)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))}
    os.chdir(folder)  # its .streamlit/config.toml: on loopback alone, nothing is sent anywhere
    words = [sys.executable, "-m", "streamlit", "run", "app.py", "--server.port", str(port), "--server.address", HOST]
    os.execve(sys.executable, words, environment)  # Ctrl-C, and whoever stops us, reaches it itself


def _free(wanted: int) -> int:
    """The port that is wanted, or a free one for 0. Raises: UsageError if it is taken."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, wanted))
        except OSError as error:
            raise UsageError(
                f"port {wanted} on {HOST} cannot be used: {error.strerror}", hint="choose another one, or leave it out"
            ) from error
        return int(probe.getsockname()[1])
