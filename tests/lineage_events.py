"""OpenLineage events in tests: a receiver on loopback, and events read by the library's own classes.

with Receiver() as receiver: … receiver.url … receiver.got
"""

from __future__ import annotations

import importlib
import json
import pkgutil
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread
from typing import Any

from openlineage.client import generated
from openlineage.client.event_v2 import InputDataset, Job, OutputDataset, Run, RunEvent, RunState

from medallion.contract import Contract
from tests.protocol_runs import ProtocolRuns

VERDICT = {
    "rule": "sound", "severity": "error", "tolerance": 0.0, "bad": 0, "judged": 2, "passed": True, "samples": ["id=1"],
    "description": "It is sound.", "allowed": "",
}  # fmt: skip


def handed_over(runs: ProtocolRuns, contract: Contract, version: int, **verdict: Any) -> str:
    """A run that wrote two rows, to be judged and merged. Returns: its id."""
    run = runs.handed_over({contract: [{"id": 1, "v": version}, {"id": 2, "v": version}]})
    run.writes[0] |= {"rows_in": 2, "rows_out": 2, "quarantined": 0, "warned": 0, "verdicts": [VERDICT | verdict]}
    run.save(runs.journal, "written")
    return run.id


class Receiver(HTTPServer):
    """Takes what is posted to it; `answer` is its status code, `answers` those to the events of some jobs."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answer = 201
        self.answers: dict[str, int] = {}
        self.got: list[dict[str, Any]] = []
        self.authorizations: set[str | None] = set()
        self._thread = Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05})

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def __enter__(self) -> Receiver:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self._thread.join()
        self.server_close()

    def take(self) -> list[dict[str, Any]]:
        """What came since the last time."""
        got, self.got = self.got, []
        return got


class _Handler(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        event = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        answer = self.server.answers.get(event["job"]["name"], self.server.answer)
        if answer == 201 and self.path == "/api/v1/lineage":
            self.server.got.append(event)
        self.server.authorizations.add(self.headers["Authorization"])
        self.send_response(answer)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


def _facet_classes() -> dict[str, type]:
    modules = [
        importlib.import_module(f"{generated.__name__}.{found.name}") for found in pkgutil.iter_modules(generated.__path__)
    ]
    classes = [each for module in modules for each in vars(module).values() if hasattr(each, "_get_schema")]
    return {each._get_schema(): each for each in classes}


FACETS = _facet_classes()


def read(event: dict[str, Any]) -> RunEvent:
    """An event by the library's own classes, which refuse what the specification does not know."""

    def facets(of: dict[str, Any]) -> dict[str, Any]:
        return {
            name: FACETS[facet["_schemaURL"]](**{key: value for key, value in facet.items() if not key.startswith("_")})
            for name, facet in of.items()
        }

    def dataset(kind: type, of: dict[str, Any], own: str) -> Any:
        assert {*of} <= {"namespace", "name", "facets", own}
        return kind(of["namespace"], of["name"], facets=facets(of.get("facets", {})), **{own: facets(of.get(own, {}))})

    assert {*event} == {"eventTime", "eventType", "inputs", "job", "outputs", "producer", "run", "schemaURL"}
    return RunEvent(
        eventTime=event["eventTime"], eventType=RunState(event["eventType"]), producer=event["producer"],
        run=Run(event["run"]["runId"], facets(event["run"]["facets"])),
        job=Job(event["job"]["namespace"], event["job"]["name"], facets(event["job"]["facets"])),
        inputs=[dataset(InputDataset, each, "inputFacets") for each in event["inputs"]],
        outputs=[dataset(OutputDataset, each, "outputFacets") for each in event["outputs"]],
    )  # fmt: skip


def ends(events: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Job -> its event that is no START, of events that all can be read; each run has begun before it ended."""
    begun: set[str] = set()
    found = {}
    for event in events:
        read(event)
        if event["eventType"] == "START":
            begun.add(event["run"]["runId"])
        else:
            assert event["run"]["runId"] in begun
            found[event["job"]["name"]] = event
    return found
