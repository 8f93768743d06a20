"""When a budget's period begins and ends, by the calendar of its time zone; pure.

A period is counted in local days, so that one that holds a change of the clocks is an hour longer or shorter. A
local midnight that the clocks skip begins with the first moment after it; one that comes twice, with the first.
"""

import datetime as dt
from functools import lru_cache
from zoneinfo import ZoneInfo

from ostiary.snapshot.tables import Period

_FAR: int = 2**53


@lru_cache(maxsize=1_024)
def _zone(name: str) -> ZoneInfo:
    return ZoneInfo(name)


def bounds(period: Period, time_zone: str, at_seconds: int) -> tuple[int, int]:
    """The seconds since 1970 at which the period around `at_seconds` began and at which the next begins."""
    if period is Period.TOTAL:
        return 0, _FAR
    if period is Period.HOUR:
        return at_seconds - at_seconds % 3600, at_seconds - at_seconds % 3600 + 3600
    zone = _zone(time_zone)
    day = dt.datetime.fromtimestamp(at_seconds, zone).date()
    if period is Period.DAY:
        first, following = day, day + dt.timedelta(days=1)
    elif period is Period.WEEK:
        first = day - dt.timedelta(days=day.weekday())
        following = first + dt.timedelta(days=7)
    elif period is Period.MONTH:
        first = day.replace(day=1)
        following = (first + dt.timedelta(days=32)).replace(day=1)
    else:
        first = day.replace(month=1, day=1)
        following = first.replace(year=first.year + 1)
    return _midnight(first, zone), _midnight(following, zone)


def _midnight(day: dt.date, zone: ZoneInfo) -> int:
    """The first second of a local day."""
    return int(dt.datetime.combine(day, dt.time(), zone).timestamp())
