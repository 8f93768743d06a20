"""The limits of a call's scopes taken together: requests and tokens a minute, and calls open at once; pure."""

from collections.abc import Sequence
from functools import lru_cache
from itertools import repeat
from operator import add, ge
from typing import Final

import msgspec

from ostiary.core.error import CallerError, Code
from ostiary.gateway.meter.rate import Cell, Cells, Rates
from ostiary.snapshot.tables import LimitedRow, LimitRow

_ROWS_KEPT_MAX: Final = 4_096
_CODES: Final = {"requests": Code.LIMIT_REQUESTS, "tokens": Code.LIMIT_TOKENS}


class Taken(msgspec.Struct, frozen=True):
    """What one call took of the limits: to be given back or corrected when it ends. Of the cells of each kind the one with
    the least burst comes first; one that costs 0 costs as many tokens as were `expected`."""

    tokens: Cells
    requests: Cells
    open: tuple[str, ...]
    alone: bool = False
    """Decided by this worker for itself while the shared counters were away."""
    expected: int = 0


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
        together = _together(tuple(scopes))
        opened = self._open
        count = [*map(opened.get, together.open, repeat(0))]
        if any(map(ge, count, together.bounds)):
            raise next(
                too_many(scope, bound)
                for scope, bound, taken in zip(together.open, together.bounds, count, strict=True)
                if taken >= bound
            )
        refused = self._rates.take(together.cells, now, tokens)
        if refused is not None:
            raise too_fast(refused.cell, refused.retry_after_seconds)
        opened.update(zip(together.open, map(add, count, repeat(1)), strict=True))
        return Taken(together.tokens, together.requests, together.open, expected=tokens)

    def end(self, taken: Taken, tokens: int | None, now: float) -> None:
        """The call has ended, having used `tokens` (None: not known, the estimate stands)."""
        opened = self._open
        for scope, count in zip(taken.open, map(opened.__getitem__, taken.open), strict=True):
            if count > 1:
                opened[scope] = count - 1
            else:
                del opened[scope]
        if tokens is not None:
            self._rates.correct(taken.tokens, tokens, now, taken.expected)

    def standing(self, cells: Cells, now: float) -> Standing | None:
        """The tightest of some limits; None where there is none."""
        found = self._rates.tightest(cells, now)
        return None if found is None else Standing(found[0].rate, found[1], found[2])

    def told(self, taken: Taken, reset_seconds: Sequence[float], now: float) -> None:
        """Take over what shared counters decided: `reset_seconds` of each cell, requests before tokens."""
        for cell, seconds in zip((*taken.requests.each, *taken.tokens.each), reset_seconds, strict=True):
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
    together = _together(tuple(scopes))
    return Taken(together.tokens, together.requests, together.open, expected=tokens)


class _Together(msgspec.Struct, frozen=True):
    """What calls take of some scopes: `bounds` says how many may be open of each of `open`, `cells` are those of
    `requests` and `tokens`."""

    open: tuple[str, ...]
    bounds: tuple[int, ...]
    requests: Cells
    tokens: Cells
    cells: Cells


@lru_cache(maxsize=_ROWS_KEPT_MAX)
def _together(scopes: tuple[LimitedRow, ...]) -> _Together:
    cells = [_cells(one) for one in scopes]
    requests = Cells.of(sorted((one for one, _ in cells if one is not None), key=_burst))
    tokens = Cells.of(sorted((one for _, one in cells if one is not None), key=_burst))
    places = {one.scope: one.limit.concurrent_requests for one in scopes}
    bounded = {scope: bound for scope, bound in places.items() if bound is not None}
    return _Together(
        tuple(bounded), tuple(bounded.values()), requests, tokens, Cells.of((*requests.each, *tokens.each))
    )


def _burst(cell: Cell) -> int:
    return cell.burst


@lru_cache(maxsize=_ROWS_KEPT_MAX)
def _cells(one: LimitedRow) -> tuple[Cell | None, Cell | None]:
    """What a call takes of a scope's limits of requests and of tokens; None where there is no such limit."""
    row = one.limit
    requests, tokens = row.requests_per_minute, row.tokens_per_minute
    return (
        None if requests is None else Cell(f"requests {one.scope}", requests, row.request_burst, 1),
        None if tokens is None else Cell(f"tokens {one.scope}", tokens, row.token_burst, 0),
    )


@lru_cache(maxsize=_ROWS_KEPT_MAX)
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
