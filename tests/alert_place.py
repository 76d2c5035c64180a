"""A journal with runs that ended as a test says, and alerts looked for in it: real PostgreSQL, no lake and no Spark.

with AlertPlace(stack) as place:
    place.merged(day, {SILVER: 100.0})
    place.failed(day, "ValueError: no such thing", at=GOLD)
    look = place.look()
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from datetime import date, datetime, timedelta
from typing import Any, Self

from psycopg import sql
from pydantic import SecretStr

from medallion.alerts import store
from medallion.alerts.evaluate import Look, evaluate
from medallion.contract import Contract, Delivery, Materialisation
from medallion.lakehouse.journal import Journal
from medallion.lakehouse.steps import step
from medallion.services import postgres
from medallion.settings import Alerts, Settings
from tests.lake_tables import gold

DAILY = Delivery("csv", "none", "", "{year}/{month}/{day}/", "daily", "", "history")
BRONZE = gold("orders", {"order_id": "string"}, layer="bronze", domain="shop", delivery=DAILY)
SILVER = gold(
    "orders", {"order_id": "bigint"}, layer="silver", domain="shop", materialisation=Materialisation("date", "ordered_on"),
    critical=True,
)  # fmt: skip
GOLD = gold("totals", {"day": "date"}, domain="shop", materialisation=Materialisation("date", "day"))
FIRST = date(2024, 3, 4)
"""A Monday."""


def day(number: int) -> date:
    """The days that runs are for, in order; the first is a Monday."""
    return FIRST + timedelta(number)


class AlertPlace:
    """A database of its own. `contracts` may be changed by a test, and `settings`; `clear` forgets all that happened."""

    def __init__(self, stack: Settings) -> None:
        self._stack, self._name = stack, f"a{uuid.uuid4().hex[:10]}"
        with postgres.connect(stack.postgres) as connection:
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(self._name)))
        where = stack.postgres.model_copy(update={"database": self._name})
        self._settings = stack.model_copy(update={"postgres": where})
        self.journal = Journal(where)
        with store.connection(where):
            pass
        self.clear()

    def clear(self, **urls: str) -> None:
        """As at first, with these channels."""
        self.settings = self.with_urls(self._settings, **urls)
        self.contracts = {contract.dataset: contract for contract in (BRONZE, SILVER, GOLD)}
        with store.connection(self._settings.postgres) as connection:
            connection.execute(
                "TRUNCATE ops.runs, ops.steps, ops.writes, ops.alerts, ops.alert_messages, ops.alert_runs, ops.silences, "
                "ops.freshness RESTART IDENTITY"
            )

    @staticmethod
    def with_urls(settings: Settings, **urls: str) -> Settings:
        """Settings with these channels."""
        channels = Alerts(channels={name: SecretStr(url) for name, url in urls.items()})
        return settings.model_copy(update={"alerts": channels})

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.journal.close()
        with postgres.connect(self._stack.postgres) as connection:
            connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(self._name)))

    def look(self, now: datetime | None = None) -> Look:
        return evaluate(self.settings, self.contracts, now)

    def rows(self, statement: str) -> list[dict[str, Any]]:
        with store.connection(self.settings.postgres) as connection:
            return store.rows(connection, statement)

    # ── runs ──────────────────────────────────────────────────────────────────────────────────
    def merged(self, when: date | None, scores: Mapping[Contract, float | None], **more: Any) -> str:
        """A run that wrote a date of datasets, with these scores."""
        return self._ended(when, "merged", None, [write(c, when, score) for c, score in scores.items()], scores, **more)

    def unchanged(self, when: date, *datasets: Contract, **more: Any) -> str:
        """A run that found nothing new of datasets."""
        return self._ended(when, "unchanged", None, [], datasets, **more)

    def failed(self, when: date, error: str, *, at: Contract | None = None, reads: Any = (), writes: Any = ()) -> str:
        """A run that failed, in its step for the dataset `at`."""
        return self._ended(when, "failed", error, list(writes), [*reads, *([at] if at else [])], at=at)

    def _ended(
        self, when: date | None, state: str, error: str | None, writes: list[dict[str, Any]], reads: Any,
        at: Contract | None = None, kind: str = "pipeline", options: dict[str, Any] | None = None,
    ) -> str:  # fmt: skip
        run_id = f"{when or kind}-{uuid.uuid4().hex[:8]}"
        self.journal.open(run_id, kind, when, f"run/{run_id}", "0" * 64, None)
        if at:
            try:
                with self.journal.step(run_id, f"write.{at.dataset}"), step("data.append"):
                    raise RuntimeError(error)
            except RuntimeError:
                pass
        story = {"reads": sorted({c.dataset for c in reads}), "writes": writes, "options": options or {}}
        self.journal.update(run_id, state=state, error=error, story=story)
        self.journal.release(run_id)
        return run_id


def write(contract: Contract, when: date | None, score: float | None, *verdicts: dict[str, Any]) -> dict[str, Any]:
    """A write as a run's story has it."""
    return {
        "dataset": contract.dataset, "logical_date": when and when.isoformat(), "rows_in": 100, "rows_out": 100,
        "quarantined": 0, "warned": 0, "verdicts": list(verdicts), "metrics": {"rows": 100}, "score": score,
    }  # fmt: skip


def verdict(rule: str, bad: int, **more: Any) -> dict[str, Any]:
    """A verdict as a write's story has it."""
    told = {"severity": "error", "judged": 100, "tolerance": 0.0, "passed": not bad, "description": rule, "samples": []}
    return {"rule": rule, "bad": bad} | told | more


def told(look: Look, *kinds: str) -> list[tuple[str, str | None, Any]]:
    """Rule, dataset and date of the alerts that a look opened, of these kinds or of all."""
    found = [alert for alert in look.opened if alert["kind"] in kinds or not kinds]
    return [(alert["rule"], alert["dataset"], alert["logical_date"]) for alert in found]


def over(look: Look) -> list[tuple[str, str | None, Any]]:
    """The same of those that it resolved."""
    return [(alert["rule"], alert["dataset"], alert["logical_date"]) for alert in look.resolved]
