"""Files over FTP: fetched once, whole, or not at all."""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest

from medallion.errors import InputError, MedallionError, ServiceUnavailable, SettingsError
from medallion.lakehouse.store import Store
from tests.asking import Port
from tests.source_servers import PASSWORD, USER, FtpSource

pytest_plugins = ["tests.asking"]

DAYS = iter(date(2021, 1, 1) + timedelta(days=n) for n in range(300))


def zipped(*rows: str) -> bytes:
    return gzip.compress("\n".join(["day,rate", *rows, ""]).encode(), mtime=0)


USD, CHF = zipped("2021-01-01,1.10", "2021-01-02,1.2"), zipped("2021-01-01,0.9")


@pytest.fixture
def archive(port: Port, tmp_path: Path) -> Iterator[FtpSource]:
    """A server whose folder `rates` has both parts; the endpoint points at it."""
    (tmp_path / "rates").mkdir()
    with FtpSource(tmp_path) as source:
        point(port, source)
        yield source


def point(port: Port, source: FtpSource, **settings: Any) -> None:
    port.point("archive", source.url, **({"user": USER, "password": PASSWORD} | settings))


def put(folder: Path, usd: bytes = USD, chf: bytes = CHF) -> None:
    (folder / "rates" / "usd.csv.gz").write_bytes(usd)
    (folder / "rates" / "chf.csv.gz").write_bytes(chf)


def test_the_parts_of_a_delivery_are_kept_as_they_came_and_asked_for_once(port: Port, archive: FtpSource, tmp_path: Path) -> None:
    put(tmp_path)
    first, second, third = next(DAYS), next(DAYS), next(DAYS)
    assert port.run("rates", first).state == "merged"
    held = {one.name: one for one in port.held("rates")}
    for name, data in (("usd.csv.gz", USD), ("chf.csv.gz", CHF)):
        uri = f"s3://bronze-external/domain=port/rates/{first:%Y/%m/%d}/{name}"
        assert held[name].uri.startswith(f"{uri}?versionId=")
        assert held[name].sha256 == hashlib.sha256(data).hexdigest()
        assert port.lake.store.get(held[name].uri) == data
        assert any(f"{archive.url}/rates/{name}: {len(data)} bytes fetched into {uri}" in line for line in port.told)
    assert port.rows("rates") == [("2021-01-01", "1.10"), ("2021-01-02", "1.2"), ("2021-01-01", "0.9")]
    with port.without_spark():
        assert (port.run("rates", first).state, len(archive.asked)) == ("unchanged", 2)
        same = port.run("rates", second)
    assert (same.state, len(archive.asked)) == ("unchanged", 4)
    assert sum("the same bytes again" in note for note in same.notes) == 2

    put(tmp_path, usd=zipped("2021-01-01,1.11"))
    assert port.run("rates", third).state == "merged"
    newest = max(port.held("rates"))
    assert (newest.name, newest.logical_date, len(port.lying("rates"))) == ("usd.csv.gz", third, 3)


def test_a_connection_that_dies_once_is_made_again(port: Port, archive: FtpSource, tmp_path: Path) -> None:
    put(tmp_path, usd=zipped(*(f"2021-01-01,{n}.{n * 7919 % 1000}" for n in range(200))))
    archive.dies_after, archive.dies_once = 100, True
    assert port.run("rates", next(DAYS)).state == "merged"
    assert [Path(file).name for file in archive.asked] == ["usd.csv.gz", "usd.csv.gz", "chf.csv.gz"]


WRONG: dict[str, tuple[dict[str, Any], type[MedallionError], int, int, str]] = {
    # how, error, exit code, how often it is asked, what is told
    "dies in the middle": ({"dies_after": 64}, ServiceUnavailable, 5, 3, "the connection was closed"),
    "breaks off": ({"dies_after": 64, "last_words": "426 Aborted."}, ServiceUnavailable, 5, 3, "426 Aborted."),
    "falls silent": ({"dies_after": 64, "silent": True, "timeout_s": 0.3}, ServiceUnavailable, 5, 3, "timed out"),
    "says that it is done": ({"dies_after": 64, "last_words": "226 Done."}, ServiceUnavailable, 5, 3, "gave 64 of"),
    "wrong password": ({"password": "sesam"}, ServiceUnavailable, 5, 0, "refuses us: 530 "),
    "anonymous": ({"user": None, "password": None}, ServiceUnavailable, 5, 0, "refuses us: 530 "),
    "no such file": ({"lacks": "chf.csv.gz"}, InputError, 6, 1, "the server does not give it: 550 "),
    "truncated gzip": (
        {"usd": USD[:-9]}, InputError, 6, 1,
        "is no whole gzip file: Compressed file ended before the end-of-stream marker was reached",
    ),
    "no gzip": ({"usd": b"day,rate\n1,2\n"}, InputError, 6, 1, "is no whole gzip file: Not a gzipped file (b'da')"),
    "damaged gzip": ({"usd": USD[:-8] + b"\0\0\0\0" + USD[-4:]}, InputError, 6, 1, "is no whole gzip file: CRC check failed"),
    "another file": ({"usd": gzip.compress(b"a,b\n1,2\n")}, InputError, 6, 1, "the header lacks 'day', 'rate'"),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_what_cannot_be_had_or_read_changes_nothing(port: Port, archive: FtpSource, tmp_path: Path, case: str) -> None:
    how, kind, code, asked, told = WRONG[case]
    rows = (f"2021-01-01,{n}.{n * 7919 % 1000}" for n in range(50))
    put(tmp_path, usd=how.get("usd", zipped(*rows, case)))
    if "lacks" in how:
        (tmp_path / "rates" / how["lacks"]).unlink()
    archive.dies_after, archive.last_words = how.get("dies_after"), how.get("last_words", "")
    archive.silent = how.get("silent", False)
    point(port, archive, **{k: how[k] for k in ("user", "password", "timeout_s") if k in how})
    refused = port.refused("rates", next(DAYS))
    assert isinstance(refused.error, kind)
    assert refused.error.exit_code == code
    assert f"bronze.port.rates: {archive.url}/rates/{how.get('lacks', 'usd.csv.gz')}" in refused.told
    assert told in refused.told
    assert sum(Path(file).name == how.get("lacks", "usd.csv.gz") for file in archive.asked) == asked
    if "530" in told:
        assert "sources.archive.user and .password" in refused.told


def test_a_server_that_is_not_there_or_no_ftp_address(port: Port) -> None:
    port.point("archive", "ftp://127.0.0.1:1")
    refused = port.refused("rates", next(DAYS))
    assert refused.error.exit_code == 5
    assert "ftp://127.0.0.1:1/rates/usd.csv.gz: [Errno 111] Connection refused" in refused.told
    for url, told in (
        ("sftp://127.0.0.1:1", "is no address of kind ftp"),
        ("ftp://127.0.0.1:2l21", "is no address: 'ftp://127.0.0.1:2l21': Port could not be cast to integer value"),
    ):
        port.point("archive", url)
        refused = port.refused("rates", next(DAYS))
        assert (type(refused.error), refused.error.exit_code) == (SettingsError, 2)
        assert f"sources.archive.url {told}" in refused.told


class Dying:
    """The store, until it has taken so many objects."""

    def __init__(self, store: Store, puts: int) -> None:
        self.store, self.puts = store, puts

    def put(self, uri: str, data: bytes, content_type: str) -> str:
        self.puts -= 1
        if self.puts < 0:
            raise ServiceUnavailable("the object store does not answer", hint="run again")
        return self.store.put(uri, data, content_type)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.store, name)


def test_a_delivery_of_which_one_part_landed_is_finished_before_anybody_sees_it(
    port: Port, archive: FtpSource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path, zipped("2021-02-01,2.1"), zipped("2021-02-01,2.2"))
    first, second = next(DAYS), next(DAYS)
    assert {port.run("rates", day).state for day in (first, second)} == {"merged", "unchanged"}
    before, count = port.rows("rates"), len(port.lying("rates"))
    usd, chf = zipped("2021-02-01,3.1"), zipped("2021-02-01,3.2")
    put(tmp_path, usd, chf)
    with monkeypatch.context() as dying:
        dying.setattr(port.lake, "store", Dying(port.lake.store, puts=1))
        with pytest.raises(ServiceUnavailable):
            port.run("rates", first, refetch=True)
    assert len(port.lying("rates")) == count + 1, "one of the two parts is there"
    # both days have been asked for, and ended well; now the source is away
    for day in (first, second):
        port.point("archive", "ftp://127.0.0.1:1")
        assert port.refused("rates", day).error.exit_code == 5
    assert port.rows("rates") == before

    point(port, archive)
    assert port.run("rates", first).state == "merged"
    assert port.rows("rates")[len(before) :] == [("2021-02-01", "3.1"), ("2021-02-01", "3.2")]
    asked = len(archive.asked)
    with port.without_spark():
        assert port.run("rates", first).state == port.run("rates", second).state == "unchanged"
    assert len(archive.asked) == asked, "it is whole: nobody need ask again"
