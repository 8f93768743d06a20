"""One call and the cache: whether a kept answer will do, whether to wait for another call's, what to keep of this one.

Made only for calls whose answers may be kept (`gateway/memory.py`).
"""

from enum import StrEnum
from typing import Final

import msgspec

from ostiary.core.error import Code, GatewayError
from ostiary.core.http import Header
from ostiary.core.limit import CACHE_ENTRY_BYTES_MAX
from ostiary.gateway.cache.answers import Answers
from ostiary.gateway.cache.directive import Directive
from ostiary.gateway.cache.flight import Flights
from ostiary.gateway.cache.semantic import HIT as NEAR_HIT
from ostiary.gateway.cache.semantic import WOULD_HIT, Semantic
from ostiary.gateway.ports import CacheKey, Kept
from ostiary.snapshot.tables import CacheRow

_INCOMPLETE: Final = frozenset(
    {"length", "max_tokens", "MAX_TOKENS", "content_filter", "refusal", "error", "incomplete"}
)
"""Why an answer stopped that had better be asked for anew."""


SEMANTIC: Final = "semantic"
"""What a record says of an answer that had been given to another question."""


class Recall(StrEnum):
    """What the cache had to say."""

    BYPASS = "bypass"
    MISS = "miss"
    HIT = "hit"
    STALE = "stale"


class Recollection:
    """The part of one call. `said` is what its answer tells of the cache, `similarity` how near the question was that the
    answer had been given to (None: it was this one). Where a near question's answer is only measured against, it is
    `rival`, and `answered` what the model said."""

    def __init__(
        self,
        answers: Answers,
        flights: Flights,
        key: CacheKey,
        row: CacheRow,
        directive: Directive,
        *,
        tags: tuple[str, ...] = (),
        semantic: Semantic | None = None,
        least_similarity: float | None = 0.0,
    ) -> None:
        self._answers = answers
        self._flights = flights
        self._key = key
        self._row = row
        self._directive = directive
        self._tags = tags
        self._least_similarity = least_similarity
        self._purge = answers.last_purge
        self._leads = False
        self._pieces: list[bytes] = []
        self._room = CACHE_ENTRY_BYTES_MAX if directive.store else -1
        self.semantic = semantic
        self.similarity: float | None = None
        self.rival: Kept | None = None
        self.answered: Kept | None = None
        self.said = Recall.MISS if directive.look else Recall.BYPASS

    async def find(self, now_seconds: int, wait_seconds: float) -> Kept | None:
        """A fresh answer: kept, or as soon as the call that asks for the same has one, or that of a question near enough;
        None: this call must ask. Raises GatewayError cache.miss where the caller wants nothing else."""
        if not self._directive.look:
            if self._directive.only:
                raise _nothing_kept()
            return None
        while True:
            kept = await self._fresh(self._key, now_seconds)
            if kept is not None:
                return self._hit(kept)
            if self._directive.only or not self._row.single_flight or not self._directive.store or self._lead():
                break
            if not await self._flights.follow(self._key, wait_seconds):
                break
        kept = None if self.semantic is None else await self._near(self.semantic, now_seconds)
        if kept is not None:
            self.leave()
            return self._hit(kept)
        if self._directive.only:
            raise _nothing_kept()
        return None

    async def stale(self, now_seconds: int) -> Kept | None:
        """An answer that is old, but still better than a failure."""
        if not self._directive.look:
            return None
        kept = await self._answers.find(self._key, now_seconds)
        if kept is None or not self._alike(kept) or now_seconds > kept.until + self._row.stale_if_error_seconds:
            return None
        self.similarity = kept.similarity
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
        self.answered = kept = Kept(
            headers,
            tuple(self._pieces),
            streamed,
            keepalive,
            target,
            response_model,
            finish_reason,
            now_seconds,
            until,
            until + self._row.stale_if_error_seconds,
            self._tags,
            self._purge,
        )
        await self._answers.keep(self._key, kept)
        if self.semantic is not None:
            self.semantic.remember(self._key)

    def leave(self) -> None:
        """The call has ended. Whoever waits for it looks again."""
        if self._leads:
            self._leads = False
            self._flights.land(self._key)

    def _lead(self) -> bool:
        self._leads = self._flights.lead(self._key)
        return self._leads

    def _hit(self, kept: Kept) -> Kept:
        self.said, self.similarity = Recall.HIT, kept.similarity
        return kept

    async def _near(self, semantic: Semantic, now_seconds: int) -> Kept | None:
        """The fresh answer of the nearest question that has one. It is kept as this question's too, as near as it is, so
        that the next one finds it at once; nobody finds further questions by it."""
        for similarity, question in await semantic.near(self._key):
            kept = await self._fresh(question.key, now_seconds)
            if kept is None or kept.similarity is not None:
                if await self._answers.find(question.key, now_seconds) is None:
                    semantic.forget(question.key)
                continue
            if not semantic.serves:
                semantic.outcome, self.rival = WOULD_HIT, kept
                return None
            semantic.outcome = NEAR_HIT
            kept = msgspec.structs.replace(kept, similarity=similarity)
            await self._answers.memory.keep(self._key, kept)
            return kept
        return None

    async def _fresh(self, key: CacheKey, now_seconds: int) -> Kept | None:
        kept = await self._answers.find(key, now_seconds)
        if kept is None or now_seconds >= kept.until or not self._alike(kept):
            return None
        oldest = self._directive.max_age_seconds
        return None if oldest is not None and now_seconds - kept.at > oldest else kept

    def _alike(self, kept: Kept) -> bool:
        """Whether an answer to another question is near enough for this caller."""
        if kept.similarity is None:
            return True
        least = self._least_similarity
        return least is not None and kept.similarity >= least


def _nothing_kept() -> GatewayError:
    return GatewayError(Code.CACHE_MISS, "No answer is kept, and the caller wants no other.")
