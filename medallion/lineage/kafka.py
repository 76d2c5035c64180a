"""OpenLineage events into a topic of Kafka, each until the brokers have acknowledged it.

The library's own transport keeps what became of a message for the log (openlineage-python 1.54,
client/transport/kafka.py: `on_delivery`), and returns whether it was delivered or not. So here the message is handed over anew,
with its own report; producer, settings and the rest are the library's.
"""

from __future__ import annotations

import logging
from time import monotonic, sleep
from typing import Any

from confluent_kafka import KafkaError, KafkaException
from openlineage.client.serde import Serde
from openlineage.client.transport.kafka import KafkaConfig, KafkaTransport

from medallion.errors import ServiceUnavailable, SettingsError
from medallion.lineage.events import Event
from medallion.lineage.transports import RefusedError
from medallion.settings import Lineage

log = logging.getLogger(__name__)

_REFUSED = (
    KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.RECORD_LIST_TOO_LARGE, KafkaError.INVALID_MSG, KafkaError.INVALID_RECORD,
    KafkaError.INVALID_MSG_SIZE,
)  # fmt: skip
"""What is wrong with the message itself."""
_NO_TOPIC = (KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC)
_BEING_MADE = (*_NO_TOPIC, KafkaError.LEADER_NOT_AVAILABLE)
_NOT_ALLOWED = (
    KafkaError._AUTHENTICATION, KafkaError.SASL_AUTHENTICATION_FAILED, KafkaError.TOPIC_AUTHORIZATION_FAILED,
    KafkaError.CLUSTER_AUTHORIZATION_FAILED, KafkaError._SSL,
)  # fmt: skip


class KafkaTopic(KafkaTransport):
    """The way to one topic."""

    def __init__(self, settings: Lineage) -> None:
        """Raises: SettingsError for a property that the client does not take; ServiceUnavailable if no broker answers, or
        there is no such topic and the brokers make none."""
        assert settings.servers is not None, "the settings see to it"
        assert settings.topic is not None, "the settings see to it"
        self._servers, self._timeout_s, self._why = settings.servers, settings.timeout_s, ""
        config: dict[str, Any] = {name: value.get_secret_value() for name, value in settings.properties.items()}
        config |= {
            "bootstrap.servers": settings.servers,
            "acks": "all",
            "message.timeout.ms": int(settings.timeout_s * 1000),
            "error_cb": self._noted,
            "logger": log,  # else it writes to standard error
        }
        try:
            super().__init__(KafkaConfig(config=config, topic=settings.topic, flush=False))
        except KafkaException as error:
            raise SettingsError(
                f"lineage.properties: Kafka's client says: {error.args[0].str()}",
                hint="the names are those of librdkafka's CONFIGURATION.md, such as security.protocol",
            ) from error
        assert self.producer is not None, "it is made at once"
        self._producer = self.producer
        try:
            self._look_for_the_topic()
        except BaseException:
            self.close()
            raise

    def send(self, event: Event) -> None:
        """Return when all brokers that have to have acknowledged it."""
        told: list[KafkaError | None] = []
        self._why, text = "", Serde.to_json(event).encode()
        try:
            self._producer.produce(self.topic, text, _key(event), on_delivery=lambda error, _: told.append(error))
        except KafkaException as error:  # it is not even handed over
            told.append(error.args[0])
        self._producer.flush(self._timeout_s + 1)
        if told and told[0] is None:  # an error is not to be compared with ==: its code is not made for other types
            return
        failed = told[0] if told else None
        if failed is not None and failed.code() in _REFUSED:
            raise RefusedError(failed.str())
        raise self._unavailable(failed)

    def close(self, timeout: float = 0) -> bool:
        """Leave what was not acknowledged: it is sent again by whoever ends next."""
        self._producer.purge()
        return bool(super().close(timeout))

    def _look_for_the_topic(self) -> None:
        """Return when it is there: brokers that make topics by themselves take a moment."""
        until = monotonic() + self._timeout_s
        while True:
            try:
                error = self._producer.list_topics(self.topic, timeout=self._timeout_s).topics[self.topic].error
            except KafkaException as failed:
                self._producer.poll(0)  # for what the client has noted
                raise self._unavailable(failed.args[0]) from failed
            if error is None:
                return
            if error.code() not in _BEING_MADE or monotonic() > until:
                raise self._unavailable(error)
            sleep(0.1)

    def _unavailable(self, error: KafkaError | None) -> ServiceUnavailable:
        place = f"Kafka at {self._servers}"
        if error is not None and error.code() in _NO_TOPIC:
            return ServiceUnavailable(
                f"{place} has no topic '{self.topic}'", hint="create it, or set lineage.topic to one that is there"
            )
        why = self._why or (error.str() if error is not None else "no acknowledgement")
        if error is not None and error.code() in _NOT_ALLOWED:
            why = error.str()
        return ServiceUnavailable(
            f"{place} has not taken it within {self._timeout_s:g} s: {why}",
            hint="are lineage.servers and lineage.properties right, and the brokers up?",
        )

    def _noted(self, error: KafkaError) -> None:
        if error.code() != KafkaError._ALL_BROKERS_DOWN or not self._why:
            self._why = error.str()


def _key(event: Event) -> bytes:
    """Events of a run and of its parts go into one partition, and so keep their order: as the library does it."""
    parent = event["run"].get("facets", {}).get("parent", {})
    job = parent.get("root", parent).get("job", event["job"])
    return f"run:{job['namespace']}/{job['name']}".encode()
