"""What is wrong in one contract file: noted while it is read, so that all of it is told at once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from medallion.errors import ContractError, Problem
from medallion.odcs.yaml_lines import Document


class Problems:
    """Collects the problems of a file.

    `note` is for what does not stand in the way of reading on; where something does, raise what `refuse`
    returns, and whoever is above goes on within `going_on`.
    """

    def __init__(self, path: Path, document: Document) -> None:
        self.path = path
        self.document = document
        self.found: list[Problem] = []
        self.left_out: set[str] = set()
        """Places that were left out, because they cannot be read: that they lack is no problem of their own."""

    def refuse(self, place: str, problem: str, hint: str) -> ContractError:
        """The error that names the file, the place in it with line and column, and what to do."""
        line, column = self.document.position(place)
        return ContractError.of([Problem(str(self.path), line, column, place, problem, hint)])

    def note(self, place: str, problem: str, hint: str) -> None:
        """Keep a problem."""
        if place not in self.left_out:
            self.keep(self.refuse(place, problem, hint))

    @contextmanager
    def going_on(self) -> Iterator[None]:
        """Keep the problem for which a part of the file cannot be read."""
        try:
            yield
        except ContractError as error:
            if not error.problems or error.problems[0].place not in self.left_out:
                self.keep(error)

    def keep(self, error: ContractError) -> None:
        """Keep what an error tells, each problem once."""
        told = error.problems or (Problem(str(self.path), 0, 0, "", error.message, error.hint or ""),)
        self.found += [problem for problem in told if problem not in self.found]
