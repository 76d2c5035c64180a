"""A shop under a name of its own, whose runs can be made to meet: others merge while one is about to.

shop = MeetingShop(settings, tmp_path, "file")
shop.deliver(D1, "1,ann,1.50,")
shop.meet(monkeypatch, lambda: shop.run(D2))    # once, right before the next run's first merge request
outcome = shop.run(D1)
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from contextlib import ExitStack
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from medallion import domain, pipeline, query
from medallion.domain import Domains
from medallion.lakehouse.nessie import MAIN
from medallion.lakehouse.table import open_static
from medallion.pipeline import Lake, Outcome, Request, execute
from medallion.settings import Settings
from tests.small_domain import HEADER, Document, csv, write

QUALITY_OF_ALL = {
    "name": "never_sold_twice", "metric": "duplicateValues", "mustBe": 0, "arguments": {"properties": ["order_id"]},
    "customProperties": [{"property": "scope", "value": "table"}],
}  # fmt: skip
"""A rule on silver that only the rows of several days together can break."""


def _renamed(value: Any, old: str, new: str) -> Any:
    if isinstance(value, dict):
        return {key: _renamed(each, old, new) for key, each in value.items()}
    if isinstance(value, list):
        return [_renamed(each, old, new) for each in value]
    return value.replace(old, new) if isinstance(value, str) else value


class MeetingShop:
    """The small domain, renamed. `repeats` is bronze's; `damage` changes its contracts."""

    def __init__(
        self, settings: Settings, folder: Path, repeats: str, damage: Callable[[dict[str, Document]], None] = lambda _: None
    ) -> None:
        self.settings, self.folder, self.repeats = settings, folder, repeats
        self.name = f"m{uuid.uuid4().hex[:10]}"
        self.domains = self.contracts(damage)
        self._closing = ExitStack()
        self.lake = self._closing.enter_context(Lake(settings, self.domains))

    def contracts(self, damage: Callable[[dict[str, Document]], None]) -> Domains:
        """The domain, with its contracts changed; the same tables."""

        def change(documents: dict[str, Document]) -> None:
            for name, document in documents.items():
                documents[name] = _renamed(document, "shop", self.name)
                for item in documents[name]["customProperties"]:
                    if item["property"] == "delivery":
                        item["value"]["repeats"] = self.repeats
            damage(documents)

        folder = write(self.folder / uuid.uuid4().hex, change)
        every = domain.load(self.settings.model_copy(update={"domains": str(folder)}))
        mine = {d: c for d, c in every.contracts.items() if c.domain == self.name}
        return Domains(mine, {d: t for d, t in every.transforms.items() if d in mine})

    def close(self) -> None:
        self._closing.close()

    def deliver(self, day: date, *rows: str, header: str = HEADER) -> None:
        uri = f"s3://bronze-raw-data/domain={self.name}/orders/year={day:%Y}/month={day:%m}/day={day:%d}/orders.csv"
        self.lake.store.put(uri, csv(*rows, header=header), "text/csv")

    def run(self, day: date, domains: Domains | None = None, settings: Settings | None = None, **request: Any) -> Outcome:
        """Run a day in a lake of its own, as another process would."""
        with Lake(settings or self.settings, domains or self.domains) as lake:
            return execute(lake, Request(day, **request), report=lambda line: None)

    def meet(self, monkeypatch: pytest.MonkeyPatch, *meanwhile: Callable[[], Any]) -> None:
        """Before the next merge requests, one for each function, do what these say."""
        waiting, merge = list(meanwhile), pipeline.merge

        def later(*arguments: Any) -> str | None:
            if waiting:
                waiting.pop(0)()
            return merge(*arguments)

        monkeypatch.setattr(pipeline, "merge", later)

    # ── what main holds ───────────────────────────────────────────────────────────────────────
    def table(self, layer: str, name: str) -> Any:
        """A table on main, as pyiceberg opens it."""
        content = self.lake.nessie.tables(self.lake.nessie.reference(MAIN))[f"{layer}.{self.name}.{name}"]
        return open_static(self.settings.s3, content)

    def data_files(self) -> set[str]:
        """The paths of all data files that the tables on main hold."""
        tables = self.lake.nessie.tables(self.lake.nessie.reference(MAIN))
        mine = [open_static(self.settings.s3, c) for name, c in tables.items() if name.split(".")[1] == self.name]
        return {task.file.file_path for table in mine if table.current_snapshot() for task in table.scan().plan_files()}

    def stored_files(self) -> set[str]:
        """The paths of all data files that were ever written, on main or not."""
        tables = self.lake.nessie.tables(self.lake.nessie.reference(MAIN))
        found = set()
        for name, content in tables.items():
            if name.split(".")[1] == self.name:
                bucket, _, prefix = open_static(self.settings.s3, content).location().removeprefix("s3://").partition("/")
                found |= {item.uri.partition("?")[0] for item in self.lake.store.versions(bucket, prefix)}
        return {uri for uri in found if uri.endswith(".parquet")}

    def select(self, sql: str) -> list[tuple[Any, ...]]:
        """Rows on main; `{}` stands for the domain's name."""
        return [tuple(row.values()) for row in query.lake(self.settings, sql.format(self.name)).to_pylist()]

    def totals(self) -> list[tuple[Any, ...]]:
        """Gold on main, day by day: day, orders, amount."""
        return self.select("SELECT ordered_on, orders, amount::DOUBLE FROM gold.{}.daily_totals ORDER BY 1")
