"""Documents over HTTP: fetched once, whole, or not at all."""

from __future__ import annotations

import base64
import hashlib
import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from types import ModuleType

import pytest

from medallion.contract import Delivery
from medallion.errors import InputError, MedallionError, ServiceUnavailable, SettingsError
from medallion.odcs import delivery, yaml_lines
from medallion.odcs.problems import Problems
from medallion.settings import Source
from medallion.sources import asking, kinds
from medallion.sources.fetch import fetch
from tests.asking import Port
from tests.source_servers import PASSWORD, USER, HttpSource, Reply

pytest_plugins = ["tests.asking"]

DAYS = iter(date(2021, 1, 1) + timedelta(days=n) for n in range(300))


def document(*values: str) -> bytes:
    return b'{"data": {"readings": [' + ", ".join(f'{{"site": "a", "value": {v}}}' for v in values).encode() + b"]}}"


@pytest.fixture
def serve(port: Port) -> Iterator[Callable[..., HttpSource]]:
    """Start a server with these replies and point the endpoint at it."""
    started: list[HttpSource] = []

    def serve(*replies: Reply, **settings: object) -> HttpSource:
        started.append(HttpSource(*replies))
        port.point("gauges", started[-1].url, **settings)
        return started[-1]

    yield serve
    for source in started:
        source.__exit__()


def test_a_document_is_kept_as_it_came_and_asked_for_once(port: Port, serve: Callable[..., HttpSource]) -> None:
    day = next(DAYS)
    data = document("1.10", "null")
    source = serve(Reply(200, data), user=USER, password=PASSWORD)
    assert port.run("readings", day).state == "merged"
    assert source.asked == [f"/v1/{day:%Y}/{day:%m}-{day:%d}.json"]
    assert source.authorization == [f"Basic {base64.b64encode(f'{USER}:{PASSWORD}'.encode()).decode()}"]
    uri = f"s3://bronze-external/domain=port/readings/{day:%Y/%m/%d}/{day:%m}-{day:%d}.json"
    assert any(f"{source.url}{source.asked[0]}: {len(data)} bytes fetched into {uri}" in line for line in port.told)
    (held,) = [one for one in port.held("readings") if one.logical_date == day]
    assert held.uri.startswith(f"{uri}?versionId=")
    assert held.sha256 == hashlib.sha256(data).hexdigest()
    assert port.lake.store.get(held.uri) == data, "the very bytes"
    of_day = f"WHERE _logical_date = '{day}'"
    assert port.rows("readings", of_day) == [("a", "1.10"), ("a", None)]

    with port.without_spark():
        again = port.run("readings", day)
    assert (again.state, again.notes, len(source.asked)) == ("unchanged", [], 1)

    refetched = port.run("readings", day, refetch=True)
    assert (refetched.state, len(source.asked)) == ("unchanged", 2)
    assert any("the same bytes again" in note for note in refetched.notes)
    assert len(port.lying("readings")) == 1

    source.replies = [Reply(200, document("2"))]
    corrected = port.run("readings", day, refetch=True)
    assert corrected.state == "merged"
    assert any(f"a correction of {day:%m}-{day:%d}.json for {day}" in note for note in corrected.notes)
    assert port.rows("readings", of_day) == [("a", "1.10"), ("a", None), ("a", "2")]


def test_reference_data_is_asked_for_on_another_day_and_kept_if_it_changed(port: Port, serve: Callable[..., HttpSource]) -> None:
    first, second, third = next(DAYS), next(DAYS), next(DAYS)
    source = serve(Reply(200, b'[{"site": "a", "name": "Alpha"}]'))
    assert port.run("sites", first).state == "merged"
    assert port.held("sites")[0].name == "sites", "named after the path, without its query"
    with port.without_spark():
        same = port.run("sites", second)
    assert same.state == "unchanged"
    assert any("the same bytes again" in note and "skipped" in note for note in same.notes)
    source.replies = [Reply(200, b'[{"site": "a", "name": "Omega"}]')]
    with port.without_spark():
        assert port.run("sites", second).state == "unchanged", "it was asked for on this date"
    assert len(source.asked) == 2
    assert port.run("sites", third).state == "merged"
    assert [one.logical_date for one in port.held("sites")] == [first, third]


def test_a_passing_trouble_is_waited_for(port: Port, serve: Callable[..., HttpSource]) -> None:
    day = next(DAYS)
    source = serve(Reply(500), Reply(how="close"), Reply(200, document("1")))
    assert port.run("readings", day).state == "merged"
    assert len(source.asked) == 3


def test_a_redirect_is_followed(port: Port, serve: Callable[..., HttpSource]) -> None:
    source = serve(Reply(307, headers={"Location": "/elsewhere"}), Reply(200, document("1")))
    assert port.run("readings", next(DAYS)).state == "merged"
    assert source.asked[1] == "/elsewhere"


WRONG: dict[str, tuple[Reply, type[MedallionError], int, int, str]] = {
    # reply, error, exit code, how often it is asked, what is told
    "404": (Reply(404), InputError, 6, 1, "answers 404 Not Found"),
    "410": (Reply(410), InputError, 6, 1, "answers 410 Gone"),
    "redirects for ever": (Reply(302, headers={"Location": "/again"}), InputError, 6, 21, "Exceeded maximum allowed redirects"),
    "401": (Reply(401), ServiceUnavailable, 5, 1, "refuses us: 401 Unauthorized"),
    "403": (Reply(403), ServiceUnavailable, 5, 1, "refuses us: 403 Forbidden"),
    "429": (Reply(429), ServiceUnavailable, 5, 3, "answers 429 Too Many Requests"),
    "500": (Reply(500), ServiceUnavailable, 5, 3, "answers 500 Internal Server Error"),
    "no answer in time": (Reply(how="hang"), ServiceUnavailable, 5, 3, "timed out"),
    "falls silent in the middle": (Reply(200, document("1"), "stall"), ServiceUnavailable, 5, 3, "timed out"),
    "closed without an answer": (Reply(how="close"), ServiceUnavailable, 5, 3, "disconnected without sending a response"),
    "closed in the middle": (
        Reply(200, document("1"), "cut"), ServiceUnavailable, 5, 3,
        "peer closed connection without sending complete message body (received 51 bytes, expected 1051)",
    ),
    "HTML": (
        Reply(200, b"<!DOCTYPE html>\n<html>Please log in"), InputError, 6, 1,
        "holds HTML or XML where JSON was expected: <!DOCTYPE html> <html>Please log in",
    ),
    "no JSON": (Reply(200, b'{"data": {"readings": [{"site"'), InputError, 6, 1, "is no JSON: Expecting ':' delimiter: line 1"),
    "empty": (Reply(200, b""), InputError, 6, 1, "the document is empty"),
    "no list": (Reply(200, b'{"data": {"error": "?"}}'), InputError, 6, 1, "has no list of records under 'data.readings'"),
    "an empty list": (Reply(200, document()), InputError, 6, 1, "the list of records is empty"),
    "a lost column": (
        Reply(200, document("1").replace(b"value", b"worth")), InputError, 6, 1,
        "no record has 'value'; they have 'worth' instead",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_what_cannot_be_had_or_read_changes_nothing(port: Port, serve: Callable[..., HttpSource], case: str) -> None:
    reply, kind, code, asked, told = WRONG[case]
    source = serve(reply, timeout_s=0.3 if reply.how in ("hang", "stall") else 30, user=USER, password=PASSWORD)
    refused = port.refused("readings", next(DAYS))
    assert isinstance(refused.error, kind)
    assert refused.error.exit_code == code
    assert f"bronze.port.readings: {source.url}/v1/" in refused.told
    assert told in refused.told
    assert len(source.asked) == asked
    if "refuses us" in told:
        assert "sources.gauges.user and .password" in refused.told


def test_a_server_that_is_not_there(port: Port) -> None:
    port.point("gauges", "http://127.0.0.1:1")
    refused = port.refused("readings", next(DAYS))
    assert refused.error.exit_code == 5
    assert "http://127.0.0.1:1/v1/" in refused.told
    assert "Connection refused" in refused.told
    assert "run again when the source answers" in refused.told


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("", "comes from the endpoint 'gauges', and no setting says where that is"),
        ("ftp://127.0.0.1:21", "sources.gauges.url is no address of kind http: 'ftp://127.0.0.1:21'"),
        ("http://127.0.0.1:80a", "sources.gauges.url is no address: 'http://127.0.0.1:80a': Port could not be cast"),
        ("http://[bad", "sources.gauges.url is no address: 'http://[bad': Invalid IPv6 URL"),
        ("127.0.0.1:80", "sources.gauges.url is no address of kind http"),
        (f"http://{USER}:{PASSWORD}@127.0.0.1:1", "sources.gauges.url holds a user or password"),
    ],
)
def test_an_endpoint_that_is_not_set_or_cannot_be_used(port: Port, url: str, told: str) -> None:
    port.point("gauges" if url else "another", url or "http://127.0.0.1:1")
    refused = port.refused("readings", next(DAYS))
    assert isinstance(refused.error, SettingsError)
    assert refused.error.exit_code == 2
    assert told in refused.told
    assert "sources.gauges." in refused.told


def test_a_failed_run_s_delivery_is_used_by_the_next(port: Port, serve: Callable[..., HttpSource]) -> None:
    """What was fetched lies in the bucket; that the run failed afterwards is no reason for a second copy."""
    day = next(DAYS)
    data = document("7")
    serve(Reply(200, data))
    port.lake.spark = lambda: (_ for _ in ()).throw(KeyboardInterrupt)
    with pytest.raises(KeyboardInterrupt):
        port.run("readings", day)
    del port.lake.spark
    lies = [uri for uri in port.lying("readings") if f"{day:%Y/%m/%d}" in uri]
    assert len(lies) == 1
    assert port.run("readings", day).state == "merged"
    assert [uri for uri in port.lying("readings") if f"{day:%Y/%m/%d}" in uri] == lies
    assert json.loads(port.lake.store.get(lies[0])) == json.loads(data)


def test_a_new_kind_is_a_module_and_one_line(port: Port, monkeypatch: pytest.MonkeyPatch) -> None:
    def fetch_cards(asked: asking.Asked) -> Iterator[asking.Parcel]:
        yield asking.Parcel("card.json", document("9"), "application/json", f"{asked.source.url}/{asked.path('')}")

    module = ModuleType("a_module_of_postcards")
    module.fetch = fetch_cards
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setitem(kinds.KINDS, "postcard", kinds.Kind(module.__name__, address="street"))

    def read(value: dict[str, object]) -> tuple[Delivery, list[str]]:
        problems = Problems(Path("cards.odcs.yaml"), yaml_lines.read("{}"))
        return delivery.read(value, problems), [one.text for one in problems.found]

    source = {"kind": "postcard", "endpoint": "box", "street": "Quay {year}"}
    said = {"format": "json", "path": "domain=port/cards/{year}/{month}/{day}/", "expected": "daily", "source": source}
    contract = replace(port.contract("readings"), delivery=read(said | {"records": "data.readings"})[0])
    day = next(DAYS)
    notes = fetch(port.lake.store, {"box": Source(url="post://box")}, contract, day, [], port.lake.spark)
    uri = f"s3://bronze-external/domain=port/cards/{day:%Y/%m/%d}/card.json"
    assert notes == [f"bronze.port.readings: post://box/Quay {day:%Y}: {len(document('9'))} bytes fetched into {uri}"]
    assert port.lake.store.get(uri) == document("9")
    for wrong, told in (({"kind": "pigeon"}, "'pigeon' is unknown"), ({"path": "/"}, "unknown key 'path'")):
        assert any(told in problem for problem in read(said | {"source": source | wrong})[1])
