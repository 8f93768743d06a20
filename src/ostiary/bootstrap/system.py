"""The real world behind the ports of time, identity and chance."""

import os
import random
import time
from typing import Final

_RANDOM_BITS: Final = 73
_MASK_47: Final = (1 << 47) - 1


class SystemClock:
    """The operating system's clocks: seconds that never go back, wall-clock nanoseconds since 1970."""

    monotonic = staticmethod(time.monotonic)
    now_ns = staticmethod(time.time_ns)


class SystemRandom:
    """Chance for choices, not for secrets. Seeded from the operating system."""

    def __init__(self) -> None:
        self._random = random.Random(os.urandom(16))  # noqa: S311 - only chooses among targets

    def random(self) -> float:
        """Uniform in [0, 1)."""
        return self._random.random()


class UuidIds:
    """UUIDv7 (RFC 9562 section 5.7): milliseconds, then random bits; ids of one process never repeat or go back
    within a millisecond, since the lower bits count up from a random start."""

    def __init__(self) -> None:
        self._last_ms = 0
        self._start = ""
        self._low = 0
        # Ids need to be unique, not secret; the seed comes from the operating system.
        self._chance = random.Random(os.urandom(32)).getrandbits  # noqa: S311

    def new(self) -> str:
        """A fresh id."""
        now_ms = time.time_ns() // 1_000_000
        if now_ms > self._last_ms:
            self._last_ms = now_ms
            chance = self._chance(_RANDOM_BITS)
            low = chance & _MASK_47  # one bit less than there is room for: counting never runs over
            rand_a, rand_b = chance >> 61, chance >> 47 & 0x3FFF
            self._start = f"{now_ms >> 16:08x}-{now_ms & 0xFFFF:04x}-{0x7000 | rand_a:x}-{0x8000 | rand_b:x}-"
        else:
            low = self._low + 1
        self._low = low
        return f"{self._start}{low:012x}"
