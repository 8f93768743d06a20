"""What a caller asks of the cache: the request directives of `cache-control` (RFC 9111 §5.2.1). Pure."""

from typing import Final

import msgspec


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
