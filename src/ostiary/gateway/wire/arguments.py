"""A tool call's arguments where a wire form wants an object in place of text."""

import msgspec

from ostiary.gateway.wire.json import encode, raw_members


def as_object(arguments: str) -> msgspec.Raw:
    """The arguments' own bytes where they are a JSON object, `{}` where they are empty, else an object that holds them
    as {"INVALID_JSON": text}: the form Anthropic suggests, so that nothing is lost."""
    raw = arguments.encode()
    if not raw.strip():
        return msgspec.Raw(b"{}")
    try:
        raw_members(raw)
    except (msgspec.DecodeError, RecursionError):
        return msgspec.Raw(encode({"INVALID_JSON": arguments}))
    return msgspec.Raw(raw)
