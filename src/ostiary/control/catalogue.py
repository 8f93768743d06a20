"""The shipped catalogue of providers and their price lists, as values. Read from package data, never from the network."""

import tomllib
from functools import cache
from importlib.resources import files
from typing import Final, Literal

import msgspec

from ostiary.core.call import DialectName
from ostiary.snapshot.tables import Match, PriceRow, Rates, Residency

SELF_HOSTED: Final = "self-hosted"
"""The price list of servers one runs oneself: explicitly nothing per token."""


class CatalogueRow(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What is known of one provider."""

    base_url: str
    dialect: DialectName
    auth: Literal["bearer", "x-api-key", "none"]
    residency: Residency
    env: str = ""
    prices: str = ""
    local_port: int = 0
    stream_usage: bool = True
    count_tokens: bool = False
    max_tokens_field: Literal["max_completion_tokens", "max_tokens"] = "max_tokens"


class _ListedPrice(msgspec.Struct, frozen=True):
    id: str
    match: list[tuple[Match, str]]
    valid_from: int
    rates: Rates
    tiers: list[tuple[int, Rates]] = []


class _PriceFile(msgspec.Struct, frozen=True):
    version: str
    providers: dict[str, list[_ListedPrice]]


@cache
def catalogue() -> dict[str, CatalogueRow]:
    """Every row by its name."""
    text = files("ostiary.gateway.provider").joinpath("catalogue.toml").read_text(encoding="utf-8")
    return msgspec.convert(tomllib.loads(text), dict[str, CatalogueRow])


@cache
def _price_file() -> _PriceFile:
    data = files("ostiary.gateway.provider").joinpath("prices.json").read_bytes()
    return msgspec.json.decode(data, type=_PriceFile)


def price_version() -> str:
    """The name and version of the shipped lists."""
    return _price_file().version


def price_rows(provider: str) -> list[PriceRow]:
    """The shipped rows of one price list; empty for a list that is not there."""
    if provider == SELF_HOSTED:
        free = Rates(input=0, output=0)
        return [PriceRow(provider=SELF_HOSTED, model="", rates=free, match=Match.PREFIX, version=SELF_HOSTED)]
    file = _price_file()
    return [
        PriceRow(
            provider=provider,
            model=text if match is Match.EQUALS else text.lower(),
            rates=row.rates,
            match=match,
            valid_from=row.valid_from,
            tiers=tuple(row.tiers),
            version=file.version,
        )
        for row in file.providers.get(provider, ())
        for match, text in row.match
    ]


def price_lists() -> tuple[str, ...]:
    """The names of all shipped lists."""
    return (SELF_HOSTED, *sorted(_price_file().providers))


def listed_models(provider: str) -> tuple[str, ...]:
    """The models a shipped price list names exactly."""
    rows = _price_file().providers.get(provider, ())
    return tuple(
        sorted({text for row in rows for match, text in row.match if match is Match.EQUALS} | {r.id for r in rows})
    )
