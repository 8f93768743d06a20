"""What a caller asks of the cache: the request directives of `cache-control` (RFC 9111 §5.2.1), how alike a question must be
whose answer it takes, and by what its own answer may be purged. Pure."""

import re
from typing import Final

import msgspec

from ostiary.core.error import CallerError, Code
from ostiary.core.limit import CACHE_TAG_CHARS_MAX, CACHE_TAGS_MAX


class Directive(msgspec.Struct, frozen=True):
    """`store`: the answer may be kept; `look`: a kept one will do, if it is no older than `max_age_seconds` (None: any
    that is fresh); `only`: nothing but a kept one will."""

    store: bool = True
    look: bool = True
    only: bool = False
    max_age_seconds: int | None = None


NONE: Final = Directive()
_AGE_MAX: Final = 2**31


def directive(value: bytes | None) -> Directive:
    """The directives in a header's value. What is not known, or no number, is ignored, as RFC 9111 §5.2 says; an age that
    cannot be read counts as none at all (§4.2.1)."""
    if value is None:
        return NONE
    store = look = True
    only = False
    age: int | None = None
    for part in value.decode("latin-1").lower().split(","):
        name, _, argument = part.strip().partition("=")
        match name.strip():
            case "no-store":
                store = look = False
            case "no-cache":
                look = False
            case "only-if-cached":
                only = True
            case "max-age":
                number = argument.strip().strip('"')
                digits = number.isascii() and number.isdigit()
                age = min(int(number[:10]), _AGE_MAX) if digits else 0
            case _:
                pass
    return Directive(store, look, only, age)


SIMILARITY_HEADER: Final = b"x-ostiary-cache-similarity"
TAGS_HEADER: Final = b"x-ostiary-cache-tags"
_TAG: Final = re.compile(rf"[A-Za-z0-9._:/-]{{1,{CACHE_TAG_CHARS_MAX}}}")
_SHARE: Final = re.compile(r"0(?:\.[0-9]{1,6})?|1(?:\.0{1,6})?")


def least_similarity(value: bytes | None) -> float | None:
    """How alike a question must be: 0 where the caller leaves it to the entry, None where only its own will do. Raises
    CallerError request.invalid."""
    if value is None:
        return 0.0
    text = value.decode("latin-1").strip()
    if text == "exact":
        return None
    if _SHARE.fullmatch(text) is None:
        raise CallerError(
            Code.REQUEST_INVALID,
            "x-ostiary-cache-similarity must be a number from 0 to 1, or `exact`.",
            param="x-ostiary-cache-similarity",
        )
    return float(text)


def tags(value: bytes | None) -> tuple[str, ...]:
    """The tags a caller gives to its answer. Raises CallerError request.invalid."""
    if value is None:
        return ()
    found = tuple(dict.fromkeys(part.strip() for part in value.decode("latin-1").split(",") if part.strip()))
    if len(found) > CACHE_TAGS_MAX or any(_TAG.fullmatch(tag) is None for tag in found):
        raise CallerError(
            Code.REQUEST_INVALID,
            f"x-ostiary-cache-tags takes at most {CACHE_TAGS_MAX} tags of 1 to {CACHE_TAG_CHARS_MAX} letters, digits, dots, "
            "dashes, underscores, colons and slashes, with commas between.",
            param="x-ostiary-cache-tags",
        )
    return found
