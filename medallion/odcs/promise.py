"""When a dataset is to come, as its contract says it.

ODCS has `frequency` (`value`, `unit`) and `timeOfAvailability` (`value` as in `06:00+01:00`; `valueExt`, here: how many days
after the date, 1 if it is not there) among its `slaProperties`. For days on which nothing is expected it has no word: they stand
in the custom property `calendar: {weekdays: [mon, tue], holidays: US, closed: [2013-12-31]}`.
See https://bitol-io.github.io/open-data-contract-standard/v3.1.0/service-level-agreement/.
"""

from __future__ import annotations

import re
from datetime import date, timedelta
from typing import Any

from open_data_contract_standard.model import ServiceLevelAgreementProperty

from medallion.contract import Promise
from medallion.odcs.anomalies import CALENDARS
from medallion.odcs.problems import Problems

WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_PLACE = "customProperties.calendar"
_KEYS = ("weekdays", "holidays", "closed")
_CLOCK = re.compile(r"([01]\d|2[0-3]):([0-5]\d)(?:Z|([+-])(0\d|1[0-4]):([0-5]\d))?")


def read(sla: list[ServiceLevelAgreementProperty] | None, calendar: Any, problems: Problems) -> Promise | None:
    """Read what is promised, noting what is wrong with it. Returns: None if nothing is."""
    named = {(one.property or "").lower(): (i, one) for i, one in enumerate(sla or [])}
    if "frequency" not in named:
        hint = "add {property: frequency, value: 1, unit: d} to slaProperties"
        if "timeofavailability" in named:
            problems.note(f"slaProperties[{named['timeofavailability'][0]}]", "a time without a frequency", hint)
        if calendar is not None:
            problems.note(_PLACE, "a calendar without a frequency", hint)
        return None
    hours = _frequency(*named["frequency"], problems)
    by = _by(*named["timeofavailability"], problems) if "timeofavailability" in named else None
    if hours and (by is not None or calendar is not None):
        problems.note(f"slaProperties[{named['frequency'][0]}]", "hours go with no time and no calendar", "leave them out")
    return Promise(hours, by, **_calendar(calendar, problems))


def _frequency(i: int, one: ServiceLevelAgreementProperty, problems: Problems) -> int | None:
    """The hours between two deliveries; None: a date a day."""
    days, hours = one.unit in ("d", "day", "days"), one.unit in ("h", "hr", "hour", "hours")
    number = one.value if isinstance(one.value, int) and not isinstance(one.value, bool) else 0
    if not (days and number == 1) and not (hours and number >= 1):
        problems.note(
            f"slaProperties[{i}]",
            f"frequency {one.value!r} {one.unit} is none that we can watch",
            "write value: 1, unit: d (days on which nothing comes stand in `calendar`), or whole hours with unit: h",
        )
    return number if hours else None


def _by(i: int, one: ServiceLevelAgreementProperty, problems: Problems) -> timedelta | None:
    found = _CLOCK.fullmatch(str(one.value))
    later = 1 if one.valueExt is None else one.valueExt
    if not found:
        hint = "write '06:00' (UTC), or with an offset as in '06:00-05:00', in quotes"
        problems.note(f"slaProperties[{i}].value", f"{one.value!r} is no time", hint)
        return None
    if isinstance(later, bool) or not isinstance(later, int) or not 0 <= later <= 31:
        problems.note(f"slaProperties[{i}].valueExt", f"{later!r} is no number of days", "0 is the date itself, 1 the day after")
        return None
    ahead = timedelta(hours=int(found[4] or 0), minutes=int(found[5] or 0)) * (-1 if found[3] == "-" else 1)
    return timedelta(days=later, hours=int(found[1]), minutes=int(found[2])) - ahead


def _calendar(value: Any, problems: Problems) -> dict[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict) or set(value) - {*_KEYS}:
        problems.note(_PLACE, f"{value!r} is no calendar", f"use {', '.join(_KEYS)}")
        return {}
    found: dict[str, Any] = {}
    if "weekdays" in value:
        days = value["weekdays"]
        if not isinstance(days, list) or not days or any(day not in WEEKDAYS for day in days):
            problems.note(f"{_PLACE}.weekdays", f"{days!r} are no weekdays", f"list some of {', '.join(WEEKDAYS)}")
        else:
            found["weekdays"] = tuple(sorted({WEEKDAYS.index(day) for day in days}))
    if "holidays" in value:
        if value["holidays"] not in CALENDARS:
            problems.note(f"{_PLACE}.holidays", f"{value['holidays']!r} is unknown", f"use one of {', '.join(CALENDARS)}")
        else:
            found["holidays"] = value["holidays"]
    if "closed" in value:
        try:
            found["closed"] = tuple(day if isinstance(day, date) else date.fromisoformat(str(day)) for day in value["closed"])
        except (TypeError, ValueError):
            problems.note(f"{_PLACE}.closed", f"{value['closed']!r} are no dates", "list dates, as in 2013-12-31")
    return found
