"""What the head of an answer tells of its call: the headers of ours. Pure.

Each is bounded, since what the draft keeps of a provider's and a caller's words is: a head beyond what clients and
proxies read would cost them the whole answer.
"""

import datetime as dt
import math
from functools import lru_cache
from typing import Final

from ostiary.core.call import DialectName
from ostiary.core.http import Header
from ostiary.gateway.audit.draft import Draft
from ostiary.gateway.cache.recall import Recall
from ostiary.gateway.meter.limits import Standing
from ostiary.gateway.ports import Receipt

_NANO: Final = 1_000_000_000
_OPENAI_LIMITS: Final = {
    "requests": (b"x-ratelimit-limit-requests", b"x-ratelimit-remaining-requests", b"x-ratelimit-reset-requests"),
    "tokens": (b"x-ratelimit-limit-tokens", b"x-ratelimit-remaining-tokens", b"x-ratelimit-reset-tokens"),
}
_ANTHROPIC_LIMITS: Final = {
    "requests": (
        b"anthropic-ratelimit-requests-limit",
        b"anthropic-ratelimit-requests-remaining",
        b"anthropic-ratelimit-requests-reset",
    ),
    "tokens": (
        b"anthropic-ratelimit-tokens-limit",
        b"anthropic-ratelimit-tokens-remaining",
        b"anthropic-ratelimit-tokens-reset",
    ),
}
_WAYS_KEPT_MAX: Final = 1_024


def told(
    draft: Draft, recalled: Recall | None, *, attempts: int, receipt: Receipt | None, target: str
) -> tuple[Header, ...]:
    """The headers of an answer of either kind. `recalled` is None where the cache was not asked, `target` empty where
    it is not shown; the cost stands there where it is known before the head goes out."""
    request_id = draft.request_id.encode("ascii")
    headers = [(b"x-request-id", request_id), *_way(attempts, recalled, target, draft.response_model)]
    if draft.dialect is DialectName.ANTHROPIC:
        headers.append((b"request-id", request_id))
    if receipt is not None:
        headers.append((b"x-ostiary-receipt", f"{receipt.origin}/{receipt.sequence}".encode("ascii")))
    cost = draft.cost
    if cost is not None and not draft.stream:
        nano = cost.nano
        headers.append((b"x-ostiary-cost", f"{nano // _NANO}.{nano % _NANO:09d} {cost.currency}".encode("ascii")))
    if draft.fallback:
        headers.append((b"x-ostiary-fallback", draft.fallback.encode("ascii")))
    if draft.degraded:
        headers.append((b"x-ostiary-degraded", b"true"))
    if draft.dropped_fields:
        headers.append((b"x-ostiary-dropped", _visible(", ".join(draft.dropped_fields))))
    return tuple(headers)


def joined(headers: tuple[Header, ...], ours: tuple[Header, ...]) -> tuple[Header, ...]:
    """The headers of an error with ours, of which those it has already are left out."""
    names = {name for name, _ in headers}
    return (*headers, *(pair for pair in ours if pair[0] not in names))


def similar(similarity: float | None) -> tuple[Header, ...]:
    """How near the question was whose answer this is, rounded down; nothing where it was this question."""
    if similarity is None:
        return ()
    return ((b"x-ostiary-cache-similarity", f"{math.floor(similarity * 1_000) / 1_000:.3f}".encode("ascii")),)


@lru_cache(maxsize=_WAYS_KEPT_MAX)
def _way(attempts: int, recalled: Recall | None, target: str, served: str) -> tuple[Header, ...]:
    """What a call went through, which few calls differ in: the attempts, the cache, who answered and what it calls
    itself."""
    headers = [(b"x-ostiary-attempts", b"%d" % attempts)]
    if recalled is not None:
        headers.append((b"x-ostiary-cache", recalled.encode("ascii")))
    if target:
        headers.append((b"x-ostiary-target", _visible(f"{target}@{served}" if served else target)))
    return tuple(headers)


def _visible(text: str) -> bytes:
    if text.isascii() and text.isprintable():
        return text.encode("ascii")
    return "".join(char if " " <= char <= "~" else "?" for char in text).encode("ascii")


def limits(
    dialect: DialectName, requests: Standing | None, tokens: Standing | None, now_seconds: int
) -> tuple[Header, ...]:
    """The tightest limits a call fell under, in the names of its dialect: OpenAI's `x-ratelimit-*` with durations,
    Anthropic's `anthropic-ratelimit-*` with times (RFC 3339)."""
    headers: list[Header] = []
    for kind, one in (("requests", requests), ("tokens", tokens)):
        if one is None:
            continue
        if dialect is DialectName.ANTHROPIC:
            limit, remaining, reset = _ANTHROPIC_LIMITS[kind]
            at = dt.datetime.fromtimestamp(now_seconds + math.ceil(one.reset_seconds), dt.UTC)
            when = at.strftime("%Y-%m-%dT%H:%M:%SZ").encode()
        else:
            if not one.reset_seconds:
                headers += _unused(kind, one.limit, one.remaining)
                continue
            limit, remaining, reset = _OPENAI_LIMITS[kind]
            when = b"%.3fs" % one.reset_seconds
        headers += ((limit, b"%d" % one.limit), (remaining, b"%d" % one.remaining), (reset, when))
    return tuple(headers)


@lru_cache(maxsize=_WAYS_KEPT_MAX)
def _unused(kind: str, limit: int, remaining: int) -> tuple[Header, ...]:
    """OpenAI's headers of a limit that owes nothing: the same from call to call."""
    names = _OPENAI_LIMITS[kind]
    return tuple(zip(names, (b"%d" % limit, b"%d" % remaining, b"0.000s"), strict=True))
