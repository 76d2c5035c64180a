"""The catalog: references, contents, log, commit.

References go through pynessie; what its `/api/v1` client cannot say (commit properties, contents of
a whole hash at once) goes to `/api/v2` directly. Contents are kept as the server sent them, so that
nothing is lost when they are put again. Protocol: https://projectnessie.org/develop/api/.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from itertools import chain, repeat
from typing import Any
from urllib.parse import quote

import httpx
import pynessie
import requests
from pynessie.error import NessieException
from pynessie.model import Branch, is_valid_reference_name

from medallion import settings as settings_module
from medallion.errors import MedallionError, ServiceUnavailable, UsageError
from medallion.lakehouse.certificates import trusted

MAIN = "main"
NO_ANCESTOR = "2e1cfa82b035c26cbbbdae632cea070514eb8b773f616aaeaf668e2f0be8f10d"
"""The hash of a reference that has no commit yet."""
KEPT_HASHES = 4
"""Of so many hashes the contents are kept: what a run began with, what was judged, and what it is put onto."""
_FIRST_PAGES, _LARGEST_PAGE = (10, 40, 160), 250
"""So many entries of the log are asked for at once; the server gives 250 at the most."""

Content = dict[str, Any]
"""A Nessie content as the server sent it: `type`, `id`, and for a table `metadataLocation`, …"""


class CommitConflict(Exception):
    """The server refused a commit (409): a key that it names has moved since the expected hash.

    `keys` are the dataset names in conflict, as far as the server told them.
    """

    def __init__(self, message: str, keys: tuple[str, ...]) -> None:
        super().__init__(message)
        self.keys = keys


class CommitRefused(MedallionError):
    """The server refused a commit for good (400): it was not applied, and never will be."""


class OutcomeUnknown(Exception):
    """A commit was sent and no answer came: it may have been applied, or may still be."""


@dataclass(frozen=True)
class Reference:
    """A branch or tag and the hash it points to."""

    name: str
    hash: str


@dataclass(frozen=True)
class Commit:
    """One entry of a log. `properties` are free text by name; `time` is the server's, in UTC."""

    hash: str
    parent: str
    message: str
    time: datetime
    properties: dict[str, str]


@dataclass(frozen=True)
class Operation:
    """One part of a commit: `PUT` (with content), `DELETE` or `UNCHANGED` of a key."""

    type: str
    key: str
    content: Content | None = None

    def as_json(self) -> dict[str, Any]:
        body: dict[str, Any] = {"type": self.type, "key": {"elements": self.key.split(".")}}
        return body | ({"content": self.content} if self.content is not None else {})


class Nessie:
    """One Nessie server."""

    def __init__(self, settings: settings_module.Nessie) -> None:
        self.settings = settings
        headers = {"Nessie-Client-Spec": "2"}  # without it a conflict does not say which keys it is about
        config: dict[str, Any] = {"endpoint": settings.api_v1, "verify": True, "default_branch": MAIN}
        if settings.token:
            secret = settings.token.get_secret_value()
            headers["Authorization"] = f"Bearer {secret}"
            config["auth"] = {"type": "bearer", "token": secret}
        self._references = pynessie.init(config_dict=config)
        self._http = httpx.Client(
            base_url=settings.api_v2 + "/", headers=headers, timeout=settings.timeout_s, verify=trusted(), trust_env=False
        )
        self._contents = lru_cache(KEPT_HASHES)(self._contents_at)

    def close(self) -> None:
        self._http.close()

    # ── references ────────────────────────────────────────────────────────────────────────────
    def reference(self, name: str) -> Reference:
        """The reference of this name. Raises: UsageError if there is none."""
        with self._answering():
            try:
                found = self._references.get_reference(name)
            except NessieException as error:
                if error.status_code == 404:
                    raise UsageError(
                        f"there is no branch '{name}' in the catalog", hint="`medallion branches` lists them"
                    ) from error
                raise
        return Reference(found.name, str(found.hash_))

    def references(self, prefix: str = "") -> list[Reference]:
        """All branches whose name starts with `prefix`, sorted."""
        with self._answering():
            found = self._references.list_references().references
        branches = [Reference(r.name, str(r.hash_)) for r in found if isinstance(r, Branch)]
        return sorted((r for r in branches if r.name.startswith(prefix)), key=lambda r: r.name)

    def create_branch(self, name: str, at: Reference) -> Reference:
        """Fork a branch at a hash. An equal branch that exists already is taken as it is, so that a
        request whose answer was lost can be repeated. Raises: UsageError if it exists elsewhere."""
        if not is_valid_reference_name(name):
            raise UsageError(f"'{name}' cannot be a branch's name", hint="use letters, digits, _ . / and -")
        with self._answering():
            try:
                self._references.create_branch(name, at.name, at.hash)
            except NessieException as error:
                if error.status_code != 409:
                    raise
                if self.reference(name).hash != at.hash:
                    raise UsageError(f"branch '{name}' exists already", hint="choose another name") from error
        return Reference(name, at.hash)

    def delete_branch(self, name: str) -> None:
        """Remove a branch; one that is gone already is no error."""
        with self._answering():
            try:
                self._references.delete_branch(name, str(self._references.get_reference(name).hash_))
            except NessieException as error:
                if error.status_code != 404:
                    raise

    # ── contents and log ──────────────────────────────────────────────────────────────────────
    def contents(self, at: Reference) -> dict[str, Content]:
        """Every key at one hash: dotted name -> content, namespaces included. What stands there never changes: it is
        asked for once."""
        return dict(self._contents(at))

    def _contents_at(self, at: Reference) -> dict[str, Content]:
        entries = self._pages(f"trees/{_path(at)}/entries", "entries", {"content": "true"})
        return {".".join(entry["name"]["elements"]): entry["content"] for entry in entries}

    def tables(self, at: Reference) -> dict[str, Content]:
        """Every Iceberg table at one hash: dataset -> content."""
        return {key: value for key, value in self.contents(at).items() if value["type"] == "ICEBERG_TABLE"}

    def content(self, branch: str, key: str) -> Content:
        """One key's content at the head of a branch. Raises: UsageError if it is not there."""
        found = self._get(f"trees/{quote(branch, safe='')}/contents/{quote(key, safe='')}", {})
        return dict(found["content"])

    def log(self, at: Reference, *, until: str | None = None, limit: int | None = None) -> Iterator[Commit]:
        """Commits from `at` backwards, newest first, `until` (a hash) excluded."""
        if at.hash == NO_ANCESTOR:
            return
        for count, entry in enumerate(self._newest_first(at, {})):
            meta = entry["commitMeta"]
            if meta["hash"] == until or (limit is not None and count >= limit):
                return
            yield _commit(meta)

    def history(self, at: Reference, *, until: str | None = None) -> Iterator[tuple[Commit, dict[str, Content | None]]]:
        """Commits from `at` backwards, newest first, `until` (a hash) excluded, and what each put, by its key; None where it
        removed something."""
        if at.hash == NO_ANCESTOR:
            return
        for entry in self._newest_first(at, {"fetch": "ALL"}):
            if entry["commitMeta"]["hash"] == until:
                return
            changed = [each for each in entry.get("operations") or () if each["type"] in ("PUT", "DELETE")]
            yield _commit(entry["commitMeta"]), {".".join(e["key"]["elements"]): e.get("content") for e in changed}

    def puts(self, at: Reference, *, until: str | None = None) -> Iterator[tuple[Commit, dict[str, Content]]]:
        """As `history`, of tables alone, and without what was removed."""
        for commit, changed in self.history(at, until=until):
            yield commit, {key: put for key, put in changed.items() if put is not None and put["type"] == "ICEBERG_TABLE"}

    def versions(self, at: Reference, key: str) -> Iterator[tuple[Commit, Content | None]]:
        """As `history`, of one key: only commits that changed it."""
        for commit, changed in self.history(at):
            if key in changed:
                yield commit, changed[key]

    def changes(self, at: Reference, *, until: str | None = None) -> Iterator[tuple[Commit, frozenset[str]]]:
        """As `history`, with the keys alone."""
        for commit, changed in self.history(at, until=until):
            yield commit, frozenset(changed)

    # ── commit ────────────────────────────────────────────────────────────────────────────────
    def commit(self, onto: Reference, body: dict[str, Any]) -> str:
        """Send one commit request, exactly as given; see `commit_body`.

        Returns: the branch's new hash.
        Raises: CommitConflict (409); CommitRefused (400); OutcomeUnknown when no answer came or the
            server failed.
        """
        try:
            answer = self._http.post(f"trees/{_path(onto)}/history/commit", json=body)
        except httpx.ConnectError as error:
            raise self._down(error) from error
        except httpx.HTTPError as error:
            raise OutcomeUnknown(f"no answer from Nessie to a commit on {onto.name}: {error!r}") from error
        if answer.status_code == 409:
            details = _json(answer)
            conflicts = (details.get("errorDetails") or {}).get("conflicts", [])
            keys = tuple(".".join(c["key"]["elements"]) for c in conflicts if c.get("key"))
            raise CommitConflict(str(details.get("message", answer.text)), keys)
        if answer.status_code == 400:
            raise CommitRefused(
                f"Nessie refused a commit on {onto.name}: {_json(answer).get('message', answer.text)}",
                hint="that is a defect of medallion; nothing was changed; please report it with the log",
            )
        if answer.status_code >= 500:
            raise OutcomeUnknown(f"Nessie answered {answer.status_code} to a commit on {onto.name}")
        self._check(answer)
        return str(answer.json()["targetBranch"]["hash"])

    # ── plumbing ──────────────────────────────────────────────────────────────────────────────
    def _newest_first(self, at: Reference, parameters: dict[str, str]) -> Iterator[dict[str, Any]]:
        """Entries of the log. Most who ask want the newest few, so the first page is small, each later one larger."""
        sizes = chain(_FIRST_PAGES, repeat(_LARGEST_PAGE))
        return self._pages(f"trees/{_path(at)}/history", "logEntries", parameters, sizes)

    def _pages(
        self, path: str, field: str, parameters: dict[str, str], sizes: Iterator[int] | None = None
    ) -> Iterator[dict[str, Any]]:
        token: str | None = None
        while True:
            asked = parameters | ({"page-token": token} if token else {}) | ({"max-records": str(next(sizes))} if sizes else {})
            page = self._get(path, asked)
            yield from page[field]
            token = page.get("token") if page.get("hasMore") else None
            if not token:
                return

    def _get(self, path: str, parameters: dict[str, str], tries: int = 4) -> dict[str, Any]:
        """GET, repeated a few times: reading twice is safe."""
        for attempt in range(1, tries + 1):
            try:
                answer = self._http.get(path, params=parameters)
                if answer.status_code < 500:
                    self._check(answer)
                    return _json(answer)
            except httpx.HTTPError as error:
                if attempt == tries:
                    raise self._down(error) from error
            time.sleep(0.1 * 3**attempt)
        raise self._down(f"status {answer.status_code}")

    def _check(self, answer: httpx.Response) -> None:
        if answer.status_code in (401, 403):
            raise ServiceUnavailable(
                f"Nessie at {self.settings.uri} refuses us (status {answer.status_code})",
                hint="check the setting nessie.token",
            )
        if answer.status_code == 404:
            raise UsageError(f"Nessie: {_json(answer).get('message', 'not found')}", hint="`medallion runs` lists what is there")
        if answer.status_code >= 400:
            raise ServiceUnavailable(
                f"Nessie at {self.settings.uri} answered {answer.status_code}: {answer.text[:500]}",
                hint="`medallion doctor` checks the server's version and state",
            )

    @contextmanager
    def _answering(self) -> Iterator[None]:
        try:
            yield
        except requests.RequestException as error:
            raise self._down(error) from error
        except NessieException as error:
            if error.status_code in (401, 403):
                raise ServiceUnavailable(
                    f"Nessie at {self.settings.uri} refuses us (status {error.status_code})",
                    hint="check the setting nessie.token",
                ) from error
            raise self._down(error) from error

    def _down(self, reason: object) -> ServiceUnavailable:
        return ServiceUnavailable(
            f"Nessie at {self.settings.uri} does not answer: {reason}",
            hint="`medallion up` starts the embedded stack, `medallion doctor` says what is wrong",
        )


def commit_body(
    operations: list[Operation], message: str, properties: dict[str, str], author: str = "medallion"
) -> dict[str, Any]:
    """The JSON of a commit request, ready to be kept in the journal and sent, once or again."""
    return {
        "commitMeta": {"message": message, "authors": [author], "properties": properties},
        "operations": [operation.as_json() for operation in operations],
    }


def _commit(meta: dict[str, Any]) -> Commit:
    return Commit(
        hash=meta["hash"],
        parent=(meta.get("parentCommitHashes") or [NO_ANCESTOR])[0],
        message=meta.get("message", ""),
        time=datetime.fromisoformat(meta["commitTime"]),
        properties={name: values[0] for name, values in (meta.get("allProperties") or {}).items() if values},
    )


def _path(at: Reference) -> str:
    return quote(f"{at.name}@{at.hash}", safe="@")


def _json(answer: httpx.Response) -> dict[str, Any]:
    try:
        body = answer.json()
    except ValueError:
        return {"message": answer.text[:500]}
    return body if isinstance(body, dict) else {"message": str(body)}
