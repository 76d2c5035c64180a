"""What a contract says of a table beyond its rows: comments, columns without nulls, keys. The warehouse shows it too.

A promise is passed on where it is known to hold for every row of the version that is shown: a column is NOT NULL
if the contract requires it and Iceberg's manifests count no null in any file (older dates were judged by older
contracts); the primary key, if its columns are such and it is judged over the whole table; a reference, if its rule
keeps rows out that break it, and it points to the primary key of a published dataset.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace

from medallion.contract import Contract
from medallion.rule_kinds import Reference


@dataclass(frozen=True)
class Description:
    """Of one table. `comments` are the columns' that have any; nothing else is empty by accident: what is not
    here is to be taken from the warehouse's table, but for comments."""

    comment: str = ""
    comments: Mapping[str, str] = field(default_factory=dict)
    required: tuple[str, ...] = ()
    key: tuple[str, ...] = ()
    references: tuple[Reference, ...] = ()

    @property
    def fingerprint(self) -> str:
        """The same for equal descriptions, in this version and later ones."""
        told = (self.comment, sorted(self.comments.items()), self.required, self.key, self.references)
        return hashlib.sha256(repr(told).encode()).hexdigest()[:16]

    def without_promises(self) -> Description:
        """Comments alone."""
        return replace(self, required=(), key=(), references=())

    def key_name(self, dataset: str) -> str:
        """The primary key's name in the warehouse, which says of which columns it is."""
        return _name("key", dataset, self.key)


def reference_name(dataset: str, reference: Reference) -> str:
    """A foreign key's name in the warehouse, which says what it is."""
    return _name("reference", dataset, reference)


OURS = "medallion_"
"""Constraints whose names begin so are the publisher's, to be made and removed; all others are left alone."""


def _name(*parts: object) -> str:
    return f"{OURS}{parts[0]}_{hashlib.sha256(repr(parts).encode()).hexdigest()[:20]}"


def of(
    contract: Contract, published: Mapping[str, Contract], columns: Collection[str], without_nulls: Collection[str]
) -> Description:
    """What is to be said of a dataset's table.

    Args:
        published: the contracts of all published datasets.
        columns: the table's columns; a contract may be ahead of its table, or behind.
        without_nulls: those of them that hold no null.
    """
    there = [column for column in contract.columns if column.name in columns]
    required = tuple(c.name for c in there if (c.required or c.name in contract.key) and c.name in without_nulls)
    date = contract.materialisation.column
    whole = not contract.materialisation.replaces_its_date or date in contract.key
    return Description(
        comment=contract.description,
        comments={column.name: column.description for column in there if column.description},
        required=required,
        key=contract.key if whole and set(contract.key) <= set(required) else (),
        references=tuple(
            rule.reference
            for rule in contract.rules
            if rule.reference
            and rule.puts_aside
            and rule.reference.to in published
            and sorted(rule.reference.to_columns) == sorted(published[rule.reference.to].key)
            and set(rule.reference.columns) <= set(columns)
        ),
    )


def said(contract: Contract, published: Mapping[str, Contract]) -> str:
    """A fingerprint of what the contract says, whatever of it holds for a table's rows."""
    names = [column.name for column in contract.columns]
    return of(contract, published, names, names).fingerprint
