"""A server that goes away while Spark is at work is named, not shown as a Java stack trace."""

from __future__ import annotations

import socket
from collections.abc import Callable
from dataclasses import replace

import pytest
from py4j.protocol import Py4JError
from pyspark.errors import PySparkException

from medallion import pipeline, session
from medallion.contract import Column
from medallion.errors import ServiceUnavailable
from medallion.lakehouse.branch import Branch
from medallion.lakehouse.catalog import ensure_tables
from medallion.lakehouse.run import fail, open_run, remove_branch
from medallion.pipeline import Lake
from medallion.settings import Settings
from medallion.undo import carrying_out
from medallion.undo.carrying_out import a_write
from tests.source_servers import HttpSource, Reply


@pytest.mark.parametrize(("part", "key", "who"), [("nessie", "uri", "Nessie"), ("s3", "endpoint", "the object store")])
def test_a_server_that_is_gone_is_named(stack: Settings, part: str, key: str, who: str) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # taken, and nobody listens
        dead = f"http://127.0.0.1:{unused.getsockname()[1]}"
        broken = stack.model_copy(update={part: getattr(stack, part).model_copy(update={key: dead})})
        with Lake(stack) as lake:
            ensure_tables(stack, lake.nessie, lake.journal, lake.domains.contracts.values())
            branch = f"dev-sandbox/without-{part}"
            lake.nessie.create_branch(branch, lake.nessie.reference("main"))
            catalog = session.attach(lake.spark(), broken, branch)
            with pytest.raises(ServiceUnavailable, match=f"{who} stopped answering") as refusal, session.speaking_plainly():
                lake.spark().table(f"{catalog}.silver.operations.airlines").count()
            assert "medallion up" in str(refusal.value)
            lake.nessie.delete_branch(branch)


@pytest.mark.parametrize("status", [500, 503])
def test_a_catalog_that_fails_is_named(stack: Settings, status: int) -> None:
    with HttpSource(Reply(status)) as failing, Lake(stack) as lake:
        broken = stack.model_copy(update={"nessie": stack.nessie.model_copy(update={"uri": failing.url})})
        catalog = session.attach(lake.spark(), broken, f"run/answered-{status}")
        with pytest.raises(ServiceUnavailable, match="Nessie stopped answering"), session.speaking_plainly():
            lake.spark().table(f"{catalog}.silver.operations.airlines").count()


def test_any_other_error_is_left_as_it_is(stack: Settings) -> None:
    with Lake(stack) as lake, pytest.raises((Py4JError, PySparkException)), session.speaking_plainly():
        lake.spark().sql("SELECT no_such_column").collect()


@pytest.mark.parametrize("what", ["columns are added", "rules are judged again"])
def test_a_catalog_that_fails_beside_a_write_is_named_too(stack: Settings, monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    dataset = "silver.operations.airlines"
    with HttpSource(Reply(503)) as failing, Lake(stack) as lake:
        ensure_tables(stack, lake.nessie, lake.journal, lake.domains.contracts.values())
        run = open_run(lake.nessie, lake.journal, "test", None)
        broken = stack.model_copy(update={"nessie": stack.nessie.model_copy(update={"uri": failing.url})})
        catalog = session.attach(lake.spark(), broken, f"run/failing-while-{what[:5]}")
        branch = Branch(lake.spark(), stack, lake.nessie, run.branch, catalog)  # only Spark meets the failing one
        monkeypatch.setattr(lake, "branch", lambda _: branch)
        contract = lake.domains.contracts[dataset]
        wider = replace(contract, columns=(*contract.columns, Column("more", "string", False, "", False)))
        monkeypatch.setitem(lake.domains.contracts, dataset, wider)
        run.writes = [a_write(dataset, None, what)]
        effects: dict[str, Callable[[], None]] = {
            "columns are added": lambda: pipeline._evolve(lake, run, branch, dataset),
            "rules are judged again": lambda: carrying_out._judge_again(lake, run, [dataset]),
        }
        with pytest.raises(ServiceUnavailable, match="Nessie stopped answering"):
            effects[what]()
        fail(lake.journal, run, what)
        remove_branch(lake.nessie, lake.journal, run.id, run.branch)
