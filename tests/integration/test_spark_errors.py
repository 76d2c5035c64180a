"""A server that goes away while Spark is at work is named, not shown as a Java stack trace."""

from __future__ import annotations

import socket

import pytest
from py4j.protocol import Py4JError
from pyspark.errors import PySparkException

from medallion import session
from medallion.errors import ServiceUnavailable
from medallion.lakehouse.catalog import ensure_tables
from medallion.pipeline import Lake
from medallion.settings import Settings
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
