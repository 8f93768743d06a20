"""Usage to cost. Rates are nano-units per million tokens; sums are exact integers, rounded up once at the end.

Each kind of token is charged once: cached, cache-write and audio tokens are part of the input, reasoning and audio
tokens part of the output; where a list has no rate for a kind, it is charged like the kind it is part of.
"""

from functools import lru_cache
from typing import Final

from ostiary.core.usage import Cost, Nano, Usage
from ostiary.snapshot.tables import PriceRow, PricingRow, Rates, UnknownPrice

_PER: Final = 1_000_000


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
    if isinstance(price, PricingRow):
        return Nano(-(-(usage.input_tokens * price.ceiling.input + usage.output_tokens * price.ceiling.output) // _PER))
    tables = (price.rates, *(tier for _, tier in price.tiers)) if price.tiers else (price.rates,)
    return Nano(
        max(
            -(-(usage.input_tokens * _dearest_input(rates) + usage.output_tokens * _dearest_output(rates)) // _PER)
            for rates in tables
        )
    )


@lru_cache(maxsize=4096)
def _dearest_input(rates: Rates) -> int:
    kinds = (rates.cached, rates.cache_write, rates.cache_write_1h, rates.input_audio)
    return max(rates.input, *(rate for rate in kinds if rate is not None), 0)


@lru_cache(maxsize=4096)
def _dearest_output(rates: Rates) -> int:
    return max(rates.output, *(rate for rate in (rates.reasoning, rates.output_audio) if rate is not None), 0)


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
