"""How fast places come free while all of them are taken, and how late the event loop runs. Pure: times are handed in."""

import math
from collections import deque
from typing import Final

from ostiary.core.limit import LAG_LOOKS_COUNT
from ostiary.core.principal import Priority

_MEMORY_SECONDS: Final = 5.0
"""What is older than a few of these counts for nothing."""


class Drain:
    """Places that came free per second, measured only while all were taken: a gateway with time on its hands says nothing
    of how fast it could be. What is old fades."""

    __slots__ = ("_at", "_full", "_left", "_seconds")

    def __init__(self) -> None:
        self._left = 0.0
        self._seconds = 0.0
        self._at = 0.0
        self._full = False

    def full(self, now: float, *, full: bool) -> None:
        """Whether all places are taken from now on."""
        if full is not self._full:
            self._pass(now)
            self._full = full

    def left(self, now: float) -> None:
        """A place came free."""
        if self._full:
            self._pass(now)
            self._left += 1.0

    def per_second(self, now: float) -> float | None:
        """The rate, None where nothing is known of it. While nothing comes free it falls."""
        self._pass(now)
        if self._seconds <= 0.0:
            return None
        return max(self._left, 1.0) / self._seconds

    def _pass(self, now: float) -> None:
        if self._full:
            passed = max(now - self._at, 0.0)
            kept = math.exp(-passed / _MEMORY_SECONDS)
            self._left *= kept
            self._seconds = self._seconds * kept + passed
        self._at = now


class Pressure:
    """Which calls an event loop that runs late cannot take. One long step is no overload: only what lasts over
    LAG_LOOKS_COUNT looks in a row counts. Beyond the bound batch calls are shed, beyond twice that standard ones,
    beyond four times all."""

    __slots__ = ("_looks", "bound_seconds", "lag_seconds")

    def __init__(self, bound_seconds: float) -> None:
        self.bound_seconds = bound_seconds
        self.lag_seconds = 0.0
        """The lag that lasts."""

        self._looks: deque[float] = deque(maxlen=LAG_LOOKS_COUNT)

    def look(self, lag_seconds: float) -> None:
        """The loop ran so late just now."""
        self._looks.append(max(lag_seconds, 0.0))
        self.lag_seconds = min(self._looks) if len(self._looks) == LAG_LOOKS_COUNT else 0.0

    @property
    def high(self) -> bool:
        """Whether any call is to be shed."""
        return self.lag_seconds > self.bound_seconds

    def sheds(self, priority: Priority) -> bool:
        """Whether a call of this priority is."""
        return self.lag_seconds > self.bound_seconds * _BEARS[priority]


_BEARS: Final = {Priority.BATCH: 1.0, Priority.STANDARD: 2.0, Priority.INTERACTIVE: 4.0}
