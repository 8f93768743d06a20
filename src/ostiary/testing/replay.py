"""A replay store in memory, for tests in process."""

import asyncio
from collections.abc import AsyncIterator

from ostiary.core.error import Code, UpstreamError
from ostiary.core.limit import REPLAY_BYTES_MAX, REPLAY_SECONDS
from ostiary.core.port import Clock
from ostiary.gateway.ports import Recording, Replay, ReplayHead


class MemoryReplays:
    """Implements ReplayStore."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.places: dict[str, _Place] = {}

    async def claim(self, name: str, seal: bytes, fingerprint: str) -> tuple[Recording, None] | tuple[None, Replay]:
        """See ReplayStore."""
        del seal  # nothing leaves this process
        place = self.places.get(name)
        if place is not None and (place.running or self._clock.now_ns() / 1e9 - place.at <= REPLAY_SECONDS):
            return None, place
        place = self.places[name] = _Place(self.places, name, fingerprint, self._clock.now_ns() / 1e9)
        return place, None


class _Place:
    """Implements Recording and Replay: what one side writes the other reads."""

    def __init__(self, places: "dict[str, _Place]", name: str, fingerprint: str, at: float) -> None:
        self.fingerprint = fingerprint
        self.at = at
        self.running = True
        self._places = places
        self._name = name
        self._changed = asyncio.Event()
        self._head: ReplayHead | None = None
        self._pieces: list[bytes] = []
        self._room = REPLAY_BYTES_MAX
        self._dropped = False
        self._keeps = True

    def begin(self, head: ReplayHead) -> None:
        if self._keeps:
            self._head = head
        self._tell()

    def piece(self, data: bytes) -> None:
        self._room -= len(data)
        if self._room < 0:
            self._keeps = False
        if self._keeps:
            self._pieces.append(data)
        self._tell()

    def forbid(self) -> None:
        self._keeps = False

    def finish(self) -> None:
        self.running = False
        self._tell()

    def drop(self) -> None:
        self._places.pop(self._name, None)
        self._dropped, self.running = True, False
        self._tell()

    async def head(self) -> ReplayHead | None:
        while self._head is None and self.running:
            await self._changed.wait()
        return self._head if self._keeps and not self._dropped else None

    async def pieces(self, after: int) -> AsyncIterator[bytes]:
        place = after
        while True:
            while place < len(self._pieces):
                place += 1
                yield self._pieces[place - 1]
            if self._dropped or not self._keeps:
                raise UpstreamError(Code.UPSTREAM_CUT, "The answer is not kept.")
            if not self.running:
                return
            await self._changed.wait()

    def close(self) -> None:
        pass

    def _tell(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()
