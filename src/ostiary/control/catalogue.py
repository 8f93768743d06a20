"""The shipped catalogue of providers and their price lists, as values. Read from package data, never from the network."""

import re
import tomllib
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Final, Literal
from urllib.parse import urlsplit

import msgspec

from ostiary.core.call import DialectName, Operation
from ostiary.snapshot.tables import Match, PriceRow, ProfileRow, Rates, Residency

SELF_HOSTED: Final = "self-hosted"
"""The price list of servers one runs oneself: explicitly nothing per token."""


class Profile(ProfileRow, frozen=True, forbid_unknown_fields=True):
    """The flags of a row. Servers that are not OpenAI's mostly know the older name of a bound on output alone."""

    max_tokens_field: Literal["max_completion_tokens", "max_tokens"] = "max_tokens"


class DataHandling(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a provider publishes of how it handles what is sent to it; None and empty: not known here.

    `retention_days` is how long it may be kept at most unless something else was agreed, `trained_on` whether models
    are trained on it, `agreements` what it signs, `reviewed` the day (YYYY-MM-DD) on which `sources` said so.
    """

    reviewed: str
    sources: tuple[str, ...]
    retention_days: int | None = None
    trained_on: bool | None = None
    agreements: tuple[str, ...] = ()


class CatalogueRow(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What is known of one provider. The head of catalogue.toml tells what each field means."""

    base_url: str
    dialect: DialectName
    auth: str
    residency: Residency
    docs: str
    query: str = ""
    defaults: dict[str, str] = {}
    header: str = ""
    auth_also: tuple[str, ...] = ()
    env: str = ""
    discover: bool = True
    operations: tuple[Operation, ...] = ()
    region: str = ""
    data: DataHandling | None = None
    prices: str = ""
    local_port: int = 0
    also: tuple[DialectName, ...] = ()
    count_tokens: bool = False
    embedding_inputs_max: int | None = None
    profile: Profile = Profile()

    def wanted(self) -> tuple[str, ...]:
        """The placeholders that the provider's own settings must fill, in the order in which they stand."""
        found = placeholders(self.base_url) + placeholders(self.query)
        return tuple(dict.fromkeys(name for name in found if name not in self.defaults))

    def serves(self, host: str) -> bool:
        """Whether the host of a URL is this provider's. Servers of one's own stand anywhere."""
        own = urlsplit(self.base_url).netloc
        if self.residency is Residency.PRIVATE:
            return False
        return own == host if "{" not in own else re.fullmatch(_host_pattern(own), host) is not None


_PLACEHOLDER: Final = re.compile(r"\{([a-z_]+)\}")
_BY_REQUEST: Final = "model"


def placeholders(text: str) -> tuple[str, ...]:
    """The names in braces that settings fill; `{model}` is filled with each request's model."""
    return tuple(name for name in _PLACEHOLDER.findall(text) if name != _BY_REQUEST)


def filled(text: str, values: Mapping[str, str]) -> str:
    """`text` with its placeholders replaced. Raises KeyError for one that has no value."""
    return _PLACEHOLDER.sub(lambda found: found[0] if found[1] == _BY_REQUEST else values[found[1]], text)


def _host_pattern(own: str) -> str:
    return "[A-Za-z0-9.-]+".join(re.escape(part) for part in _PLACEHOLDER.sub("\0", own).split("\0"))


class _ListedPrice(msgspec.Struct, frozen=True):
    id: str
    match: list[tuple[Match, str]]
    valid_from: int
    rates: Rates
    tiers: list[tuple[int, Rates]] = []
    variant: str = ""


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


def newest_price(now_seconds: int) -> int:
    """When the latest of the shipped prices that hold began to (seconds since 1970): how fresh the lists are."""
    rows = (row.valid_from for rows in _price_file().providers.values() for row in rows)
    return max((at for at in rows if at <= now_seconds), default=0)


def price_rows(provider: str, variant: str | None = "") -> list[PriceRow]:
    """The shipped rows of one price list for a class of service (empty: the standard one, None: all of them); empty for
    a list that is not there."""
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
            variant=row.variant,
        )
        for row in file.providers.get(provider, ())
        if variant is None or row.variant == variant
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


def differences(profile: ProfileRow) -> tuple[str, ...]:
    """A profile's flags that are not those of most compatible servers, each as `name=value`."""
    usual = Profile()
    return tuple(
        f"{name}={','.join(value) if isinstance(value, tuple) else str(value).lower()}"
        for name in usual.__struct_fields__
        if (value := getattr(profile, name)) != getattr(usual, name)
    )
