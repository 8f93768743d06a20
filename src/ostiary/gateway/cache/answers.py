"""Where answers are kept, and the memory of one worker as such a place: so many bytes, and what was not asked for
longest goes first."""

from collections import OrderedDict
from typing import Protocol

import msgspec

from ostiary.core.http import Header
from ostiary.core.limit import CACHE_ENTRY_BYTES_MAX
from ostiary.gateway.cache.key import CacheKey


class Kept(msgspec.Struct, frozen=True):
    """An answer as its client got it: the headers of its form (none of ours), and its body in the pieces in which a
    stream is written (`streamed`). `at` is when it was kept and `until` up to when it is fresh, in seconds since 1970."""

    headers: tuple[Header, ...]
    pieces: tuple[bytes, ...]
    streamed: bool
    keepalive: bytes
    target: str
    response_model: str
    finish_reason: str
    at: int
    until: int
    tags: tuple[str, ...] = ()

    @property
    def size(self) -> int:
        """Bytes it takes, about."""
        return sum(map(len, self.pieces)) + 1_024


class AnswerCache(Protocol):
    """Where answers are kept. Neither method raises: a cache that cannot be asked has nothing."""

    async def find(self, key: CacheKey) -> Kept | None:
        """What is kept under a key, fresh or not."""
        ...

    async def keep(self, key: CacheKey, kept: Kept) -> None:
        """Keep an answer in place of an older one, if there is room for it."""
        ...

    def resize(self, bytes_max: int) -> None:
        """Take a new bound on what is kept in memory."""
        ...


class Answers:
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
        self._drop(key)
        while self.bytes + size > self._bytes_max:
            self._drop(next(iter(self._kept)))
        self._kept[key] = kept
        self.bytes += size

    def resize(self, bytes_max: int) -> None:
        """See AnswerCache."""
        self._bytes_max = bytes_max
        while self.bytes > bytes_max:
            self._drop(next(iter(self._kept)))

    def _drop(self, key: CacheKey) -> None:
        old = self._kept.pop(key, None)
        if old is not None:
            self.bytes -= old.size
