"""Of calls that ask for the same at the same time one goes out, and the others wait for its answer."""

import asyncio

from ostiary.core.limit import FLIGHT_WAITERS_MAX
from ostiary.gateway.ports import CacheKey


class Flights:
    """The calls of one worker that are on their way, by what they ask for. At most FLIGHT_WAITERS_MAX wait for one;
    those beyond go out themselves."""

    def __init__(self) -> None:
        self._landing: dict[CacheKey, asyncio.Future[None]] = {}
        self._followers: dict[CacheKey, int] = {}

    def lead(self, key: CacheKey) -> bool:
        """Take the lead for a key; whether nobody had it. The leader must `land`, whatever happens."""
        if key in self._landing:
            return False
        self._landing[key] = asyncio.get_running_loop().create_future()
        return True

    async def follow(self, key: CacheKey, seconds: float) -> bool:
        """Wait until the leader has landed; False where it takes longer than `seconds`, or too many wait already."""
        landing = self._landing.get(key)
        if landing is None:
            return True
        waiting = self._followers.get(key, 0)
        if waiting >= FLIGHT_WAITERS_MAX:
            return False
        self._followers[key] = waiting + 1
        try:
            done, _ = await asyncio.wait((landing,), timeout=seconds)
            return bool(done)
        finally:
            left = self._followers[key] - 1
            if left:
                self._followers[key] = left
            else:
                del self._followers[key]

    def land(self, key: CacheKey) -> None:
        """The leader's call has ended, with an answer or without."""
        self._landing.pop(key).set_result(None)

    @property
    def open_count(self) -> int:
        """How many calls are on their way."""
        return len(self._landing)
