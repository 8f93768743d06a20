"""The limits of a call's scopes taken together: requests and tokens a minute, and calls open at once; pure."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Final

import msgspec

from ostiary.core.error import CallerError, Code
from ostiary.gateway.meter.rate import Cell, Rates
from ostiary.snapshot.tables import LimitedRow, LimitRow

_CODES: Final = {"requests": Code.LIMIT_REQUESTS, "tokens": Code.LIMIT_TOKENS}


class Taken(msgspec.Struct, frozen=True):
    """What one call took of the limits: to be given back or corrected when it ends."""

    tokens: tuple[Cell, ...]
    requests: tuple[Cell, ...]
    open: tuple[str, ...]
    alone: bool = False
    """Decided by this worker for itself while the shared counters were away."""


class Standing(msgspec.Struct, frozen=True):
    """The tightest limit of one kind, for headers: how many a minute, how many are left at once, and the seconds until
    all are there again."""

    limit: int
    remaining: int
    reset_seconds: float


class Limits:
    """The state of all limits of one worker."""

    def __init__(self) -> None:
        self._rates = Rates()
        self._open: dict[str, int] = {}

    def take(self, scopes: Sequence[LimitedRow], tokens: int, now: float) -> Taken:
        """Take one request of `tokens` tokens from every scope. Raises CallerError limit.requests, limit.tokens or
        limit.concurrency with the time to wait; then nothing was taken from any."""
        requests: list[Cell] = []
        paid: list[Cell] = []
        opened: list[str] = []
        for one in scopes:
            row = one.limit
            if row.concurrent_requests is not None:
                if self._open.get(one.scope, 0) >= row.concurrent_requests:
                    raise too_many(one.scope, row.concurrent_requests)
                opened.append(one.scope)
            if row.requests_per_minute is not None:
                requests.append(Cell(f"requests {one.scope}", row.requests_per_minute, row.request_burst, 1))
            if row.tokens_per_minute is not None:
                paid.append(Cell(f"tokens {one.scope}", row.tokens_per_minute, row.token_burst, tokens))
        refused = self._rates.take((*requests, *paid), now)
        if refused is not None:
            raise too_fast(refused.cell, refused.retry_after_seconds)
        for scope in opened:
            self._open[scope] = self._open.get(scope, 0) + 1
        return Taken(tuple(paid), tuple(requests), tuple(opened))

    def end(self, taken: Taken, tokens: int | None, now: float) -> None:
        """The call has ended, having used `tokens` (None: not known, the estimate stands)."""
        for scope in taken.open:
            left = self._open[scope] - 1
            if left:
                self._open[scope] = left
            else:
                del self._open[scope]
        if tokens is not None:
            for cell in taken.tokens:
                self._rates.correct(cell, tokens, now)

    def standing(self, cells: Sequence[Cell], now: float) -> Standing | None:
        """The tightest of some limits; None where there is none."""
        found: Standing | None = None
        for cell in cells:
            tat = self._rates.tat(cell.name)
            one = Standing(cell.rate, cell.remaining(tat, now), cell.reset_seconds(tat, now))
            if found is None or one.remaining < found.remaining:
                found = one
        return found

    def told(self, taken: Taken, reset_seconds: Sequence[float], now: float) -> None:
        """Take over what shared counters decided: `reset_seconds` of each cell, requests before tokens."""
        for cell, seconds in zip((*taken.requests, *taken.tokens), reset_seconds, strict=True):
            self._rates.told(cell.name, now + seconds, now)
        for scope in taken.open:
            self._open[scope] = self._open.get(scope, 0) + 1

    def open_in(self, scope: str) -> int:
        """How many calls of a scope are open."""
        return self._open.get(scope, 0)

    def scopes_open(self) -> tuple[str, ...]:
        """The scopes that have calls open."""
        return tuple(self._open)

    @property
    def open_count(self) -> int:
        """How many places of scopes are taken by open calls."""
        return sum(self._open.values())


def asked(scopes: Sequence[LimitedRow], tokens: int) -> Taken:
    """What a call of `tokens` tokens takes of its limits where they let it through."""
    requests: list[Cell] = []
    paid: list[Cell] = []
    opened: list[str] = []
    for one in scopes:
        row = one.limit
        if row.concurrent_requests is not None:
            opened.append(one.scope)
        if row.requests_per_minute is not None:
            requests.append(Cell(f"requests {one.scope}", row.requests_per_minute, row.request_burst, 1))
        if row.tokens_per_minute is not None:
            paid.append(Cell(f"tokens {one.scope}", row.tokens_per_minute, row.token_burst, tokens))
    return Taken(tuple(paid), tuple(requests), tuple(opened))


@lru_cache(maxsize=4_096)
def share_of(row: LimitedRow, workers: int) -> LimitedRow:
    """The part of a limit that one of `workers` may use where they cannot ask one another: at least one of each."""

    def part(whole: int | None) -> int | None:
        return None if whole is None else max(whole // workers, 1)

    limit = row.limit
    return LimitedRow(
        row.scope,
        LimitRow(
            part(limit.requests_per_minute),
            max(limit.request_burst // workers, 1),
            part(limit.tokens_per_minute),
            max(limit.token_burst // workers, 1),
            part(limit.concurrent_requests),
        ),
    )


def too_many(scope: str, limit: int) -> CallerError:
    """The refusal of a call where `limit` of its scope are open."""
    return CallerError(
        Code.LIMIT_CONCURRENCY,
        f"{limit} calls of {_shown(scope)} are open, as many as may be.",
        retry_after_seconds=1.0,
    )


def too_fast(cell: Cell, retry_after_seconds: float) -> CallerError:
    """The refusal of a call that a limit by rate has no room for."""
    kind, _, scope = cell.name.partition(" ")
    return CallerError(
        _CODES[kind],
        f"{_shown(scope)} may use {cell.rate} {kind} a minute, {cell.burst} at once.",
        retry_after_seconds=retry_after_seconds,
    )


def _shown(scope: str) -> str:
    """A scope as its caller may read it: what kind it is, not whose."""
    return f"this {scope.partition('/')[0]}"
