"""A policy's answer as a value with its reason."""

import msgspec

from ostiary.core.error import Code


class Allow(msgspec.Struct, frozen=True):
    """The call may go on. `max_tokens_cap` bounds its output tokens, where model entry or team sets a cap."""

    max_tokens_cap: int | None = None


class Deny(msgspec.Struct, frozen=True):
    """The call may not go on; `code` and `message` say why in terms the caller may see."""

    code: Code
    message: str
    param: str | None = None


Decision = Allow | Deny
