"""Usage to cost. Rates are nano-units; sums are exact integers, rounded up once at the end.

Each kind of token is charged once: cached, cache-write, audio and image tokens are part of the input, reasoning and
audio and image tokens part of the output; where a list has no rate for a kind, it is charged like the kind it is part of. Images,
minutes of sound, characters, search units and the request itself are charged where a list has a rate for them. What was
consumed but has no rate at all in a list is not priced by it (`covers`), and is charged at the ceiling: never at nothing.
"""

from typing import Final

import msgspec

from ostiary.core.usage import Cost, Nano, Usage
from ostiary.snapshot.tables import PriceRow, PricingRow, Rates, UnknownPrice

_PER: Final = 1_000_000
_MILLISECONDS_PER_MINUTE: Final = 60_000
_DEAREST_KEPT_MAX: Final = 4_096
_NOTHING: Final = Usage()


class _Dearest(msgspec.Struct, frozen=True):
    """The highest rate of each kind in any tier of `row`. `rates` has no parts of tokens: they are in the whole; with
    `tokens_only` nothing else has a rate either, with `any_tokens` the row `covers` whatever has tokens besides."""

    row: PriceRow | PricingRow
    rates: Rates
    tokens_only: bool
    any_tokens: bool


_dearest: Final[dict[int, _Dearest]] = {}
"""The dearest rates of rows in use, by identity; a row is kept alive by its entry, so an identity is never reused."""


def cost(price: PriceRow, usage: Usage, *, estimated: bool = False) -> Cost:
    """What `usage` costs by `price`."""
    rates = price.rates
    read, made = usage.input_tokens, usage.output_tokens
    for above, tier in price.tiers:
        if read > above:
            rates = tier
    if rates.request is None and usage == Usage(
        read, made
    ):  # nothing but tokens of no further kind, as most calls have
        nano = Nano(-(-(read * rates.input + made * rates.output) // _PER))
    else:
        nano = _nano(rates, usage)
    return Cost(nano, price.currency, price.version, estimated)


def ceiling_cost(pricing: PricingRow, usage: Usage) -> Cost:
    """What `usage` costs where no price is known: the operator's ceiling, marked as an estimate."""
    return Cost(
        nano=_nano(pricing.ceiling, usage),
        price_version=f"{pricing.version}/ceiling",
        estimated=True,
    )


def covers(price: PriceRow, usage: Usage) -> bool:
    """Whether a list says what `usage` costs. It does not where nothing of it has a rate: pictures by a list of tokens,
    tokens by a list of minutes. A list that names no rate but zeros is of what costs nothing, and says so."""
    rates = price.rates
    by_token = rates.input or rates.output
    if by_token and (usage.input_tokens or usage.output_tokens):  # as of most calls
        return True
    if rates.request is not None:
        return True
    others = (
        (usage.images, rates.image),
        (usage.audio_milliseconds, rates.audio_minute),
        (usage.characters, rates.character),
        (usage.search_units, rates.search_unit),
    )
    if any(count and rate is not None for count, rate in others) or usage == _NOTHING:
        return True
    return not by_token and all(rate is None for _, rate in others)


def charge(price: PriceRow | None, pricing: PricingRow, usage: Usage, *, estimated: bool = False) -> Cost:
    """What `usage` costs by `price`, or by the operator's ceiling where there is no price that covers it."""
    if price is not None:
        rates = price.rates
        tokens = (usage.input_tokens or usage.output_tokens) and (rates.input or rates.output)
        if tokens or covers(price, usage):  # the first is how it begins, without a call
            return cost(price, usage, estimated=estimated)
    return ceiling_cost(pricing, usage)


def most(price: PriceRow | None, pricing: PricingRow, bound: Usage) -> Nano | None:
    """What a call within `bound` is charged at most. None where no price is known and the operator refuses such calls."""
    if price is not None:
        found = _dearest.get(id(price))
        if (
            found is not None
            and found.any_tokens
            and found.row is price
            and (bound.input_tokens or bound.output_tokens)
        ):
            rates = found.rates  # as both of the below come to for most calls
            return Nano(-(-(bound.input_tokens * rates.input + bound.output_tokens * rates.output) // _PER))
        if covers(price, bound):
            return upper_bound(price, bound)
    if refuses_unknown(pricing) and bound != _NOTHING:
        return None
    return upper_bound(pricing, bound)


def upper_bound(price: PriceRow | PricingRow, usage: Usage) -> Nano:
    """What `usage` costs at most, whatever kinds its tokens turn out to be: no usage that is nowhere greater costs more
    by the same price."""
    found = _dearest.get(id(price))
    if found is None or found.row is not price:
        if len(_dearest) >= _DEAREST_KEPT_MAX:
            _dearest.clear()
        rates = _dearest_rates(price)
        tokens_only = rates == Rates(input=rates.input, output=rates.output)
        sold = isinstance(price, PriceRow) and bool(price.rates.input or price.rates.output)
        found = _dearest[id(price)] = _Dearest(price, rates, tokens_only, tokens_only and sold)
    rates = found.rates
    if found.tokens_only:  # then of whatever kind they are
        return Nano(-(-(usage.input_tokens * rates.input + usage.output_tokens * rates.output) // _PER))
    return _nano(rates, usage)


def _dearest_rates(price: PriceRow | PricingRow) -> Rates:
    if isinstance(price, PricingRow):
        tables: tuple[Rates, ...] = (price.ceiling,)
    else:
        tables = (price.rates, *(tier for _, tier in price.tiers))

    def dearest(*names: str) -> int | None:
        rates = [rate for row in tables for name in names if (rate := getattr(row, name)) is not None]
        return max(rates, default=None)

    return Rates(
        input=dearest("input", "cached", "cache_write", "cache_write_1h", "input_audio", "input_image") or 0,
        output=dearest("output", "reasoning", "output_audio", "output_image") or 0,
        image=dearest("image"),
        request=dearest("request"),
        audio_minute=dearest("audio_minute"),
        character=dearest("character"),
        search_unit=dearest("search_unit"),
    )


def refuses_unknown(pricing: PricingRow) -> bool:
    """Whether a call without a known price must not go out."""
    return pricing.unknown is UnknownPrice.REFUSE


def _nano(rates: Rates, usage: Usage) -> Nano:
    whole = _PER * _MILLISECONDS_PER_MINUTE
    others = (
        (rates.request or 0) * whole
        + usage.images * (rates.image or 0) * whole
        + usage.search_units * (rates.search_unit or 0) * whole
        + usage.characters * (rates.character or 0) * _MILLISECONDS_PER_MINUTE
        + usage.audio_milliseconds * (rates.audio_minute or 0) * _PER
    )
    return Nano(-(-(_tokens(rates, usage) * _MILLISECONDS_PER_MINUTE + others) // whole))


def _tokens(rates: Rates, usage: Usage) -> int:
    """The tokens' price, in nano-units per _PER."""
    cached = min(usage.cached_tokens, usage.input_tokens)
    write = min(usage.cache_write_tokens, usage.input_tokens - cached)
    hour = min(usage.cache_write_1h_tokens, write)
    audio_in = min(usage.input_audio_tokens, usage.input_tokens - cached - write)
    image_in = min(usage.input_image_tokens, usage.input_tokens - cached - write - audio_in)
    plain_in = usage.input_tokens - cached - write - audio_in - image_in
    reasoning = min(usage.reasoning_tokens, usage.output_tokens)
    audio_out = min(usage.output_audio_tokens, usage.output_tokens - reasoning)
    # An answer of images whose provider does not tell the two apart has no text to speak of.
    drawn = usage.output_image_tokens or (usage.output_tokens if usage.images else 0)
    image_out = min(drawn, usage.output_tokens - reasoning - audio_out)
    plain_out = usage.output_tokens - reasoning - audio_out - image_out
    write_rate = _or(rates.cache_write, rates.input)
    return (
        plain_in * rates.input
        + cached * _or(rates.cached, rates.input)
        + (write - hour) * write_rate
        + hour * _or(rates.cache_write_1h, write_rate)
        + audio_in * _or(rates.input_audio, rates.input)
        + image_in * _or(rates.input_image, rates.input)
        + plain_out * rates.output
        + reasoning * _or(rates.reasoning, rates.output)
        + audio_out * _or(rates.output_audio, rates.output)
        + image_out * _or(rates.output_image, rates.output)
    )


def _or(rate: int | None, other: int) -> int:
    return other if rate is None else rate
