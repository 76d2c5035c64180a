"""The owner of a toy domain, who edits its contracts and transforms between runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import yaml

from medallion import job, query
from medallion.lakehouse.nessie import MAIN
from medallion.pipeline import Lake, Outcome, Request, execute
from medallion.publish.publication import history
from medallion.settings import Settings
from tests import toy_domains

FIRST = date(2021, 5, 1)
Table = dict[str, Any]
Change = Callable[["Owner"], None]


@dataclass
class Owner:
    """The owner of a toy domain, who edits its files between runs."""

    settings: Settings
    folder: Path
    toys: toy_domains.Toys
    main_moved_before: list[str] = field(default_factory=list)

    @property
    def domain(self) -> str:
        return self.folder.name

    def contract(self, name: str, change: Callable[[Table], None]) -> None:
        """Edit the one table of a contract."""
        path = self.folder / f"{name}.odcs.yaml"
        document = yaml.safe_load(path.read_text())
        change(document["schema"][0])
        path.write_text(yaml.safe_dump(document, sort_keys=False))

    def transform(self, layer: str, old: str, new: str) -> None:
        path = self.folder / f"{layer}.py"
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new))

    @contextmanager
    def edited(self, change: Change) -> Iterator[None]:
        """The domain with a change that is taken back."""
        before = {path: path.read_text() for path in self.folder.iterdir() if path.is_file()}
        try:
            change(self)
            yield
        finally:
            for path, text in before.items():
                path.write_text(text)

    def deliver(self, number: int, *amounts: int) -> None:
        toy_domains.deliver(self.settings, self.domain, "counts", FIRST + timedelta(number), ["amount", *map(str, amounts)])

    def run(self, number: int) -> Outcome:
        """Run a day with the files as they are now, and publish."""
        with Lake(self.settings, self.toys.load(self.settings)) as lake:
            began, self.main_moved_before = lake.nessie.reference(MAIN).hash, []

            def report(line: str) -> None:
                if line.startswith("  ") and lake.nessie.reference(MAIN).hash != began:  # a table was written
                    self.main_moved_before.append(line)

            outcome = execute(lake, Request(FIRST + timedelta(number)), report)
            self.publication = job.publish_gold(lake, lambda _: None)
            self.steps = [step["name"] for step in lake.journal.steps(self.publication["publication_id"])]
            return outcome

    def state(self) -> tuple[Any, ...]:
        with Lake(self.settings, self.toys.load(self.settings)) as lake:
            main = lake.nessie.reference(MAIN)
            shown = [entry.publication_id for entry in history(self.settings)]
            return main, lake.nessie.contents(main), shown, [row["run_id"] for row in lake.journal.runs(1, ("open", "written"))]

    def lake(self, sql: str) -> list[tuple[Any, ...]]:
        return [tuple(row.values()) for row in query.lake(self.settings, sql).to_pylist()]
