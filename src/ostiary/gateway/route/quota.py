"""What a provider says of its own limits with every answer, so that a used-up quota is passed over before it refuses.

Two families of headers: OpenAI's `x-ratelimit-{remaining,reset}-{requests,tokens}`, the reset a duration ("6m0s",
"1.5s", "120ms") or plain seconds, which many OpenAI-compatible providers send too; and Anthropic's
`anthropic-ratelimit-{requests,tokens,input-tokens,output-tokens}-{remaining,reset}`, the reset a time (RFC 3339). Pure.
"""

import datetime as dt
import re
from collections.abc import Iterable
from typing import Final

from ostiary.core.http import Header
from ostiary.core.limit import QUOTA_REST_SECONDS, QUOTA_REST_SECONDS_MAX

_REMAINING: Final = b"remaining"
_OPENAI: Final = b"x-ratelimit-"
_ANTHROPIC: Final = b"anthropic-ratelimit-"
_DURATION: Final = re.compile(rb"(?:(\d{1,4})h)?(?:(\d{1,6})m(?!s))?(?:(\d{1,9}(?:\.\d{1,9})?)s)?(?:(\d{1,9})ms)?")
_UNIT_SECONDS: Final = (3_600.0, 60.0, 1.0, 0.001)


def told(headers: Iterable[Header]) -> bool:
    """Whether an answer may say anything of a quota: said by few, and looked for in every answer."""
    return _REMAINING in b"\n".join(dict(headers))


def used_up_seconds(headers: Iterable[Header], now_seconds: float) -> float:
    """For how long the quota of an answer's provider is used up, at most QUOTA_REST_SECONDS_MAX; 0.0 where there is
    something left or nothing is said, as `told` has it. `now_seconds` since 1970."""
    fields = dict(headers)
    longest = 0.0
    for name, value in fields.items():
        if _REMAINING not in name or value.strip() != b"0" or not name.startswith((_OPENAI, _ANTHROPIC)):
            continue
        reset = fields.get(name.replace(b"remaining", b"reset"))
        seconds = QUOTA_REST_SECONDS if reset is None else _seconds(reset.strip(), now_seconds)
        longest = max(longest, min(seconds, QUOTA_REST_SECONDS_MAX))
    return longest


def _seconds(reset: bytes, now_seconds: float) -> float:
    """A reset in seconds from now; what cannot be read counts as a moment."""
    found = _DURATION.fullmatch(reset)
    if found is not None and any(found.groups()):
        return sum(
            float(part) * unit for part, unit in zip(found.groups(), _UNIT_SECONDS, strict=True) if part is not None
        )
    text = reset.decode("latin-1")
    try:
        number = float(text)
    except ValueError:
        pass
    else:
        # Some send seconds from now, some the time itself.
        return max(number - now_seconds, 0.0) if number > now_seconds / 2 else max(number, 0.0)
    try:
        at = dt.datetime.fromisoformat(text)
    except ValueError:
        return QUOTA_REST_SECONDS
    return max(at.replace(tzinfo=at.tzinfo or dt.UTC).timestamp() - now_seconds, 0.0)
