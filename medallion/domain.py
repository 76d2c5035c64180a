"""Domains: folders of contracts and transforms, and how datasets hang together.

A domain is a folder with `<layer>.<name>.odcs.yaml` contracts beside `silver.py` and `gold.py`. A
transform is a function whose name is the table that it makes and whose parameters are the tables
that it reads, so the transforms are the lineage.

A parameter names a dataset: `<layer>_<name>` in the same domain (`bronze_flights`); plain `<name>`
in the same layer if it is another dataset there, else in the layer below; `<domain>_<layer>_<name>`
or `<domain>_<name>` in another domain, whose bronze is nobody else's business.
"""

from __future__ import annotations

import hashlib
import importlib.util
import inspect
import sys
import traceback
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from medallion import domain_references, domain_upserts
from medallion.contract import LAYERS, Contract, Layer
from medallion.domain_folders import BUILT_IN, CONTRACTS, Place, places
from medallion.errors import ContractError, Problem, UsageError
from medallion.odcs import reader
from medallion.settings import Settings

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

RESERVED = (*LAYERS, "medallion", "marts", "information_schema")
"""Names that no domain may have: parameters begin with a layer's, and the warehouse has the others as schemas."""


@dataclass(frozen=True)
class Transform:
    """How one dataset is made: `function(**{parameter: frame})` over the `inputs` it names."""

    dataset: str
    function: Callable[..., DataFrame]
    inputs: dict[str, str]
    """Parameter -> dataset, in the order of the signature."""
    fingerprint: str
    """SHA-256 of the module that holds the function: changed code rebuilds."""


@dataclass(frozen=True)
class Domains:
    """All contracts and transforms, by dataset name."""

    contracts: dict[str, Contract]
    transforms: dict[str, Transform]

    def contract(self, dataset: str) -> Contract:
        """The contract of a dataset. Raises: UsageError with near names if there is none."""
        if dataset not in self.contracts:
            import difflib

            near = difflib.get_close_matches(dataset, self.contracts, n=3, cutoff=0.4)
            raise UsageError(
                f"there is no dataset '{dataset}'",
                hint=f"did you mean {' or '.join(near)}?" if near else f"known: {', '.join(sorted(self.contracts))}",
            )
        return self.contracts[dataset]

    def reads(self, dataset: str) -> set[str]:
        """What must be there to make a dataset and to judge it: its inputs, and what its rows point into."""
        inputs = self.transforms[dataset].inputs.values() if dataset in self.transforms else ()
        return {*inputs, *self.contracts[dataset].references}

    @cached_property
    def order(self) -> tuple[str, ...]:
        """All datasets, each after what it is made from. Raises: ContractError naming a cycle."""
        graph = {d: self.reads(d) for d in sorted(self.contracts)}
        sorter = TopologicalSorter(graph)
        try:
            sorter.prepare()
        except CycleError as error:
            path = " → ".join(error.args[1])
            code = self.transforms[error.args[1][0]].function.__code__
            told = f"the transforms form a cycle: {path}"
            hint = "remove one of these inputs, or a relationship"
            raise _wrong(code.co_filename, told, hint, code.co_firstlineno) from error
        found: list[str] = []
        ready: list[str] = []
        while sorter.is_active():  # layer by layer, as far as no silver reads another domain's gold
            ready = sorted([*ready, *sorter.get_ready()], key=lambda d: (LAYERS.index(self.contracts[d].layer), d))
            found.append(ready.pop(0))
            sorter.done(found[-1])
        return tuple(found)

    def select(
        self, *, layers: Iterable[Layer] = LAYERS, domain: str | None = None, dataset: str | None = None
    ) -> tuple[str, ...]:
        """The datasets of these layers, in order, of one domain or one dataset if given.

        Raises: UsageError for a domain or dataset that does not exist or is in none of the layers.
        """
        wanted = tuple(layers)
        known = {c.domain for c in self.contracts.values()}
        if domain is not None and domain not in known:
            raise UsageError(f"there is no domain '{domain}'", hint=f"known: {', '.join(sorted(known))}")
        if dataset is not None:
            found = self.contract(dataset)
            if found.layer not in wanted:
                raise UsageError(f"{dataset} is not {' or '.join(wanted)}", hint=f"use the job of layer {found.layer}")
            if domain not in (None, found.domain):
                raise UsageError(f"{dataset} is not of domain {domain}", hint=f"leave the domain out, or name {found.domain}")
        return tuple(
            d
            for d in self.order
            if self.contracts[d].layer in wanted
            and (domain is None or self.contracts[d].domain == domain)
            and (dataset is None or d == dataset)
        )


def built_in(domains: Domains) -> Domains:
    """Those that come with medallion; they read nobody else's data."""
    mine = {dataset: contract for dataset, contract in domains.contracts.items() if contract.path.parent.parent == BUILT_IN}
    return Domains(mine, {dataset: made for dataset, made in domains.transforms.items() if dataset in mine})


@dataclass(frozen=True)
class Summary:
    """One domain at a glance: how many datasets it has, and which of other domains it reads."""

    domain: str
    origin: str
    bronze: int
    silver: int
    gold: int
    reads: tuple[str, ...]
    folder: str


def load(settings: Settings, *further: Path) -> Domains:
    """Read the built-in domains, those of `settings.domains` (folders separated by ':'), those of
    installed packages, and `further` folders.

    Raises: ContractError for a contract, transform or parameter that does not fit.
    """
    domains = gather(places(settings, *further), _stop)
    _ = domains.order
    return domains


Tell = Callable[[ContractError], None]
"""What is done with something that does not fit: raise it, or keep it and go on."""


def _stop(error: ContractError) -> None:
    raise error


def gather(found: Iterable[Place], tell: Tell) -> Domains:
    """The contracts and transforms of these places, and what does not fit, told one by one. A contract that
    cannot be read counts as there, so that nothing is told of what only follows from it."""
    contracts: dict[str, Contract] = {}
    homes: dict[str, Path] = {}
    for place in found:
        mine = _contracts(place, tell)
        domain = next((contract.domain for contract in mine.values()), None)
        if domain is None:
            continue
        if domain in homes:
            twice = f"the domain {domain} stands in {homes[domain]} and in {place.folder}"
            tell(_wrong("", twice, "remove or rename one"))
            continue
        homes[domain] = place.folder
        contracts |= mine
    made: dict[str, Transform | None] = {}
    for domain, folder in homes.items():
        made |= _transforms(domain, folder, contracts, tell)
    for dataset, contract in contracts.items():
        if contract.layer != "bronze" and dataset not in made:
            hint = f"write `def {contract.name}(…)` in {contract.path.parent / contract.layer}.py"
            tell(_wrong(contract.path, f"{dataset} has no transform", hint))
    domain_references.check(contracts, tell)
    transforms = {dataset: transform for dataset, transform in made.items() if transform}
    domain_upserts.check(contracts, {d: tuple(t.inputs.values()) for d, t in transforms.items()}, tell)
    return Domains(contracts, transforms)


def _wrong(file: Path | str, problem: str, hint: str, line: int = 0) -> ContractError:
    return ContractError.of([Problem(str(file), line, min(line, 1), "", problem, hint)])


def summaries(settings: Settings) -> list[Summary]:
    """All domains that a run would see, in the order in which they are found. Raises: as `load`."""
    domains = load(settings)
    found = []
    for place in places(settings):
        mine = [c for c in domains.contracts.values() if c.path.parent == place.folder]
        counts = {layer: sum(c.layer == layer for c in mine) for layer in LAYERS}
        inputs = {i for c in mine for i in domains.reads(c.dataset)}
        reads = tuple(sorted(i for i in inputs if domains.contracts[i].domain != mine[0].domain))
        found.append(Summary(mine[0].domain, place.origin, **counts, reads=reads, folder=str(place.folder)))
    return found


def _contracts(place: Place, tell: Tell) -> dict[str, Contract]:
    """The contracts of one folder, all of one domain."""
    found = {}
    for path in sorted(place.folder.glob(CONTRACTS)):
        try:
            contract = reader.read(path)
        except ContractError as error:
            tell(error)
            if stands_for := reader.named_by(path):
                found[stands_for.dataset] = stands_for
            continue
        if path.name != f"{contract.layer}.{contract.name}.odcs.yaml":
            tell(_wrong(path, f"holds {contract.dataset}", f"call it {contract.layer}.{contract.name}.odcs.yaml"))
        found[contract.dataset] = contract
    names = sorted({contract.domain for contract in found.values()})
    if len(names) > 1:
        tell(_wrong(place.folder, f"its contracts name the domains {names}", "one folder, one domain"))
    if names and names[0] in RESERVED:
        tell(_wrong(place.folder, f"no domain may be called '{names[0]}'", f"reserved: {', '.join(RESERVED)}"))
    if names and place.named not in (None, names[0]):
        differs = f"the {place.origin} calls this domain '{place.named}', its contracts call it '{names[0]}'"
        tell(_wrong(place.folder, differs, "give both one name"))
    return found


def _transforms(domain: str, folder: Path, contracts: dict[str, Contract], tell: Tell) -> dict[str, Transform | None]:
    """The transforms of one folder by dataset; None for one that is there and cannot be used."""
    found: dict[str, Transform | None] = {}
    for layer in ("silver", "gold"):
        path = folder / f"{layer}.py"
        if not path.is_file():
            continue
        try:
            module = _module(path, f"medallion_domain_{domain}_{layer}")
        except ContractError as error:
            tell(error)
            found |= {d: None for d, c in contracts.items() if (c.domain, c.layer) == (domain, layer)}
            continue
        fingerprint = hashlib.sha256(path.read_bytes()).hexdigest()
        for name, function in inspect.getmembers(module, inspect.isfunction):
            if name.startswith("_") or function.__module__ != module.__name__:
                continue
            dataset, line = f"{layer}.{domain}.{name}", function.__code__.co_firstlineno
            found[dataset] = None
            if dataset not in contracts:
                tell(_wrong(path, f"transform '{name}' has no contract", f"write {layer}.{name}.odcs.yaml beside it", line))
                continue
            inputs = {}
            parameters = inspect.signature(function).parameters
            for parameter in parameters:
                try:
                    inputs[parameter] = _resolve(parameter, contracts[dataset], contracts, line)
                except ContractError as error:
                    tell(error)
            if not parameters:
                tell(_wrong(path, f"transform '{name}' reads nothing", "name its inputs as parameters", line))
            elif len(inputs) == len(parameters):
                found[dataset] = Transform(dataset, function, inputs, fingerprint)
    return found


def _module(path: Path, name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise _wrong(path, "cannot be imported", "mend the file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise _wrong(path, f"cannot be imported: {error!r}", "mend the file", _line_in(path, error)) from error
    return module


def _resolve(parameter: str, made: Contract, contracts: dict[str, Contract], line: int) -> str:
    """The dataset that a parameter names. Raises: ContractError, also for another domain's bronze."""
    file, place = f"{made.path.parent / made.layer}.py", f"parameter '{parameter}' of '{made.name}'"
    candidates = [
        f"{layer}.{made.domain}.{parameter.removeprefix(f'{layer}_')}" for layer in LAYERS if parameter.startswith(f"{layer}_")
    ]
    same = f"{made.layer}.{made.domain}.{parameter}"
    if same != made.dataset:
        candidates.append(same)
    below = LAYERS[LAYERS.index(made.layer) - 1]
    candidates.append(f"{below}.{made.domain}.{parameter}")
    for candidate in candidates:
        if candidate in contracts:
            return candidate
    meant = []
    for other in sorted({c.domain for c in contracts.values()} - {made.domain}):
        if parameter.startswith(f"{other}_"):
            rest = parameter.removeprefix(f"{other}_")
            theirs = [f"{la}.{other}.{rest.removeprefix(f'{la}_')}" for la in LAYERS[1:] if rest.startswith(f"{la}_")]
            theirs += [f"{la}.{other}.{rest}" for la in (made.layer, below) if la != "bronze"]
            meant += [candidate for candidate in theirs if candidate in contracts][:1]
            candidates += theirs
    if len(meant) > 1:
        clearer = "write <domain>_<layer>_<name>, or rename a domain"
        raise _wrong(file, f"{place} could be {' or '.join(meant)}", clearer, line)
    if meant:
        return meant[0]
    if bronze := _bronze_of_others(parameter, made, contracts):
        open_ = sorted(c.dataset for c in contracts.values() if c.domain == bronze.domain and c.layer != "bronze")
        instead = f"read what {bronze.domain} answers for, by its contract: {', '.join(open_) or 'nothing yet; ask its owner'}"
        foreign = f"{place} names {bronze.dataset}, the bronze of another domain, which nobody else reads"
        raise _wrong(file, foreign, instead, line)
    raise _wrong(file, f"{place} is no dataset", f"looked for {', '.join(candidates)}", line)


def _bronze_of_others(parameter: str, made: Contract, contracts: dict[str, Contract]) -> Contract | None:
    for bronze in contracts.values():
        domain, name = bronze.domain, bronze.name
        names = (f"{domain}_bronze_{name}", f"bronze_{domain}_{name}", f"{domain}_{name}")
        if bronze.layer == "bronze" and domain != made.domain and parameter in names:
            return bronze
    return None


def _line_in(path: Path, error: BaseException) -> int:
    """The line of a file at which an import of it failed; 0 if it is not known."""
    lines = [frame.lineno or 0 for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
    if isinstance(error, SyntaxError) and error.filename == str(path):
        lines.append(error.lineno or 0)
    return lines[-1] if lines else 0
