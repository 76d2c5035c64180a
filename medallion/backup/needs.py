"""Which files a commit needs, told by Iceberg's own metadata; no bucket is listed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from pyiceberg.manifest import read_manifest_list

from medallion.errors import InputError
from medallion.lakehouse.nessie import Content
from medallion.lakehouse.table import file_io, open_static, reaching
from medallion.settings import S3


class Needs:
    """Walks through versions of tables, and names every file once."""

    def __init__(self, s3: S3) -> None:
        self._s3 = s3
        self._io = file_io(s3)
        self._seen: set[str] = set()

    def known(self, content: Content) -> None:
        """A version of a table that is copied already: what its snapshots share with a later one is not named again."""
        for _ in self._lists(content, deep=False):
            pass

    def of(self, content: Content) -> Iterator[str]:
        """The files that a version of a table needs and that were not named yet: its metadata, and of all snapshots that
        it has (time travel) manifest lists, manifests, data files, delete files; statistics. Raises: ServiceUnavailable."""
        yield from self._new(content["metadataLocation"])
        yield from self._lists(content, deep=True)

    def _lists(self, content: Content, *, deep: bool) -> Iterator[str]:
        with reaching(self._s3, content["metadataLocation"]), _there(content["metadataLocation"]):
            metadata = open_static(self._s3, content).metadata
            for statistics in (*metadata.statistics, *metadata.partition_statistics):
                yield from self._new(statistics.statistics_path)
            for snapshot in metadata.snapshots:
                new = list(self._new(snapshot.manifest_list))
                yield from new
                if new and (deep or snapshot.snapshot_id == metadata.current_snapshot_id):
                    yield from self._manifests(snapshot.manifest_list, deep=deep)

    def _manifests(self, manifest_list: str, *, deep: bool) -> Iterator[str]:
        for manifest in read_manifest_list(self._io.new_input(manifest_list)):
            new = list(self._new(manifest.manifest_path))
            yield from new
            if new and deep:
                for entry in manifest.fetch_manifest_entry(self._io, discard_deleted=True):
                    yield from self._new(entry.data_file.file_path)

    def _new(self, uri: str) -> Iterator[str]:
        if uri not in self._seen:
            self._seen.add(uri)
            yield uri


@contextmanager
def _there(metadata: str) -> Iterator[None]:
    """Tell that a file is gone as what it is. Raises: InputError."""
    try:
        yield
    except FileNotFoundError as error:
        raise InputError(
            f"a file that {metadata} on main needs is gone: {error}; the recovery point is as it was",
            hint="it has to be put back, as from an older copy, before later commits can be copied",
        ) from error
