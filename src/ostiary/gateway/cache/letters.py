"""An embedder that needs nothing but the text: words and runs of three letters, hashed into a fixed number of places.
Pure, the same everywhere and for ever. It sees spelling, not meaning, and says so: its neighbours must have the same words."""

import math
from array import array
from collections import Counter
from typing import Final
from zlib import crc32

DIMENSIONS: Final = 256
_WORD_WEIGHT: Final = 2.0


def embed_letters(text: str) -> "array[float]":
    """The text's place among texts, of length 1; all zero for a text without letters or digits. Case, white space and
    marks at its ends make no difference."""
    words = text.casefold().split()
    counts: Counter[bytes] = Counter()
    for word in words:
        bare = word.strip(".,;:!?\"'()…")
        if bare:
            counts[b"w" + bare.encode("utf-8", "replace")] += _WORD_WEIGHT  # type: ignore[assignment]  # weights are counted
            letters = f" {bare} ".encode("utf-8", "replace")
            counts.update(letters[at : at + 3] for at in range(len(letters) - 2))
    places = [0.0] * DIMENSIONS
    for piece, count in counts.items():
        number = crc32(piece)
        weight = math.sqrt(count)
        places[number % DIMENSIONS] += weight if number & 0x80000000 else -weight
    length = math.sqrt(sum(place * place for place in places))
    return array("f", [place / length for place in places] if length else places)


class Letters:
    """Implements Embedder."""

    knows_meaning = False

    async def embed(self, text: str) -> "array[float] | None":
        """See Embedder. Texts are bounded by SEMANTIC_TEXT_CHARS_MAX, so this never holds up the loop for long."""
        return embed_letters(text)
