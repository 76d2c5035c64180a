"""Domains: folders of contracts and transforms, and how datasets hang together.

A domain is a folder with `<layer>.<name>.odcs.yaml` contracts beside `silver.py` and `gold.py`. A
transform is a function whose name is the table that it makes and whose parameters are the tables
that it reads, so the transforms are the lineage.

A parameter names a dataset: `<layer>_<name>` in the same domain (`bronze_flights`); plain `<name>`
in the same layer if it is another dataset there, else in the layer below; `<domain>_<layer>_<name>`
or `<domain>_<name>` in another domain.
"""

from __future__ import annotations

import hashlib
import importlib.util
import inspect
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from medallion import contract_file
from medallion.contract import LAYERS, Contract, Layer
from medallion.errors import ContractError, UsageError
from medallion.settings import Settings

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

BUILT_IN = Path(__file__).parent / "domains"


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

    @cached_property
    def order(self) -> tuple[str, ...]:
        """All datasets, each after what it is made from. Raises: ContractError naming a cycle."""
        graph = {d: set(self.transforms[d].inputs.values()) if d in self.transforms else set() for d in sorted(self.contracts)}
        try:
            sorter = TopologicalSorter(graph)
            sorted_ = tuple(sorter.static_order())
        except CycleError as error:
            path = " → ".join(error.args[1])
            raise ContractError(f"the transforms form a cycle: {path}", hint="remove one of these inputs") from error
        return tuple(sorted(sorted_, key=lambda d: (LAYERS.index(self.contracts[d].layer), sorted_.index(d))))

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


def load(settings: Settings) -> Domains:
    """Read the built-in domains and those of `settings.domains` (folders separated by ':').

    Raises: ContractError for a contract, transform or parameter that does not fit.
    """
    folders = sorted(p for p in BUILT_IN.iterdir() if p.is_dir() and any(p.glob("*.odcs.yaml")))
    for text in filter(None, settings.domains.split(":")):
        folder = Path(text).expanduser()
        if not folder.is_dir():
            raise ContractError(f"the domain folder {folder} does not exist", hint="mend the setting 'domains'")
        folders.append(folder)
    contracts: dict[str, Contract] = {}
    for path in (path for folder in folders for path in sorted(folder.glob("*.odcs.yaml"))):
        contract = contract_file.read(path)
        if path.name != f"{contract.layer}.{contract.name}.odcs.yaml":
            raise ContractError(f"{path}: holds {contract.dataset}", hint=f"call it {contract.layer}.{contract.name}.odcs.yaml")
        if contract.dataset in contracts:
            raise ContractError(f"{path}: {contract.dataset} stands in {contracts[contract.dataset].path} too", hint="remove one")
        contracts[contract.dataset] = contract
    transforms = {t.dataset: t for folder in folders for t in _transforms(folder, contracts)}
    for dataset, contract in contracts.items():
        if contract.layer != "bronze" and dataset not in transforms:
            raise ContractError(
                f"{contract.path}: {dataset} has no transform",
                hint=f"write `def {contract.name}(…)` in {contract.path.parent / contract.layer}.py",
            )
    domains = Domains(contracts, transforms)
    _ = domains.order
    return domains


def _transforms(folder: Path, contracts: dict[str, Contract]) -> Iterable[Transform]:
    mine = {c.domain for c in contracts.values() if c.path.parent == folder}
    if len(mine) != 1:
        raise ContractError(f"{folder}: its contracts name the domains {sorted(mine)}", hint="one folder, one domain")
    domain = mine.pop()
    for layer in ("silver", "gold"):
        path = folder / f"{layer}.py"
        if not path.is_file():
            continue
        module = _module(path, f"medallion_domain_{domain}_{layer}")
        fingerprint = hashlib.sha256(path.read_bytes()).hexdigest()
        for name, function in inspect.getmembers(module, inspect.isfunction):
            if name.startswith("_") or function.__module__ != module.__name__:
                continue
            dataset = f"{layer}.{domain}.{name}"
            if dataset not in contracts:
                raise ContractError(
                    f"{path}: transform '{name}' has no contract", hint=f"write {layer}.{name}.odcs.yaml beside it"
                )
            inputs = {p: _resolve(p, contracts[dataset], contracts) for p in inspect.signature(function).parameters}
            if not inputs:
                raise ContractError(f"{path}: transform '{name}' reads nothing", hint="name its inputs as parameters")
            yield Transform(dataset, function, inputs, fingerprint)


def _module(path: Path, name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ContractError(f"{path}: cannot be imported", hint="mend the file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise ContractError(f"{path}: cannot be imported: {error!r}", hint="mend the file") from error
    return module


def _resolve(parameter: str, made: Contract, contracts: dict[str, Contract]) -> str:
    candidates = [
        f"{layer}.{made.domain}.{parameter.removeprefix(f'{layer}_')}" for layer in LAYERS if parameter.startswith(f"{layer}_")
    ]
    same = f"{made.layer}.{made.domain}.{parameter}"
    if same != made.dataset:
        candidates.append(same)
    below = LAYERS[LAYERS.index(made.layer) - 1]
    candidates.append(f"{below}.{made.domain}.{parameter}")
    for other in sorted({c.domain for c in contracts.values()} - {made.domain}):
        if parameter.startswith(f"{other}_"):
            rest = parameter.removeprefix(f"{other}_")
            candidates += [f"{la}.{other}.{rest.removeprefix(f'{la}_')}" for la in LAYERS[1:] if rest.startswith(f"{la}_")]
            candidates += [f"{la}.{other}.{rest}" for la in (made.layer, below) if la != "bronze"]
    for candidate in candidates:
        if candidate in contracts:
            return candidate
    raise ContractError(
        f"{made.path.parent / made.layer}.py: parameter '{parameter}' of '{made.name}' is no dataset",
        hint=f"looked for {', '.join(candidates)}",
    )
