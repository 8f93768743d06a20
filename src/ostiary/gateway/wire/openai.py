"""What OpenAI's wire formats have in common: error objects and lists of models.

An error is {"error": {"message", "type", "param", "code"}}; our reason code stands in `code`, and the provider's own
word beside it in `provider_code`, where it gave one.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Final

from ostiary.core.error import Code, OstiaryError, UpstreamError, provider_code
from ostiary.core.http import JSON_TYPE, Header
from ostiary.gateway.wire.failure import failure
from ostiary.gateway.wire.json import encode, parse_value

_TYPES: Final = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}

SHARED: Final = {
    "metadata": "metadata",
    "prompt_cache_options": "prompt_cache_options",
    "prompt_cache_retention": "prompt_cache_retention",
    "verbosity": "text.verbosity",
}
"""Fields that only OpenAI's two forms of chat have, and mean the same in both: where each stands in the form of chat
completions and where in the form of responses (CreateChatCompletionRequest and CreateResponse of the API's
description)."""

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
    # Codes of a failed response (ResponseErrorCode of the API's description).
    "vector_store_timeout": 504,
    **dict.fromkeys(
        (
            "invalid_prompt", "data_residency_mismatch", "bio_policy", "invalid_image", "invalid_image_format",
            "invalid_base64_image", "invalid_image_url", "image_too_large", "image_too_small", "image_parse_error",
            "image_content_policy_violation", "invalid_image_mode", "image_file_too_large",
            "unsupported_image_media_type", "empty_image_file", "failed_to_download_image", "image_file_not_found",
        ),
        400,
    ),
}  # fmt: skip


def error_object(error: OstiaryError) -> dict[str, object]:
    """The body of an error answer, also sent as a stream's last event."""
    kind = _TYPES.get(error.status, "server_error" if error.status >= 500 else "invalid_request_error")
    inner: dict[str, object] = {
        "message": error.message,
        "type": kind,
        "param": error.param,
        "code": str(error.code),
    }
    if theirs := provider_code(error):
        inner["provider_code"] = theirs
    return {"error": inner}


def encode_error(error: OstiaryError, request_id: str) -> tuple[int, tuple[Header, ...], bytes]:
    """An error answer's status, headers and body; `retry-after` in whole seconds where a time is known."""
    headers: list[Header] = [JSON_TYPE, (b"x-request-id", request_id.encode("latin-1", "replace"))]
    if error.retry_after_seconds is not None:
        headers.append((b"retry-after", b"%d" % math.ceil(max(0.0, error.retry_after_seconds))))
    return error.status, tuple(headers), encode(error_object(error))


def decode_error(status: int, headers: Sequence[Header], body: bytes) -> UpstreamError:
    """What a provider's error answer means. Any bytes are taken: what is no error object gives a generic message."""
    try:
        value = parse_value(body)
    except ValueError:
        value = None
    return failure(status, headers, _message(value), words=_words(value))


def embedded_error(value: object) -> UpstreamError:
    """The same of an error object under a 200 or inside a stream, whose own words are all there is to go by."""
    error = _inner(value) if isinstance(value, Mapping) else value
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
    code = Code.UPSTREAM_ERROR if status == 500 else None
    return failure(status, (), _message(value), code=code, words=_words(value))


def _words(value: object) -> tuple[object, ...]:
    """What an error object calls the failure."""
    error = _inner(value) if isinstance(value, Mapping) else None
    return (error.get("code"), error.get("type")) if isinstance(error, Mapping) else ()


def _message(value: object) -> str | None:
    """The text of an error object in OpenAI's form or of those of its imitators."""
    if not isinstance(value, Mapping):
        return None
    error = _inner(value)
    if isinstance(error, str):
        return error
    if isinstance(error, Mapping):
        for key in ("message", "detail", "error"):
            text = error.get(key)
            if isinstance(text, str):
                return text
    return None


def _inner(value: Mapping[str, object]) -> object:
    """The error object itself: it may stand alone, without the object around it."""
    error = value.get("error")
    return value if error is None else error


def model_list(models: Sequence[tuple[str, int]]) -> bytes:
    """The list of models, each by its name and the second since 1970 at which it came."""
    return encode({"object": "list", "data": [model_object(name, created) for name, created in models]})


def model_object(name: str, created: int) -> dict[str, object]:
    """One model."""
    return {"id": name, "object": "model", "created": created, "owned_by": "ostiary"}
