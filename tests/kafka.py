"""A Kafka broker on loopback, of the jars that `make setup` places. It ends with the test process, even if that is killed.

with Broker(tmp_path) as broker:
    broker.servers              # 127.0.0.1:PORT
    broker.create("events")
    broker.read("events")       # what is in the topic
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from contextlib import ExitStack
from pathlib import Path
from socket import socket

from confluent_kafka import Consumer, KafkaException, Message, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from medallion.services.nessie import java
from medallion.services.process import tail
from medallion.services.service import SERVERS, environment

_CLUSTER = "bWVkYWxsaW9uLXRlc3RzLQ"
# the shell's input is a pipe of the test process: its end, however that comes, is the broker's
_GUARDED = '"$@" </dev/null & broker=$!; echo $broker >"$FOLDER/pid"; read -r _; kill -9 $broker; wait $broker; rm -rf "$FOLDER"'
_START_S = 60.0
_PROPERTIES = """
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
listeners=CLIENTS://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=CLIENTS://127.0.0.1:{port}
listener.security.protocol.map=CLIENTS:PLAINTEXT,CONTROLLER:PLAINTEXT
inter.broker.listener.name=CLIENTS
controller.listener.names=CONTROLLER
log.dirs={folder}/data
auto.create.topics.enable={creates}
num.partitions=1
offsets.topic.num.partitions=1
offsets.topic.replication.factor=1
transaction.state.log.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
group.initial.rebalance.delay.ms=0
num.network.threads=1
num.io.threads=2
background.threads=1
"""
_FORMATTED = """
version=1
cluster.id={cluster}
node.id=1
directory.id={cluster}
"""
"""What `kafka.tools.StorageTool format` writes, which is another JVM's start."""


class Broker:
    """One broker that is its own controller, with its data in a folder that goes with it.

    Args:
        parent: where that folder is made.
        creates: whether a topic is made when it is first asked for.
    """

    def __init__(self, parent: Path, *, creates: bool = False) -> None:
        self._folder, self._creates = parent / "kafka", creates
        self.port, self._controller = _free_ports(2)
        self._closing = ExitStack()

    @property
    def servers(self) -> str:
        """Where clients find it."""
        return f"127.0.0.1:{self.port}"

    def __enter__(self) -> Broker:
        data = self._folder / "data"
        data.mkdir(parents=True)
        (data / "meta.properties").write_text(_FORMATTED.format(cluster=_CLUSTER))
        values = {
            "port": self.port,
            "controller": self._controller,
            "folder": self._folder,
            "creates": str(self._creates).lower(),
        }
        properties = self._folder / "server.properties"
        properties.write_text(_PROPERTIES.format(**values))
        log = self._folder / "log"
        command = [
            str(java()), "-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto",
            "-cp", f"{SERVERS / 'kafka'}/*", "kafka.Kafka", str(properties),
        ]  # fmt: skip
        with log.open("wb") as out:
            shell = subprocess.Popen(
                ["/bin/sh", "-c", _GUARDED, "guarded", *command],
                stdin=subprocess.PIPE, stdout=out, stderr=subprocess.STDOUT, cwd=self._folder,
                env=environment(self._folder) | {"FOLDER": str(self._folder)},
            )  # fmt: skip
        self._closing.callback(shell.wait)
        assert shell.stdin is not None
        self._closing.callback(shell.stdin.close)
        self._admin = AdminClient({"bootstrap.servers": self.servers, "log_level": 0})
        until = time.monotonic() + _START_S
        while True:
            try:
                self._admin.list_topics(timeout=1)
                return self
            except KafkaException:
                if time.monotonic() > until:
                    told = tail(log)
                    self._closing.close()
                    raise AssertionError(f"the broker does not answer; its log ends with:\n{told}") from None

    def __exit__(self, *_: object) -> None:
        self._closing.close()

    def pause(self) -> None:
        """Let it hear and answer nothing, with its connections open."""
        pid = int((self._folder / "pid").read_text())
        os.kill(pid, signal.SIGSTOP)
        while any(each.read_text().rpartition(")")[2].split()[0] != "T" for each in Path(f"/proc/{pid}/task").glob("*/stat")):
            time.sleep(0.01)  # each thread stops when it is its turn

    def go_on(self) -> None:
        """End a pause."""
        os.kill(int((self._folder / "pid").read_text()), signal.SIGCONT)

    def create(self, topic: str, partitions: int = 1, **config: str) -> None:
        """Make a topic."""
        made = self._admin.create_topics(
            [NewTopic(topic, partitions, 1, config={k.replace("_", "."): v for k, v in config.items()})]
        )
        made[topic].result(_START_S)

    def read(self, topic: str) -> list[Message]:
        """All that is in a topic, partition by partition."""
        consumer = Consumer(
            {"bootstrap.servers": self.servers, "group.id": "tests", "enable.auto.commit": "false", "log_level": 0}
        )
        found = []
        try:
            for partition in consumer.list_topics(topic, timeout=10).topics[topic].partitions:
                place = TopicPartition(topic, partition, 0)
                begin, end = consumer.get_watermark_offsets(place, timeout=10)
                consumer.assign([place])
                for _ in range(end - begin):
                    message = consumer.poll(10)
                    assert message is not None, "the broker says nothing more"
                    assert message.error() is None, message.error()
                    found.append(message)
        finally:
            consumer.close()
        return found


def _free_ports(many: int) -> list[int]:
    with ExitStack() as held:
        sockets = [held.enter_context(socket()) for _ in range(many)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
