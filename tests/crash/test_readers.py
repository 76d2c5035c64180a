"""Readers of several tables, while publications pass; `make readers` does it a thousand times."""

from __future__ import annotations

from medallion.settings import Settings
from tests.crash.readers import MIXED, pass_by

PUBLICATIONS = 12


def test_no_reader_sees_two_versions_mixed_but_who_asks_twice(stack: Settings) -> None:
    polled = pass_by(stack, PUBLICATIONS, lambda _: None)
    for how, reader in polled.items():
        assert how == MIXED or not reader.mixed, how
        assert len(reader.versions) > PUBLICATIONS // 4, f"{how}: it saw too few versions to prove anything"
