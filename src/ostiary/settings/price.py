"""Prices besides the shipped catalogue."""

from typing import Annotated, Literal

from msgspec import Meta

from ostiary.settings.section import Price, Section


class RateSettings(Section, frozen=True, kw_only=True):
    """Decimal currency units: per million tokens or characters, per image, request, minute of sound, search unit."""

    input: Price
    output: Price
    cached: Price | None = None
    cache_write: Price | None = None
    cache_write_1h: Price | None = None
    reasoning: Price | None = None
    input_audio: Price | None = None
    output_audio: Price | None = None
    input_image: Price | None = None
    image: Price | None = None
    request: Price | None = None
    audio_minute: Price | None = None
    character: Price | None = None
    search_unit: Price | None = None
    output_image: Price | None = None


class TierSettings(RateSettings, frozen=True, kw_only=True):
    """Prices of a call whose input has more tokens than `above`."""

    above: Annotated[int, Meta(ge=1, le=2**31)]


class PriceSettings(RateSettings, frozen=True, kw_only=True):
    """The price of one provider's model from a day on (YYYY-MM-DD)."""

    tiers: list[TierSettings] = []

    provider: str
    model: str
    valid_from: Annotated[str, Meta(pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$")] = "1970-01-01"


class PricingSettings(Section, frozen=True, kw_only=True):
    """Prices besides the shipped catalogue, and what holds where none is known."""

    unknown: Literal["ceiling", "refuse"] = "ceiling"
    ceiling: RateSettings = RateSettings(
        input="30", output="120", image="0.30", audio_minute="0.10", character="300", search_unit="0.01"
    )
    prices: list[PriceSettings] = []
