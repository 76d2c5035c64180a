"""A small lake with a history, its copies in a second location, and what a lost stack looks like."""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import urlsplit

import pyarrow as pa
import pytest
from minio import MinioAdmin
from minio.credentials import StaticProvider
from pydantic import SecretStr

from medallion import cli, evidence
from medallion.backup.backup import backup
from medallion.backup.recover import recover
from medallion.backup.restore import Restored, plan, restore_into, source
from medallion.contract import Contract
from medallion.lakehouse import merge, steps
from medallion.lakehouse.nessie import Nessie, Operation, Reference, commit_body
from medallion.lakehouse.run import Run
from medallion.lakehouse.store import Store
from medallion.lakehouse.table import open_static
from medallion.publish.checksum import Digest, digest
from medallion.publish.columns import from_iceberg
from medallion.publish.publication import publish
from medallion.services import ports, postgres
from medallion.services import stack as services
from medallion.services.state import State, exclusively, read, read_or_begin
from medallion.settings import S3, Backup, Ports, Settings
from tests.lake_tables import Contracts, Write, gold
from tests.protocol_runs import ProtocolRuns

SALES = gold("sales", {"id": "bigint", "amount": "double"}, domain="shop")
PRICES = gold("prices", {"id": "bigint", "price": "decimal(8,2)"}, domain="shop")
SHOWN = Contracts(SALES, PRICES)
DELIVERY = "s3://bronze-batch/shop/orders/2024-01-02/orders.csv"


def quiet(line: str) -> None:
    """Report nothing."""


@dataclass
class History:
    """What happened in a lake: commits by name, the points that backups left, and the time before the nonsense."""

    settings: Settings
    commits: dict[str, str] = field(default_factory=dict)
    points: dict[str, Any] = field(default_factory=dict)
    before_nonsense: datetime = datetime.min
    under_way: Run | None = None
    delivered: bytes = b"id,amount\n1,2.5\n"


def with_location(settings: Settings, location: object, **more: Any) -> Settings:
    """The settings with a second location."""
    return settings.model_copy(update={"backup": Backup(location=str(location), **more)})


def lost(settings: Settings, home: Path) -> Settings:
    """The settings where nothing of the stack is left: no server answers, and its folder is gone."""
    gone = {
        "nessie": settings.nessie.model_copy(update={"uri": "http://127.0.0.1:9"}),
        "s3": settings.s3.model_copy(update={"endpoint": "http://127.0.0.1:9"}),
        "postgres": settings.postgres.model_copy(update={"port": 9}),
        "warehouse_postgres": settings.warehouse_postgres.model_copy(update={"port": 9}),
        "home": home / "gone",
    }
    return settings.model_copy(update=gone)


def merged(runs: ProtocolRuns, writes: Mapping[Contract, Any], deliveries: Iterable[Mapping[str, Any]] = ()) -> str:
    """A run, merged with its evidence. Returns: its commit."""
    run, judged = runs.written(writes)
    run.deliveries = [dict(one) for one in deliveries]
    properties = evidence.keep(Store(runs.settings.s3), run, judged, runs.nessie.contents(judged))
    found = runs.merge(run, judged, **properties)
    runs.journal.release(run.id)
    assert found
    return found


def sales(count: int, each: float) -> list[dict[str, Any]]:
    """Rows of SALES."""
    return [{"id": number, "amount": number * each} for number in range(count)]


def appended(count: int, each: float) -> Write:
    """What appends rows to SALES."""
    return lambda table: table.append(pa.Table.from_pylist(sales(count, each), schema=table.schema().as_arrow()))


def deliver(settings: Settings, data: bytes) -> dict[str, Any]:
    """A file that arrived in a bronze bucket, as a run notes it."""
    store = Store(settings.s3)
    sha256 = store.put(DELIVERY, data, "text/csv")
    uri = store.versions("bronze-batch", "shop/orders/")[-1].uri
    return {"dataset": "bronze.shop.orders", "logical_date": date(2024, 1, 2), "uri": uri, "sha256": sha256, "rows": 1}


def now(settings: Settings) -> datetime:
    """The time by PostgreSQL's clock."""
    with postgres.connect(settings.postgres) as connection:
        row = connection.execute("SELECT clock_timestamp()").fetchone()
    assert row
    return row[0].astimezone(UTC)  # type: ignore[no-any-return]  # psycopg does not say what a row holds


def digests(settings: Settings, at: Reference) -> dict[str, Digest]:
    """Every table at a commit: its rows and checksum."""
    with closing(Nessie(settings.nessie)) as nessie:
        found = {}
        for dataset, content in nessie.tables(at).items():
            table = open_static(settings.s3, content)
            found[dataset] = digest(table.scan().to_arrow(), from_iceberg(dataset, table.schema()))
    return found


def without_listing(s3: S3) -> S3:
    """Keys that may read and write all objects and list no bucket."""
    allowed = ["s3:GetObject", "s3:GetObjectVersion", "s3:PutObject", "s3:GetBucketLocation"]
    statement = {"Effect": "Allow", "Action": allowed, "Resource": ["arn:aws:s3:::*"]}
    keys = StaticProvider(s3.access_key, s3.secret_key.get_secret_value())
    admin = MinioAdmin(endpoint=urlsplit(s3.endpoint).netloc, credentials=keys, secure=False)
    admin.policy_add("no-listing", policy={"Version": "2012-10-17", "Statement": [statement]})
    admin.user_add("copier", "copier-secret")
    admin.attach_policy(["no-listing"], user="copier")
    return s3.model_copy(update={"access_key": "copier", "secret_key": SecretStr("copier-secret")})


def asked_for(runs: ProtocolRuns, writes: Mapping[Contract, Any]) -> Run:
    """A run whose merge was asked for, as far as the journal knows, when everything ended."""
    run, judged = runs.written(writes)
    operations = merge.operations(run.base, runs.nessie.contents(judged), run.reads)
    body = commit_body(operations, "asked for", {merge.RUN_PROPERTY: run.id})
    runs.journal.update(run.id, state="merging", story=run.story() | {"request": body})
    return run


def lived(story: History, runs: ProtocolRuns) -> None:
    """Two good versions, one of which no backup has a point for; nonsense that is published; a table dropped by hand."""
    settings = story.settings
    prices = [{"id": number, "price": Decimal(number) / 4} for number in range(20)]
    story.commits["first"] = merged(runs, {SALES: sales(10, 1.5), PRICES: prices}, [deliver(settings, b"id\n")])
    story.points["first"] = backup(settings, quiet)
    story.commits["appended"] = merged(runs, {SALES: appended(5, 2.5)})
    story.commits["good"] = merged(runs, {SALES: sales(30, 3.5)}, [deliver(settings, story.delivered)])
    publish(settings, SHOWN)
    story.points["good"] = backup(settings, quiet)
    story.under_way = asked_for(runs, {PRICES: prices[:3]})
    story.before_nonsense = now(settings)
    story.commits["nonsense"] = merged(runs, {SALES: sales(3, -9.9)})
    publish(settings, SHOWN)
    story.points["nonsense"] = backup(settings, quiet)
    drop = commit_body([Operation("DELETE", PRICES.dataset)], "dropped by hand", {})
    story.commits["dropped"] = runs.nessie.commit(runs.main(), drop)
    story.points["dropped"] = backup(settings, quiet)


def killed_at(pipe: Any, settings: Settings, step: str, when: str) -> None:
    """Back up until a step, in a process of its own that ends there."""

    @contextmanager
    def around(name: str) -> Iterator[None]:
        if (name, when) == (step, "before"):
            os.kill(os.getpid(), signal.SIGKILL)
        yield
        if name == step:
            os.kill(os.getpid(), signal.SIGKILL)

    steps.around = around
    backup(settings, quiet)


def restored_until(pipe: Any, settings: Settings, home: Path, step: str) -> None:
    """Restore into a new stack, in a process of its own that ends before a step."""

    @contextmanager
    def around(name: str) -> Iterator[None]:
        if name == step:
            os.kill(os.getpid(), signal.SIGKILL)
        yield

    steps.around = around
    restore_into(settings, None, home, None, quiet, domains=SHOWN)


@contextmanager
def limited_files(size: int) -> Iterator[None]:
    """No file of this process may become larger, as on a disk that is full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


class _OutOfOrder(BaseHTTPRequestHandler):
    def do_HEAD(self) -> None:
        self.send_error(503)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def out_of_order() -> Iterator[str]:
    """The address of a server that answers 503, without a text, to whoever asks what it holds."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _OutOfOrder)
    thread = Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def begun(settings: Settings, home: Path) -> Iterator[State]:
    """The state of a new stack in a folder, before anything runs in it."""
    new = settings.model_copy(update={"home": home, "ports": Ports()})
    try:
        with exclusively(new):
            state = read_or_begin(new)
            ports.settle(state, new.ports, lambda line: None)
            state.passing = True
            state.save()
            yield state
    finally:
        services.down(new, quiet, remove=True)  # also what PostgreSQL has of it, which may lie elsewhere


def recovered(settings: Settings, to: str | None, home: Path, where: str | None = None) -> str:
    """Recover the catalog alone, without starting a stack; it is an error if main is not where it has to be.

    Returns: the commit that main is at.
    """
    location = source(settings, where)
    change, point, base, goal = plan(location, to)
    with begun(settings, home) as state:
        recover(state, location, base, point.wal, goal)
    return change.hash


@contextmanager
def come_back(lake: History, gone: Path, home: Path) -> Iterator[tuple[Settings, Restored]]:
    """The settings of a new stack of the time before the nonsense, made while nothing of the old one can be reached."""
    settings = lost(lake.settings, gone)
    new = settings.model_copy(update={"home": home})
    try:
        where, to = lake.settings.backup.location, lake.before_nonsense.isoformat()
        done = restore_into(settings, to, home, where, quiet, domains=SHOWN, guard=os.getpid())
        state = read(new)
        assert state
        yield state.applied_to(new), done
    finally:
        services.down(new, quiet, remove=True)


def command(patch: pytest.MonkeyPatch, printed: pytest.CaptureFixture[str], *words: str, code: int = 0) -> Any:
    """Run a command that must end with this code. Returns: the JSON that it printed, else what it said of its failure."""
    patch.setattr(sys, "argv", ["medallion", *words])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    out, err = printed.readouterr()
    assert int(ended.value.code or 0) == code, err
    return json.loads(out) if out else err
