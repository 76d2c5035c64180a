"""Settings of what is told to others: alerts, and OpenLineage events. `medallion.settings` has them as its own."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, SecretStr, model_validator


class Part(BaseModel):
    """A part of the settings."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Alerts(Part):
    """Where alerts are sent: a channel's name -> its Apprise URL, which holds secrets. After so many `tries` a message that its
    channel refuses lets those behind it go before it."""

    channels: dict[str, SecretStr] = Field(default_factory=dict)
    tries: int = Field(default=5, ge=1, le=1000)


_KAFKA_OWN = ("bootstrap.servers", "acks", "request.required.acks", "message.timeout.ms", "delivery.timeout.ms")
"""Properties of Kafka's client that are ours: an event counts as sent when the broker has it."""


class Lineage(Part):
    """Where OpenLineage events of runs and publications go: nowhere; `file`, a line each at the end of `path`; `http`, to
    `url` with `token`; or `kafka`, to `topic` at `servers` (host:port, separated by commas), with what else the client is to
    know as `properties` by the names that librdkafka gives them. `namespace` is that of the jobs."""

    transport: Literal["off", "file", "http", "kafka"] = "off"
    path: Path | None = None
    url: str | None = None
    endpoint: str = "api/v1/lineage"
    token: SecretStr | None = None
    servers: str | None = None
    topic: str | None = None
    properties: dict[str, SecretStr] = Field(default_factory=dict)
    timeout_s: float = Field(default=5.0, gt=0, le=300)
    namespace: str = "medallion"

    @model_validator(mode="after")
    def _has_its_place(self) -> Self:
        for place in {"file": ("path",), "http": ("url",), "kafka": ("servers", "topic")}.get(self.transport, ()):
            if not getattr(self, place):
                raise ValueError(f"lineage.transport is {self.transport}: set lineage.{place}")
        if own := sorted({*self.properties} & {*_KAFKA_OWN}):
            instead = {"bootstrap.servers": "set lineage.servers", "message.timeout.ms": "set lineage.timeout_s"}
            raise ValueError(f"lineage.properties has {own[0]}: {instead.get(own[0], 'it is always as many as there are')}")
        return self
