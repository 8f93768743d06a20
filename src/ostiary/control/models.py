"""The shipped table of models, as values: limits, capabilities, retirement. Read from package data, never from the
network. Prices stand in lists of their own (`control/catalogue.py`), by the same names."""

import datetime as dt
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Final

import msgspec

from ostiary.control.catalogue import price_rows
from ostiary.core.capability import Capability
from ostiary.snapshot.index import undated
from ostiary.snapshot.tables import Match, PriceRow, TraitsRow

RETIREMENT_NEAR_DAYS: Final = 90
"""How long before its retirement an operator is told of a model."""


class KnownModel(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What is published of one model of a price list. Empty, None, and what is in neither of `can` and `cannot`: not
    known. `kind` is what it is for (chat, embedding, image, speech ...); `released` and `retires` are days
    (YYYY-MM-DD); `deprecated` says that its provider advises against it."""

    id: str
    kind: str = ""
    name: str = ""
    released: str = ""
    retires: str = ""
    deprecated: bool = False
    context_window: int | None = None
    max_output_tokens: int | None = None
    can: tuple[Capability, ...] = ()
    cannot: tuple[Capability, ...] = ()

    @property
    def traits(self) -> TraitsRow:
        """What keeps calls from it."""
        return TraitsRow(self.can, self.cannot, self.context_window, self.max_output_tokens)

    def knows(self, capability: Capability) -> bool | None:
        """Whether it has a capability; None: not known."""
        return True if capability in self.can else False if capability in self.cannot else None

    def retired(self, today: dt.date) -> bool:
        """Whether its published day of retirement has come."""
        return bool(self.retires) and dt.date.fromisoformat(self.retires) <= today


class _File(msgspec.Struct, frozen=True):
    sources: dict[str, str]
    providers: dict[str, tuple[KnownModel, ...]]


@cache
def _file() -> _File:
    data = files("ostiary.gateway.provider").joinpath("models.json").read_bytes()
    return msgspec.json.decode(data, type=_File)


@cache
def _by_name() -> dict[tuple[str, str], KnownModel]:
    return {(provider, row.id): row for provider, rows in _file().providers.items() for row in rows}


def models() -> Mapping[str, tuple[KnownModel, ...]]:
    """Every model, by its price list."""
    return _file().providers


def model_sources() -> Mapping[str, str]:
    """The packages the table was made from, and their versions."""
    return _file().sources


def find_model(price_list: str, name: str) -> KnownModel | None:
    """What is known of a model by its name, with or without the date of a release at its end."""
    rows = _by_name()
    return rows.get((price_list, name)) or rows.get((price_list, undated(name)))


def prices_of(price_list: str, name: str, variant: str | None = "") -> list[PriceRow]:
    """The shipped rows for a model of a list and a class of service (None: all), oldest first: those that name it
    exactly, else those of its name without the date of a release, else those with the longest beginning, else those
    that are contained in it; a beginning that is longer than the name without the date goes before that."""
    rows = _listed(price_list, variant)
    exact = [row for row in rows if row.match is Match.EQUALS and row.model == name]
    if not exact:
        low = name.lower()
        found = [
            row
            for row in rows
            if (row.match is Match.PREFIX and low.startswith(row.model))
            or (row.match is Match.CONTAINS and row.model in low)
        ]
        plain = undated(name)
        exact = [row for row in rows if row.match is Match.EQUALS and row.model == plain]
        best = min(found, key=lambda row: (row.match is Match.CONTAINS, -len(row.model)), default=None)
        if best is not None and (not exact or len(best.model) > len(plain)):
            exact = [row for row in found if (row.match, row.model) == (best.match, best.model)]
    return sorted(exact, key=lambda row: (row.variant, row.valid_from))


@cache
def _listed(price_list: str, variant: str | None) -> tuple[PriceRow, ...]:
    return tuple(price_rows(price_list, variant))


def retirement(price_list: str, name: str, today: dt.date) -> str:
    """What an operator should know of the day on which a model ends; empty where it is not near, or not known."""
    known = find_model(price_list, name)
    if known is None or not known.retires:
        return ""
    days = (dt.date.fromisoformat(known.retires) - today).days
    if days > RETIREMENT_NEAR_DAYS:
        return ""
    if days <= 0:
        return f"was to be retired by its provider on {known.retires}"
    return f"is to be retired by its provider on {known.retires}, in {days} days"
