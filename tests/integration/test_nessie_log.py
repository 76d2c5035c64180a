"""The log of a branch, newest first, which is asked for in pages."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import closing

import httpx
import pytest

from medallion.lakehouse.nessie import MAIN, Nessie, Operation, Reference, commit_body
from medallion.settings import Settings

COMMITS = 60


@pytest.fixture(scope="module")
def nessie(stack: Settings) -> Iterator[Nessie]:
    with closing(Nessie(stack.nessie)) as nessie:
        yield nessie


@pytest.fixture(scope="module")
def branch(nessie: Nessie) -> Iterator[tuple[Reference, list[str]]]:
    """A branch of many commits, and their hashes, newest first."""
    name = f"log-{uuid.uuid4().hex[:8]}"
    nessie.create_branch(name, nessie.reference(MAIN))
    at, hashes = nessie.reference(name), []
    for number in range(COMMITS):
        pointer = {"type": "ICEBERG_TABLE", "metadataLocation": f"s3://nowhere/{number}.json", "snapshotId": number}
        content = pointer | {"schemaId": 0, "specId": 0, "sortOrderId": 0}
        put = Operation("PUT", f"{name.replace('-', '_')}_{number}", content)
        at = Reference(name, nessie.commit(at, commit_body([put], f"number {number}", {})))
        hashes.append(at.hash)
    yield at, hashes[::-1]
    nessie.delete_branch(name)


@pytest.fixture
def pages(nessie: Nessie) -> Iterator[list[int]]:
    """How many entries each answer of the server has had."""
    found: list[int] = []

    def count(answer: httpx.Response) -> None:
        answer.read()
        if "logEntries" in answer.text:
            found.append(len(answer.json()["logEntries"]))

    hooks = nessie._http.event_hooks
    nessie._http.event_hooks = {"response": [count]}
    yield found
    nessie._http.event_hooks = hooks


def test_who_wants_the_newest_commits_is_given_few(nessie: Nessie, branch: tuple[Reference, list[str]], pages: list[int]) -> None:
    at, hashes = branch
    assert [commit.hash for commit in nessie.log(at, until=hashes[3])] == hashes[:3]
    assert [commit.hash for commit, _ in nessie.history(at, until=hashes[3])] == hashes[:3]
    assert [commit.hash for commit in nessie.log(at, limit=1)] == hashes[:1]
    assert pages == [10, 10, 10]


def test_who_wants_all_of_them_is_given_each_once_and_in_order(
    nessie: Nessie, branch: tuple[Reference, list[str]], pages: list[int]
) -> None:
    at, hashes = branch
    whole = list(nessie.history(at))
    assert [commit.hash for commit, _ in whole[:COMMITS]] == hashes
    assert [sorted(put.items()) for _, changed in whole[:COMMITS] for put in changed.values() if put]
    assert [next(iter(changed)).rpartition("_")[2] for _, changed in whole[:COMMITS]] == [*map(str, reversed(range(COMMITS)))]
    assert pages[:2] == [10, 40]
    assert sum(pages) == len(whole)
