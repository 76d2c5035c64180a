"""Files of the lake are copied in batches. Their digests are in the location before they are, so that a file that is
there is known, whole and verified; what is there is not copied again, also after a crash."""

from __future__ import annotations

import itertools
import json
import secrets
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from medallion.backup.location import Digest, Location, digest, on_disk, put_text, stored
from medallion.errors import InputError, MedallionError
from medallion.lakehouse.steps import step
from medallion.lakehouse.store import Store, split

_AT_A_TIME, _BATCH = 8, 128


@dataclass(frozen=True)
class Copied:
    """One file that is in the location."""

    uri: str
    bytes: int
    sha256: str


@dataclass
class Count:
    """How much was copied, and how many files were there already."""

    files: int = 0
    bytes: int = 0
    already: int = 0


def copy(store: Store, location: Location, uris: Iterable[str], batch_id: str) -> Count:
    """Copy files of the lake that the location lacks.

    Args:
        uris: `s3://…` of the lake's own store.
        batch_id: begins the names under which digests are kept, `brought/<batch_id>-…`; as no other backup's.
    Raises: InputError for a file that the lake has no more; MedallionError for one that arrived otherwise than it lies there;
        ServiceUnavailable. What was copied by then stays, and counts.
    """
    count = Count()
    todo = iter(uris)
    with ThreadPoolExecutor(_AT_A_TIME) as pool:
        for number in itertools.count():
            if not (batch := list(itertools.islice(todo, _BATCH))):
                return count
            new = [
                uri for uri, size in zip(batch, pool.map(lambda u: location.size(stored(u)), batch), strict=True) if size is None
            ]
            count.already += len(batch) - len(new)
            if new:
                with step("backup.copy"):
                    done = _bring(pool, store, location, new, f"brought/{batch_id}-{number:06}.json")
                count.files += len(done)
                count.bytes += sum(one.bytes for one in done)
    raise AssertionError("endless")


def _bring(pool: ThreadPoolExecutor, store: Store, location: Location, uris: list[str], record: str) -> list[Copied]:
    paths = [location.incoming / f"{secrets.token_hex(8)}.part" for _ in uris]
    try:
        digests = list(pool.map(lambda pair: download(store, *pair), zip(uris, paths, strict=True)))
        copied = [Copied(uri, known.bytes, known.sha256) for uri, known in zip(uris, digests, strict=True)]
        put_text(location, record, json.dumps([asdict(one) for one in copied]))
        names = [stored(uri) for uri in uris]
        list(pool.map(lambda each: location.put(*each), zip(names, paths, digests, strict=True)))
    finally:
        for path in paths:
            path.unlink(missing_ok=True)
    return copied


def download(store: Store, uri: str, path: Path) -> Digest:
    """Write an object of the lake to a file, and make sure that it is whole.

    Raises: InputError if there is none; MedallionError if its bytes are not those of its ETag; SettingsError for a full disk.
    """
    bucket, key, version = split(uri)
    with store.answering(uri), on_disk(path):
        found = store.client.fget_object(bucket, key, str(path), version_id=version)
    known = digest(path)
    etag = str(found.etag or "").strip('"')
    if (found.size is not None and found.size != known.bytes) or ("-" not in etag and etag != known.md5):
        raise MedallionError(
            f"{uri} did not arrive as it lies in the bucket; the recovery point is as it was",
            hint="run `medallion backup` again; if it stays so, the object store's disk is damaged",
        )
    return known


def brought(location: Location, until: str) -> dict[str, Copied]:
    """Every file that backups up to one (its id) copied to the location, by its `s3://…`."""
    found: dict[str, Copied] = {}
    names = [name for name in location.names("brought") if name <= f"brought/{until}~"]
    with ThreadPoolExecutor(_AT_A_TIME) as pool:
        for content in pool.map(location.get, names):
            found.update((one["uri"], Copied(**one)) for one in json.loads(content))
    return found


def sweep(location: Location) -> None:
    """Remove what a backup that was killed left half copied. Only while no other one runs."""
    for path in location.incoming.glob("*.part*"):
        with suppress(OSError):
            path.unlink()


def newest_versions(files: Iterable[Copied]) -> list[Copied]:
    """Of objects that were copied in several versions, oldest first, the last one: a bucket gives versions names of its own, and
    older deliveries would arrive there as corrections of newer ones."""
    return list({one.uri.partition("?")[0]: one for one in files}.values())


def fill(
    location: Location,
    store: Store,
    files: list[Copied],
    work: Path,
    ensure: Callable[[str], None],
    report: Callable[[str], None],
) -> list[str]:
    """Put copies back where they were, in buckets of another object store.

    Args:
        files: what to put.
        work: a folder on disk for files on their way.
        ensure: makes a bucket that does not exist; called once for each.
    Returns: the deliveries (objects with a version) that have no copy, as their owner may remove them: while a backup was
        killed before it had copied them, or from the lake's buckets, if they are the place of the copies.
    Raises: MedallionError for a copy that is not what was copied; InputError for one that is gone; ServiceUnavailable.
    """
    for bucket in sorted({split(one.uri)[0] for one in files}):
        ensure(bucket)

    def one(file: Copied) -> bool:
        path = work / f"{secrets.token_hex(8)}.part"
        try:
            location.fetch(stored(file.uri), path)
        except InputError:
            if split(file.uri)[2] is None:
                raise
            return False
        found = digest(path)
        if (found.bytes, found.sha256) != (file.bytes, file.sha256):
            raise MedallionError(
                f"{location.name}/{stored(file.uri)} is not what was copied there ({found.bytes} bytes instead of {file.bytes}, "
                "or another SHA-256)",
                hint="that disk or endpoint is damaged: restore from another copy of it, or to a commit that does not need it",
            )
        bucket, key, _ = split(file.uri)
        with store.answering(file.uri):
            store.client.fput_object(bucket, key, str(path))
        path.unlink()
        return True

    absent = []
    with ThreadPoolExecutor(_AT_A_TIME) as pool:
        for number, (file, there) in enumerate(zip(files, pool.map(one, files), strict=True), 1):
            if not there:
                absent.append(file.uri)
            if number % 1000 == 0:
                report(f"{number:,} of {len(files):,} files are in their buckets")
    return absent
