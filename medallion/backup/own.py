"""The lake's own bucket `backup-metadata` as a place of copies: all but the lake's files, which lie in its buckets anyway.

With it a stack whose catalog alone is lost comes back without the second location.
"""

from __future__ import annotations

from pathlib import Path

from medallion.backup.location import Bucket, Digest, Location, on_disk
from medallion.lakehouse.store import Store, split
from medallion.settings import EVIDENCE_BUCKET, S3

PREFIX = "backup"
OWN = f"s3://{EVIDENCE_BUCKET}/{PREFIX}"
_FILES = "files/"


class Mirrored:
    """The second location, where what is put that is no file of the lake goes into the lake's own bucket too, and first."""

    def __init__(self, second: Location, store: Store) -> None:
        self._second, self._store = second, store
        self.name, self.incoming = second.name, second.incoming
        self.prepare, self.reads, self.size = second.prepare, second.reads, second.size
        self.get, self.fetch, self.names, self.remove = second.get, second.fetch, second.names, second.remove

    def put(self, name: str, path: Path, known: Digest) -> None:
        if not name.startswith(_FILES):
            with self._store.answering(f"{OWN}/{name}"):
                self._store.client.fput_object(EVIDENCE_BUCKET, f"{PREFIX}/{name}", str(path))
        self._second.put(name, path, known)


class OwnBucket(Bucket):
    """What `Mirrored` put there, and the lake's files where they lie."""

    def __init__(self, s3: S3, incoming: Path) -> None:
        super().__init__(s3, EVIDENCE_BUCKET, PREFIX, incoming)

    def fetch(self, name: str, to: Path) -> None:
        if not name.startswith(_FILES):
            return super().fetch(name, to)
        bucket, key, version = split(f"s3://{name.removeprefix(_FILES)}")
        with self._answering(name), on_disk(to):
            self.client.fget_object(bucket, key, str(to), version_id=version)
        return None
