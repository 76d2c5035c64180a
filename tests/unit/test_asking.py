"""Asking a source: patience, addresses, and which increments follow on each other."""

from __future__ import annotations

import pytest

from medallion.contract import Origin
from medallion.errors import InputError, ServiceUnavailable, SettingsError
from medallion.settings import Source
from medallion.sources import asking, increments
from tests.unit.operations_rows import CONTRACTS

AIRLINES = CONTRACTS["bronze.operations.airlines"]


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds that were waited before each further attempt."""
    found: list[float] = []
    monkeypatch.setattr(asking, "_say_so", lambda state: found.append(state.upcoming_sleep))
    return found


class Asked:
    """Fails with these errors, one an attempt, then answers."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)
        self.times = 0

    def __call__(self) -> str:
        self.times += 1
        if self.errors:
            raise self.errors.pop(0)
        return "answer"


def test_what_may_pass_is_asked_again_and_waited_for_longer_each_time(waits: list[float]) -> None:
    source = Source(url="x", tries=5, first_wait_s=0.001)
    asked = Asked(*(ServiceUnavailable("down") for _ in range(4)))
    assert asking.patiently(source, asked) == "answer"
    assert asked.times == 5
    for number, wait in enumerate(waits):
        assert 0.001 * 2**number <= wait <= 0.001 * (2**number + 1)


def test_after_the_last_attempt_its_error_is_told(waits: list[float]) -> None:
    asked = Asked(*(ServiceUnavailable(f"down {n}") for n in range(9)))
    with pytest.raises(ServiceUnavailable, match="down 2"):
        asking.patiently(Source(url="x", tries=3, first_wait_s=0), asked)
    assert (asked.times, len(waits)) == (3, 2)


def test_what_will_not_pass_is_asked_once(waits: list[float]) -> None:
    origin = Origin("http", "gauges", "/")
    for error in (InputError("gone"), asking.Denied(AIRLINES, origin, "http://x", "401"), KeyError("defect")):
        asked = Asked(error)
        with pytest.raises(type(error)):
            asking.patiently(Source(url="x", first_wait_s=0), asked)
        assert asked.times == 1
    assert waits == []


def test_an_endpoint_without_a_setting_is_named() -> None:
    with pytest.raises(SettingsError, match="'gauges', and no setting says where") as refused:
        asking.endpoint({"other": Source(url="x")}, AIRLINES, Origin("http", "gauges", "/"))
    assert "MEDALLION_SOURCES__GAUGES__URL" in (refused.value.hint or "")


@pytest.mark.parametrize(
    "url",
    [
        "http://host:80a", "http://host:99999", "http://host:-1", "http://host:0", "http://[bad", "http://[::1]x", "http://[bad]",
        "http://", "http://:80", "http://a b", "http://ho_st|", "http://a..b", f"http://{'a' * 64}", "ftp://host", "host:80", "",
        "http://ho\u2100st",
    ],
)  # fmt: skip
def test_a_mistyped_address_is_told_as_the_setting_that_it_is(url: str) -> None:
    with pytest.raises(SettingsError, match=r"^sources\.gauges\.url is no address") as refused:
        asking.address(Source(url=url), Origin("http", "gauges", "/"), ("http", "https"), "https://host")
    assert (refused.value.exit_code, refused.value.hint) == (2, "write https://host")


def test_a_mistyped_address_is_told_without_its_password() -> None:
    with pytest.raises(SettingsError) as refused:
        asking.address(Source(url="http://me:sesame@host:80a"), Origin("http", "gauges", "/"), ("http",), "https://host")
    assert "sesame" not in str(refused.value)


@pytest.mark.parametrize(
    "url", ["http://host", "https://127.0.0.1:8080/a", "http://[::1]:80", "http://my_host.local", "http://bücher.example"]
)
def test_an_address_that_can_be_is_taken(url: str) -> None:
    assert asking.address(Source(url=url), Origin("http", "gauges", "/"), ("http", "https"), "https://host").geturl() == url


@pytest.mark.parametrize(
    ("held", "lying", "taken"),
    [
        (-1, [], []),
        (-1, ["versions-0-4.parquet", "versions-5-7.parquet"], ["versions-0-4.parquet", "versions-5-7.parquet"]),
        (-1, ["versions-0-0.parquet", "versions-0-3.parquet", "versions-1-9.parquet"], ["versions-0-3.parquet"]),
        (-1, ["versions-1-1.parquet", "orders.csv", "versions-2-1.parquet"], []),
        (3, ["versions-0-3.parquet", "versions-0-9.parquet", "versions-3-8.parquet"], []),
        (3, ["versions-10-12.parquet", "versions-4-9.parquet", "versions-4-5.parquet"],
         ["versions-4-9.parquet", "versions-10-12.parquet"]),
        (3, ["versions-4-5.parquet", "versions-7-8.parquet"], ["versions-4-5.parquet"]),
    ],
)  # fmt: skip
def test_increments_follow_without_a_gap_and_without_a_version_twice(held: int, lying: list[str], taken: list[str]) -> None:
    assert increments.following(held, lying) == taken
    assert increments.following(held, reversed(lying)) == taken


def test_an_increment_is_called_after_its_versions() -> None:
    assert increments.name(3, 7) == "versions-3-7.parquet"
    assert increments.span("versions-3-7.parquet") == (3, 7)
    assert increments.last(["versions-3-7.parquet", "orders.csv", "versions-0-2.parquet"]) == 7
    assert increments.last([]) == increments.NONE
