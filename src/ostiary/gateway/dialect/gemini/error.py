"""Errors in Google's form: {"error": {"code", "message", "status", "details"}} (google.rpc.Status as JSON).

Our reason code stands in the ErrorInfo, the provider's own word in its metadata, the field at fault in a BadRequest, the time to wait in a RetryInfo and the
request's id in a RequestInfo, all of them kinds of details of Google's own (google/rpc/error_details.proto).
"""

import math
from collections.abc import Mapping, Sequence
from typing import Final

from ostiary.core.error import Code, OstiaryError, UpstreamError, provider_code
from ostiary.core.http import JSON_TYPE, Header, header
from ostiary.gateway.dialect import ErrorAnswer
from ostiary.gateway.wire.failure import failure
from ostiary.gateway.wire.json import encode, parse_value

_TYPE: Final = "type.googleapis.com/google.rpc."
_WORDS: Final = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    402: "RESOURCE_EXHAUSTED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    408: "DEADLINE_EXCEEDED",
    409: "ALREADY_EXISTS",
    429: "RESOURCE_EXHAUSTED",
    499: "CANCELLED",
    500: "INTERNAL",
    501: "UNIMPLEMENTED",
    502: "UNAVAILABLE",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}
_STATUSES: Final = {
    "INVALID_ARGUMENT": 400,
    "FAILED_PRECONDITION": 400,
    "OUT_OF_RANGE": 400,
    "UNAUTHENTICATED": 401,
    "PERMISSION_DENIED": 403,
    "NOT_FOUND": 404,
    "ALREADY_EXISTS": 409,
    "ABORTED": 409,
    "RESOURCE_EXHAUSTED": 429,
    "UNAVAILABLE": 503,
    "DEADLINE_EXCEEDED": 504,
}
# Google answers a key it does not take with 400; only the reason in the details tells it from a wrong request.
_KEY_REASONS: Final = frozenset({"API_KEY_INVALID", "API_KEY_EXPIRED", "ACCESS_TOKEN_EXPIRED"})


def error_object(error: OstiaryError, request_id: str) -> dict[str, object]:
    """The body of an error answer, also sent as a stream's last chunk."""
    word = _WORDS.get(error.status, "INTERNAL" if error.status >= 500 else "INVALID_ARGUMENT")
    info: dict[str, object] = {"@type": _TYPE + "ErrorInfo", "reason": str(error.code), "domain": "ostiary"}
    if theirs := provider_code(error):
        info["metadata"] = {"provider_code": theirs}
    details: list[dict[str, object]] = [
        info,
        {"@type": _TYPE + "RequestInfo", "requestId": request_id},
    ]
    if error.param is not None:
        violation = {"field": error.param, "description": error.message}
        details.append({"@type": _TYPE + "BadRequest", "fieldViolations": [violation]})
    if error.retry_after_seconds is not None:
        details.append({"@type": _TYPE + "RetryInfo", "retryDelay": f"{_seconds(error.retry_after_seconds)}s"})
    return {"error": {"code": error.status, "message": error.message, "status": word, "details": details}}


def encode_error(error: OstiaryError, request_id: str) -> ErrorAnswer:
    """The whole error answer; `retry-after` in whole seconds where a time is known."""
    headers: list[Header] = [JSON_TYPE, (b"x-request-id", request_id.encode("latin-1", "replace"))]
    if error.retry_after_seconds is not None:
        headers.append((b"retry-after", b"%d" % _seconds(error.retry_after_seconds)))
    return ErrorAnswer(error.status, tuple(headers), encode(error_object(error, request_id)))


def decode_error(status: int, headers: Sequence[Header], body: bytes) -> UpstreamError:
    """What a provider's error answer means. Any bytes are taken: what is no error object gives a generic message."""
    try:
        value = parse_value(body)
    except ValueError:
        value = None
    return _failure(status, headers, value)


def embedded_error(value: object) -> UpstreamError:
    """The same of an error object under a 200 or inside a stream, whose own words are all there is to go by."""
    error = _error(value)
    code, word = error.get("code"), error.get("status")
    status = 500
    if type(code) is int and 400 <= code < 600:
        status = code
    elif type(word) is str:
        status = _STATUSES.get(word, 500)
    return _failure(status, (), value, Code.UPSTREAM_ERROR if status == 500 else None)


def _failure(status: int, headers: Sequence[Header], value: object, code: Code | None = None) -> UpstreamError:
    error = _error(value)
    details = error.get("details")
    words: list[object] = []
    if type(details) is list:
        for detail in details:
            if type(detail) is not dict:
                continue
            words.append(detail.get("reason"))
            if detail.get("reason") in _KEY_REASONS:
                code = Code.UPSTREAM_CREDENTIAL
            delay = detail.get("retryDelay")
            if type(delay) is str and header(headers, b"retry-after") is None:
                headers = (*headers, (b"retry-after", delay.removesuffix("s").encode("utf-8", "replace")))
    message = error.get("message")
    words.append(error.get("status"))
    return failure(status, headers, message if type(message) is str else None, code=code, words=words)


def _error(value: object) -> Mapping[str, object]:
    """The error object. Where an array was to be streamed, the error stands alone in one."""
    if type(value) is list and len(value) == 1:
        value = value[0]
    error = value.get("error", value) if type(value) is dict else None
    if type(error) is str:
        return {"message": error}
    return error if type(error) is dict else {}


def _seconds(seconds: float) -> int:
    return math.ceil(max(0.0, seconds))
