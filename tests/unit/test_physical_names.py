"""A delivery may call a column otherwise than bronze does: `physicalName`, in every format."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from medallion.contract import Contract
from medallion.errors import ContractError, InputError
from medallion.lakehouse.history import Delivered
from medallion.sources import csv_format, json_format, parquet_format
from medallion.sources.parquet_format import to_bytes
from tests.small_domain import BRONZE, SILVER, Document
from tests.unit.test_contract_file import put, read

DAY = date(2013, 1, 5)
NAMES: dict[str, tuple[Callable[..., Any], Callable[[str], bytes]]] = {  # format -> (parse, one row whose amount is called so)
    "csv": (csv_format.parse, lambda name: f"order_id,customer,{name},ordered_on,amount\n1,ann,2.50,2013-01-05,9\n".encode()),
    "json": (
        json_format.parse,
        lambda name: f'[{{"order_id": 1, "customer": "ann", "{name}": 2.50, "ordered_on": "2013-01-05", "amount": 9}}]'.encode(),
    ),
    "parquet": (
        parquet_format.parse,
        lambda name: to_bytes(
            pa.table({"order_id": ["1"], "customer": ["ann"], name: ["2.50"], "ordered_on": ["2013-01-05"], "amount": ["9"]})
        ),
    ),
}


@pytest.fixture
def orders(tmp_path: Path) -> Contract:
    """Orders whose `amount` is delivered as `Order Value`."""
    return read(tmp_path, BRONZE, put("schema.0.properties.2.physicalName", "Order Value"))


@pytest.mark.parametrize("kind", NAMES)
def test_the_column_is_read_under_its_own_name_and_kept_under_ours(orders: Contract, kind: str) -> None:
    parse, document = NAMES[kind]
    arrival = parse(orders, Delivered(DAY, "d1", "s3://bronze-raw-data/orders", "sha"), document("Order Value"))
    (row,) = arrival.rows.to_pylist()
    assert [row[column.name] for column in orders.columns] == ["1", "ann", "2.50", "2013-01-05"]
    assert "Order Value" not in row
    assert (arrival.extra_columns, row["_extra"]) == (("amount",), [("amount", "9")]), "our name is a stranger there"


@pytest.mark.parametrize("kind", NAMES)
def test_a_delivery_that_lacks_it_is_refused_by_the_name_that_was_looked_for(orders: Contract, kind: str) -> None:
    parse, document = NAMES[kind]
    with pytest.raises(InputError, match=r"(lacks|has) .*'Order Value'"):
        parse(orders, Delivered(DAY, "d1", "s3://bronze-raw-data/orders", "sha"), document("order value"))


@pytest.mark.parametrize(
    ("document", "column", "name", "told"),
    [
        (SILVER, 1, "Customer", "properties.customer.physicalName: means nothing here"),
        (BRONZE, 1, "", "properties.customer.physicalName: means nothing here"),
        (BRONZE, 1, "amount", r"two columns are read from \['amount'\]"),
    ],
)
def test_a_physical_name_that_nothing_reads_is_refused(
    tmp_path: Path, document: Document, column: int, name: str, told: str
) -> None:
    with pytest.raises(ContractError, match=told):
        read(tmp_path, document, put(f"schema.0.properties.{column}.physicalName", name))
