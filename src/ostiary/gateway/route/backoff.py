"""How long to wait before another attempt: exponential with full jitter, or as long as the provider asked for. Pure."""

from typing import Protocol

from ostiary.core.limit import BACKOFF_SECONDS, BACKOFF_SECONDS_MAX, QUOTA_REST_SECONDS_MAX


class Draw(Protocol):
    """Uniform numbers in [0, 1)."""

    def random(self) -> float: ...


def pause_seconds(attempts: int, asked_seconds: float | None, draw: Draw) -> float:
    """Seconds after `attempts` >= 1 attempts. What the provider asked for in `retry-after` is a lower bound, clamped
    to QUOTA_REST_SECONDS_MAX, since a provider may ask for anything."""
    jitter = draw.random() * min(BACKOFF_SECONDS * 2.0 ** (attempts - 1), BACKOFF_SECONDS_MAX)
    if asked_seconds is None:
        return jitter
    return min(max(asked_seconds, 0.0), QUOTA_REST_SECONDS_MAX) + jitter
