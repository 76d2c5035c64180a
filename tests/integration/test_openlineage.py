"""OpenLineage events of runs and publications, as a real receiver gets them: all, also after it was down, and none twice."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from medallion.afterwards import lineage_sent
from medallion.contract import Contract
from medallion.domain import Domains
from medallion.errors import GateRefused
from medallion.job import publish_gold
from medallion.lakehouse import steps
from medallion.lineage.events import run_id
from medallion.pipeline import Lake, merge_run
from medallion.settings import Lineage, Settings
from tests.lake_tables import LakeTables, gold
from tests.lineage_events import Receiver, ends
from tests.protocol_runs import ProtocolRuns
from tests.warehouse import POSTGRES, with_warehouse

pytest_plugins = ["tests.warehouse"]

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


@POSTGRES
def test_events_are_received_whole_and_none_is_lost_or_doubled(
    settings: Settings, domain: str, lake: LakeTables, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    contract = gold("one", {"id": "bigint", "v": "bigint"}, domain=domain)
    domains, lines = Domains({contract.dataset: contract}, {}), list[str]()
    lake.commit({contract: []})
    with Receiver() as receiver, ProtocolRuns(settings) as runs:
        http = Lineage(transport="http", url=receiver.url, token=SecretStr("open-sesame"))
        with Lake(settings.model_copy(update={"lineage": http}), domains) as to:

            def run(version: int, publish: bool = False, **verdict: Any) -> str:
                name = handed_over(runs, contract, version, **verdict)
                with lineage_sent(to, lines.append):
                    merge_run(to, name, lambda line: None)
                    if publish:
                        publish_gold(to, lambda line: None)
                return name

            receiver.answer = 503
            first = run(1)
            assert runs.journal.run(first)["state"] == "merged"
            assert (receiver.take(), len(lines)) == ([], 1)
            assert lines[0].startswith("lineage could not be sent, and will be by the next run: HTTPError: 503")

            # well again: the run that fails now, and the one before it
            receiver.answer = 201
            with pytest.raises(GateRefused):
                run(2, bad=1, passed=False)
            got = receiver.take()
            whole = [event for event in got if event["job"]["name"] == "test"]
            failed = next(row for row in runs.journal.runs(5) if row["state"] == "failed")
            assert [(event["run"]["runId"], event["eventType"]) for event in whole] == [
                (run_id(first), "START"), (run_id(first), "COMPLETE"),
                (run_id(failed["run_id"]), "START"), (run_id(failed["run_id"]), "FAIL"),
            ]  # fmt: skip
            assert whole[-1]["run"]["facets"]["errorMessage"]["message"] == failed["error"].splitlines()[0]
            assert "id=1" in failed["error"]
            assert ends(got)[f"{contract.dataset}.rules"]["eventType"] == "FAIL"
            assert receiver.authorizations == {"Bearer open-sesame"}
            assert len(lines) == 1
            assert "id=1" not in json.dumps(got), "no values of rows"

            # killed after the sending, before that was written down: sent again, the same; and what came after it
            with monkeypatch.context() as dying:
                dying.setattr(steps, "around", _dying_after("lineage.send"))
                second = run(3, publish=True)
            sent = receiver.take()
            with lineage_sent(to, lines.append):
                pass
            again = receiver.take()
            assert again[: len(sent)] == sent
            told = ends(again)
            output = told[contract.dataset]["outputs"][0]
            snapshot = to.nessie.tables(to.nessie.reference("main"))[contract.dataset]["snapshotId"]
            assert output["facets"]["version"]["datasetVersion"] == str(snapshot)
            assert told["test"]["run"]["runId"] == run_id(second)

            # the publication, table by table
            place = settings.warehouse_postgres
            shown = told[f"publish.postgres.{contract.dataset}"]
            assert told["publish.postgres"]["run"]["runId"] == shown["run"]["facets"]["parent"]["run"]["runId"]
            assert [each["name"] for each in shown["inputs"]] == [contract.dataset]
            [table] = shown["outputs"]
            assert (table["namespace"], table["name"]) == (
                f"postgres://{place.host}:{place.port}", f"{place.database}.{domain}.one",
            )  # fmt: skip
            assert table["facets"]["version"]["datasetVersion"] == runs.journal.run(second)["merged_hash"]
            assert table["outputFacets"]["outputStatistics"]["rowCount"] == 2
            with lineage_sent(to, lines.append):
                pass
            assert receiver.take() == [], "all is sent"

        # what cannot be reached takes nothing from a run that is sent before it; into a file, in folders that are missing
        path = tmp_path / "some" / "where" / "events.ndjson"
        to_file = settings.model_copy(update={"lineage": Lineage(transport="file", path=path)})
        with Lake(to_file, domains) as to:
            third = handed_over(runs, contract, 4)
            with lineage_sent(to, lines.append):
                merge_run(to, third, lambda line: None)
                publish_gold(to, lambda line: None)
                to.settings = with_warehouse(to_file, port=1)
            assert ends([json.loads(line) for line in path.read_text("utf-8").splitlines()])["test"]["run"]["runId"] == run_id(
                third
            )
            assert "does not answer" in lines.pop()
            monkeypatch.setitem(sys.modules, "openlineage.client.transport.file", None)
            with lineage_sent(to, lines.append):
                pass
            assert lines.pop() == "lineage could not be sent, and will be by the next run: openlineage-python is not installed"


def _dying_after(name: str) -> Any:
    @contextmanager
    def around(step: str) -> Iterator[None]:
        yield
        if step == name:
            raise RuntimeError("the process ended here")

    def enter(step: str) -> AbstractContextManager[None]:
        return around(step)

    return enter
