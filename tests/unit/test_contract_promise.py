"""What a contract promises: when its data comes, on which days it does not; and that it is critical."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from medallion.contract import Contract, Promise
from medallion.errors import ContractError
from medallion.odcs import reader
from tests.small_domain import documents

NAME = "bronze.orders.odcs.yaml"
DAILY = {"property": "frequency", "value": 1, "unit": "d"}


def contract(folder: Path, *sla: dict[str, Any], **custom: Any) -> Contract:
    document = documents()[NAME]
    document["slaProperties"] += sla
    document["customProperties"] += [{"property": key, "value": value} for key, value in custom.items()]
    (folder / NAME).write_text(yaml.safe_dump(document))
    return reader.read(folder / NAME)


def at(value: Any, **more: Any) -> dict[str, Any]:
    return {"property": "timeOfAvailability", "value": value} | more


def test_what_is_promised(tmp_path: Path) -> None:
    assert contract(tmp_path).promise is None
    assert contract(tmp_path, DAILY).promise == Promise()
    assert contract(tmp_path, DAILY | {"value": 6, "unit": "h"}).promise == Promise(hours=6)
    calendar = {"weekdays": ["tue", "mon"], "holidays": "US", "closed": [date(2024, 5, 29)]}
    found = contract(tmp_path, DAILY, at("06:30-05:00"), calendar=calendar, critical=True)
    assert found.critical
    assert found.promise == Promise(
        by=timedelta(days=1, hours=11, minutes=30), weekdays=(0, 1), holidays="US", closed=(date(2024, 5, 29),)
    )  # fmt: skip
    assert found.promise.due(date(2024, 5, 31)) == datetime(2024, 6, 1, 11, 30, tzinfo=UTC)
    same_day = contract(tmp_path, DAILY, at("22:00Z", valueExt=0)).promise
    assert same_day is not None
    assert same_day.by == timedelta(hours=22)


@pytest.mark.parametrize(
    ("sla", "custom", "told"),
    [
        ([at("06:00")], {}, "a time without a frequency"),
        ([], {"calendar": {"holidays": "US"}}, "a calendar without a frequency"),
        ([DAILY | {"value": 2}], {}, "frequency 2 d is none that we can watch"),
        ([DAILY | {"value": 0, "unit": "h"}], {}, "frequency 0 h is none"),
        ([DAILY | {"unit": "y"}], {}, "frequency 1 y is none"),
        ([DAILY | {"unit": "h"}, at("06:00")], {}, "hours go with no time"),
        ([DAILY, at("6 o'clock")], {}, "is no time"),
        ([DAILY, at("25:00")], {}, "'25:00' is no time"),
        ([DAILY, at("06:00", valueExt=-1)], {}, "-1 is no number of days"),
        ([DAILY], {"calendar": ["mon"]}, "is no calendar"),
        ([DAILY], {"calendar": {"days": ["mon"]}}, "is no calendar"),
        ([DAILY], {"calendar": {"weekdays": ["monday"]}}, "are no weekdays"),
        ([DAILY], {"calendar": {"holidays": "XX"}}, "'XX' is unknown"),
        ([DAILY], {"calendar": {"closed": "never"}}, "are no dates"),
        ([], {"critical": "yes"}, "'yes' is neither true nor false"),
    ],
)
def test_what_cannot_be_promised_is_refused(tmp_path: Path, sla: Any, custom: Any, told: str) -> None:
    with pytest.raises(ContractError, match=told) as refused:
        contract(tmp_path, *sla, **custom)
    assert refused.value.problems[0].line > 0
    assert refused.value.problems[0].hint
