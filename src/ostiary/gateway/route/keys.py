"""Which of several secrets of one provider a call is sent with, and what became of each. Pure: the time is handed in.

A secret that is refused (401, 403) rests for itself alone, and so does one whose quota is used up (429, or its own word):
the provider's targets rest only where no secret is left. The one with the fewest calls under way for its weight is next,
then the one whose turn it is by weight.
"""

from collections.abc import Collection, Iterable
from typing import Final

import msgspec

from ostiary.core.error import Code, OstiaryError, UpstreamError
from ostiary.core.limit import CREDENTIAL_REST_SECONDS, QUOTA_REST_SECONDS, QUOTA_REST_SECONDS_MAX
from ostiary.snapshot.tables import AuthRow, KeyRow, ProviderRow

_OF_THE_KEY: Final = frozenset({Code.UPSTREAM_CREDENTIAL, Code.UPSTREAM_RATE_LIMITED})


class ProviderKey:
    """One secret: `row` is the provider as if it had no other. Times are monotonic seconds."""

    __slots__ = ("finish", "in_flight", "name", "rests_until", "row", "scarce_until", "trouble", "weight")

    def __init__(self, provider: ProviderRow, key: KeyRow) -> None:
        auth: AuthRow = msgspec.structs.replace(provider.auth, secret=key.secret, keys=())
        self.row = msgspec.structs.replace(provider, auth=auth)
        self.name = key.name
        self.weight = key.weight
        self.in_flight = 0
        self.finish = 0.0
        self.rests_until = 0.0
        self.scarce_until = 0.0
        self.trouble = Code.UPSTREAM_CREDENTIAL

    def left(self) -> None:
        """That call is over."""
        self.in_flight -= 1

    def failed(self, now: float, error: OstiaryError) -> bool:
        """Whether a failure is this secret's own, which then rests."""
        if error.code not in _OF_THE_KEY:
            return False
        self.trouble = error.code
        rest = CREDENTIAL_REST_SECONDS
        if error.code is Code.UPSTREAM_RATE_LIMITED:
            asked = error.retry_after_seconds
            rest = QUOTA_REST_SECONDS if asked is None else min(max(asked, 0.0), QUOTA_REST_SECONDS_MAX)
        self.rests_until = max(self.rests_until, now + rest)
        return True


class Keys:
    """The secrets of one provider."""

    def __init__(self, provider: ProviderRow) -> None:
        self.keys = tuple(ProviderKey(provider, key) for key in provider.auth.keys)
        self._virtual = 0.0

    def pick(self, now: float, tried: Collection[ProviderKey] = ()) -> ProviderKey | None:
        """The secret for the next call; None where all of them rest or were tried."""
        ready = [key for key in self.keys if now >= key.rests_until and key not in tried]
        if not ready:
            return None
        # The last is start-time fair queueing: one that rested for long does not make up for it.
        return min(
            ready, key=lambda key: (now < key.scarce_until, key.in_flight / key.weight, max(key.finish, self._virtual))
        )

    def began(self, key: ProviderKey) -> None:
        """A call goes out with one of them."""
        key.in_flight += 1
        self._virtual = max(key.finish, self._virtual)
        key.finish = self._virtual + 1.0 / key.weight

    def exhausted(self, now: float, error: OstiaryError | None = None) -> OstiaryError:
        """The failure where no secret is left: of the one that may be used again first. `error` is that of the last."""
        soonest = min(self.keys, key=lambda key: key.rests_until)
        if error is not None and error.code not in _OF_THE_KEY:
            return error
        if soonest.trouble is Code.UPSTREAM_CREDENTIAL:
            return UpstreamError(Code.UPSTREAM_CREDENTIAL, "The provider refused every credential of the gateway.")
        return UpstreamError(
            Code.UPSTREAM_RATE_LIMITED,
            "The rate limit of every credential is used up.",
            retry_after_seconds=max(soonest.rests_until - now, 0.0),
        )


def of_providers(
    rows: Iterable[ProviderRow], before: dict[str, Keys], changed: Collection[str] = ()
) -> dict[str, Keys]:
    """The secrets of every provider that has several, by its name; what is known of those of a provider that is the same
    as before is kept."""
    found: dict[str, Keys] = {}
    for row in rows:
        if row.auth.keys:
            old = before.get(row.name)
            found[row.name] = old if old is not None and row.name not in changed else Keys(row)
    return found


def each_alone(rows: Iterable[ProviderRow]) -> tuple[ProviderRow, ...]:
    """The providers, those with several secrets once with each."""
    return tuple(
        one
        for row in rows
        for one in ([ProviderKey(row, key).row for key in row.auth.keys] if row.auth.keys else [row])
    )
