"""One call and the cache: whether a kept answer will do, whether to wait for another call's, what to keep of this one.

Made only for calls whose answers may be kept (`gateway/memory.py`).
"""

from enum import StrEnum
from typing import Final

from ostiary.core.error import Code, GatewayError
from ostiary.core.http import Header
from ostiary.core.limit import CACHE_ENTRY_BYTES_MAX
from ostiary.gateway.cache.answers import AnswerCache, Kept
from ostiary.gateway.cache.directive import Directive
from ostiary.gateway.cache.flight import Flights
from ostiary.gateway.cache.key import CacheKey
from ostiary.snapshot.tables import CacheRow

_INCOMPLETE: Final = frozenset(
    {"length", "max_tokens", "MAX_TOKENS", "content_filter", "refusal", "error", "incomplete"}
)
"""Why an answer stopped that had better be asked for anew."""


class Recall(StrEnum):
    """What the cache had to say."""

    BYPASS = "bypass"
    MISS = "miss"
    HIT = "hit"
    STALE = "stale"


class Recollection:
    """The part of one call. `said` is what its answer tells of the cache."""

    def __init__(
        self, answers: AnswerCache, flights: Flights, key: CacheKey, row: CacheRow, directive: Directive
    ) -> None:
        self._answers = answers
        self._flights = flights
        self._key = key
        self._row = row
        self._directive = directive
        self._leads = False
        self._pieces: list[bytes] = []
        self._room = CACHE_ENTRY_BYTES_MAX if directive.store else -1
        self.said = Recall.MISS if directive.look else Recall.BYPASS

    async def find(self, now_seconds: int, wait_seconds: float) -> Kept | None:
        """A fresh answer: kept, or as soon as the call that asks for the same has one; None: this call must ask. Raises
        GatewayError cache.miss where the caller wants nothing else."""
        if self._directive.look:
            while True:
                kept = await self._fresh(now_seconds)
                if kept is not None:
                    self.said = Recall.HIT
                    return kept
                if self._directive.only:
                    break
                if not self._row.single_flight or not self._directive.store or self._lead():
                    return None
                if not await self._flights.follow(self._key, wait_seconds):
                    return None
        if self._directive.only:
            raise GatewayError(Code.CACHE_MISS, "No answer is kept, and the caller wants no other.")
        return None

    async def stale(self, now_seconds: int) -> Kept | None:
        """An answer that is old, but still better than a failure."""
        if not self._directive.look:
            return None
        kept = await self._answers.find(self._key)
        if kept is None or now_seconds > kept.until + self._row.stale_if_error_seconds:
            return None
        self.said = Recall.STALE
        return kept

    def collect(self, piece: bytes) -> None:
        """A piece of the answer, as it goes to the client."""
        if self._room >= 0:
            self._room -= len(piece)
            self._pieces.append(piece)
        if self._room < 0:
            self._pieces.clear()

    def restart(self) -> None:
        """What was collected belongs to an attempt that failed."""
        self._pieces.clear()
        self._room = CACHE_ENTRY_BYTES_MAX if self._directive.store else -1

    async def keep(
        self,
        headers: tuple[Header, ...],
        *,
        streamed: bool,
        keepalive: bytes = b"",
        target: str,
        response_model: str,
        finish_reason: str,
        now_seconds: int,
    ) -> None:
        """Keep what was collected: the answer is whole."""
        if self._room < 0 or finish_reason in _INCOMPLETE:
            return
        until = now_seconds + self._row.ttl_seconds
        await self._answers.keep(
            self._key,
            Kept(
                headers,
                tuple(self._pieces),
                streamed,
                keepalive,
                target,
                response_model,
                finish_reason,
                now_seconds,
                until,
            ),
        )

    def leave(self) -> None:
        """The call has ended. Whoever waits for it looks again."""
        if self._leads:
            self._leads = False
            self._flights.land(self._key)

    def _lead(self) -> bool:
        self._leads = self._flights.lead(self._key)
        return self._leads

    async def _fresh(self, now_seconds: int) -> Kept | None:
        kept = await self._answers.find(self._key)
        if kept is None or now_seconds >= kept.until:
            return None
        oldest = self._directive.max_age_seconds
        return None if oldest is not None and now_seconds - kept.at > oldest else kept
