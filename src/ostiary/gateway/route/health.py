"""What one worker has seen of its targets, and whether the next call should go there. Pure: the time is handed in.

Three kinds of trouble are kept apart, since each ends in another way:

* the *host* fails (no connection, no answer, 5xx): after some failures in a row, or many among few, the target is
  ejected for a time that grows with each ejection; then one call, and no more, probes whether it is back;
* the *quota* is used up (429), or it says that it is overloaded: the target rests as long as it asked for, clamped.
  Where it asked for nothing it is merely spared for a little: passed over as long as another can take the call;
* the *credential* is refused (401, 403): the provider rests with it, and the host is not blamed.
"""

from collections.abc import Callable
from enum import StrEnum
from typing import Final

from ostiary.core.error import Code, OstiaryError
from ostiary.core.limit import (
    CREDENTIAL_REST_SECONDS,
    EJECT_AFTER_FAILURES,
    EJECT_SECONDS,
    EJECT_SECONDS_MAX,
    QUOTA_REST_SECONDS,
    QUOTA_REST_SECONDS_MAX,
    RETRIES_RESERVED,
    RETRIES_SHARE,
    TARGETS_SEEN_MAX,
)

_HOST: Final = frozenset(
    {
        Code.UPSTREAM_UNREACHABLE,
        Code.UPSTREAM_TLS,
        Code.UPSTREAM_TIMEOUT,
        Code.UPSTREAM_PROTOCOL,
        Code.UPSTREAM_CUT,
        Code.UPSTREAM_ERROR,
        Code.UPSTREAM_OVERLOADED,
    }
)
_ANSWERED: Final = frozenset({Code.UPSTREAM_PROTOCOL, Code.UPSTREAM_CUT, Code.UPSTREAM_ERROR})
"""Failures of a host that was reached and read the request."""

_QUOTA: Final = frozenset({Code.UPSTREAM_RATE_LIMITED, Code.UPSTREAM_OVERLOADED})

_WINDOW_SECONDS: Final = 10.0
_WINDOW_CALLS_MIN: Final = 20
_WINDOW_FAILED_SHARE: Final = 0.5
_FORGIVEN_AFTER_SECONDS: Final = 300.0
"""A target that has been well for so long starts again with the shortest ejection."""

_RESERVE_PER_SECOND: Final = 0.1
"""So that a target with little traffic gets its reserve of retries back."""

_SHARE_UP: Final = 0.45
_SHARE_DOWN: Final = 0.05
"""How far the latency of a target moves at most, in parts of itself: nine times as far up as down."""


class Standing(StrEnum):
    """Whether a call may go to a target now, or why not."""

    WELL = "well"
    PROBE = "probe"
    EJECTED = "ejected"
    SPARED = "spared"
    RESTING = "resting"
    CREDENTIAL = "credential"


class TargetHealth:
    """What is known of one target. Times are monotonic seconds."""

    __slots__ = (
        "_budget",
        "_budget_at",
        "_credential_until",
        "_ejections",
        "_failures",
        "_probing",
        "_window_at",
        "_window_calls",
        "_window_failed",
        "ejected_until",
        "in_flight",
        "latency_seconds",
        "rests_until",
        "scarce_until",
        "spared_until",
        "trouble",
        "well_since",
    )

    def __init__(self, now: float) -> None:
        self.in_flight = 0
        self.latency_seconds = 0.0
        self.ejected_until = 0.0
        self.rests_until = 0.0
        self.spared_until = 0.0
        self.scarce_until = 0.0
        """Until when it said itself that its quota is used up (`route/quota.py`)."""

        self.trouble = Code.UPSTREAM_UNAVAILABLE
        """The last failure that counted against it."""

        self.well_since = now
        self._credential_until = 0.0
        self._failures = 0
        self._ejections = 0
        self._probing = False
        self._window_at = now
        self._window_calls = 0
        self._window_failed = 0
        self._budget = RETRIES_RESERVED
        self._budget_at = now

    def standing(self, now: float) -> Standing:
        """Whether a call may go there. PROBE: it may, as the only one, to see whether the target is back."""
        if now < self._credential_until:
            return Standing.CREDENTIAL
        if now < self.rests_until:
            return Standing.RESTING
        if not self.ejected_until:
            return Standing.SPARED if now < self.spared_until or now < self.scarce_until else Standing.WELL
        if now < self.ejected_until or self._probing:
            return Standing.EJECTED
        return Standing.PROBE

    def sound(self, now: float) -> bool:
        """Whether it is well, and nothing failed there lately."""
        lately = self._window_failed and now - self._window_at < _WINDOW_SECONDS
        return not (lately or self._failures) and self.standing(now) is Standing.WELL

    def back_at(self) -> float:
        """When the target may be tried again, as far as is known."""
        return max(self.ejected_until, self.rests_until, self._credential_until)

    def began(self, now: float, *, first: bool) -> None:
        """A call goes there; `first`: it is the call's first attempt anywhere."""
        self.in_flight += 1
        if self.ejected_until and now >= self.ejected_until:
            self._probing = True
        if first and self._budget < RETRIES_RESERVED:
            self._budget = min(self._budget + RETRIES_SHARE, RETRIES_RESERVED)

    def succeeded(self, now: float, seconds: float) -> None:
        """It answered; `seconds` until its first byte."""
        self.in_flight -= 1
        self._failures = 0
        self.spared_until = 0.0
        if now - self._window_at > _WINDOW_SECONDS:
            self._window_begins(now)
        self._window_calls += 1
        # The latency follows its 90th percentile: up by much when it is exceeded, down by little otherwise, in steps of
        # its own size, so that what is old fades.
        latency = self.latency_seconds
        if seconds > latency:
            self.latency_seconds = min(latency + latency * _SHARE_UP, seconds) if latency else seconds
        else:
            self.latency_seconds = max(latency - latency * _SHARE_DOWN, seconds)
        if self.ejected_until:
            self.ejected_until, self._probing = 0.0, False
            self.well_since = now
        elif self._ejections and now - self.well_since > _FORGIVEN_AFTER_SECONDS:
            self._ejections = 0

    def failed(self, now: float, error: OstiaryError, *, again: bool = False) -> bool:
        """It failed; `again`: as the same call did here before. Whether the target is ejected now and was not before."""
        self.in_flight -= 1
        if error.code is Code.UPSTREAM_CREDENTIAL:
            self.trouble = error.code
            self._credential_until = now + CREDENTIAL_REST_SECONDS
            self._probing = False
            return False
        if error.code in _QUOTA:
            self.trouble = error.code
            asked = error.retry_after_seconds
            if asked is None:
                self.spared_until = now + QUOTA_REST_SECONDS
            else:
                self.rests_until = max(self.rests_until, now + min(max(asked, 0.0), QUOTA_REST_SECONDS_MAX))
            if error.code not in _HOST or asked is not None:
                self._probing = False
                return False
        if error.code not in _HOST:
            # It answered, and refused this request: the host is well.
            self._failures = 0
            self._count(now, failed=False)
            if self.ejected_until:
                self.ejected_until, self._probing, self.well_since = 0.0, False, now
            return False
        self.trouble = error.code
        # What fails whenever it is asked may be the call's own fault: it is one witness, however often it tries.
        if not (again and error.code in _ANSWERED):
            self._failures += 1
            self._count(now, failed=True)
        if self._probing or (not self.ejected_until and self._is_outlier()):
            fresh = not self._probing
            self._eject(now)
            return fresh
        return False

    def forgive(self) -> None:
        """Let calls through again, whatever was seen before."""
        self.ejected_until = self.rests_until = self._credential_until = 0.0
        self.spared_until = self.scarce_until = 0.0
        self._failures = self._ejections = 0
        self._probing = False

    def left(self) -> None:
        """The call ended without saying anything of the target: the client went away."""
        self.in_flight -= 1
        self._probing = False

    def may_retry(self, now: float) -> bool:
        """Take one retry out of the target's budget, if there is one: beyond a small reserve, at most
        RETRIES_SHARE of its calls may be followed by another attempt."""
        self._budget = min(
            self._budget + (now - self._budget_at) * _RESERVE_PER_SECOND, max(self._budget, RETRIES_RESERVED)
        )
        self._budget_at = now
        if self._budget < 1.0:
            return False
        self._budget -= 1.0
        return True

    def _is_outlier(self) -> bool:
        if self._failures >= EJECT_AFTER_FAILURES:
            return True
        calls = self._window_calls
        return calls >= _WINDOW_CALLS_MIN and self._window_failed >= calls * _WINDOW_FAILED_SHARE

    def _eject(self, now: float) -> None:
        seconds = min(EJECT_SECONDS * 2**self._ejections, EJECT_SECONDS_MAX)
        self._ejections = min(self._ejections + 1, 16)
        self.ejected_until = now + seconds
        self._probing = False
        self._failures = self._window_calls = self._window_failed = 0

    def _count(self, now: float, *, failed: bool) -> None:
        if now - self._window_at > _WINDOW_SECONDS:
            self._window_begins(now)
        self._window_calls += 1
        self._window_failed += failed

    def _window_begins(self, now: float) -> None:
        self._window_at, self._window_calls, self._window_failed = now, 0, 0


class Health:
    """All targets of one worker. `on_eject` is told of each that is ejected."""

    def __init__(self, on_eject: Callable[[str], None] | None = None) -> None:
        self._targets: dict[str, TargetHealth] = {}
        self.troubled: set[str] = set()
        """The names of those that may not stand WELL: empty on a good day, which is then all there is to look at."""

        self._on_eject = on_eject

    def of(self, name: str, now: float) -> TargetHealth:
        """What is known of a target, by its name (provider/model). At most TARGETS_SEEN_MAX are remembered."""
        found = self._targets.get(name)
        if found is None:
            if len(self._targets) >= TARGETS_SEEN_MAX:
                self._forget()
            found = self._targets[name] = TargetHealth(now)
        return found

    def failed(self, name: str, now: float, error: OstiaryError, *, again: bool = False) -> None:
        """A call to a target failed; `again`: not for the first time."""
        one = self.of(name, now)
        fresh = one.failed(now, error, again=again)
        if one.standing(now) is not Standing.WELL:
            self.troubled.add(name)
        if fresh and self._on_eject is not None:
            self._on_eject(name)

    def scarce(self, name: str, now: float, seconds: float) -> None:
        """A target said that its quota is used up for so long."""
        self.of(name, now).scarce_until = now + seconds
        self.troubled.add(name)

    def standing(self, name: str, now: float) -> Standing:
        """Whether a call may go to a target now."""
        if name not in self.troubled:
            return Standing.WELL
        found = self.of(name, now).standing(now)
        if found is Standing.WELL:
            self.troubled.discard(name)
        return found

    def renew(self, provider: str) -> None:
        """Forget what was seen of a provider's targets: its address or credential is another one now."""
        prefix = f"{provider}/"
        self._targets = {
            name: one for name, one in self._targets.items() if one.in_flight or not name.startswith(prefix)
        }
        for name, one in self._targets.items():
            if name.startswith(prefix):
                one.forgive()

    def _forget(self) -> None:
        """Forget the targets that nothing is going to; all of them stand for names that callers made up."""
        self._targets = {name: one for name, one in self._targets.items() if one.in_flight}
