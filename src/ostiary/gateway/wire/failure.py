"""What an upstream's failure means, whatever its dialect: status → code, Retry-After → seconds, text → safe text."""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final

from ostiary.core.error import Code, UpstreamError
from ostiary.core.http import Header, header
from ostiary.core.limit import RETRY_AFTER_SECONDS_MAX, UPSTREAM_ERROR_CODE_CHARS_MAX, UPSTREAM_ERROR_MESSAGE_CHARS_MAX
from ostiary.gateway.wire.json import parse_value

_CODES: Final = {
    400: Code.UPSTREAM_REFUSED,
    401: Code.UPSTREAM_CREDENTIAL,
    403: Code.UPSTREAM_CREDENTIAL,
    404: Code.UPSTREAM_REFUSED,
    408: Code.UPSTREAM_TIMEOUT,
    413: Code.UPSTREAM_REFUSED,
    422: Code.UPSTREAM_REFUSED,
    429: Code.UPSTREAM_RATE_LIMITED,
    503: Code.UPSTREAM_OVERLOADED,
    504: Code.UPSTREAM_TIMEOUT,
    529: Code.UPSTREAM_OVERLOADED,
}
_GENERIC: Final = {
    Code.UPSTREAM_REFUSED: "The provider refused the request.",
    Code.UPSTREAM_CONTEXT_WINDOW: "The request is longer than the model can take.",
    Code.UPSTREAM_CONTENT_FILTER: "The provider refused the request for its content.",
    Code.UPSTREAM_CREDENTIAL: "The provider refused the gateway's credential.",
    Code.UPSTREAM_TIMEOUT: "The provider did not answer in time.",
    Code.UPSTREAM_RATE_LIMITED: "The provider's rate limit is reached.",
    Code.UPSTREAM_OVERLOADED: "The provider is overloaded.",
}
_REFUSALS: Final = {
    "context_length_exceeded": Code.UPSTREAM_CONTEXT_WINDOW,
    "exceed_context_size_error": Code.UPSTREAM_CONTEXT_WINDOW,
    **dict.fromkeys(
        (
            "bio_policy",
            "content_filter",
            "content_policy_violation",
            "image_content_policy_violation",
            "moderation_blocked",
        ),
        Code.UPSTREAM_CONTENT_FILTER,
    ),
}
_TOO_LONG: Final = re.compile(
    r"prompt is too long|maximum context length|exceeds? the (?:context window|available context size)"
    r"|input token count.{0,40}exceeds the maximum number of tokens",
    re.IGNORECASE,
)
_FILTERED: Final = re.compile(r"blocked by content filtering policy|content management policy", re.IGNORECASE)
_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9_.:/-]*")
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]+")
# Text beyond this is not looked at: the message is cut far below it, and masking stays fast on any body.
_LOOKED_AT_CHARS: Final = 4 * UPSTREAM_ERROR_MESSAGE_CHARS_MAX
_MASK: Final = "[masked]"
_CREDENTIALS: Final = re.compile(
    r"(?i:\bbearer\s+)[^\s\"',;]+"
    r"|\b(?:sk|pk|rk|osk|key|gsk|xai|hf|ghp|gho|glpat|pplx|r8|tgp)[-_][\w*.\-]{4,}"
    r"|\bAIza[\w-]{10,}|\b(?:AKIA|ASIA)[A-Z0-9]{8,}|\bya29\.[\w.-]+|\beyJ[\w-]{8,}\.[\w.-]+"
    r"|(?i:\b(?:x-)?(?:api|access|secret|auth)[-_ ]?(?:key|token|secret)\b[\"']?\s*(?:provided|given)?\s*[:=]\s*[\"']?(?:bearer\s+)?)[^\s\"',;]+"
    r"|\b(?=[A-Za-z_-]{0,64}\d)(?=[\d_-]{0,64}[A-Za-z])[A-Za-z0-9_-]{32,}"
)


def failure(
    status: int,
    headers: Sequence[Header],
    message: str | None,
    *,
    code: Code | None = None,
    words: Sequence[object] = (),
) -> UpstreamError:
    """The error for an answer with `status`. `message` is the provider's, made safe here, or None for a generic one;
    `words` are what it calls the failure, the most telling first.

    `code` overrules what the status says. A refusal keeps the provider's status; every other code has its own. Of
    refusals, those for length and for content are told apart: by the provider's word where it has one, else by its
    text, since Anthropic and Google have none.
    """
    told = [word for word in words if type(word) is str]
    if code is None:
        code = _CODES.get(status, Code.UPSTREAM_REFUSED if 400 <= status < 500 else Code.UPSTREAM_ERROR)
        if code is Code.UPSTREAM_REFUSED:
            code = _refusal(told, message or "")
    text = None
    # What a provider says of our credential is for the operator's eyes, not for the caller's.
    if message is not None and code is not Code.UPSTREAM_CREDENTIAL:
        text = safe_text(message)
    return UpstreamError(
        code,
        text or _GENERIC.get(code, "The provider failed."),
        retry_after_seconds=retry_after(headers),
        status=status if code is Code.UPSTREAM_REFUSED and 400 <= status < 500 else None,
        provider_code=next((word for word in told if _shown(word)), ""),
    )


def _refusal(words: Sequence[str], message: str) -> Code:
    for word in words:
        if word in _REFUSALS:
            return _REFUSALS[word]
    text = message[:UPSTREAM_ERROR_MESSAGE_CHARS_MAX]
    if _TOO_LONG.search(text):
        return Code.UPSTREAM_CONTEXT_WINDOW
    return Code.UPSTREAM_CONTENT_FILTER if _FILTERED.search(text) else Code.UPSTREAM_REFUSED


def _shown(word: str) -> bool:
    """Whether a provider's word may be shown as it is: a short name, and nothing that looks like a credential."""
    if len(word) > UPSTREAM_ERROR_CODE_CHARS_MAX or _NAME.fullmatch(word) is None:
        return False
    return _CREDENTIALS.search(word) is None


def unfinished(rest: bytes, embedded: Callable[[object], UpstreamError]) -> UpstreamError:
    """The error for a stream that ended before its last event. `rest` is what came after the last whole event.

    A server that answers a stream's request with one JSON document has not been cut: where the document is an error
    object it is told by `embedded`, which reads the dialect's error objects.
    """
    if rest.lstrip()[:1] == b"{":
        try:
            value = parse_value(rest)
        except ValueError:
            value = None
        if isinstance(value, Mapping):
            if value.get("error") or "error" in (value.get("type"), value.get("object")):
                return embedded(value)
            return UpstreamError(
                Code.UPSTREAM_PROTOCOL, "The provider gave a plain answer where a stream was asked for."
            )
    return UpstreamError(Code.UPSTREAM_CUT, "The provider's stream ended before it was complete.")


def safe_text(message: str) -> str:
    """A provider's words without control characters, credentials masked, of bounded length."""
    text = _CONTROL.sub(" ", message[:_LOOKED_AT_CHARS]).strip()
    text = _CREDENTIALS.sub(_MASK, text)
    if len(text) > UPSTREAM_ERROR_MESSAGE_CHARS_MAX:
        text = text[: UPSTREAM_ERROR_MESSAGE_CHARS_MAX - 1] + "…"
    return text


def retry_after(headers: Sequence[Header]) -> float | None:
    """Seconds to wait, from `retry-after-ms` or `retry-after` (seconds, or a date relative to the answer's own
    `date`); None where neither is usable. Never negative, never beyond RETRY_AFTER_SECONDS_MAX."""
    milliseconds = header(headers, b"retry-after-ms")
    if milliseconds is not None:
        seconds = _seconds(milliseconds)
        if seconds is not None:
            return _clamp(seconds / 1000)
    value = header(headers, b"retry-after")
    if value is None:
        return None
    seconds = _seconds(value)
    if seconds is not None:
        return _clamp(seconds)
    until = _date(value)
    # Without a clock of our own the answer's date is "now"; it is also the clock the provider counted from.
    now = _date(header(headers, b"date") or b"")
    if until is None:
        return None
    return RETRY_AFTER_SECONDS_MAX if now is None else _clamp((until - now).total_seconds())


def _seconds(value: bytes) -> float | None:
    try:
        seconds = float(value[:64])
    except ValueError:
        return None
    return seconds if not math.isnan(seconds) else None


def _clamp(seconds: float) -> float:
    return min(max(seconds, 0.0), RETRY_AFTER_SECONDS_MAX)


def _date(value: bytes) -> datetime | None:
    try:
        moment = parsedate_to_datetime(value[:64].decode("latin-1"))
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
