"""Errors of Cohere: {"message": ..., "id": ...} with a status. Source: Cohere API reference, "Errors"."""

from collections.abc import Mapping, Sequence

from ostiary.core.error import UpstreamError
from ostiary.core.http import Header
from ostiary.gateway.wire.failure import failure
from ostiary.gateway.wire.json import parse_value


def decode_error(status: int, headers: Sequence[Header], body: bytes) -> UpstreamError:
    """What an error answer means. Any bytes are taken: what is no error object gives a generic message."""
    try:
        value = parse_value(body)
    except ValueError:
        value = None
    return failure(status, headers, _message(value))


def embedded_error(value: object) -> UpstreamError:
    """The same of an error object under a 200 or in place of a stream, which says no status."""
    return failure(500, (), _message(value))


def _message(value: object) -> str | None:
    if not isinstance(value, Mapping):
        return None
    for key in ("message", "error"):
        text = value.get(key)
        if isinstance(text, str):
            return text
    return None
