"""Every effect outside the process is a named step, at one place of the code."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from medallion.lakehouse import steps
from medallion.lakehouse.steps import STEPS, known, step
from medallion.publish.target import NoJournal
from tests.source_trees import PACKAGE, trees

TWICE = {
    "write": "a delivery to bronze; a date of silver or gold",
    "quarantine": "rows refused in the pass; rows found in what was written",
} | {
    f"publish.{name}": "gold's publication; the marts'"
    for name in ("whole", "create", "add_columns", "begin", "head", "delete", "insert", "ledger", "commit", "rollback", "cleanup")
}
EFFECTS = {
    "commit", "create_branch", "delete_branch", "put_object", "put_on_branch", "writeTo",
    "prepare", "create", "add", "stage", "copy", "begin", "lock", "empty", "fill", "append", "rollback", "discard",
}  # fmt: skip
"""Methods of `nessie`, `target` and the object store's client that change something outside the process."""
OTHERWISE = {
    ("lakehouse/sandbox.py", "create"): "sandboxes are no runs, and never merge",
    ("lakehouse/sandbox.py", "drop"): "sandboxes are no runs, and never merge",
    ("publish/publication.py", "_fill"): "within its caller's step `publish.insert`",
}


def _modules() -> dict[str, ast.Module]:
    return {path.relative_to(PACKAGE).as_posix(): tree for path, tree in trees().items()}


def _name(call: ast.Call) -> str:
    return ast.unparse(call.func).rpartition(".")[2]


def _texts(node: ast.AST) -> Iterator[str]:
    """The texts of a node; of one that goes on with a dataset's name the part before it."""
    for each in ast.walk(node):
        if isinstance(each, ast.JoinedStr) and isinstance(each.values[0], ast.Constant):
            yield str(each.values[0].value).removesuffix(".")
        elif isinstance(each, ast.Constant) and isinstance(each.value, str):
            yield each.value


def _places() -> dict[str, list[str]]:
    found = defaultdict(list)
    for path, tree in _modules().items():
        if path == "lakehouse/steps.py":
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and _name(node) in ("step", "steps") and node.args:
                prefix = "publish." if _name(node) == "steps" else ""
                for text in [each.value for each in node.args if isinstance(each, ast.Constant)]:
                    found[f"{prefix}{text}"].append(path)
            elif isinstance(node, ast.JoinedStr) and isinstance(node.values[0], ast.Constant):
                text = str(node.values[0].value)
                if text.endswith(".") and text[:-1] in STEPS:
                    found[text[:-1]].append(path)
    return dict(found)


def test_every_step_has_a_name_of_its_own_and_one_place() -> None:
    places = _places()
    assert set(places) == set(STEPS), "a step that is not described, or a description of no step"
    assert {name: len(found) for name, found in places.items() if len(found) != 1} == dict.fromkeys(TWICE, 2)


def test_nothing_outside_the_process_is_changed_beside_the_steps() -> None:
    beside = []
    for path, tree in _modules().items():
        for function in (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)):
            within = {
                id(inner)
                for node in ast.walk(function)
                if isinstance(node, ast.With) and {"step", "steps"} & {_called(item.context_expr) for item in node.items}
                for inner in ast.walk(node)
            }
            for node in ast.walk(function):
                if isinstance(node, ast.Call) and _is_effect(node) and id(node) not in within:
                    beside.append((path, function.name))
    assert set(beside) - set(OTHERWISE) == set()


def _called(node: ast.expr) -> str:
    return _name(node) if isinstance(node, ast.Call) else ""


def _is_effect(call: ast.Call) -> bool:
    if not isinstance(call.func, ast.Attribute) or call.func.attr not in EFFECTS:
        return False
    return ast.unparse(call.func.value).rpartition(".")[2] in ("nessie", "target", "client")


def test_a_step_is_known_with_and_without_a_dataset() -> None:
    assert known("write.silver.sales.purchases") == "write"
    assert known("publish.commit") == "publish.commit"
    with pytest.raises(KeyError, match=r"step 'undone' is not in medallion\.lakehouse\.steps"):
        known("undone")


def test_whoever_is_around_enters_and_leaves_each_step(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    @contextmanager
    def watch(name: str) -> Iterator[None]:
        seen.append(f"before {name}")
        try:
            yield
        finally:
            seen.append(f"after {name}")

    monkeypatch.setattr(steps, "around", watch)
    with step("merge.commit"), NoJournal().step("a run", "publish.commit"):
        seen.append("within")
    assert seen == [
        "before merge.commit", "before publish.commit", "within", "after publish.commit", "after merge.commit",
    ]  # fmt: skip
