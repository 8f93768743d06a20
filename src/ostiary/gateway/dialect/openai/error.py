"""Errors in OpenAI's form: {"error": {"message", "type", "param", "code"}}. Our reason code stands in `code`."""

import math
from collections.abc import Mapping, Sequence
from typing import Final

from ostiary.core.error import Code, OstiaryError, UpstreamError
from ostiary.core.http import JSON_TYPE, Header
from ostiary.gateway.dialect import ErrorAnswer
from ostiary.gateway.wire.failure import failure
from ostiary.gateway.wire.json import encode, parse_value

_TYPES: Final = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}

# What an error object says where no status does: in the middle of a stream, or under a 200.
_WORDS: Final = {
    "invalid_request_error": 400,
    "context_length_exceeded": 400,
    "content_policy_violation": 400,
    "content_filter": 400,
    "BadRequestError": 400,
    "authentication_error": 401,
    "invalid_api_key": 401,
    "permission_error": 403,
    "not_found_error": 404,
    "model_not_found": 404,
    "timeout": 504,
    "rate_limit_error": 429,
    "rate_limit_exceeded": 429,
    "requests": 429,
    "tokens": 429,
    "insufficient_quota": 429,
    "overloaded_error": 503,
    "server_overloaded": 503,
    "service_unavailable": 503,
}


def error_object(error: OstiaryError) -> dict[str, object]:
    """The body of an error answer, also sent as a stream's last event."""
    kind = _TYPES.get(error.status, "server_error" if error.status >= 500 else "invalid_request_error")
    return {"error": {"message": error.message, "type": kind, "param": error.param, "code": str(error.code)}}


def encode_error(error: OstiaryError, request_id: str) -> ErrorAnswer:
    """The whole error answer; `retry-after` in whole seconds where a time is known."""
    headers: list[Header] = [JSON_TYPE, (b"x-request-id", request_id.encode("latin-1", "replace"))]
    if error.retry_after_seconds is not None:
        headers.append((b"retry-after", b"%d" % math.ceil(max(0.0, error.retry_after_seconds))))
    return ErrorAnswer(error.status, tuple(headers), encode(error_object(error)))


def decode_error(status: int, headers: Sequence[Header], body: bytes) -> UpstreamError:
    """What a provider's error answer means. Any bytes are taken: what is no error object gives a generic message."""
    try:
        value = parse_value(body)
    except ValueError:
        value = None
    return failure(status, headers, _message(value))


def embedded_error(value: object) -> UpstreamError:
    """The same of an error object under a 200 or inside a stream, whose own words are all there is to go by."""
    error = value.get("error", value) if isinstance(value, Mapping) else value
    status = 500
    if isinstance(error, Mapping):
        for key in ("code", "type", "status"):
            word = error.get(key)
            if type(word) is int and 400 <= word < 600:
                status = word
                break
            if type(word) is str and word in _WORDS:
                status = _WORDS[word]
                break
    return failure(status, (), _message(value), code=Code.UPSTREAM_ERROR if status == 500 else None)


def _message(value: object) -> str | None:
    """The text of an error object in OpenAI's form or of those of its imitators."""
    if not isinstance(value, Mapping):
        return None
    error = value.get("error", value)
    if isinstance(error, str):
        return error
    if isinstance(error, Mapping):
        for key in ("message", "detail", "error"):
            text = error.get(key)
            if isinstance(text, str):
                return text
    return None
