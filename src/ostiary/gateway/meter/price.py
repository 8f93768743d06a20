"""Usage to cost. Rates are nano-units per million tokens; sums are exact integers, rounded up once at the end.

Each kind of token is charged once: cached, cache-write and audio tokens are part of the input, reasoning and audio
tokens part of the output; where a list has no rate for a kind, it is charged like the kind it is part of.
"""

from typing import Final

from ostiary.core.usage import Cost, Nano, Usage
from ostiary.snapshot.tables import PriceRow, PricingRow, Rates, UnknownPrice

_PER: Final = 1_000_000
_DEAREST_KEPT_MAX: Final = 4_096
_dearest: Final[dict[int, tuple[PriceRow | PricingRow, int, int]]] = {}
"""The dearest rates of rows in use, by identity; a row is kept alive by its entry, so an identity is never reused."""


def cost(price: PriceRow, usage: Usage, *, estimated: bool = False) -> Cost:
    """What `usage` costs by `price`."""
    rates = price.rates
    for above, tier in price.tiers:
        if usage.input_tokens > above:
            rates = tier
    return Cost(
        nano=Nano(-(-_product(rates, usage) // _PER)),
        currency=price.currency,
        price_version=price.version,
        estimated=estimated,
    )


def ceiling_cost(pricing: PricingRow, usage: Usage) -> Cost:
    """What `usage` costs where no price is known: the operator's ceiling, marked as an estimate."""
    return Cost(
        nano=Nano(-(-_product(pricing.ceiling, usage) // _PER)),
        price_version=f"{pricing.version}/ceiling",
        estimated=True,
    )


def upper_bound(price: PriceRow | PricingRow, usage: Usage) -> Nano:
    """What `usage` costs at most, whatever kinds its tokens turn out to be."""
    key = id(price)
    found = _dearest.get(key)
    if found is None or found[0] is not price:
        if len(_dearest) >= _DEAREST_KEPT_MAX:
            _dearest.clear()
        found = _dearest[key] = (price, *_dearest_rates(price))
    return Nano(-(-(usage.input_tokens * found[1] + usage.output_tokens * found[2]) // _PER))


def _dearest_rates(price: PriceRow | PricingRow) -> tuple[int, int]:
    """The highest rate of any kind of input and of any kind of output token, in any tier."""
    if isinstance(price, PricingRow):
        tables: tuple[Rates, ...] = (price.ceiling,)
    else:
        tables = (price.rates, *(tier for _, tier in price.tiers))
    inputs = [(row.input, row.cached, row.cache_write, row.cache_write_1h, row.input_audio) for row in tables]
    outputs = [(row.output, row.reasoning, row.output_audio) for row in tables]
    return (
        max(rate for row in inputs for rate in row if rate is not None),
        max(rate for row in outputs for rate in row if rate is not None),
    )


def refuses_unknown(pricing: PricingRow) -> bool:
    """Whether a call without a known price must not go out."""
    return pricing.unknown is UnknownPrice.REFUSE


def _product(rates: Rates, usage: Usage) -> int:
    if usage == Usage(usage.input_tokens, usage.output_tokens):  # only plain tokens, as in most calls
        return usage.input_tokens * rates.input + usage.output_tokens * rates.output
    cached = min(usage.cached_tokens, usage.input_tokens)
    write = min(usage.cache_write_tokens, usage.input_tokens - cached)
    hour = min(usage.cache_write_1h_tokens, write)
    audio_in = min(usage.input_audio_tokens, usage.input_tokens - cached - write)
    plain_in = usage.input_tokens - cached - write - audio_in
    reasoning = min(usage.reasoning_tokens, usage.output_tokens)
    audio_out = min(usage.output_audio_tokens, usage.output_tokens - reasoning)
    plain_out = usage.output_tokens - reasoning - audio_out
    write_rate = _or(rates.cache_write, rates.input)
    return (
        plain_in * rates.input
        + cached * _or(rates.cached, rates.input)
        + (write - hour) * write_rate
        + hour * _or(rates.cache_write_1h, write_rate)
        + audio_in * _or(rates.input_audio, rates.input)
        + plain_out * rates.output
        + reasoning * _or(rates.reasoning, rates.output)
        + audio_out * _or(rates.output_audio, rates.output)
    )


def _or(rate: int | None, other: int) -> int:
    return other if rate is None else rate
