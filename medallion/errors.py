"""Every failure that a person can meet, as one tree.

    MedallionError                 exit code, whether a retry may help
    ├── UsageError            2    wrong command, argument or setting
    │   ├── SettingsError     2    a setting that does not exist or does not parse
    │   └── ContractError     2    a contract that cannot be used
    │       └── BreakingSchema 2   its columns would break those who read the table as it is
    ├── GateRefused           3    the rules refused what the run wrote; main is unchanged
    ├── ConflictError         4    others changed what the run read, more often than we retry
    ├── ServiceUnavailable    5    a server does not answer, or refuses our secret (retryable)
    └── InputError            6    a delivery is missing or cannot be read
        └── SchemaViolation   6    a delivery lacks columns, or its header cannot be read

A message says what happened, where, and what state things are in; `hint` says what to do next.
A person at a terminal sees both; the traceback goes to the log.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


class MedallionError(Exception):
    """The base of all failures.

    Args:
        message: what happened and what state things are in; names the file, row or setting.
        hint: what to do next.
        run, dataset, branch: what it happened to, where known.
    """

    exit_code = 1
    retryable = False

    def __init__(
        self,
        message: str,
        *,
        hint: str | None = None,
        run: str | None = None,
        dataset: str | None = None,
        branch: str | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.run = run
        self.dataset = dataset
        self.branch = branch

    def __str__(self) -> str:
        where = [
            f"{name} {value}"
            for name, value in (("run", self.run), ("dataset", self.dataset), ("branch", self.branch))
            if value and value not in self.message
        ]
        text = self.message + (f" [{', '.join(where)}]" if where else "")
        return f"{text}\n  → {self.hint}" if self.hint else text


class UsageError(MedallionError):
    """A wrong command or argument; nothing was started."""

    exit_code = 2


class SettingsError(UsageError):
    """A setting that does not exist, does not parse, or contradicts another."""


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong in a file: where (lines and columns count from 1; 0: the file as a whole), what,
    and what to do. `place` is the dotted path in a contract."""

    file: str
    line: int
    column: int
    place: str
    problem: str
    hint: str

    @property
    def text(self) -> str:
        """`file:line:column: place: problem`, as editors understand it."""
        where = f"{self.file}:{self.line}:{self.column}" if self.line else self.file
        return ": ".join(part for part in (where, self.place, self.problem) if part)


class ContractError(UsageError):
    """A contract file that cannot be used; names the file and the place in it. `problems` are all that
    were found, as far as they are known one by one; the message is the first of them."""

    problems: tuple[Problem, ...] = ()

    @classmethod
    def of(cls, problems: Sequence[Problem]) -> ContractError:
        """The error that tells the first of these problems, and how many more there are."""
        first, more = problems[0], len(problems) - 1
        hint = f"{first.hint} (and {more} more: `medallion contract check {first.file}`)" if more else first.hint
        error = cls(first.text, hint=hint)
        error.problems = tuple(problems)
        return error


class BreakingSchema(ContractError):
    """A contract whose columns would break those who read the table as it is."""


class GateRefused(MedallionError):
    """The rules refused what the run wrote. `main` and the warehouse are unchanged."""

    exit_code = 3


class ConflictError(MedallionError):
    """What the run read or wrote was changed on `main` by others, in every bounded retry."""

    exit_code = 4


class ServiceUnavailable(MedallionError):
    """A server does not answer or refuses our credentials. Safe to run again when it is back."""

    exit_code = 5
    retryable = True


class InputError(MedallionError):
    """A delivery is missing, or cannot be read as its contract says."""

    exit_code = 6


class SchemaViolation(InputError):
    """A delivery lacks columns of its contract, or its header cannot be read."""
