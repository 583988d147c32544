"""When a cap's window begins and ends. Pure: Unix times in, Unix times out.

A calendar window begins at local midnight (a week's on Monday, a month's on the first)
and is as long as that makes it: 23 or 25 hours where the clocks change. A rolling
window has no calendar: it is the time since now minus its length.

Invariant: a moment lies in exactly one calendar window; windows follow each other
without gap or overlap, in every time zone.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, tzinfo
from functools import lru_cache
from math import inf
from typing import Final
from zoneinfo import ZoneInfo

from actors.ledger.messages import Cap, Window

# Every time zone's midnight falls on a quarter of an hour of UTC, so money that is
# remembered by quarters can be counted into the windows of any of them.
QUARTER_S: Final = 900

ROLLING_S: Final[dict[Window, int]] = {
    "day": 86_400,
    "week": 7 * 86_400,
    "month": 30 * 86_400,
}
ZONES_MAX: Final = 64  # Of one configuration; more would be read again, not refused.


@lru_cache(ZONES_MAX)
def zone_of(name: str) -> tzinfo:
    """A time zone by its name. Raises ZoneInfoNotFoundError or ValueError."""
    return UTC if name == "UTC" else ZoneInfo(name)


def calendar(window: Window, zone: str, now_s: float) -> tuple[float, float]:
    """The window that holds `now_s`: its first moment, and the next one's."""
    if window == "total":
        return 0.0, inf
    place = zone_of(zone)
    local = datetime.fromtimestamp(now_s, place)
    day = datetime(local.year, local.month, local.day)  # noqa: DTZ001 - set in _midnight
    match window:
        case "day":
            first, after = day, day + timedelta(days=1)
        case "week":
            first = day - timedelta(days=day.weekday())
            after = first + timedelta(days=7)
        case "month":
            first = day.replace(day=1)
            # The 32nd day after a first is in the next month, whatever its length.
            after = (first + timedelta(days=32)).replace(day=1)
    return _midnight(first, place), _midnight(after, place)


def rolling_s(window: Window) -> float:
    """How long a rolling window is; a month is 30 days."""
    return ROLLING_S.get(window, inf)


def quarter(at_s: float) -> int:
    """The quarter of an hour that holds this moment, counted from 1970."""
    return int(at_s // QUARTER_S)


def _midnight(day: datetime, place: tzinfo) -> float:
    """A day's first moment.

    Where the clocks go forward at midnight there is no 00:00: `fold=0` reads it by the
    offset before the change, which is the moment of the change. Where they go back over
    midnight there are two: `fold=0` is the first.
    """
    return day.replace(tzinfo=place, fold=0).timestamp()


def begins_s(cap: Cap, now_s: float) -> float:
    """The first moment that counts in a cap's window now."""
    if cap.rolling:
        return quarter(max(0.0, now_s - rolling_s(cap.window))) * QUARTER_S
    return calendar(cap.window, cap.zone, now_s)[0]
