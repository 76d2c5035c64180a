"""Days on and around which people do other things than on any such weekday, for calendars that are named.

`US`: the holidays that Thanksgiving, Christmas and long weekends make of the federal ones (5 U.S.C. 6103):
New Year, Martin Luther King, Washington's Birthday, Memorial Day, Independence Day, Labor Day, Columbus Day,
Veterans Day, Thanksgiving, Christmas.
"""

from __future__ import annotations

from datetime import date, timedelta
from functools import lru_cache

_MONDAY, _THURSDAY = 0, 3


def _united_states(year: int) -> set[date]:
    return {
        date(year, 1, 1),
        _nth(year, 6, _MONDAY, 1) - timedelta(7),  # the last Monday of May
        date(year, 7, 4),
        _nth(year, 9, _MONDAY, 1),
        _nth(year, 11, _THURSDAY, 4),
        date(year, 12, 25),
    }


def _nth(year: int, month: int, weekday: int, n: int) -> date:
    first = date(year, month, 1)
    return first + timedelta((weekday - first.weekday()) % 7 + 7 * (n - 1))


CALENDARS = {"US": _united_states}


def is_holiday(when: date, calendar: str) -> bool:
    """Whether a date is itself a holiday. Raises: KeyError for a calendar that is not one of CALENDARS."""
    return when in CALENDARS[calendar](when.year)


@lru_cache(maxsize=4096)
def is_near(when: date, calendar: str) -> bool:
    """Whether a date is a holiday, of the weekend that one makes longer (the two days before a Monday's, the
    three after a Thursday's), else the day before or after one, or from 20 December to 2 January.

    Raises: KeyError for a calendar that is not one of CALENDARS.
    """
    holidays = {day for year in (when.year - 1, when.year, when.year + 1) for day in CALENDARS[calendar](year)}
    if (when.month, when.day) >= (12, 20) or (when.month, when.day) <= (1, 2):
        return True
    for day in holidays:
        before, after = {_MONDAY: (2, 0), _THURSDAY: (1, 3)}.get(day.weekday(), (1, 1))
        if -before <= (when - day).days <= after:
            return True
    return False
