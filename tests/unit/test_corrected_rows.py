"""Rows of a delivery are replaced, and every other byte stays as it was."""

from __future__ import annotations

import copy
import dataclasses
import gzip
from datetime import date
from pathlib import Path

import pytest

from medallion import corrected_rows, corrections, domain
from medallion.contract import Contract, Origin
from medallion.corrected_rows import apply, read
from medallion.domain import Domains
from medallion.errors import InputError, UsageError
from medallion.lakehouse.history import Delivered
from medallion.odcs import reader
from medallion.settings import Settings
from tests import small_domain

DAY = date(2020, 1, 1)
DELIVERED = Delivered(DAY, "d1", "s3://bronze-raw-data/orders.csv", "")
CSV = b'order_id,customer,amount,ordered_on\r\n1,ann,1.50,\r\n\r\n2,"bob, ""b""",-2,\r\n3,"two\nlines",3,x'


@pytest.fixture(scope="module")
def domains(tmp_path_factory: pytest.TempPathFactory) -> Domains:
    folder = small_domain.write(tmp_path_factory.mktemp("domains") / "shop")
    return domain.load(Settings(domains=str(folder)))


@pytest.fixture(scope="module")
def bronze(domains: Domains) -> Contract:
    return domains.contracts["bronze.shop.orders"]


def corrected(bronze: Contract, rows: str, data: bytes = CSV) -> tuple[bytes, list[int]]:
    return apply(bronze, DELIVERED, data, read("rows.csv", rows.encode()))


def test_only_what_is_named_changes(bronze: Contract) -> None:
    assert corrected(bronze, "_source_row,amount\n2,2.00\n") == (CSV.replace(b"-2", b"2.00"), [2])
    quoted, places = corrected(bronze, '_source_row,customer\n3,"c, ""cid"""\n1,"a\nb"\n')
    assert places == [3, 1]
    assert quoted == CSV.replace(b'"two\nlines"', b'"c, ""cid"""').replace(b"ann", b'"a\nb"')
    marked = b"\xef\xbb\xbf" + CSV
    assert corrected(bronze, "_source_row,order_id\n1,9\n", marked)[0] == marked.replace(b"\n1,", b"\n9,")


def test_what_says_so_already_is_left_alone(bronze: Contract) -> None:
    assert corrected(bronze, '_source_row,amount,customer\n2,-2,"bob, ""b"""\n')[0] is CSV
    made = corrected(bronze, "_source_row,amount\n2,2.00\n")[0]
    assert corrected(bronze, "_source_row,amount\n2,2.00\n", made)[0] is made


def test_columns_that_the_contract_does_not_know_can_be_corrected_and_else_stay(bronze: Contract) -> None:
    data = b"note,order_id,customer,amount,ordered_on\nn1,1,ann,1,\nn2,2,bob,-2,\n"
    assert corrected(bronze, "_source_row,amount\n2,2\n", data)[0] == data.replace(b"-2", b"2")
    assert corrected(bronze, "_source_row,note\n2,N\n", data)[0] == data.replace(b"n2", b"N")


def test_a_row_that_did_not_fit_is_given_whole(bronze: Contract) -> None:
    data = small_domain.csv("1,ann,1.50,", "2,bob,2,00,", "3,cid,3,")
    whole = "_source_row,order_id,customer,amount,ordered_on\n2,2,bob,2.00,\n"
    assert corrected(bronze, whole, data)[0] == data.replace(b"2,00,", b"2.00,")
    with pytest.raises(InputError, match=r"row 2 does not fit its header, so it must be given whole: .*'ordered_on'"):
        corrected(bronze, "_source_row,amount\n2,2.00\n", data)


def test_a_packed_file_is_packed_again_the_same_each_time(bronze: Contract) -> None:
    assert bronze.delivery
    packed = dataclasses.replace(bronze, delivery=dataclasses.replace(bronze.delivery, compression="gzip"))
    made = corrected(packed, "_source_row,amount\n2,2.00\n", gzip.compress(CSV))[0]
    assert gzip.decompress(made) == CSV.replace(b"-2", b"2.00")
    assert made[4:8] == bytes(4), "it does not say when it was packed"


def test_the_key_of_bronze_can_say_which_row(tmp_path: Path) -> None:
    document = copy.deepcopy(small_domain.BRONZE)
    document["schema"][0]["properties"][0]["primaryKey"] = True
    path = tmp_path / "bronze.orders.odcs.yaml"
    path.write_text(small_domain.yaml.safe_dump(document))
    keyed = reader.read(path)
    assert corrected(keyed, "order_id,amount\n2,2.00\n") == (CSV.replace(b"-2", b"2.00"), [2])
    with pytest.raises(InputError, match="has 0 rows of order_id=7; say _source_row instead"):
        corrected(keyed, "order_id,amount\n7,2.00\n")
    with pytest.raises(UsageError, match="does not say which rows it replaces") as refused:
        corrected(keyed, "amount\n2.00\n")
    assert refused.value.hint == "add _source_row or the key order_id to its header"


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        ("", "holds no row below a header"),
        ("_source_row,amount\n", "holds no row below a header"),
        ("_source_row\n1\n", "has no column of the source"),
        ("amount,amount\n1,2\n", "the header has 'amount' twice"),
        ("_source_row,amount\n1\n", "row 1 has 1 values under 2 columns"),
        ('_source_row,amount\n1,"2\n', "cannot be read as CSV"),
        ("_source_row,amount\n0,2\n", "_source_row '0' is no number of a row"),
        ("_source_row,amount\none,2\n", "_source_row 'one' is no number of a row"),
        ("_source_row,amount\n1,2\n1,3\n", "row 1 stands twice"),
        ("_source_row,amount\n4,2\n", "has 3 rows and no row 4"),
    ],
)
def test_rows_that_fit_nothing_are_refused(bronze: Contract, rows: str, told: str) -> None:
    with pytest.raises(InputError, match=rf"rows\.csv: .*{told}") as refused:
        corrected(bronze, rows)
    assert (refused.value.hint or "").startswith("nothing was delivered")


def test_a_column_that_the_delivery_lacks_and_a_row_of_no_number_are_refused(bronze: Contract) -> None:
    with pytest.raises(UsageError, match=r"orders\.csv has no column 'amuont'"):
        corrected(bronze, "_source_row,amuont\n1,2\n")
    with pytest.raises(UsageError, match="does not say which rows it replaces"):
        corrected(bronze, "amount\n2\n")


@pytest.mark.parametrize("last", ['3,6" disk,3,', "3,six,3,"])
def test_a_delivery_that_cannot_be_taken_apart_as_a_run_reads_it_is_left_alone(bronze: Contract, last: str) -> None:
    """A quote within a value is a sign like any to a run."""
    data = small_domain.csv('1,5" disk,1,', "2,bob,-2,", last)
    with pytest.raises(InputError, match="cannot be taken apart into its 3 rows"):
        corrected(bronze, "_source_row,amount\n2,2\n", data)


@pytest.mark.parametrize(
    ("made", "told"), [("3,eve,2,\n", "would change row 3"), ("3,cid,2,\n9,zoe,1,\n", "would make 4 of 3 rows")]
)
def test_what_a_run_would_read_is_compared_before_it_is_delivered(
    bronze: Contract, monkeypatch: pytest.MonkeyPatch, made: str, told: str
) -> None:
    monkeypatch.setattr(corrected_rows, "_replaced", lambda *_: made)
    with pytest.raises(InputError, match=told):
        corrected(bronze, "_source_row,amount\n3,2\n", small_domain.csv("1,ann,1,", "2,bob,-2,", "3,cid,-3,"))


def test_other_formats_are_handed_over_whole(bronze: Contract) -> None:
    assert bronze.delivery
    with pytest.raises(UsageError, match="rows of json files cannot be replaced one by one"):
        corrected(
            dataclasses.replace(bronze, delivery=dataclasses.replace(bronze.delivery, format="json")), "_source_row,a\n1,2\n"
        )


# ── whose rows ────────────────────────────────────────────────────────────────────────────────────
def test_rows_are_corrected_in_the_one_delivery_they_come_from(domains: Domains, bronze: Contract) -> None:
    assert corrections.delivered_to(domains, domains.contracts["silver.shop.orders"]) == bronze
    assert corrections.delivered_to(domains, bronze) == bronze
    with pytest.raises(UsageError, match=r"gold\.shop\.daily_totals is made from silver\.shop\.orders"):
        corrections.delivered_to(domains, domains.contracts["gold.shop.daily_totals"])


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"source": Origin("http", "shop", "/orders")}, "a run fetches it over http"),
        ({"parts": ("a.csv", "b.csv")}, "comes in parts"),
        ({"expected": "increments"}, "comes in increments"),
    ],
)
def test_deliveries_of_which_no_row_can_be_corrected_alone(bronze: Contract, change: dict, told: str) -> None:
    assert bronze.delivery
    other = dataclasses.replace(bronze, delivery=dataclasses.replace(bronze.delivery, **change))
    with pytest.raises(UsageError, match=rf"bronze\.shop\.orders:? {told}"):
        corrections.delivered_to(Domains({other.dataset: other}, {}), other)
