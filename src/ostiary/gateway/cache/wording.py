"""Whether one question may be given the answer of another: guards beside similarity, which knows nothing of what a word
means. Pure. In doubt they may not.

`same_words` holds where two texts differ in nothing but case, white space, contractions, articles, courtesies and the mark
at their end: what is asked of an embedder that only sees letters. `same_matter` holds where two texts, however they are
put, have the same numbers, names, negations, opposites, directions and quotations, and are not one sentence with a word
exchanged: what is asked of an embedder that was trained on meaning.
"""

import re
import unicodedata
from difflib import SequenceMatcher
from typing import Final

import msgspec

from ostiary.core.limit import SEMANTIC_TEXT_CHARS_MAX
from ostiary.gateway.cache.vocabulary import (
    AMBIGUOUS,
    ASKING,
    BEFORE_A,
    COURTESIES,
    DIRECTIONS,
    FUNCTION_WORDS,
    INSTRUCTIONS,
    NEGATIONS,
    NUMBER_WORDS,
    OPPOSITES,
    QUESTION_WORDS,
    SHORT_FORMS,
)

_TOKEN: Final = re.compile(
    r"(?<![\w.])[-+\u2212]?\d+(?:[.,:/]\d+)*(?:\w+)?|\w+(?:[.@:/_'\u2019-]\w+)*|[^\w\s]", re.UNICODE
)
_OPAQUE: Final = re.compile(r"`|\t|\n[ ]+\S|\n\s*\n.*\n\s*\n", re.DOTALL)
"""Code, and texts whose white space says something."""

_QUOTED: Final = re.compile(r"\"[^\"]*\"|\u201c[^\u201d]*\u201d|\u00ab[^\u00bb]*\u00bb|(?<!\w)'[^']+'(?!\w)")
_MARKED: Final = re.compile(r"[@:/_.]")
_DIGIT: Final = re.compile(r"\d")
_END: Final = ".?!\u2026"
_POLITE_ASK: Final = re.compile(r"^(?:can|could|would) you (?:please )?(?=(\w+))")
_WORDS_RATIO_MAX: Final = 2.0
_EXCHANGED_MAX: Final = 2
_STEM_CHARS_MIN: Final = 4
_LATIN_END: Final = 0x250


class Wording(msgspec.Struct, frozen=True):
    """What the guards look at of one text, each a line of words with spaces between. `words` are all that say something,
    in small letters; `spelt` the same as they were spelt. `latin` says that the lists of words below know the script."""

    words: str
    spelt: str
    asks: bool
    numbers: str
    negations: int
    opposites: str
    directions: str
    questions: str
    names: str
    quoted: str
    latin: bool
    lower: bool

    @property
    def size(self) -> int:
        """Bytes it takes, about."""
        return 2 * len(self.words) + 2 * len(self.spelt) + 512


def comparable(text: str) -> bool:
    """Whether a text may be compared at all: neither empty nor long, no code, no characters that are not seen, no words in
    which scripts are mixed so that they look like others."""
    if not 2 <= len(text) <= SEMANTIC_TEXT_CHARS_MAX or _OPAQUE.search(text.strip()) is not None:
        return False
    if text.isascii():
        return all(char >= " " or char in "\n\r" for char in text)
    if any(unicodedata.category(char) in ("Cf", "Cc", "Co", "Cn", "Cs", "Mn") and char not in "\n\r" for char in text):
        return False
    if unicodedata.normalize("NFKC", text) != text:
        return False
    return not any(_mixed(word) for word in re.findall(r"\w+", text))


def wording(text: str) -> Wording:
    """What the guards look at. The text must be `comparable`."""
    raw = _TOKEN.findall(_courteously(text.replace("\u2019", "'").strip()))
    quoted = " ".join(_QUOTED.findall(text))
    ended = ""
    while raw and raw[-1] in _END:
        ended = raw.pop()
    spelt: list[str] = []
    for place, token in enumerate(raw):
        long = _long_form(token)
        for one in long:
            low = one.casefold()
            last = spelt[-1].casefold() if spelt else ""
            if low in ("the", "an") and one != "THE":
                continue
            if one == "a" and last in BEFORE_A and place + 1 < len(raw):
                continue
            spelt.append(one)
    words = [word.casefold() for word in spelt]
    first = words[0] if words else ""
    return Wording(
        words=" ".join(words),
        spelt=" ".join(spelt),
        asks=first in ASKING or (ended == "?" and first not in INSTRUCTIONS),
        numbers=" ".join(_numbers(words)),
        negations=sum(word in NEGATIONS or word.endswith("n't") for word in words),
        opposites=" ".join(word for word in words if word in OPPOSITES),
        directions=" ".join(_directions(words)),
        questions=" ".join(sorted({word for word in words if word in QUESTION_WORDS})),
        names=" ".join(_names(spelt)),
        quoted=quoted,
        latin=text.isascii() or all(ord(char) < _LATIN_END for char in text if char.isalpha()),
        lower=text == text.lower(),
    )


def same_words(one: Wording, other: Wording) -> bool:
    """See the module's docstring. Words that are a name only with a capital count as the same only where they are spelt
    the same."""
    if one.words != other.words or one.asks is not other.asks or not one.words or one.quoted != other.quoted:
        return False
    if one.spelt == other.spelt:
        return True
    pairs = list(zip(one.spelt.split(" "), other.spelt.split(" "), strict=True))
    if any(a != b and a.casefold() in AMBIGUOUS for a, b in pairs):
        return False
    # Whoever writes without capitals writes names without them too; capitals that differ otherwise mean something.
    return one.lower or other.lower or all(a == b or place == 0 for place, (a, b) in enumerate(pairs))


def same_matter(one: Wording, other: Wording) -> bool:
    """See the module's docstring."""
    if same_words(one, other):
        return True
    if not (one.latin and other.latin):
        return False  # the lists of words are of Latin scripts
    if (one.asks, one.numbers, one.negations, one.opposites, one.directions, one.questions, one.quoted, one.names) != (
        other.asks,
        other.numbers,
        other.negations,
        other.opposites,
        other.directions,
        other.questions,
        other.quoted,
        other.names,
    ):
        return False
    if (
        not one.names
        and (one.lower or other.lower)
        and one.lower is not other.lower
        and AMBIGUOUS
        & {
            *one.words.split(" "),
            *other.words.split(" "),
        }
    ):
        return False
    mine, theirs = one.words.split(" "), other.words.split(" ")
    if max(len(mine), len(theirs)) > _WORDS_RATIO_MAX * min(len(mine), len(theirs)):
        return False
    return not _word_exchanged(mine, theirs)


def _word_exchanged(mine: list[str], theirs: list[str]) -> bool:
    """Whether the texts are one frame with other words in it, or the same words in another order: what such a pair has in
    common is exactly not what is asked."""
    a = [_stem(word) for word in mine if word not in FUNCTION_WORDS]
    b = [_stem(word) for word in theirs if word not in FUNCTION_WORDS]
    if sorted(a) == sorted(b):
        return a != b
    if not set(a) - set(b) or not set(b) - set(a):
        return True  # one of them says something more
    changes = [step for step in SequenceMatcher(None, a, b, autojunk=False).get_opcodes() if step[0] != "equal"]
    exchanged = sum(max(step[2] - step[1], step[4] - step[3]) for step in changes)
    kept = max(len(a), len(b)) - exchanged
    return all(step[0] == "replace" for step in changes) and exchanged <= max(_EXCHANGED_MAX, kept // 2)


def _stem(word: str) -> str:
    """The word without the ending of a plural or a verb, roughly: only for seeing what two texts have in common."""
    for ending in ("ing", "ed", "es", "s"):
        if word.endswith(ending) and len(word) - len(ending) >= _STEM_CHARS_MIN:
            word = word[: -len(ending)]
            return word[:-1] if word[-1] == word[-2] else word
    return word


def _courteously(text: str) -> str:
    """The text without its courtesies at either end."""
    while True:
        cut = COURTESIES.sub("", text).strip()
        asked = _POLITE_ASK.match(cut.casefold())
        if asked is not None and asked[1] in INSTRUCTIONS:
            cut = cut[asked.end() :].rstrip("?").strip()
        if cut == text or not cut:
            return text
        text = cut


def _long_form(token: str) -> tuple[str, ...]:
    low = token.casefold()
    if "'" not in low and low != "cannot":
        return (token,)
    known = SHORT_FORMS.get(low)
    if known is not None:
        return (token[: len(known[0])], *known[1:]) if low.startswith(known[0]) else known
    if low.endswith("n't"):
        return (token[:-3], "not")
    return (token,)


def _numbers(words: list[str]) -> list[str]:
    """Every number with the word behind it, which may be its unit; numbers in words too."""
    found: list[str] = []
    for place, word in enumerate(words):
        if word in NUMBER_WORDS or _DIGIT.search(word) is not None:
            behind = words[place + 1] if place + 1 < len(words) else ""
            found += (NUMBER_WORDS.get(word, word), behind.rstrip("s"))
    return found


def _directions(words: list[str]) -> list[str]:
    """Every word that gives a direction or compares, with the word behind it that says where to."""
    found: list[str] = []
    both = "from" in words
    for place, word in enumerate(words):
        if word in DIRECTIONS or (both and word == "to"):
            behind = next((one for one in words[place + 1 :] if one not in FUNCTION_WORDS), "")
            found += (word, behind)
    return found


def _names(spelt: list[str]) -> list[str]:
    """What is written like a name: capitals that do not stand for a beginning, and words with marks inside."""
    found: list[str] = []
    begins = True
    for word in spelt:
        rest = word[1:]
        inner = rest != rest.lower() or _MARKED.search(word) is not None
        if (
            inner
            or (word[:1].isupper() and not begins and word != "I")
            or (not word[:1].isalnum() and word not in ",;:-")
        ):
            found.append(word)
        begins = word in _END
    return found


def _mixed(word: str) -> bool:
    """Whether a word has Latin letters beside letters of another script."""
    kinds = {unicodedata.name(char, "?").split(" ")[0] for char in word if char.isalpha()}
    return "LATIN" in kinds and len(kinds) > 1
