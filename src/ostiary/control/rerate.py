"""What recorded calls would have cost by another price list; pure, and exact in nano-units.

Each call is priced as it would have been on its day: by its own tokens, in the tier they fall into, rounded up once. A
call that the list does not price is not counted on either side, and said so.
"""

from collections.abc import Callable, Iterable
from enum import StrEnum
from typing import Final

import msgspec

from ostiary.core.call import Operation
from ostiary.core.usage import Nano
from ostiary.gateway.meter.price import cost, covers
from ostiary.govern.usage.model import Consumed
from ostiary.snapshot.tables import PriceRow

_OPERATIONS: Final[dict[str, tuple[Operation, ...]]] = {
    "chat": (Operation.CHAT,),
    "embedding": (Operation.EMBEDDINGS,),
    "image": (Operation.CHAT, Operation.IMAGE_GENERATION, Operation.IMAGE_EDIT, Operation.IMAGE_VARIATION),
    "transcription": (Operation.TRANSCRIPTION, Operation.TRANSLATION),
    "speech": (Operation.SPEECH,),
    "rerank": (Operation.RERANK,),
    "moderation": (Operation.MODERATION,),
}
"""What a model of each kind is called for. Of other kinds it is not known."""


class Why(StrEnum):
    """Why a call cannot be priced by another list."""

    NO_PRICE = "the list has no price for its day"
    NOT_SOLD = "the list has no rate for what it consumed"
    OTHER_KIND = "the model does not do what it asked for"
    CURRENCY = "it was charged in another currency"


class Rerated(msgspec.Struct, frozen=True):
    """One group: `calls` that both lists price, what they cost (`was_nano`) and would have cost (`would_be_nano`).

    `left_out` counts the calls that cannot be priced, by reason. Of the others, `estimated` were counted by us or cost
    at a ceiling, `partial` were kept without every kind of usage, and `too_long` have more input than the model's
    context window; `cached_tokens` are priced as read from a cache there too."""

    group: tuple[str, ...]
    calls: int
    was_nano: int
    would_be_nano: int
    currency: str
    left_out: dict[str, int]
    estimated: int
    partial: int
    too_long: int
    cached_tokens: int


class _Sum:
    def __init__(self) -> None:
        self.calls = self.was = self.would_be = self.estimated = self.partial = self.too_long = self.cached = 0
        self.left_out: dict[str, int] = {}

    def leave_out(self, why: Why, calls: int) -> None:
        self.left_out[why] = self.left_out.get(why, 0) + calls


def rerate(
    rows: Iterable[Consumed],
    price_on: Callable[[str], PriceRow | None],
    *,
    kind: str = "",
    context_window: int | None = None,
    currency: str = "USD",
) -> list[Rerated]:
    """What each group would have cost. `price_on` gives the price that held on a day (YYYY-MM-DD), None where there is
    none; `kind` and `context_window` are those of the model, as far as they are known."""
    offered = _OPERATIONS.get(kind)
    sums: dict[tuple[str, ...], _Sum] = {}
    days: dict[str, PriceRow | None] = {}
    for row in rows:
        found = sums.setdefault(row.group, _Sum())
        if row.day not in days:
            days[row.day] = price_on(row.day)
        price = days[row.day]
        why = _why_not(row, price, offered, currency)
        if why is not None:
            found.leave_out(why, row.calls)
            continue
        assert price is not None
        found.calls += row.calls
        found.was += row.cost_nano
        found.would_be += priced(price, row)
        found.estimated += row.calls if row.estimated else 0
        found.partial += 0 if row.whole else row.calls
        found.cached += row.usage.cached_tokens * row.calls
        if context_window is not None and row.usage.input_tokens > context_window:
            found.too_long += row.calls
    return [
        Rerated(
            group=group,
            calls=one.calls,
            was_nano=one.was,
            would_be_nano=one.would_be,
            currency=currency,
            left_out=one.left_out,
            estimated=one.estimated,
            partial=one.partial,
            too_long=one.too_long,
            cached_tokens=one.cached,
        )
        for group, one in sorted(sums.items())
    ]


def priced(price: PriceRow, row: Consumed) -> Nano:
    """What the calls of a row cost by a price, each rounded up on its own."""
    return Nano(cost(price, row.usage).nano * row.calls)


def _why_not(row: Consumed, price: PriceRow | None, offered: tuple[Operation, ...] | None, currency: str) -> Why | None:
    if offered is not None and row.operation not in offered:
        return Why.OTHER_KIND
    if price is None:
        return Why.NO_PRICE
    if price.currency != currency or row.currency != currency:
        return Why.CURRENCY
    if not covers(price, row.usage):
        return Why.NOT_SOLD
    return None
