"""The questions of one worker whose answers are kept, to be found again by a question that says the same. Bounded: so many
bytes in all, so many questions in one partition; what was not asked for longest goes first.

A partition is all that must be equal before anything is compared: whoever may be given the answer, under which rules, from
where, and every part of the request but the words of its last turn.
"""

from array import array
from collections import OrderedDict, deque
from operator import mul

import msgspec

from ostiary.core.limit import SEMANTIC_COMPARED_COUNT_MAX, SEMANTIC_INDEX_BYTES_MAX, SEMANTIC_NEIGHBOURS_MAX
from ostiary.gateway.cache.wording import Wording, same_matter, same_words
from ostiary.gateway.ports import CacheKey


class Question(msgspec.Struct, frozen=True):
    """A question, and under which key its answer is kept. `signs` are those of the vector's numbers, by which most of the
    others are passed over quickly."""

    vector: "array[float]"
    signs: int
    wording: Wording
    key: CacheKey

    @property
    def size(self) -> int:
        """Bytes it takes, about."""
        return 5 * len(self.vector) + self.wording.size + 512


def question(vector: "array[float]", wording: Wording, key: CacheKey) -> Question:
    """A question with its signs."""
    return Question(vector, int("".join("1" if one > 0 else "0" for one in vector) or "0", 2), wording, key)


def similarity(one: "array[float]", other: "array[float]") -> float:
    """The cosine of two vectors of length 1; 0 where they are not of one kind."""
    return sum(map(mul, one, other)) if len(one) == len(other) else 0.0


class Neighbours:
    """See the module's docstring. Loop only."""

    def __init__(self, bytes_max: int = SEMANTIC_INDEX_BYTES_MAX) -> None:
        self._bytes_max = bytes_max
        self._partitions: OrderedDict[CacheKey, deque[Question]] = OrderedDict()
        self.bytes = 0

    def __len__(self) -> int:
        return sum(map(len, self._partitions.values()))

    def near(
        self, partition: CacheKey, asked: Question, floor: float, *, by_meaning: bool
    ) -> list[tuple[float, Question]]:
        """The questions of a partition that the guards let pass and that are at least this similar, the nearest first. Of
        more than SEMANTIC_COMPARED_COUNT_MAX that pass, those that agree in most signs are compared."""
        there = self._partitions.get(partition)
        if not there:
            return []
        self._partitions.move_to_end(partition)
        allowed = same_matter if by_meaning else same_words
        closest = sorted(there, key=lambda one: (one.signs ^ asked.signs).bit_count()) if by_meaning else there
        found: list[tuple[float, Question]] = []
        compared = 0
        for one in closest:
            if compared >= SEMANTIC_COMPARED_COUNT_MAX:
                break
            if not by_meaning and one.wording.words != asked.wording.words:
                continue
            compared += 1
            alike = similarity(one.vector, asked.vector)
            if alike >= floor and allowed(one.wording, asked.wording):
                found.append((min(alike, 1.0), one))
        found.sort(key=lambda pair: pair[0], reverse=True)
        return found

    def add(self, partition: CacheKey, asked: Question) -> None:
        """Remember a question in place of an earlier one with the same key."""
        there = self._partitions.setdefault(partition, deque())
        self._partitions.move_to_end(partition)
        self.drop(partition, asked.key)
        there.append(asked)
        self.bytes += asked.size
        if len(there) > SEMANTIC_NEIGHBOURS_MAX:
            self.bytes -= there.popleft().size
        self._partitions[partition] = there
        while self.bytes > self._bytes_max and self._partitions:
            _, gone = self._partitions.popitem(last=False)
            self.bytes -= sum(one.size for one in gone)

    def drop(self, partition: CacheKey, key: CacheKey) -> None:
        """Forget the question with this key: its answer is gone."""
        there = self._partitions.get(partition, ())
        for one in tuple(there):
            if one.key == key:
                there.remove(one)  # type: ignore[union-attr]  # what has something in it is a deque
                self.bytes -= one.size
        if not there:
            self._partitions.pop(partition, None)
