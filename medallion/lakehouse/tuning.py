"""Settings of a Spark session for one piece of work."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

INTERPRETED = {"spark.sql.codegen.wholeStage": "false", "spark.sql.codegen.factoryMode": "NO_CODEGEN"}
"""For a few rows, generating and compiling code takes longer than running without it."""


@contextmanager
def tuned(spark: SparkSession, conf: Mapping[str, str]) -> Iterator[None]:
    """Tune the session for a piece of work, and put it back."""
    before = {key: spark.conf.get(key, None) for key in conf}
    for key, value in conf.items():
        spark.conf.set(key, value)

    def put_back() -> None:
        for key, old in before.items():
            if old is None:
                spark.conf.unset(key)
            else:
                spark.conf.set(key, old)

    try:
        yield
    except KeyboardInterrupt:
        # it may have come in the middle of an answer of the JVM, which then understands nothing more: what is told
        # is that we were interrupted
        with suppress(Exception):
            put_back()
        raise
    except BaseException:
        put_back()
        raise
    put_back()
