"""The demo's sources in the embedded stack: what they give is what stands in the packages, and only to us."""

from __future__ import annotations

import csv
import ftplib
import io
import json
from decimal import Decimal

import httpx
import psycopg
import pytest

from medallion import records
from medallion.errors import ServiceUnavailable
from medallion.services import source_endpoints
from medallion.settings import Settings, Source


def secret(source: Source) -> tuple[str, str]:
    assert source.user
    assert source.password
    return source.user, source.password.get_secret_value()


def rows_of(package: str, name: str) -> list[dict[str, str]]:
    with open(records.folder(package) / "data" / name, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def ask(source: Source, path: str, **how: object) -> httpx.Response:
    return httpx.get(f"{source.url}{path}", **({"auth": secret(source), "trust_env": False} | how))


def test_weather_of_a_day_has_the_digits_of_the_file(stack: Settings) -> None:
    day = [r for r in rows_of(records.FLIGHTS, "weather.csv") if (r["year"], r["month"], r["day"]) == ("2013", "11", "3")]
    answer = ask(stack.sources["weather_service"], "/v1/observations/2013-11-03.json")
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "application/json")
    document = json.loads(answer.content, parse_float=str, parse_int=str)
    assert document["date"] == "2013-11-03"
    assert document["observations"] == [{k: None if v == "NA" else v for k, v in row.items()} for row in day]
    assert json.loads(answer.content)["observations"][0]["temp"] == float(day[0]["temp"]), "numbers are numbers"
    assert ask(stack.sources["weather_service"], "/v1/observations/2014-01-01.json").status_code == 404
    assert ask(stack.sources["weather_service"], "/v1/observations/yesterday.json").status_code == 404


def test_weather_is_for_who_knows_the_password(stack: Settings) -> None:
    source = stack.sources["weather_service"]
    for wrong in (None, ("medallion", "open-sesame"), ("someone", secret(source)[1])):
        assert ask(source, "/v1/observations/2013-01-01.json", auth=wrong).status_code == 401


def test_the_archive_gives_the_package_s_bytes_and_takes_none(stack: Settings) -> None:
    source = stack.sources["price_archive"]
    host, port = source.url.removeprefix("ftp://").split(":")
    with ftplib.FTP() as ftp:
        ftp.connect(host, int(port), timeout=10)
        ftp.login(*secret(source))
        for index in ("sp500", "nasdaq"):
            got = io.BytesIO()
            ftp.retrbinary(f"RETR /indices/{index}.csv.gz", got.write)
            assert got.getvalue() == (records.folder(records.PRICES) / "data" / index / f"{index}.csv.gz").read_bytes()
        with pytest.raises(ftplib.error_perm, match="Not enough privileges"):
            ftp.storbinary("STOR /indices/new.csv.gz", io.BytesIO(b"x"))


def test_the_registry_has_the_package_s_planes_and_may_only_be_read(stack: Settings) -> None:
    source = stack.sources["aircraft_registry"]
    user, password = secret(source)
    assert user == "aircraft_registry"
    where = source.url.removeprefix("jdbc:")
    with psycopg.connect(where, user=user, password=password, autocommit=True) as connection:
        cursor = connection.execute("SELECT * FROM planes")
        names = [column.name for column in cursor.description or ()]
        found = {row[0]: dict(zip(names, row, strict=True)) for row in cursor}
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("DELETE FROM planes")
    numbers = ("year", "engines", "seats", "speed")
    wanted = [
        {k: None if v == "NA" else int(Decimal(v)) if k in numbers else v for k, v in row.items()}
        for row in rows_of(records.FLIGHTS, "planes.csv")
    ]
    assert len(found) == len(wanted)
    assert [found[row["tailnum"]] for row in wanted] == wanted


def test_an_archive_that_refuses_us_is_not_well(stack: Settings) -> None:
    wrong = stack.sources["price_archive"].model_copy(update={"user": "someone"})
    with pytest.raises(ServiceUnavailable, match=r"the demo's sources do not answer: 530 .*") as refused:
        source_endpoints.check(stack.sources | {"price_archive": wrong})
    assert refused.value.exit_code == 5
