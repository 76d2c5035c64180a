"""The checker of histories finds what it is there to find, and accuses nothing else."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.model.history import INITIAL, Transaction, ledger_violations, violations


def read_and_wrote(name: str, reads: dict[str, str], *writes: str) -> Transaction:
    return Transaction(name, reads, frozenset(writes))


def test_write_skew_is_a_cycle() -> None:
    """Each reads both and writes one: either would have seen the other's."""
    both = {"x": INITIAL, "y": INITIAL}
    (told,) = violations([read_and_wrote("a", both, "x"), read_and_wrote("b", both, "y")], {"x": ["a"], "y": ["b"]})
    assert "a read y before it was replaced by b" in told
    assert "b read x before it was replaced by a" in told


def test_a_lost_update_is_a_cycle() -> None:
    every = [read_and_wrote("a", {"x": INITIAL}, "x"), read_and_wrote("b", {"x": INITIAL}, "x")]
    assert "no serial order" in violations(every, {"x": ["a", "b"]})[0]


def test_a_read_of_two_versions_is_a_cycle() -> None:
    """The reader saw the writer's x and the y of before."""
    every = [read_and_wrote("w", {}, "x", "y"), read_and_wrote("r", {"x": "w", "y": INITIAL}, "z")]
    assert "no serial order" in violations(every, {"x": ["w"], "y": ["w"], "z": ["r"]})[0]


def test_a_read_of_what_never_was_on_main_is_told() -> None:
    (told,) = violations([read_and_wrote("r", {"x": "failed"}, "y")], {"x": [], "y": ["r"]})
    assert told == "r read of x what failed wrote, which never was on main"


def test_what_is_on_main_twice_or_not_at_all_is_told() -> None:
    assert violations([read_and_wrote("a", {}, "x")], {"x": []}) == ["what a wrote to x was on main 0 times"]
    assert "what a wrote to x was on main 2 times" in violations([read_and_wrote("a", {}, "x")], {"x": ["a", "a"]})


def test_whoever_saw_some_of_the_appended_rows_came_before_the_next() -> None:
    """It saw the first append and not the second, and wrote what the second one had read: no order."""
    late = read_and_wrote("second", {"sum": "reader"}, "rows")
    fine = [read_and_wrote("reader", {"rows": "first"}, "sum"), late]
    assert violations(fine, {"rows": ["first", "second"], "sum": ["reader"]}) == []
    crossed = [read_and_wrote("reader", {"rows": "first"}, "sum"), read_and_wrote("second", {"sum": INITIAL}, "rows")]
    assert "no serial order" in violations(crossed, {"rows": ["first", "second"], "sum": ["reader"]})[0]


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.sets(st.sampled_from("vwxyz")), st.sets(st.sampled_from("vwxyz"))), max_size=12))
def test_what_was_done_one_after_the_other_is_never_accused(steps: list[tuple[set[str], set[str]]]) -> None:
    last: dict[str, str] = {}
    versions: dict[str, list[str]] = {}
    history = []
    for number, (reads, writes) in enumerate(steps):
        name = f"t{number}"
        history.append(Transaction(name, {table: last.get(table, INITIAL) for table in reads}, frozenset(writes)))
        for table in writes:
            last[table] = name
            versions.setdefault(table, []).append(name)
    assert violations(history, versions) == []


def test_a_ledger_with_a_gap_or_a_double_is_told() -> None:
    def row(sequence: int, publication_id: str, main_hash: str) -> dict[str, object]:
        return {"sequence": sequence, "publication_id": publication_id, "main_hash": main_hash}

    assert ledger_violations([row(1, "a", "h1"), row(2, "b", "h2")]) == []
    assert ledger_violations([row(1, "a", "h1"), row(3, "b", "h2")]) == ["the ledger's numbers are [1, 3]"]
    assert ledger_violations([row(1, "a", "h1"), row(1, "b", "h1")]) == [
        "the ledger's numbers are [1, 1]", "the ledger has main_hash h1 2 times",
    ]  # fmt: skip
