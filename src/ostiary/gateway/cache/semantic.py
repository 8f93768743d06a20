"""One call among the questions that were asked before it in the same partition."""

import asyncio
from array import array
from typing import Final

from ostiary.core.limit import SEMANTIC_EMBED_SECONDS_MAX
from ostiary.gateway.cache.neighbours import Neighbours, Question, question
from ostiary.gateway.cache.wording import Wording, comparable, wording
from ostiary.gateway.ports import CacheKey, Embedder
from ostiary.snapshot.tables import SemanticRow

HIT: Final = "hit"
WOULD_HIT: Final = "would_hit"
MISS: Final = "miss"
NOT_COMPARED: Final = "not_compared"


class Semantic:
    """The part of one call. `partition` is its key with all of the request in it but `text`, the words of its last turn.
    `floor` is the least similarity: the entry's, or more where the caller wants it so."""

    def __init__(
        self,
        neighbours: Neighbours,
        embedder: Embedder,
        row: SemanticRow,
        *,
        floor: float,
        partition: CacheKey,
        text: str,
    ) -> None:
        self._neighbours = neighbours
        self._embedder = embedder
        self._partition = partition
        self._text = text
        self._wording: Wording | None = None
        self._vector: array[float] | None = None
        self.serves = row.serves
        self.floor = max(floor, row.floor)
        self.outcome = ""

    async def near(self, key: CacheKey) -> list[tuple[float, Question]]:
        """The questions whose answers may be given to this one, the nearest first. Embeds the text, and says in `outcome`
        where it cannot be compared. Never raises."""
        text = self._text
        self.outcome = NOT_COMPARED
        if not comparable(text):
            return []
        self._wording = wording(text)
        by_meaning = self._embedder.knows_meaning
        try:
            async with asyncio.timeout(SEMANTIC_EMBED_SECONDS_MAX):
                self._vector = await self._embedder.embed(text if by_meaning else self._wording.words)
        except TimeoutError:
            return []
        if self._vector is None:
            return []
        self.outcome = MISS
        asked = question(self._vector, self._wording, key)
        return self._neighbours.near(self._partition, asked, self.floor, by_meaning=by_meaning)

    def remember(self, key: CacheKey) -> None:
        """The answer to this call is kept under `key`: others may find it from now on."""
        if self._vector is not None and self._wording is not None:
            self._neighbours.add(self._partition, question(self._vector, self._wording, key))

    def forget(self, key: CacheKey) -> None:
        """There is no answer under `key` any more."""
        self._neighbours.drop(self._partition, key)
