"""What the head of an answer tells of its call: the headers of ours. Pure.

Each is bounded, since what the draft keeps of a provider's and a caller's words is: a head beyond what clients and
proxies read would cost them the whole answer.
"""

import datetime as dt
import math
from typing import Final

from ostiary.core.call import DialectName
from ostiary.core.http import Header
from ostiary.gateway.audit.draft import Draft
from ostiary.gateway.cache.recall import Recall
from ostiary.gateway.meter.limits import Standing
from ostiary.gateway.ports import Receipt

_NANO: Final = 1_000_000_000
_RECALLED: Final[dict[Recall, Header]] = {said: (b"x-ostiary-cache", said.encode("ascii")) for said in Recall}


def told(
    draft: Draft, recalled: Recall | None, *, attempts: int, receipt: Receipt | None, target: str
) -> tuple[Header, ...]:
    """The headers of an answer of either kind. `recalled` is None where the cache was not asked, `target` empty where
    it is not shown; the cost stands there where it is known before the head goes out."""
    request_id = draft.request_id.encode("ascii")
    headers: list[Header] = [(b"x-request-id", request_id), (b"x-ostiary-attempts", b"%d" % attempts)]
    if draft.dialect is DialectName.ANTHROPIC:
        headers.append((b"request-id", request_id))
    if receipt is not None:
        headers.append((b"x-ostiary-receipt", f"{receipt.origin}/{receipt.sequence}".encode("ascii")))
    if recalled is not None:
        headers.append(_RECALLED[recalled])
    if target:
        served = f"@{draft.response_model}" if draft.response_model else ""
        headers.append((b"x-ostiary-target", _visible(target + served)))
    if draft.cost is not None and not draft.stream:
        units, nano = divmod(draft.cost.nano, _NANO)
        headers.append((b"x-ostiary-cost", f"{units}.{nano:09d} {draft.cost.currency}".encode("ascii")))
    if draft.fallback:
        headers.append((b"x-ostiary-fallback", draft.fallback.encode("ascii")))
    if draft.degraded:
        headers.append((b"x-ostiary-degraded", b"true"))
    if draft.dropped_fields:
        headers.append((b"x-ostiary-dropped", _visible(", ".join(draft.dropped_fields))))
    return tuple(headers)


def similar(similarity: float | None) -> tuple[Header, ...]:
    """How near the question was whose answer this is, rounded down; nothing where it was this question."""
    if similarity is None:
        return ()
    return ((b"x-ostiary-cache-similarity", f"{math.floor(similarity * 1_000) / 1_000:.3f}".encode("ascii")),)


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
            name = f"anthropic-ratelimit-{kind}-"
            at = dt.datetime.fromtimestamp(now_seconds + math.ceil(one.reset_seconds), dt.UTC)
            values = (str(one.limit), str(one.remaining), at.strftime("%Y-%m-%dT%H:%M:%SZ"))
            names = (f"{name}limit", f"{name}remaining", f"{name}reset")
        else:
            names = (f"x-ratelimit-limit-{kind}", f"x-ratelimit-remaining-{kind}", f"x-ratelimit-reset-{kind}")
            values = (str(one.limit), str(one.remaining), f"{one.reset_seconds:.3f}s")
        headers += [(name.encode(), value.encode()) for name, value in zip(names, values, strict=True)]
    return tuple(headers)
