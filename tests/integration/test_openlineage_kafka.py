"""OpenLineage events into a topic of a real Kafka broker: an event counts as sent when the broker has it, and not before."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from medallion.afterwards import lineage_sent
from medallion.domain import Domains
from medallion.errors import InputError, ServiceUnavailable, SettingsError
from medallion.lineage.transports import RefusedError, transport
from medallion.pipeline import Lake, merge_run
from medallion.settings import Lineage, Settings
from tests.kafka import Broker
from tests.lake_tables import LakeTables, gold
from tests.lineage_events import ends, handed_over
from tests.protocol_runs import ProtocolRuns
from tests.warehouse import POSTGRES

pytest_plugins = ["tests.warehouse"]

EVENT = {"eventType": "START", "run": {"runId": "1"}, "job": {"namespace": "lake", "name": "one"}}


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    with Broker(tmp_path_factory.mktemp("broker")) as broker:
        yield broker


def to(broker: Broker, topic: str, **others: Any) -> Lineage:
    return Lineage(transport="kafka", servers=broker.servers, topic=topic, **others)


@POSTGRES
def test_events_wait_for_the_broker_and_come_once(settings: Settings, domain: str, lake: LakeTables, broker: Broker) -> None:
    contract = gold("one", {"id": "bigint", "v": "bigint"}, domain=domain)
    domains, lines = Domains({contract.dataset: contract}, {}), list[str]()
    lake.commit({contract: []})
    broker.create(domain, partitions=3)
    with ProtocolRuns(settings) as runs, Lake(settings, domains) as at:

        def ended(version: int, lineage: Lineage) -> str:
            at.settings = settings.model_copy(update={"lineage": lineage})
            name = handed_over(runs, contract, version)
            with lineage_sent(at, lines.append):
                merge_run(at, name, lambda line: None)
            return name

        nobody = Lineage(transport="kafka", servers="127.0.0.1:1", topic=domain, timeout_s=0.2)
        for version, lineage, why in ((1, nobody, "127.0.0.1:1"), (2, to(broker, "elsewhere", timeout_s=0.2), "no topic")):
            assert runs.journal.run(ended(version, lineage))["state"] == "merged"
            assert lines[-1].startswith("lineage could not be sent, and will be by the next run: Kafka at ")
            assert why in lines[-1]

        ended(3, to(broker, domain))
        messages = broker.read(domain)
        events = [json.loads(message.value()) for message in messages]
        assert (len(events), len(lines)) == (18, 2), "of all three runs"
        assert {*ends(events)} == {"test", contract.dataset, f"{contract.dataset}.rules"}
        keys = {message.key() for message in messages}
        assert keys == {b"run:medallion/test"}, "all of a run in one partition, in order"
        with lineage_sent(at, lines.append):
            pass
        assert len(broker.read(domain)) == 18


def test_only_what_is_acknowledged_counts(broker: Broker) -> None:
    broker.create("slow")
    way = transport(to(broker, "slow", timeout_s=1))
    way.send(EVENT)
    broker.pause()
    try:
        with pytest.raises(ServiceUnavailable, match=f"Kafka at {broker.servers} has not taken it within 1 s: "):
            way.send(EVENT)
        way.close()
    finally:
        broker.go_on()
    way = transport(to(broker, "slow"))
    way.send(EVENT)
    way.close()
    assert [json.loads(message.value()) for message in broker.read("slow")] in ([EVENT] * 2, [EVENT] * 3)


def test_a_message_that_is_too_long_is_refused_by_itself(broker: Broker) -> None:
    broker.create("short", max_message_bytes="1000")
    way = transport(to(broker, "short"))
    for much in (2_000, 2_000_000):  # for the broker; for the client
        with pytest.raises(RefusedError, match=r"(?i)message.*(large|size)"):
            way.send(EVENT | {"more": "x" * much})
    way.send(EVENT)
    way.close()
    assert [json.loads(message.value()) for message in broker.read("short")] == [EVENT]


def test_a_topic_that_is_being_made_is_waited_for(broker: Broker) -> None:
    making = threading.Timer(0.3, lambda: broker.create("late"))
    making.start()
    way = transport(to(broker, "late", timeout_s=20))
    way.send(EVENT)
    way.close()
    making.join()
    assert len(broker.read("late")) == 1


def test_what_is_wrong_with_the_settings_is_said_without_secrets(broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SettingsError, match=r'lineage\.properties: .*"no.such"'):
        transport(to(broker, "any", properties={"no.such": SecretStr("value")}))
    keys = {
        "security.protocol": "SASL_PLAINTEXT",
        "sasl.mechanism": "PLAIN",
        "sasl.username": "anna",
        "sasl.password": "open-sesame",
    }
    secured = to(broker, "any", properties={name: SecretStr(value) for name, value in keys.items()}, timeout_s=1)
    with pytest.raises(ServiceUnavailable, match=r"has not taken it within 1 s: .*(?i:sasl)") as refused:
        transport(secured)
    assert "open-sesame" not in f"{refused.value}{secured!r}"
    monkeypatch.setitem(sys.modules, "confluent_kafka", None)
    monkeypatch.delitem(sys.modules, "medallion.lineage.kafka")
    with pytest.raises(InputError, match="confluent-kafka is not installed"):
        transport(to(broker, "any"))


def test_the_broker_ends_with_whoever_started_it(tmp_path: Path) -> None:
    """Also when that is killed: a later test, or another program, is to find nothing left."""
    program = "import sys; from pathlib import Path; from tests.kafka import Broker\nBroker(Path(sys.argv[1])).__enter__()"
    pid = tmp_path / "kafka" / "pid"
    with subprocess.Popen([sys.executable, "-c", program, str(tmp_path)]) as child:
        _until(lambda: pid.is_file() and pid.read_text().endswith("\n"))
        broker = Path("/proc", pid.read_text().strip())
        assert broker.exists()
        child.kill()
    _until(lambda: not pid.parent.exists())
    assert not broker.exists()


def _until(seen: Callable[[], bool]) -> None:
    patience = time.monotonic() + 60
    while not seen():
        assert time.monotonic() < patience
        time.sleep(0.02)
