"""Where domains are: built in, in the folders of the setting `domains`, in installed packages.

An installed package offers a domain with an entry point of the group `medallion.domains`; its value
names the package whose folder holds the contracts and transforms:

    [project.entry-points."medallion.domains"]
    bakery = "acme_bakery"
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from importlib.util import find_spec
from pathlib import Path

from medallion.errors import ContractError
from medallion.settings import Settings

BUILT_IN = Path(__file__).parent / "domains"
GROUP = "medallion.domains"
CONTRACTS = "*.odcs.yaml"


@dataclass(frozen=True)
class Place:
    """One domain's folder. `origin` says who brought it: `built in`, `folder`, `package <name> <version>`;
    `named` is what an entry point calls the domain."""

    folder: Path
    origin: str
    named: str | None = None


def places(settings: Settings, *further: Path) -> list[Place]:
    """Every domain's folder, each once: built in, of the setting `domains`, `further`, of packages.

    Raises: ContractError for a folder that is not there or holds no contract, and for an entry point
        that leads to no package.
    """
    folders = [Path(text).expanduser() for text in filter(None, settings.domains.split(":"))]
    found = [Place(path, "built in") for path in sorted(BUILT_IN.iterdir()) if any(path.glob(CONTRACTS))]
    found += [_of_settings(folder) for folder in (*folders, *further)]
    found += _of_packages()
    once: dict[Path, Place] = {}
    for place in found:
        once.setdefault(place.folder.resolve(), place)
    return list(once.values())


def _of_settings(folder: Path) -> Place:
    if not folder.is_dir():
        raise ContractError(f"the domain folder {folder} does not exist", hint="mend the setting 'domains'")
    if not any(folder.glob(CONTRACTS)):
        raise ContractError(
            f"the domain folder {folder} holds no contract ({CONTRACTS})",
            hint="mend the setting 'domains', or begin with `medallion domain new NAME`",
        )
    return Place(folder, "folder")


def _of_packages() -> Iterator[Place]:
    for point in sorted(entry_points(group=GROUP), key=lambda point: point.name):
        package = f"{point.dist.name} {point.dist.version}" if point.dist else "of an unknown name"
        folder = _package_folder(point, package)
        yield Place(folder, f"package {package}", point.name)


def _package_folder(point: EntryPoint, package: str) -> Path:
    offers = f"the installed package {package} offers the domain '{point.name}' in '{point.value}'"
    try:
        spec = find_spec(point.module)
    except Exception as error:  # whatever a package above it does when it is imported
        raise ContractError(f"{offers}, which cannot be imported: {error!r}", hint="mend or uninstall it") from error
    if spec is None:
        raise ContractError(f"{offers}, which does not exist", hint="mend its entry point, or uninstall it")
    for folder in map(Path, spec.submodule_search_locations or ()):
        if any(folder.glob(CONTRACTS)):
            return folder
    raise ContractError(
        f"{offers}: {spec.origin or 'it'} is no package with contracts beside it",
        hint=f"name the package whose folder holds the contracts, and install its {CONTRACTS} with it",
    )
