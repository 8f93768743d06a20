"""Errors in Anthropic's form: {"type": "error", "error": {"type", "message"}, "request_id"}.

Our reason code stands where Anthropic's SDKs look for one, in `error.details.error_code`, and as `error.code` beside
the field at fault, `error.param`, and the provider's own word, `error.provider_code`, under the names that callers
of the other dialect know. Where Anthropic has a code
of its own that its SDKs act on, that one stands in `details`.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Final

from ostiary.core.error import Code, OstiaryError, UpstreamError, provider_code
from ostiary.core.http import JSON_TYPE, Header
from ostiary.gateway.dialect import ErrorAnswer
from ostiary.gateway.wire.failure import failure
from ostiary.gateway.wire.json import encode, parse_value

_OVERLOADED: Final = 529
_OVERLOADED_CODES: Final = frozenset({Code.UPSTREAM_OVERLOADED, Code.GATEWAY_OVERLOADED})
_TYPES: Final = {
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    409: "conflict_error",
    413: "request_too_large",
    429: "rate_limit_error",
    504: "timeout_error",
    _OVERLOADED: "overloaded_error",
}
_THEIR_CODES: Final = {(Code.REQUEST_UNSUPPORTED, "thread"): "thread_unsupported_request"}
_STATUSES: Final = {word: status for status, word in _TYPES.items()} | {"invalid_request_error": 400}


def error_object(error: OstiaryError, request_id: str) -> dict[str, object]:
    """The body of an error answer, also sent as a stream's `error` event."""
    status = error_status(error)
    kind = _TYPES.get(status, "api_error" if status >= 500 else "invalid_request_error")
    code = str(error.code)
    details = {"error_code": _THEIR_CODES.get((error.code, error.param or ""), code)}
    inner: dict[str, object] = {"type": kind, "message": error.message, "details": details, "code": code}
    if error.param is not None:
        inner["param"] = error.param
    if theirs := provider_code(error):
        inner["provider_code"] = theirs
    return {"type": "error", "error": inner, "request_id": request_id}


def error_status(error: OstiaryError) -> int:
    """The HTTP status: Anthropic has one of its own for overload."""
    return _OVERLOADED if error.code in _OVERLOADED_CODES else error.status


def encode_error(error: OstiaryError, request_id: str) -> ErrorAnswer:
    """The whole error answer; `retry-after` in whole seconds where a time is known."""
    ident = request_id.encode("latin-1", "replace")
    headers: list[Header] = [JSON_TYPE, (b"request-id", ident), (b"x-request-id", ident)]
    if error.retry_after_seconds is not None:
        headers.append((b"retry-after", b"%d" % math.ceil(max(0.0, error.retry_after_seconds))))
    return ErrorAnswer(error_status(error), tuple(headers), encode(error_object(error, request_id)))


def decode_error(status: int, headers: Sequence[Header], body: bytes) -> UpstreamError:
    """What a provider's error answer means. Any bytes are taken: what is no error object gives a generic message."""
    try:
        value = parse_value(body)
    except ValueError:
        value = None
    return failure(status, headers, _message(value), words=(_word(value),))


def embedded_error(value: object) -> UpstreamError:
    """The same of an error object under a 200 or inside a stream, whose own type is all there is to go by."""
    word = _word(value)
    status = _STATUSES.get(word, 500) if type(word) is str else 500
    code = Code.UPSTREAM_ERROR if status == 500 else None
    return failure(status, (), _message(value), code=code, words=(word,))


def _word(value: object) -> object:
    """What an error object calls the failure."""
    error = value.get("error") if isinstance(value, Mapping) else None
    return error.get("type") if isinstance(error, Mapping) else None


def _message(value: object) -> str | None:
    error = value.get("error", value) if isinstance(value, Mapping) else None
    message = error.get("message") if isinstance(error, Mapping) else error
    return message if isinstance(message, str) else None
