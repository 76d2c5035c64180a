"""`medallion contract check`: everything that is wrong with contract files, and with how they hang together."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from medallion import domain
from medallion.domain_folders import CONTRACTS, Place, places
from medallion.errors import ContractError, Problem, UsageError
from medallion.odcs import reader
from medallion.settings import Settings


@dataclass(frozen=True)
class Checked:
    """How many contract files were looked at, and what is wrong, by file and line."""

    files: int
    problems: tuple[Problem, ...]


def check(settings: Settings, paths: Sequence[Path] = ()) -> Checked:
    """Check contract files.

    Args:
        paths: files: each is checked by itself; folders: all contracts in and beneath them, with the
            transforms beside them, against all domains that are known; none: all known domains.
    Raises: UsageError for a path that is not there or has no contract; ContractError for a setting
        `domains` or an installed package that leads to no domain.
    """
    files = [path for path in paths if path.is_file()]
    folders = [path for path in paths if path.is_dir()]
    for path in paths:
        if not path.exists():
            raise UsageError(f"{path} does not exist", hint="name contract files, or folders that hold some")
    checked = {path.resolve() for path in files}
    found: list[Problem] = []
    for path in files:
        try:
            reader.read(path)
        except ContractError as error:
            found += _told(error)
    if folders or not paths:
        known = places(settings)
        mine = [_place(folder, known) for folder in _domain_folders(folders)] if paths else known
        for place in mine:
            checked |= {path.resolve() for path in place.folder.glob(CONTRACTS)}
        whole = _whole({place.folder.resolve(): place for place in (*mine, *known)})
        inside = [place.folder for place in mine]
        found += [one for one in whole if not paths or not one.file or any(_within(one.file, folder) for folder in inside)]
    return Checked(len(checked), tuple(sorted(dict.fromkeys(found), key=lambda one: (one.file, one.line, one.column))))


def _domain_folders(folders: Sequence[Path]) -> list[Path]:
    found = []
    for folder in folders:
        holding = sorted({path.parent for path in folder.rglob(CONTRACTS)})
        if not holding:
            raise UsageError(f"{folder} holds no contract ({CONTRACTS})", hint="begin with `medallion domain new NAME`")
        found += holding
    return found


def _place(folder: Path, known: Sequence[Place]) -> Place:
    """The folder as a domain's place, named as it was given."""
    same = [place for place in known if place.folder.resolve() == folder.resolve()]
    return Place(folder, same[0].origin, same[0].named) if same else Place(folder, "folder")


def _whole(all_places: dict[Path, Place]) -> list[Problem]:
    """What is wrong when all of these are read together."""
    found: list[Problem] = []
    domains = domain.gather(all_places.values(), lambda error: found.extend(_told(error)))
    try:
        _ = domains.order
    except ContractError as error:
        found += _told(error)
    return found


def _told(error: ContractError) -> Sequence[Problem]:
    return error.problems or (Problem("", 0, 0, "", error.message, error.hint or ""),)


def _within(file: str, folder: Path) -> bool:
    return os.path.commonpath([Path(file).resolve(), folder.resolve()]) == str(folder.resolve())
