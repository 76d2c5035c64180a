"""The shape of the code base: what may import what, who changes main, and one name in four places."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from medallion import domain
from medallion.settings import ROOT, Settings
from tests.source_trees import PACKAGE, PATHS, trees
from tests.unit.finance_rows import FINANCE
from tests.unit.operations_rows import PLANTED, SOUND
from tests.unit.sales_rows import SALES


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


NAMES = {name_of(path) for path in PATHS}
COMPOSERS = {"medallion.cli", "medallion.job", "medallion.demo", "medallion.afterwards"} | {
    name for name in NAMES if name.startswith("medallion.commands.")
}


def imported(tree: ast.AST) -> Iterator[str]:
    """Every module that is imported anywhere in a file, also inside functions."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            assert node.module
            inner = {f"{node.module}.{alias.name}" for alias in node.names}
            yield from inner & NAMES or {node.module}


def within(name: str, *allowed: str) -> bool:
    return any(name == each or name.startswith(f"{each}.") for each in allowed)


def own(tree: ast.AST) -> set[str]:
    return {
        name for name in imported(tree) if within(name, "medallion", "jobs", "flows", "tests", "bench", "scripts", "dashboards")
    }


# ── arrows ────────────────────────────────────────────────────────────────────────────────────────
def test_the_lakehouse_imports_only_settings_errors_and_contract() -> None:
    allowed = ("medallion.lakehouse", "medallion.settings", "medallion.errors", "medallion.contract")
    for path in (PACKAGE / "lakehouse").glob("*.py"):
        strange = {name for name in own(trees()[path]) if name != "medallion" and not within(name, *allowed)}
        assert not strange, path


def test_the_package_imports_nothing_that_composes_it() -> None:
    for path, tree in trees().items():
        assert not {name for name in own(tree) if not within(name, "medallion")}, path
        if name_of(path) not in COMPOSERS:
            assert not own(tree) & COMPOSERS, path


def test_dashboards_ask_the_database_alone() -> None:
    """They never start Spark: of the package they have settings and errors, and what they show they ask PostgreSQL for."""
    for path in sorted((ROOT / "dashboards").rglob("*.py")):
        names = imported(ast.parse(path.read_text("utf-8")))
        allowed = ("medallion.settings", "medallion.errors", "medallion.alerts.actions", "dashboards")
        assert not {name for name in own(ast.parse(path.read_text("utf-8"))) if not within(name, *allowed)}, path
        assert not {name for name in names if within(name, "pyspark", "pyiceberg", "requests", "httpx")}, path


def test_transforms_import_only_pyspark() -> None:
    for path in (PACKAGE / "domains").rglob("*.py"):
        assert not {name for name in imported(trees()[path]) if not within(name, "pyspark", "__future__")}, path


def test_marts_build_on_runs_and_publications_and_not_the_other_way_round() -> None:
    for path, tree in trees().items():
        if not within(name_of(path), "medallion.marts", *COMPOSERS):
            assert not {name for name in own(tree) if within(name, "medallion.marts")}, path


def test_dbt_is_a_program_of_its_own() -> None:
    """It comes with other versions of packages: only what runs in its process may import it."""
    assert {name_of(path) for path, tree in trees().items() if any(within(name, "dbt") for name in imported(tree))} == {
        "medallion.marts.spark_program"
    }


def test_jobs_are_one_call() -> None:
    for path in sorted((ROOT / "jobs").glob("*.py")):
        tree = ast.parse(path.read_text("utf-8"))
        assert own(tree) == {"medallion.job"}, path
        assert len(tree.body) == 3, path  # docstring, import, call


def test_the_command_line_starts_without_what_is_heavy() -> None:
    heavy = (
        "pyspark",
        "snowflake",
        "pyiceberg",
        "pyarrow",
        "duckdb",
        "pandas",
        "pynessie",
        "minio",
        "psycopg",
        "httpx",
        "rich.table",
    )
    program = f"import sys, medallion.cli; print(*[m for m in {heavy} if m in sys.modules])"
    told = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert told.stdout.split() == []


# ── main changes in one place ─────────────────────────────────────────────────────────────────────
def calls(tree: ast.AST, method: str) -> Iterator[tuple[str, ast.Call]]:
    """(function that calls, call) of every call of a method of this name."""
    for function in (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)):
        for node in ast.walk(function):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == method:
                yield function.name, node


def test_main_is_changed_by_one_function() -> None:
    commits = {
        (path.relative_to(PACKAGE).as_posix(), function, ast.unparse(call))
        for path, tree in trees().items()
        for function, call in calls(tree, "commit")
        if "nessie" in ast.unparse(call.func)
    }
    assert commits == {
        ("lakehouse/merge.py", "send", "nessie.commit(h0, body)"),
        ("lakehouse/sandbox.py", "create", "nessie.commit(making, body)"),
        ("lakehouse/run.py", "put_on_branch", "nessie.commit(branch, commit_body(operations, message, {}))"),
        ("lakehouse/staging.py", "_commit", "nessie.commit(onto, commit_body(operations, message, {}))"),
    }
    (put,) = (
        node
        for node in ast.walk(trees()[PACKAGE / "lakehouse" / "run.py"])
        if isinstance(node, ast.FunctionDef) and node.name == "put_on_branch"
    )
    branch = [ast.unparse(n) for n in ast.walk(put) if isinstance(n, ast.Assign) and ast.unparse(n.targets[0]) == "branch"]
    assert branch == ["branch = Reference(run.branch, run.h0.hash)"]


def test_a_write_is_staged_on_the_branch_that_it_is_for() -> None:
    (commit,) = (
        node
        for node in ast.walk(trees()[PACKAGE / "lakehouse" / "staging.py"])
        if isinstance(node, ast.FunctionDef) and node.name == "_commit"
    )
    onto = [ast.unparse(n.value) for n in ast.walk(commit) if isinstance(n, ast.Assign) and ast.unparse(n.targets[0]) == "onto"]
    assert onto == ["nessie.reference(self.branch.name)"]
    branches = {
        ast.unparse(node.args[3] if len(node.args) > 3 else node.args[0])
        for tree in trees().values()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("Branch", "lake.branch")
    }
    assert branches == {"name", "run.branch", "head.name"}, "a run's, or a sandbox's"


def test_a_sandbox_is_committed_to_a_branch_of_its_own() -> None:
    tree = trees()[PACKAGE / "lakehouse" / "sandbox.py"]
    making = [
        ast.unparse(node.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "making"
    ]
    assert making == ["nessie.create_branch(f'{_MAKING}{secrets.token_hex(4)}', at)"]


def test_nobody_else_speaks_of_commits_to_the_server() -> None:
    for path, tree in trees().items():
        texts = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)}
        if path.name != "nessie.py" or path.parent.name != "lakehouse":
            assert not {text for text in texts if "history/commit" in text or "history/merge" in text}, path
        assert not {function for function, _ in calls(tree, "assign_branch")}, path


def test_a_merge_is_asked_for_by_runs_and_by_nobody_else() -> None:
    who = {
        name_of(path)
        for path, tree in trees().items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("merge", "send")
    }
    assert who == {"medallion.pipeline", "medallion.lakehouse.catalog", "medallion.lakehouse.merge", "medallion.recovery"}


# ── one name, four places ─────────────────────────────────────────────────────────────────────────
ROWS = {  # domain -> sound rows, planted rows
    "operations": (SOUND, PLANTED),
    "sales": (SALES.sound, SALES.planted),
    "finance": (FINANCE.sound, FINANCE.planted),
}


def test_every_built_in_domain_has_rows() -> None:
    assert set(ROWS) == {contract.domain for contract in domain.load(Settings()).contracts.values()}


@pytest.mark.parametrize("name", ROWS)
def test_a_dataset_has_contract_transform_planted_rows_and_test_of_one_name(name: str) -> None:
    domains = domain.load(Settings())
    mine = {d: c for d, c in domains.contracts.items() if c.domain == name}
    sound, planted = ROWS[name]
    assert set(mine) == set(sound) == set(planted)
    tests = {layer: (ROOT / "tests" / "unit" / f"test_{name}_{layer}.py").read_text("utf-8") for layer in ("silver", "gold")}
    for dataset, contract in mine.items():
        assert contract.path.name == f"{contract.layer}.{contract.name}.odcs.yaml"
        if contract.layer == "bronze":
            assert dataset not in domains.transforms
            continue
        transform = domains.transforms[dataset]
        assert transform.function.__name__ == contract.name
        assert transform.function.__doc__, f"{dataset} says nothing of what it makes"
        module = ast.parse(tests[contract.layer])
        named = {node.name for node in ast.walk(module) if isinstance(node, ast.FunctionDef)}
        assert any(name.startswith(f"test_{contract.name}") for name in named), f"{dataset} has no test of its name"


# ── tests ─────────────────────────────────────────────────────────────────────────────────────────
def test_no_two_plugins_of_tests_give_a_fixture_of_one_name() -> None:
    """A plugin's fixtures are there for every test of the session: the last one of a name would take its place."""
    given = [
        (node.name, path.name)
        for path in sorted((ROOT / "tests").glob("*.py"))
        for node in ast.parse(path.read_text("utf-8")).body
        if isinstance(node, ast.FunctionDef) and any("pytest.fixture" in ast.unparse(each) for each in node.decorator_list)
    ]
    assert {"lake", "shop", "stack"} <= {name for name, _ in given}
    twice = {name: [path for other, path in given if other == name] for name, _ in given}
    assert not {name: paths for name, paths in twice.items() if len(paths) > 1}


def test_a_module_stays_in_one_process(request: pytest.FixtureRequest) -> None:
    """Its fixtures are dear, and made once in each process: xdist appends a test's group to its name, if it can."""
    in_one_of_several = "PYTEST_XDIST_WORKER" in os.environ
    assert request.node.nodeid.endswith("@tests/unit/test_structure.py") == in_one_of_several


# ── rooms ─────────────────────────────────────────────────────────────────────────────────────────
FILES = [
    p
    for folder in ("medallion", "jobs", "scripts", "tests", "bench", "dashboards")
    for p in sorted((ROOT / folder).rglob("*.py"))
]


def test_no_module_is_an_attic() -> None:
    attics = {"utils", "util", "common", "helpers", "helper", "core", "base", "manager", "misc"}
    assert not [path for path in FILES if attics & {path.stem, *path.relative_to(ROOT).parts[:-1]}]


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_a_file_is_one_room(path: Path) -> None:
    assert len(path.read_text("utf-8").splitlines()) <= 350
    assert len(path.relative_to(ROOT).parts) <= 4
    if path.name == "__init__.py":
        body = ast.parse(path.read_text("utf-8")).body
        assert all(isinstance(node, ast.Import | ast.ImportFrom | ast.Expr | ast.Assign) for node in body), (
            "only a public surface"
        )
