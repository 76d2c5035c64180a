"""A merge whose reply or request is lost happens once; what arrives late changes nothing."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest

from medallion import recovery
from medallion.contract import Contract
from medallion.errors import ConflictError, ServiceUnavailable
from medallion.lakehouse import merge as merge_module
from medallion.lakehouse.merge import RUN_PROPERTY
from medallion.lakehouse.nessie import Operation, commit_body
from medallion.pipeline import Lake, Outcome, merge_run
from medallion.settings import Settings
from tests.lake_tables import gold
from tests.protocol_runs import MERGE_REQUEST, VALUE, ProtocolRuns
from tests.protocol_runs import another_value as value
from tests.tcp_proxy import TcpProxy

LOOK_AT_MAIN = r"GET \S*/api/v1/trees/tree/main\b"
"""How the client asks where main is, the first thing that it does to find out what came of a merge."""


@pytest.fixture(scope="module")
def runs(stack: Settings) -> Iterator[ProtocolRuns]:
    """Straight to the servers."""
    with ProtocolRuns(stack) as runs:
        yield runs


@pytest.fixture
def proxy(stack: Settings) -> Iterator[TcpProxy]:
    server = urlsplit(stack.nessie.uri)
    assert server.hostname
    assert server.port
    with TcpProxy(server.hostname, server.port) as proxy:
        yield proxy


@pytest.fixture
def mine() -> Contract:
    return gold("mine", VALUE, domain=f"d{uuid.uuid4().hex[:10]}")


def merge_through(settings: Settings, proxy: TcpProxy, run_id: str) -> Outcome:
    """Gate and merge a run in a process whose way to the catalog is the proxy."""
    nessie = settings.nessie.model_copy(update={"uri": f"http://127.0.0.1:{proxy.port}"})
    with Lake(settings.model_copy(update={"nessie": nessie})) as lake:
        return merge_run(lake, run_id, report=lambda line: None)


def sent(proxy: TcpProxy) -> list[bytes]:
    """The bodies of the merge's requests that reached the proxy."""
    return [request.body for request in proxy.matching(MERGE_REQUEST)]


@pytest.mark.parametrize(
    ("lost", "requests"),
    [
        pytest.param([], 1, id="nothing"),
        pytest.param([("drop_reply", MERGE_REQUEST, 1)], 1, id="the reply: found in the log, not sent again"),
        pytest.param([("drop_request", MERGE_REQUEST, 1)], 2, id="the request: sent again"),
        pytest.param(
            [("drop_request", MERGE_REQUEST, 1), ("drop_request", MERGE_REQUEST, 2), ("drop_reply", MERGE_REQUEST, 3)],
            3,
            id="two requests and a reply",
        ),
        pytest.param(
            [("drop_reply", MERGE_REQUEST, 1), ("drop_reply", LOOK_AT_MAIN, 1)],
            2,
            id="the reply and the look at main: the second request is refused, and the commit is found",
        ),
        pytest.param(
            [("drop_reply", MERGE_REQUEST, 1), ("drop_reply", LOOK_AT_MAIN, 1), ("drop_reply", MERGE_REQUEST, 2)],
            2,
            id="the replies to both requests and to the look between them",
        ),
        pytest.param([("drop_reply", r"DELETE \S*trees/", 1)], 1, id="the reply to the removal of its branch"),
    ],
)
def test_a_merge_happens_once(
    stack: Settings, runs: ProtocolRuns, proxy: TcpProxy, mine: Contract, lost: list[tuple[str, str, int]], requests: int
) -> None:
    runs.merged({mine: value(1)})
    run = runs.handed_over({mine: value(2)})
    happened = [getattr(proxy, mode)(pattern, nth) for mode, pattern, nth in lost]

    outcome = merge_through(stack, proxy, run.id)

    assert all(event.is_set() for event in happened), "all that was to be lost was lost"
    (commit,) = runs.commits_of(run)
    assert (outcome.state, outcome.merged_hash) == ("merged", commit.hash)
    assert (runs.state(run), runs.main().hash, runs.rows(mine)) == ("merged", commit.hash, value(2))
    assert len(sent(proxy)) == requests
    assert len(set(sent(proxy))) == 1, "the same request, to the byte"


@pytest.mark.parametrize("arrived", [False, True], ids=["its request never arrived", "its commit is there"])
def test_a_merge_that_never_got_an_answer_is_finished_by_resume(
    stack: Settings, runs: ProtocolRuns, proxy: TcpProxy, mine: Contract, monkeypatch: pytest.MonkeyPatch, arrived: bool
) -> None:
    runs.merged({mine: value(1)})
    run = runs.handed_over({mine: value(2)})
    before = runs.main().hash
    monkeypatch.setattr(merge_module, "TRIES", 3)
    answer_lost = (proxy.drop_reply if arrived else proxy.drop_request)(MERGE_REQUEST)

    def go_down() -> None:
        answer_lost.wait(30)
        proxy.close()

    proxy.drop_reply(LOOK_AT_MAIN)  # it goes down before anyone can look
    threading.Thread(target=go_down, daemon=True).start()
    with pytest.raises(ServiceUnavailable, match=f"whether run {run.id} was merged is not known yet"):
        merge_through(stack, proxy, run.id)

    assert runs.state(run) == "merging"
    assert (runs.main().hash == before) is not arrived
    assert runs.nessie.reference(run.branch), "its branch is there still"
    (resumed,) = recovery.resume(runs.nessie, runs.journal, run.id)
    (commit,) = runs.commits_of(run)
    assert (resumed.before, resumed.after) == ("merging", "merged")
    assert (runs.state(run), runs.journal.run(run.id)["merged_hash"]) == ("merged", commit.hash)
    assert (runs.main().hash, runs.rows(mine)) == (commit.hash, value(2))
    assert runs.nessie.references(run.branch) == []
    assert recovery.resume(runs.nessie, runs.journal, run.id)[0].why == "it is at an end"
    assert len(runs.commits_of(run)) == 1


@pytest.mark.parametrize("others", ["none", "of its own tables", "of other tables"])
def test_a_late_twin_after_the_merge_changes_nothing(
    stack: Settings, runs: ProtocolRuns, proxy: TcpProxy, mine: Contract, others: str
) -> None:
    other = gold("other", VALUE, domain=mine.domain)
    runs.merged({mine: value(1), other: value(1)})
    run = runs.handed_over({mine: value(2)})
    proxy.keep_twin(MERGE_REQUEST)
    proxy.drop_request(MERGE_REQUEST)
    assert merge_through(stack, proxy, run.id).state == "merged"
    for number in range(3):
        if others != "none":
            runs.merged({mine if others == "of its own tables" else other: value(10 + number)})
    before, rows = runs.main().hash, runs.rows(mine)

    (reply,) = proxy.send_twins()

    assert " 409 " in reply.first_line
    assert (runs.main().hash, runs.rows(mine), len(runs.commits_of(run))) == (before, rows, 1)


@pytest.mark.xfail(strict=True, reason="the catalog compares values: whoever reverts must not put back what was there before")
def test_a_late_twin_after_an_exact_revert_changes_nothing(
    stack: Settings, runs: ProtocolRuns, proxy: TcpProxy, mine: Contract
) -> None:
    runs.merged({mine: value(1)})
    run = runs.handed_over({mine: value(2)})
    proxy.keep_twin(MERGE_REQUEST)
    assert merge_through(stack, proxy, run.id).state == "merged"
    revert = Operation("PUT", mine.dataset, run.base[mine.dataset])
    reverted = runs.nessie.commit(runs.main(), commit_body([revert], "back to what it was", {}))

    proxy.send_twins()

    assert runs.main().hash == reverted


def test_a_late_twin_of_a_run_that_conflicted_changes_nothing(
    stack: Settings, runs: ProtocolRuns, proxy: TcpProxy, mine: Contract
) -> None:
    other = gold("other", VALUE, domain=mine.domain)
    runs.merged({mine: value(1), other: value(1)})
    run = runs.handed_over({mine: value(2)}, reads=[other])
    quicker = runs.merged({other: value(9)})
    proxy.keep_twin(MERGE_REQUEST)
    proxy.drop_request(MERGE_REQUEST)
    with pytest.raises(ConflictError, match=other.dataset):
        merge_through(stack, proxy, run.id)
    assert runs.state(run) == "conflicted"

    (reply,) = proxy.send_twins()

    assert " 409 " in reply.first_line
    assert (runs.main().hash, runs.rows(mine), runs.commits_of(run)) == (quicker, value(1), [])


def test_a_conflict_learned_after_a_lost_reply_is_not_mistaken_for_success(
    stack: Settings, runs: ProtocolRuns, proxy: TcpProxy, mine: Contract
) -> None:
    """The reply that was lost said 409."""
    runs.merged({mine: value(1)})
    run = runs.handed_over({mine: value(2)})
    quicker = runs.merged({mine: value(9)})
    lost = proxy.drop_reply(MERGE_REQUEST)

    with pytest.raises(ConflictError):
        merge_through(stack, proxy, run.id)

    assert lost.is_set()
    assert (runs.main().hash, runs.rows(mine), runs.state(run)) == (quicker, value(9), "conflicted")
    assert not [c for c in runs.nessie.log(runs.main(), limit=5) if c.properties.get(RUN_PROPERTY) == run.id]
