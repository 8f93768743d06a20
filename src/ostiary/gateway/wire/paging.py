"""A part of a list, as a query string asks for it: so many items, after or before one by its name."""

from collections.abc import Sequence
from typing import Final
from urllib.parse import parse_qsl

import msgspec

from ostiary.core.error import CallerError, Code
from ostiary.core.limit import MODELS_PAGE_COUNT_MAX

_PAIRS_MAX: Final = 100


class PageWords(msgspec.Struct, frozen=True):
    """The names a dialect gives to the size of a page and to the items beside it (empty: it has none)."""

    size: str
    after: str
    before: str = ""


class Page(msgspec.Struct, frozen=True):
    """The items from `start` up to `stop`; `more` says that others follow in the direction asked for."""

    start: int
    stop: int
    more: bool


def page_of(names: Sequence[str], query: bytes, words: PageWords) -> Page:
    """The part of `names` that a query asks for; all of it where it asks for none. Raises CallerError request.invalid
    for a size that is not 1 to MODELS_PAGE_COUNT_MAX, a name that is not in the list, and both directions at once."""
    asked = _asked(query, words)
    size = len(names)
    if words.size in asked:
        text = asked[words.size]
        if not (text.isascii() and text.isdecimal() and len(text) <= 4 and 1 <= int(text) <= MODELS_PAGE_COUNT_MAX):
            raise CallerError(
                Code.REQUEST_INVALID,
                f"`{words.size}` must be a number from 1 to {MODELS_PAGE_COUNT_MAX}.",
                param=words.size,
            )
        size = int(text)
    if words.before and words.before in asked:
        if words.after in asked:
            raise CallerError(
                Code.REQUEST_INVALID, f"Send either `{words.after}` or `{words.before}`.", param=words.before
            )
        stop = _place(names, asked[words.before], words.before)
        start = max(stop - size, 0)
        return Page(start, stop, start > 0)
    start = _place(names, asked[words.after], words.after) + 1 if words.after in asked else 0
    stop = min(start + size, len(names))
    return Page(start, stop, stop < len(names))


def _asked(query: bytes, words: PageWords) -> dict[str, str]:
    if not query:
        return {}
    try:
        pairs = parse_qsl(query.decode("ascii"), max_num_fields=_PAIRS_MAX)
    except ValueError as error:
        raise CallerError(Code.REQUEST_INVALID, "The query string cannot be read.") from error
    known = (words.size, words.after, words.before)
    return {name: value for name, value in pairs if name in known}


def _place(names: Sequence[str], name: str, param: str) -> int:
    try:
        return names.index(name)
    except ValueError:
        raise CallerError(Code.REQUEST_INVALID, f"`{param}` names nothing that is in the list.", param=param) from None
