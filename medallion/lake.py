"""What a run works with: settings, domains, and the services, opened once and closed together."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

from medallion import domain as domain_module
from medallion import session
from medallion.domain import Domains
from medallion.lakehouse.branch import Branch
from medallion.lakehouse.journal import Journal
from medallion.lakehouse.nessie import Nessie
from medallion.lakehouse.store import Store
from medallion.services.state import refuse_half_restored
from medallion.settings import Settings

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


class Lake:
    """The services that a run needs, opened once and closed together."""

    def __init__(self, settings: Settings, domains: Domains | None = None) -> None:
        refuse_half_restored(settings)
        self.settings = settings
        self.domains = domains or domain_module.load(settings)
        self._stack = ExitStack()
        self.journal = self._stack.enter_context(Journal(settings.postgres))
        self.nessie = Nessie(settings.nessie)
        self._stack.callback(self.nessie.close)
        self.store = Store(settings.s3)
        self._spark: SparkSession | None = None

    def __enter__(self) -> Lake:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @property
    def has_spark(self) -> bool:
        """Whether the session was needed so far."""
        return self._spark is not None

    def spark(self) -> SparkSession:
        """The session, started when it is first needed: a run without news needs none."""
        if self._spark is None:
            self._spark = session.start(self.settings)
        return self._spark

    def branch(self, name: str) -> Branch:
        catalog = session.attach(self.spark(), self.settings, name)
        return Branch(self.spark(), self.settings, self.nessie, name, catalog)
