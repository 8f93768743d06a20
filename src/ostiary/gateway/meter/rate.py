"""Rate limits by GCRA, the generic cell rate algorithm (ITU-T I.371), over any number of scopes at once; pure.

A limit of `rate` a minute with a burst of `burst` lets `burst` through at once and then one every 60 / `rate` seconds.
Its whole state is one number: the theoretical arrival time (`tat`), the time until which what was let through is
paid for. What a call turns out to have cost may be corrected afterwards, in either direction.

All scopes of a call are judged together: what one refuses is charged to none.
"""

from collections.abc import Iterable
from itertools import repeat
from typing import Final

import msgspec

from ostiary.core.limit import RATE_SCOPES_MAX

_MINUTE: Final = 60.0
_NANOSECOND: Final = 1e-9


class Cell(msgspec.Struct, frozen=True):
    """One limit of one scope, and how much of it a call takes: `name` is its place in the counters (unique for scope
    and kind), `rate` how many a minute, `burst` how many at once, `cost` how many now (0: as many `units` as the call
    has)."""

    name: str
    rate: int
    burst: int
    cost: int

    def interval(self) -> float:
        """Seconds that one unit takes."""
        return _MINUTE / self.rate


class Cells(msgspec.Struct, frozen=True):
    """Limits that are judged together, also as columns, in which they are reckoned: their names, the seconds that one unit
    of each takes, and their costs."""

    each: tuple[Cell, ...]
    names: tuple[str, ...]
    intervals: tuple[float, ...]
    costs: tuple[int, ...]

    @classmethod
    def of(cls, cells: Iterable[Cell]) -> "Cells":
        """The cells in their order."""
        each = tuple(cells)
        return cls(
            each,
            tuple(cell.name for cell in each),
            tuple(cell.interval() for cell in each),
            tuple(cell.cost for cell in each),
        )


class Refused(msgspec.Struct, frozen=True):
    """The limit that a call does not fit into, and when it would."""

    cell: Cell
    retry_after_seconds: float


class Rates:
    """The state of every limit of one worker. At most RATE_SCOPES_MAX are remembered; those that owe nothing are
    forgotten first, which changes no decision."""

    def __init__(self) -> None:
        self._tat: dict[str, float] = {}

    def take(self, cells: Cells, now: float, units: int = 0) -> Refused | None:
        """Charge every cell, or none and say which refuses, the longest wait of all."""
        refused: Refused | None = None
        tats = self._tat
        names = cells.names
        after: list[float] = []
        append = after.append
        for owed, seconds, cost in zip(map(tats.get, names, repeat(now)), cells.intervals, cells.costs, strict=True):
            if owed > now:
                cell = cells.each[len(after)]
                # More than a burst never fits: it is let through alone, once nothing else is owed, and pays afterwards.
                wait = owed - now - max(cell.burst - (cost or units), 0) * seconds
                # Sums of floats may miss by a few units in the last place; a nanosecond is less than any clock tells.
                if wait > _NANOSECOND and (refused is None or wait > refused.retry_after_seconds):
                    refused = Refused(cell, wait)
                append(owed + (cost or units) * seconds)
            else:
                append(now + (cost or units) * seconds)
        if refused is None:
            tats.update(zip(names, after, strict=True))
            if len(tats) > RATE_SCOPES_MAX:
                self._forget(now)
        return refused

    def correct(self, cells: Cells, cost: int, now: float, units: int = 0) -> None:
        """Charge what it came to instead of what was expected: `cost` units rather than each `cell.cost`, or `units`."""
        tats = self._tat
        names = cells.names
        for name, tat, seconds, expected in zip(names, map(tats.get, names), cells.intervals, cells.costs, strict=True):
            more = cost - (expected or units)
            if tat is not None:
                tats[name] = tat + more * seconds
            elif more > 0:
                tats[name] = now + more * seconds

    def tat(self, name: str) -> float:
        """The theoretical arrival time of a limit; 0.0 where it owes nothing."""
        return self._tat.get(name, 0.0)

    def tightest(self, cells: Cells, now: float) -> tuple[Cell, int, float] | None:
        """The limit with the least room: it, how many units of it would pass at once, and the seconds until its whole
        burst is there again; None of none. Of the cells the one with the least burst comes first."""
        if not cells.each:
            return None
        found = cells.each[0]
        tats = [*map(self._tat.get, cells.names, repeat(now))]
        if max(tats) <= now:  # nothing is owed: as most of the time
            return found, found.burst, 0.0
        least, reset = float(found.burst), 0.0
        for cell, tat in zip(cells.each, tats, strict=True):
            if tat > now:  # of the others the first has the least room
                room = cell.burst - (tat - now) * cell.rate / _MINUTE
                if room < least:
                    found, least, reset = cell, room, tat - now
        return found, max(int(least + 1e-9), 0), reset

    def told(self, name: str, tat: float, now: float) -> None:
        """Take over the state of a limit that is kept elsewhere."""
        self._tat[name] = tat
        if len(self._tat) > RATE_SCOPES_MAX:
            self._forget(now)

    def _forget(self, now: float) -> None:
        self._tat = {name: tat for name, tat in self._tat.items() if tat > now}
        while len(self._tat) > RATE_SCOPES_MAX:
            # A flood of made-up users: those who owe least are let off.
            kept = sorted(self._tat.items(), key=lambda pair: pair[1])[len(self._tat) // 4 :]
            self._tat = dict(kept)
