"""A new domain to begin with: contracts of all three layers, transforms, their test, a sample delivery.

The folder `skeleton` beside this file is such a domain itself, of that name; a new one is a copy of
it with the name changed.
"""

from __future__ import annotations

import keyword
import re
import shutil
from pathlib import Path

from medallion import domain
from medallion.errors import UsageError
from medallion.settings import Settings

_SKELETON = Path(__file__).parent / "skeleton"
_LEFT_OUT = shutil.ignore_patterns("__pycache__", ".*")


def create(settings: Settings, name: str, folder: Path | None = None) -> list[Path]:
    """Write a working domain into a folder of its own, whole or not at all.

    Args:
        folder: where; else a folder of the domain's name in the working directory. It must not exist.
    Returns: the files written, in the order of their names.
    Raises: UsageError for a name that no domain can have or that one has already, and for a folder
        that exists or cannot be written.
    """
    if not re.fullmatch("[a-z][a-z0-9_]*", name) or keyword.iskeyword(name):
        raise UsageError(f"'{name}' is no name of a domain", hint="use lower case letters, digits and _, a letter first")
    if name in domain.RESERVED:
        raise UsageError(f"no domain may be called '{name}'", hint=f"reserved: {', '.join(domain.RESERVED)}")
    taken = {contract.domain: contract.path.parent for contract in domain.load(settings).contracts.values()}
    if name in taken:
        raise UsageError(f"there is a domain '{name}' already, in {taken[name]}", hint="choose another name")
    folder = (folder or Path(name)).expanduser().absolute()
    if folder.exists():
        raise UsageError(f"{folder} exists already", hint="name a folder that does not: --folder PATH")
    new = folder.with_name(f".{folder.name}.new")
    try:
        shutil.rmtree(new, ignore_errors=True)
        shutil.copytree(_SKELETON, new, ignore=_LEFT_OUT)
        for path in [path for path in new.rglob("*") if path.is_file()]:
            text = path.read_text("utf-8").replace("skeleton", name).replace("Skeleton", name.capitalize())
            path.write_text(text, "utf-8")
            path.rename(path.with_name(path.name.replace("skeleton", name)))
        new.rename(folder)
    except OSError as error:
        shutil.rmtree(new, ignore_errors=True)
        raise UsageError(f"{folder} cannot be written: {error}", hint="choose another place: --folder PATH") from error
    return sorted(path for path in folder.rglob("*") if path.is_file())
