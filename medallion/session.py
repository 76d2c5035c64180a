"""The Spark session, and Iceberg catalogs over one Nessie reference each."""

from __future__ import annotations

import gc
import logging
import os
import re
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from medallion.errors import ServiceUnavailable
from medallion.lakehouse.branch import FEW_ROWS
from medallion.lakehouse.tuning import INTERPRETED, tuned
from medallion.settings import Settings

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

_COMMON = {
    "spark.sql.session.timeZone": "UTC",
    "spark.sql.extensions": "org.apache.iceberg.spark.extensions.IcebergSparkSessionExtensions,"
    "io.delta.sql.DeltaSparkSessionExtension",
    "spark.sql.catalog.spark_catalog": "org.apache.spark.sql.delta.catalog.DeltaCatalog",
    "spark.ui.showConsoleProgress": "false",
    "spark.sql.ansi.enabled": "true",
    # Above this many bytes of bytecode the JIT gives up on a generated method; Spark's own limit is
    # far higher, so a wide row check would run interpreted. See docs/performance.md.
    "spark.sql.codegen.hugeMethodLimit": "8000",
    # PySpark asks the JVM eight more things for each function of a column, so that an error can name the line of
    # Python that made it: a tenth of a small run
    "spark.python.sql.dataFrameDebugging.enabled": "false",
}

_KEYS = "check the settings s3.access_key and s3.secret_key"
_GONE = {
    "NessieServiceException": "Nessie",
    "NessieUnavailableException": "Nessie",
    "NessieInternalServerException": "Nessie",
    "HttpClientException": "Nessie",
    "SdkClientException": "the object store",
    "S3Exception": "the object store",
    "ConnectException": "a server",
    "Answer from Java side is empty": "Spark's own JVM",
}
"""Java classes (and one text of py4j) that mean that a server is gone or refuses us -> which."""
_REFUSED = {
    "NessieNotAuthorizedException": ("Nessie", "check the setting nessie.token"),
    "NessieForbiddenException": ("Nessie", "check the setting nessie.token"),
    "InvalidAccessKeyId": ("the object store", _KEYS),
    "SignatureDoesNotMatch": ("the object store", _KEYS),
    "The request signature we calculated does not match": ("the object store", _KEYS),
    "The Access Key Id you provided does not exist": ("the object store", _KEYS),
    "Status Code: 403": ("the object store", _KEYS),
}
"""Java classes (and texts of the object store) that mean that a server refuses us -> which, and what to do."""
SMALL = INTERPRETED | {"spark.sql.adaptive.enabled": "false", FEW_ROWS: "true"}
_QUICK = "-XX:TieredStopAtLevel=1 -XX:ReservedCodeCacheSize=240m"
"""The quick compiler alone; by itself it would have room for 48 MB of code, and stop when a long session has filled it."""
_LOG_LEVEL = "ERROR"


def local(name: str = "medallion") -> SparkSession:
    """A session without catalogs, for transforms on frames made by hand (unit tests, notebooks)."""
    return _build(name, {"spark.master": "local[2]", "spark.sql.shuffle.partitions": "2", "spark.ui.enabled": "false"})


def start(settings: Settings, name: str = "medallion") -> SparkSession:
    """The session of this process, made at the first call.

    The master is what `spark-submit` said, else `settings.spark.master`, else `local[2]`.
    """
    conf = {
        "spark.sql.shuffle.partitions": str(settings.spark.shuffle_partitions),
        # Delta reads a table's log in so many tasks, 50 by default, however short the log is
        "spark.databricks.delta.snapshotPartitions": str(settings.spark.shuffle_partitions),
        "spark.ui.enabled": str(settings.spark.ui).lower(),
        "spark.sql.warehouse.dir": str(settings.home / "spark-warehouse"),  # else in the folder one happens to be in
    }
    if settings.spark.master or not _submitted_with_master():
        conf["spark.master"] = settings.spark.master or "local[2]"
    return _build(name, conf | settings.spark.conf, quick=settings.spark.small)


def _as_activated(quick: bool) -> None:
    """Give a JVM that we start the environment that activation would: Java, memory, its class archive.
    One that spark-submit has started is as it is."""
    if "PYSPARK_GATEWAY_PORT" in os.environ:
        return
    path = Path(sys.prefix) / "spark.env"
    for line in path.read_text("utf-8").splitlines() if path.is_file() else ():
        os.environ.setdefault(*line.split("=", 1))
    options = os.environ.get("SPARK_SUBMIT_OPTS", "")
    if quick and _QUICK not in options:
        os.environ["SPARK_SUBMIT_OPTS"] = f"{options} {_QUICK}".strip()


def _submitted_with_master() -> bool:
    """Whether spark-submit was given a master: without one it passes on `local[*]`."""
    if "PYSPARK_GATEWAY_PORT" not in os.environ:
        return False
    from pyspark import SparkConf

    return SparkConf().get("spark.master", "local[*]") != "local[*]"


def _build(name: str, conf: dict[str, str], *, quick: bool = False) -> SparkSession:
    from pyspark.sql import SparkSession

    _as_activated(quick)
    builder = SparkSession.builder.appName(name)
    for key, value in (_COMMON | {"spark.driver.host": "127.0.0.1", "spark.driver.bindAddress": "127.0.0.1"} | conf).items():
        builder = builder.config(key, value)
    before = signal.getsignal(signal.SIGINT)
    spark = builder.getOrCreate()
    if threading.current_thread() is threading.main_thread() and before is not None:
        # Spark's own handler asks the JVM to cancel, on a connection that waits for an answer: an
        # error of py4j comes of it instead of a KeyboardInterrupt
        signal.signal(signal.SIGINT, before)
    spark.sparkContext.setLogLevel("ERROR")
    log4j = spark._jvm.org.apache.logging.log4j  # type: ignore[union-attr]  # a classic session has a JVM
    # its listeners are handed what a plan failed of, and fail of it, with a page of Java, before we say so
    log4j.core.config.Configurator.setLevel("org.apache.spark.sql.util.ExecutionListenerBus", log4j.Level.OFF)
    for name in ("SQLQueryContextLogger", "DataFrameQueryContextLogger"):
        logging.getLogger(name).setLevel(logging.CRITICAL)  # repeats, as JSON, what is raised
    return spark


@contextmanager
def sized(spark: SparkSession, settings: Settings, rows: int) -> Iterator[None]:
    """Tune the session for a piece of work over about so many rows, and put it back.

    Of many rows the JVM is rid of when the work is done: a frame made of a delivery has all of them in its memory for as long
    as Python has the frame, and frames that are part of a cycle are there until Python looks for cycles, which may be
    many deliveries later.
    """
    if rows > settings.spark.small_rows:
        yield
        gc.collect()
        return
    with tuned(spark, SMALL):
        yield


@contextmanager
def silent(spark: SparkSession) -> Iterator[None]:
    """Keep Spark's own words off the terminal, where we expect errors and tell them in ours."""
    spark.sparkContext.setLogLevel("OFF")
    try:
        yield
    finally:
        spark.sparkContext.setLogLevel(_LOG_LEVEL)


@contextmanager
def speaking_plainly() -> Iterator[None]:
    """Tell a server that is gone apart from a defect: Spark reports both as a Java stack trace.

    Raises: ServiceUnavailable in place of an error whose cause is that a server does not answer.
    """
    from py4j.protocol import Py4JError
    from pyspark.errors import PySparkException

    try:
        yield
    except (Py4JError, PySparkException) as error:
        for sign, (who, hint) in _REFUSED.items():
            if sign in str(error):
                raise ServiceUnavailable(f"{who} refuses us while Spark is at work ({sign})", hint=hint) from error
        for sign, who in _GONE.items():
            if sign in str(error):
                raise ServiceUnavailable(
                    f"{who} stopped answering while Spark was at work ({sign})",
                    hint="`medallion up` starts the embedded stack, `medallion doctor` says what is wrong; then run again",
                ) from error
        raise


def catalog_properties(settings: Settings, ref: str, hash_: str | None = None) -> dict[str, str]:
    """The properties of a NessieCatalog at one reference, without their `spark.sql.catalog.` prefix."""
    s3 = settings.s3
    properties = {
        "catalog-impl": "org.apache.iceberg.nessie.NessieCatalog",
        "uri": settings.nessie.api_v2,
        "ref": ref,
        "warehouse": "s3://dev-sandbox/tables",  # for tables that people make; a contract's names its own location
        "io-impl": "org.apache.iceberg.aws.s3.S3FileIO",
        "client.region": s3.region,
        "s3.access-key-id": s3.access_key,
        "s3.secret-access-key": s3.secret_key.get_secret_value(),
        "s3.path-style-access": str(s3.path_style).lower(),
        "cache-enabled": "false",
    }
    if hash_:
        properties["ref.hash"] = hash_
    if s3.endpoint:
        properties["s3.endpoint"] = s3.endpoint
    if settings.nessie.token:
        properties |= {
            "authentication.type": "BEARER",
            "authentication.token": settings.nessie.token.get_secret_value(),
        }
    return properties


def attach(spark: SparkSession, settings: Settings, ref: str, hash_: str | None = None, *, name: str | None = None) -> str:
    """Give the session a catalog over one reference. Returns: the catalog's name in SQL."""
    name = name or re.sub(r"[^a-z0-9]", "_", f"at_{ref}_{(hash_ or '')[:16]}".lower())
    spark.conf.set(f"spark.sql.catalog.{name}", "org.apache.iceberg.spark.SparkCatalog")
    for key, value in catalog_properties(settings, ref, hash_).items():
        spark.conf.set(f"spark.sql.catalog.{name}.{key}", value)
    return name
