"""Where answers are kept: the memory of one worker, so many bytes, and what was not asked for longest goes first; behind
it, where there is one, a place that workers share. What was purged is given from neither."""

from collections import OrderedDict

from ostiary.core.limit import CACHE_ENTRY_BYTES_MAX
from ostiary.gateway.ports import AnswerCache, CacheKey, Kept
from ostiary.snapshot.purges import Purges, PurgeTable


class MemoryAnswers:
    """Implements AnswerCache in memory. `bytes_max` bounds all of it, CACHE_ENTRY_BYTES_MAX one answer."""

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self._kept: OrderedDict[CacheKey, Kept] = OrderedDict()
        self.bytes = 0

    def __len__(self) -> int:
        return len(self._kept)

    async def find(self, key: CacheKey) -> Kept | None:
        """See AnswerCache."""
        found = self._kept.get(key)
        if found is not None:
            self._kept.move_to_end(key)
        return found

    async def keep(self, key: CacheKey, kept: Kept) -> None:
        """See AnswerCache."""
        size = kept.size
        if size > min(CACHE_ENTRY_BYTES_MAX, self._bytes_max):
            return
        self.drop(key)
        while self.bytes + size > self._bytes_max:
            self.drop(next(iter(self._kept)))
        self._kept[key] = kept
        self.bytes += size

    def resize(self, bytes_max: int) -> None:
        """Take a new bound."""
        self._bytes_max = bytes_max
        while self.bytes > bytes_max:
            self.drop(next(iter(self._kept)))

    def drop(self, key: CacheKey) -> None:
        """Forget what is kept under a key."""
        old = self._kept.pop(key, None)
        if old is not None:
            self.bytes -= old.size

    @property
    def away(self) -> bool:
        """Never: it is here."""
        return False

    async def settled(self) -> None:
        """See AnswerCache: everything is there at once."""

    async def aclose(self) -> None:
        """Nothing to close."""


class Answers:
    """What calls ask: memory first, then what workers share, if there is such a place. Loop only."""

    def __init__(self, bytes_max: int, shared: AnswerCache | None = None) -> None:
        self.memory = MemoryAnswers(bytes_max)
        self._shared = shared
        self._purges = PurgeTable(Purges())

    def __len__(self) -> int:
        return len(self.memory)

    @property
    def bytes(self) -> int:
        """Bytes in memory, about."""
        return self.memory.bytes

    @property
    def last_purge(self) -> int:
        """The number of the last purge that is known here: to be noted before an answer is asked for."""
        return self._purges.last

    @property
    def away(self) -> bool:
        """Whether the place that workers share is left alone just now."""
        return self._shared is not None and self._shared.away

    def purge(self, purges: Purges) -> None:
        """Go by these purges from now on."""
        self._purges = PurgeTable(purges)

    def resize(self, bytes_max: int) -> None:
        """Take a new bound on what is kept in memory."""
        self.memory.resize(bytes_max)

    async def find(self, key: CacheKey, now_seconds: int) -> Kept | None:
        """What is kept under a key and may still be given, fresh or not. Never raises."""
        kept = await self.memory.find(key)
        if kept is not None:
            if self._may_be_given(key, kept, now_seconds):
                return kept
            self.memory.drop(key)
        if self._shared is None:
            return None
        kept = await self._shared.find(key)
        if kept is None or not self._may_be_given(key, kept, now_seconds):
            return None
        await self.memory.keep(key, kept)
        return kept

    def _may_be_given(self, key: CacheKey, kept: Kept, now_seconds: int) -> bool:
        return now_seconds <= kept.last and not self._purges.covers(key.tenant, kept.tags, kept.purge)

    async def keep(self, key: CacheKey, kept: Kept) -> None:
        """Keep an answer in place of an older one, if there is room for it. Never raises, never waits for a network."""
        await self.memory.keep(key, kept)
        if self._shared is not None:
            await self._shared.keep(key, kept)

    async def aclose(self) -> None:
        """End what goes on behind calls' backs."""
        if self._shared is not None:
            await self._shared.aclose()
