"""OpenLineage events of runs and publications, as a real receiver gets them: all, also after it was down, and none twice."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from medallion.afterwards import lineage_sent
from medallion.domain import Domains, Transform
from medallion.errors import GateRefused
from medallion.evidence import uri
from medallion.job import publish_gold
from medallion.lakehouse import steps
from medallion.lineage import sending
from medallion.lineage.events import run_id
from medallion.pipeline import Lake, merge_run
from medallion.settings import Lineage, Settings
from tests.lake_tables import LakeTables, gold
from tests.lineage_events import Receiver, ends, handed_over
from tests.protocol_runs import ProtocolRuns
from tests.warehouse import POSTGRES, with_warehouse

pytest_plugins = ["tests.warehouse"]


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
            assert whole[-1]["run"]["facets"]["errorMessage"]["message"] == failed["error"].partition(":")[0]
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
            to.settings = to_file
            monkeypatch.setitem(sys.modules, "openlineage.client.transport.file", None)
            with lineage_sent(to, lines.append):
                pass
            assert lines.pop() == "lineage could not be sent, and will be by the next run: openlineage-python is not installed"


@POSTGRES
def test_what_cannot_be_told_is_not_in_the_way(settings: Settings, domain: str, lake: LakeTables) -> None:
    contract = gold("one", {"id": "bigint", "v": "bigint"}, domain=domain)

    def made() -> Any:
        raise ValueError("it looks at rows")

    domains, lines = (
        Domains({contract.dataset: contract}, {contract.dataset: Transform(contract.dataset, made, {}, "")}),
        list[str](),
    )
    lake.commit({contract: []})
    with Receiver() as receiver, ProtocolRuns(settings) as runs, _sends_to(receiver, settings, domains) as to:

        def run(version: int) -> str:
            name = handed_over(runs, contract, version)
            merge_run(to, name, lambda line: None)
            return name

        with lineage_sent(to, lines.append):
            cut, untold, last = run(1), run(2), run(3)
            whole = to.store.get(uri(cut))
            to.store.put(uri(cut), whole[: len(whole) // 2], "application/json")
            with runs.journal.transaction() as connection:  # as no version of the journal has it
                connection.execute("""UPDATE ops.runs SET story = '{"writes": [{}]}' WHERE run_id = %s""", (untold,))
        assert _whole(receiver.take()) == [run_id(cut), run_id(last)], "without the versions, and without the columns"
        assert lines == [f"lineage of {untold} cannot be told, and is left out: KeyError: 'dataset'"]
        assert not to.has_spark, "columns alone are not worth a session's start"

        to.spark()
        with lineage_sent(to, lines.append):
            fourth = run(4)
        assert _whole(receiver.take()) == [run_id(fourth)], "its transform cannot be applied to empty tables"
        assert len(lines) == 1


@POSTGRES
def test_what_the_receiver_refuses_for_good_is_not_in_the_way(settings: Settings, domain: str, lake: LakeTables) -> None:
    contract = gold("one", {"id": "bigint", "v": "bigint"}, domain=domain)
    domains, lines = Domains({contract.dataset: contract}, {}), list[str]()
    lake.commit({contract: []})
    with Receiver() as receiver, ProtocolRuns(settings) as runs, _sends_to(receiver, settings, domains) as to:

        def ended(version: int) -> str:
            name = handed_over(runs, contract, version)
            with lineage_sent(to, lines.append):
                merge_run(to, name, lambda line: None)
            return name

        # it is not the event that these answers are about: the key, the address, the moment
        for answer in (401, 403, 404, 408, 429, 503):
            receiver.answer = answer
            _end(to, lines.append) if lines else ended(1)
            assert lines.pop().startswith(f"lineage could not be sent, and will be by the next run: HTTPError: {answer}")
            lines.append("")
        lines.clear()
        receiver.answer = 201
        _end(to, lines.append)
        assert (len(receiver.take()), lines) == (6, [])

        receiver.answers = {f"{contract.dataset}.rules": 422}
        refused, after = ended(2), ended(3)
        assert [*dict.fromkeys(each["job"]["name"] for each in receiver.take())] == ["test", contract.dataset]
        assert lines == [
            f"lineage of {name}: the receiver refuses an event, which is left out: "
            f"START of {contract.dataset}.rules: 422 Unprocessable Entity (and 1 more)"
            for name in (refused, after)
        ]
        for name in (refused, after):
            [sent] = [step for step in runs.journal.steps(name) if step["name"] == "lineage.send"]
            assert (sent["outcome"], sent["detail"]["events"]) == ("done", 6)
            assert sent["detail"]["refused"] == [
                f"{kind} of {contract.dataset}.rules: 422 Unprocessable Entity" for kind in ("START", "COMPLETE")
            ]
        _end(to, lines.append)
        assert (receiver.take(), len(lines)) == ([], 2), "it is not tried again"


@POSTGRES
def test_a_command_that_ends_while_others_are_at_work(
    settings: Settings, domain: str, lake: LakeTables, monkeypatch: pytest.MonkeyPatch
) -> None:
    contract = gold("one", {"id": "bigint", "v": "bigint"}, domain=domain)
    domains, lines = Domains({contract.dataset: contract}, {}), list[str]()
    lake.commit({contract: []})
    with (
        Receiver() as receiver,
        ProtocolRuns(settings) as runs,
        _sends_to(receiver, settings, domains) as to,
        _sends_to(receiver, settings, domains) as other,
    ):
        # another command ends before the COMMIT, and another while this one sends
        for step in ("publish.commit", "lineage.send"):
            name = handed_over(runs, contract, 1)
            with monkeypatch.context() as meanwhile:
                meanwhile.setattr(steps, "around", _once_before(step, lambda: _end(other, lines.append)))
                with lineage_sent(to, lines.append):
                    merge_run(to, name, lambda line: None)
                    publish_gold(to, lambda line: None)
            got = receiver.take()
            assert _whole(got) == [run_id(name)], step
            assert [each["job"]["name"] for each in got].count("publish.postgres") == 2, "START and COMPLETE, once"

        # one that failed, or is in no ledger that is looked at: it stays a while, then there is nothing to tell of it
        tried = {"a": (None, 0), "b": (None, 2), "c": ("Outrun: ", 0), "d": ("Outrun: ", 2), "e": ("done", 2), "f": ("done", 25)}
        ids = {letter: f"{domain}-{letter}" for letter in tried}
        with runs.journal.transaction() as connection:
            for letter, (outcome, hours) in tried.items():
                connection.execute(
                    "INSERT INTO ops.steps (run_id, name, outcome, ended_at, began_at, detail) VALUES (%(id)s, 'publish.commit', "
                    "%(outcome)s::text, CASE WHEN %(outcome)s::text IS NOT NULL THEN clock_timestamp() END, clock_timestamp() "
                    "- make_interval(hours => %(hours)s), jsonb_build_object('publication_id', %(id)s::text))",
                    {"id": ids[letter], "outcome": outcome, "hours": hours},
                )
        long_ago = runs.journal.now() - timedelta(days=2)
        _, unsent = runs.journal.unsent("send.of.this.test", long_ago, 10_000)
        over = {row["publication_id"]: row["over"] for row in unsent if row["publication_id"] in ids.values()}
        assert over == {ids["b"]: True, ids["c"]: False, ids["d"]: True, ids["e"]: False, ids["f"]: True}
        _end(to, lines.append)
        assert (runs.journal.steps(ids["c"])[1:], receiver.take(), lines) == ([], [], []), "it may still be found"
        told = sending._Sending(to, long_ago, lines.append, tuple)._of_publications(
            sending._Columns(to), [{"publication_id": id_, "over": over[id_]} for id_ in over]
        )
        assert sorted((name, events()) for name, events in told) == [(ids[letter], []) for letter in "bdf"]
        with runs.journal.transaction() as connection:
            connection.execute("DELETE FROM ops.steps WHERE run_id = ANY(%s)", (list(ids.values()),))


@POSTGRES
def test_a_command_sends_for_a_while_and_not_when_interrupted(
    settings: Settings, domain: str, lake: LakeTables, monkeypatch: pytest.MonkeyPatch
) -> None:
    contract = gold("one", {"id": "bigint", "v": "bigint"}, domain=domain)
    domains, lines = Domains({contract.dataset: contract}, {}), list[str]()
    lake.commit({contract: []})
    with Receiver() as receiver, ProtocolRuns(settings) as runs, _sends_to(receiver, settings, domains) as to:
        name = handed_over(runs, contract, 1)

        def merged_and_interrupted() -> None:
            merge_run(to, name, lambda line: None)
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt), lineage_sent(to, lines.append):
            merged_and_interrupted()
        assert (receiver.take(), lines) == ([], [])

        since = runs.journal.run(name)["opened_at"]
        monkeypatch.setattr(sending, "_BUDGET_S", 0.0)
        got = []
        while not sending.send(to, since, lines.append):
            [one] = receiver.take()
            got.append(one)
        got += receiver.take()
        assert set(lines) == {"lineage: after 0 s the rest is left to the next run"}
        assert {event["run"]["runId"] for event in got if event["job"]["name"] == "test"} == {run_id(name)}
        assert {*ends(got)} == {"test", contract.dataset, f"{contract.dataset}.rules"}
        assert len(got) == 6, "each once"


def _sends_to(receiver: Receiver, settings: Settings, domains: Domains) -> Lake:
    return Lake(settings.model_copy(update={"lineage": Lineage(transport="http", url=receiver.url)}), domains)


def _whole(events: list[dict[str, Any]]) -> list[str]:
    """The runs that are told as being at an end, in order."""
    return [event["run"]["runId"] for event in events if event["job"]["name"] == "test" and event["eventType"] != "START"]


def _end(lake: Lake, report: Callable[[str], None]) -> None:
    """A command that did nothing ends."""
    with lineage_sent(lake, report):
        pass


def _once_before(name: str, do: Callable[[], None]) -> Any:
    """Do something when a step begins for the first time."""
    todo = [do]

    @contextmanager
    def around(step: str) -> Iterator[None]:
        if step == name and todo:
            todo.pop()()
        yield

    return around


def _dying_after(name: str) -> Any:
    @contextmanager
    def around(step: str) -> Iterator[None]:
        yield
        if step == name:
            raise RuntimeError("the process ended here")

    def enter(step: str) -> AbstractContextManager[None]:
        return around(step)

    return enter
