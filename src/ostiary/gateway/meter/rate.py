"""Rate limits by GCRA, the generic cell rate algorithm (ITU-T I.371), over any number of scopes at once; pure.

A limit of `rate` a minute with a burst of `burst` lets `burst` through at once and then one every 60 / `rate` seconds.
Its whole state is one number: the theoretical arrival time (`tat`), the time until which what was let through is
paid for. What a call turns out to have cost may be corrected afterwards, in either direction.

All scopes of a call are judged together: what one refuses is charged to none.
"""

from collections.abc import Sequence
from typing import Final

import msgspec

from ostiary.core.limit import RATE_SCOPES_MAX

_MINUTE: Final = 60.0


class Cell(msgspec.Struct, frozen=True):
    """One limit of one scope, and how much of it a call takes: `name` is its place in the counters (unique for scope
    and kind), `rate` how many a minute, `burst` how many at once, `cost` how many now."""

    name: str
    rate: int
    burst: int
    cost: int

    def interval(self) -> float:
        """Seconds that one unit takes."""
        return _MINUTE / self.rate

    def decide(self, tat: float, now: float) -> tuple[float, float]:
        """The new `tat`, and the seconds to wait before this would pass (0.0: it passes now)."""
        interval = self.interval()
        earliest = max(now, tat)
        # More than a burst never fits: it is let through alone, once nothing else is owed, and pays afterwards.
        taken = min(self.cost, self.burst) * interval
        wait = earliest + taken - self.burst * interval - now
        # Sums of floats may miss by a few units in the last place; a nanosecond is less than any clock tells.
        return earliest + self.cost * interval, wait if wait > 1e-9 else 0.0

    def remaining(self, tat: float, now: float) -> int:
        """How many units would pass at once."""
        free = self.burst * self.interval() - max(tat - now, 0.0)
        return max(int(free / self.interval() + 1e-9), 0)

    def reset_seconds(self, tat: float, now: float) -> float:
        """Seconds until the whole burst is there again."""
        return max(tat - now, 0.0)


class Refused(msgspec.Struct, frozen=True):
    """The limit that a call does not fit into, and when it would."""

    cell: Cell
    retry_after_seconds: float


class Rates:
    """The state of every limit of one worker. At most RATE_SCOPES_MAX are remembered; those that owe nothing are
    forgotten first, which changes no decision."""

    def __init__(self) -> None:
        self._tat: dict[str, float] = {}

    def take(self, cells: Sequence[Cell], now: float) -> Refused | None:
        """Charge every cell, or none and say which refuses, the longest wait of all."""
        refused: Refused | None = None
        after: list[tuple[str, float]] = []
        for cell in cells:
            tat, wait = cell.decide(self._tat.get(cell.name, 0.0), now)
            if wait and (refused is None or wait > refused.retry_after_seconds):
                refused = Refused(cell, wait)
            after.append((cell.name, tat))
        if refused is None:
            self._tat.update(after)
            if len(self._tat) > RATE_SCOPES_MAX:
                self._forget(now)
        return refused

    def correct(self, cell: Cell, cost: int, now: float) -> None:
        """Charge what it came to instead of what was expected: `cost` units rather than `cell.cost`."""
        tat = self._tat.get(cell.name)
        if tat is not None:
            self._tat[cell.name] = tat + (cost - cell.cost) * cell.interval()
        elif cost > cell.cost:
            self._tat[cell.name] = now + (cost - cell.cost) * cell.interval()

    def tat(self, name: str) -> float:
        """The theoretical arrival time of a limit; 0.0 where it owes nothing."""
        return self._tat.get(name, 0.0)

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
