"""A sandbox: a long-lived branch to try things out on, whose new files lie in a bucket of their own.

`dev-sandbox/<name>` is forked from `main`. Every table on it is redirected by two properties of the
table itself, `write.data.path` and `write.metadata.path`: whatever engine writes to it, and however,
the new data and metadata files go to the bucket `dev-sandbox`. What was there before is read from where it
lies. Nothing merges a sandbox: `merge` takes only a run's own branch, and no run begins on one.
"""

from __future__ import annotations

import json
import re
import secrets
import uuid
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime

from medallion.errors import ServiceUnavailable, UsageError
from medallion.lakehouse.nessie import MAIN, Content, Nessie, Operation, OutcomeUnknown, Reference, commit_body
from medallion.lakehouse.store import Store

PREFIX = "dev-sandbox/"
BUCKET = "dev-sandbox"
_MAKING = "dev-sandbox-making/"
_PROPERTY = "medallion.sandbox"
_FROM = "medallion.sandbox.from"
_NAME = re.compile(r"[a-z](-?[a-z0-9]){0,39}")


@dataclass(frozen=True)
class Sandbox:
    """One sandbox. `began` is the state it was given: that of `forked_from` at `forked_at`, redirected.
    `commits` counts what was written since."""

    name: str
    head: Reference
    began: Reference
    forked_from: str
    forked_at: str
    created_at: datetime
    commits: int


def branch(name: str) -> str:
    """The branch of a sandbox's name; its branch's name will do as well. Raises: UsageError."""
    plain = name.removeprefix(PREFIX)
    if not _NAME.fullmatch(plain):
        raise UsageError(
            f"'{name}' cannot be a sandbox's name",
            hint="use up to 40 lower-case letters, digits and single hyphens, a letter first, as in 'delay-model'",
        )
    return PREFIX + plain


def refuse_to_merge(name: str) -> None:
    """Raises: UsageError if this is a sandbox."""
    if name.startswith(PREFIX):
        raise UsageError(
            f"'{name}' is a sandbox, and a sandbox is never merged: no rule of a run has judged what is on it",
            hint="bring the change into main as contract and transform (docs/use.md, Sandboxes), and run the dates again",
        )


def create(nessie: Nessie, store: Store, name: str, at: Reference) -> Sandbox:
    """Fork a sandbox at a reference and redirect every table on it, in one commit.

    The branch gets its name only when that commit is on it: there is no sandbox that writes elsewhere.
    Raises: UsageError for a name that is none or is taken, a commit that main lacks, or one without tables;
        ServiceUnavailable.
    """
    wanted = branch(name)
    if any(known.name == wanted for known in nessie.references(PREFIX)):
        raise UsageError(
            f"the sandbox '{wanted.removeprefix(PREFIX)}' exists already",
            hint=f'open it with medallion.sandbox("{wanted.removeprefix(PREFIX)}"), or drop it first',
        )
    if at.name == MAIN and not any(commit.hash == at.hash for commit in nessie.log(nessie.reference(MAIN))):
        raise UsageError(f"main has no commit '{at.hash}'", hint="name a branch, a run, or a commit of main in full")
    tables = nessie.tables(at)
    if not tables:
        raise UsageError(
            f"there is no table at {at.name}@{at.hash[:12]} to try anything on",
            hint="run a date first: `medallion run --date …`",
        )
    with ThreadPoolExecutor(8) as pool:
        redirected = list(pool.map(lambda each: _redirected(store, wanted, *each), tables.items()))
    operations = [Operation("PUT", dataset, content) for dataset, content in zip(tables, redirected, strict=True)]
    body = commit_body(operations, f"sandbox {wanted.removeprefix(PREFIX)}", {_PROPERTY: wanted, _FROM: at.name})
    making = nessie.create_branch(f"{_MAKING}{secrets.token_hex(4)}", at)
    try:
        began = nessie.commit(making, body)
        nessie.create_branch(wanted, Reference(making.name, began))
    except OutcomeUnknown as error:
        raise ServiceUnavailable(f"no sandbox was made: {error}", hint="`medallion doctor`, then create it again") from error
    finally:
        nessie.delete_branch(making.name)
    return find(nessie, wanted)


def _redirected(store: Store, onto: str, dataset: str, content: Content) -> Content:
    """The same version of a table with both write paths in the sandbox's folder. The metadata file is
    changed as JSON, so that nothing of it is lost, whatever its format version."""
    before = content["metadataLocation"]
    folder = f"s3://{BUCKET}/{onto.removeprefix(PREFIX)}/{dataset}"
    metadata = json.loads(store.get(before))
    paths = {"write.data.path": f"{folder}/data", "write.metadata.path": f"{folder}/metadata"}
    metadata["properties"] = metadata.get("properties", {}) | paths
    metadata["metadata-log"] = [
        *metadata.get("metadata-log", ()),
        {"timestamp-ms": metadata["last-updated-ms"], "metadata-file": before},
    ]
    number = before.rpartition("/")[2].partition("-")[0]  # Iceberg counts versions in the file's name
    version = int(number) + 1 if number.isdecimal() else 0
    after = f"{folder}/metadata/{version:05d}-{uuid.uuid4()}.metadata.json"
    store.put(after, json.dumps(metadata, separators=(",", ":")).encode(), "application/json")
    return content | {"metadataLocation": after}


def find(nessie: Nessie, name: str) -> Sandbox:
    """The sandbox of a name. Raises: UsageError if there is none, or it is a branch made by other means."""
    wanted = branch(name)
    known = {reference.name: reference for reference in nessie.references(PREFIX)}
    if wanted not in known:
        raise UsageError(
            f"there is no sandbox '{wanted.removeprefix(PREFIX)}'",
            hint=f"there are: {', '.join(sorted(n.removeprefix(PREFIX) for n in known)) or 'none'}; "
            f"`medallion sandbox create {wanted.removeprefix(PREFIX)}` makes it",
        )
    for count, commit in enumerate(nessie.log(known[wanted])):
        if commit.properties.get(_PROPERTY) == wanted:
            return Sandbox(
                name=wanted.removeprefix(PREFIX),
                head=known[wanted],
                began=Reference(wanted, commit.hash),
                forked_from=commit.properties[_FROM],
                forked_at=commit.parent,
                created_at=commit.time,
                commits=count,
            )
    raise UsageError(
        f"the branch '{wanted}' was not made by `medallion sandbox create`: its files would not stay in {BUCKET}",
        hint=f"`medallion sandbox drop {wanted.removeprefix(PREFIX)}`, then create it",
    )


def every(nessie: Nessie) -> list[Sandbox]:
    """All sandboxes, by name; branches of that name made by other means are left out."""
    found = []
    for reference in nessie.references(PREFIX):
        try:
            found.append(find(nessie, reference.name))
        except UsageError:
            continue
    return found


def drop(nessie: Nessie, name: str) -> str:
    """Remove a sandbox's branch; its files stay, as other branches may use them. Returns: its name.

    Raises: UsageError for what is no sandbox.
    """
    wanted = branch(name)
    if not any(known.name == wanted for known in nessie.references(PREFIX)):
        find(nessie, wanted)  # says which there are
    nessie.delete_branch(wanted)
    return wanted.removeprefix(PREFIX)
