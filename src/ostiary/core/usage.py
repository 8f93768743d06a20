"""What a call consumed: tokens by kind, other things that are billed, and money as integer nano-units of a currency (never a float)."""

from typing import Final, NewType

import msgspec

Nano = NewType("Nano", int)
"""Billionths of a currency unit: 1 USD = 1_000_000_000."""

NANO_PER_UNIT: Final = 1_000_000_000


class Usage(msgspec.Struct, frozen=True, omit_defaults=True):
    """What one call consumed. Totals include their parts, whatever the provider's own habit.

    `input_tokens` counts every prompt token: of these `cached_tokens` were read from a provider's cache,
    `cache_write_tokens` written to it (`cache_write_1h_tokens` of those for an hour) and `input_audio_tokens`
    were audio. `output_tokens` counts every produced token: of these `reasoning_tokens` were thinking and
    `output_audio_tokens` audio; `accepted_prediction_tokens` and `rejected_prediction_tokens` belong to
    predicted outputs. `input_image_tokens` of the input were images, `output_image_tokens` of the output.

    Beside tokens: `images` made, `audio_milliseconds` of sound listened to, `characters` of text spoken and
    `search_units` of ranking, as far as a provider bills by them or an operator's price does. All are >= 0.
    """

    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    cache_write_tokens: int = 0
    cache_write_1h_tokens: int = 0
    reasoning_tokens: int = 0
    input_audio_tokens: int = 0
    output_audio_tokens: int = 0
    accepted_prediction_tokens: int = 0
    rejected_prediction_tokens: int = 0
    input_image_tokens: int = 0
    images: int = 0
    audio_milliseconds: int = 0
    characters: int = 0
    search_units: int = 0
    output_image_tokens: int = 0

    def __add__(self, other: "Usage") -> "Usage":
        """Both together, kind by kind."""
        pairs = zip(msgspec.structs.astuple(self), msgspec.structs.astuple(other), strict=True)
        return Usage(*(mine + theirs for mine, theirs in pairs))

    @property
    def total_tokens(self) -> int:
        """Input plus output."""
        return self.input_tokens + self.output_tokens


class Cost(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a usage costs: `nano` billionths of `currency`, by the price list `price_version`.

    `estimated` is true where tokens were counted by us or the price was a configured ceiling.
    """

    nano: Nano
    currency: str = "USD"
    price_version: str = ""
    estimated: bool = False

    def __add__(self, other: "Cost") -> "Cost":
        """Both together. Raises ValueError where the currencies differ."""
        if self.currency != other.currency:
            raise ValueError("costs in two currencies have no sum")
        versions = dict.fromkeys((self.price_version, other.price_version))
        return Cost(Nano(self.nano + other.nano), self.currency, ",".join(versions), self.estimated or other.estimated)
