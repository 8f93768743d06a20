"""What the file says of providers, models and prices, laid over what is shipped, as rows of a snapshot."""

import datetime as dt
from collections.abc import Iterable, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import msgspec

from ostiary.control.catalogue import CatalogueRow, Profile
from ostiary.control.models import find_model, models, retirement
from ostiary.core.call import Operation
from ostiary.core.error import Code, OperatorError
from ostiary.core.usage import NANO_PER_UNIT
from ostiary.gateway.route.condition import said_by_caller
from ostiary.settings import (
    FILE_BYTES_MAX,
    KnownSettings,
    ModelSettings,
    PriceSettings,
    ProviderSettings,
    RateSettings,
)
from ostiary.snapshot.tables import KnownModelRow, ModelRow, PriceRow, ProfileRow, ProviderRow, Rates, TraitsRow

_TRUSTED: Final = ("label", "sensitivity", "residency", "region", "tier", "tenant", "team", "environment")
"""What a condition had better not take a caller's word for."""


def traits_of(target: KnownSettings, name: str, entry: KnownSettings, price_list: str) -> TraitsRow | None:
    """What is known of a target's model `name`: by the target itself, by its entry, by the shipped table; None where
    nothing is."""
    found = _said(target).over(_said(entry))
    shipped = find_model(price_list, name)
    if shipped is not None:
        found = found.over(shipped.traits)
    return None if found == TraitsRow() else found


def known_models(rows: Iterable[ModelRow], providers: Mapping[str, ProviderRow]) -> tuple[KnownModelRow, ...]:
    """What is known of the models behind targets `*`."""
    lists = {providers[one.provider].price_provider for row in rows for one in row.targets if one.model == "*"}
    return tuple(
        KnownModelRow(name, row.id, row.traits)
        for name in sorted(lists)
        for row in models().get(name, ())
        if row.traits.known()
    )


def retiring(rows: Iterable[ModelRow], providers: Iterable[ProviderRow], today: dt.date) -> tuple[str, ...]:
    """What an operator should know of configured models whose published retirement is near or past."""
    lists = {row.name: row.price_provider for row in providers}
    return tuple(
        f"models.{row.name}: {one.provider}/{one.model} {told}"
        for row in rows
        for one in row.targets
        if (told := retirement(lists[one.provider], one.model, today))
    )


def decided_by_callers(
    path: tuple[str | int, ...], entry: ModelSettings, providers: Mapping[str, ProviderRow]
) -> tuple[str, ...]:
    """What an operator should know of conditions that stand on a caller's own word, where that decides who gets to see
    the data, or is taken for a label or a tier."""
    places = {providers[one.provider].residency for one in entry.targets}
    return tuple(
        f"{'.'.join(map(str, (*path, 'targets', i, 'when')))}: `request.metadata.{name}` is the caller's own word, and "
        + ("decides here who gets to see the data" if len(places) > 1 else f"proves no {name}")
        + "; `principal` is what the gateway knows"
        for i, target in enumerate(entry.targets)
        for name in said_by_caller(target.when)
        if len(places) > 1 or name.lower() in _TRUSTED
    )


def _said(settings: KnownSettings) -> TraitsRow:
    return TraitsRow(
        can=tuple(one for one, value in settings.capabilities.items() if value),
        cannot=tuple(one for one, value in settings.capabilities.items() if not value),
        context_window=settings.context_window,
        max_output_tokens=settings.max_output_tokens,
    )


def price_file(path: Path) -> list[PriceSettings]:
    """The rows of a file of prices: a YAML list of what stands under `pricing.prices`. Raises OperatorError
    config.invalid, naming the file."""
    try:
        if path.stat().st_size > FILE_BYTES_MAX:
            raise OperatorError(Code.CONFIG_INVALID, f"{path} is larger than {FILE_BYTES_MAX} bytes.")
        return msgspec.yaml.decode(path.read_bytes(), type=list[PriceSettings])
    except OSError as error:
        raise OperatorError(Code.CONFIG_INVALID, f"{path} cannot be read: {error.strerror or error}.") from error
    except msgspec.MsgspecError as error:
        raise OperatorError(Code.CONFIG_INVALID, f"{path} is no list of prices: {error}.") from error


def price_row(price: PriceSettings) -> PriceRow:
    """A row of prices of the file. Raises ValueError, told in the file's terms, for a day that is none."""
    try:
        day = dt.date.fromisoformat(price.valid_from)
    except ValueError as error:
        raise ValueError(f"there is no day {price.valid_from}") from error
    return PriceRow(
        provider=price.provider,
        model=price.model,
        rates=rates_of(price),
        tiers=tuple((tier.above, rates_of(tier)) for tier in sorted(price.tiers, key=lambda one: one.above)),
        valid_from=int(dt.datetime(day.year, day.month, day.day, tzinfo=dt.UTC).timestamp()),
        version=f"file/{price.valid_from}",
    )


def rates_of(row: RateSettings) -> Rates:
    """The prices of a row of the file, in nano-units."""
    return Rates(
        input=_nano(row.input),
        output=_nano(row.output),
        cached=_nano_or_none(row.cached),
        cache_write=_nano_or_none(row.cache_write),
        cache_write_1h=_nano_or_none(row.cache_write_1h),
        reasoning=_nano_or_none(row.reasoning),
        input_audio=_nano_or_none(row.input_audio),
        output_audio=_nano_or_none(row.output_audio),
        input_image=_nano_or_none(row.input_image),
        image=_nano_or_none(row.image),
        request=_nano_or_none(row.request),
        audio_minute=_nano_or_none(row.audio_minute),
        character=_nano_or_none(row.character),
        search_unit=_nano_or_none(row.search_unit),
        output_image=_nano_or_none(row.output_image),
    )


def _nano(text: str) -> int:
    return int(Decimal(text) * NANO_PER_UNIT)


def _nano_or_none(text: str | None) -> int | None:
    return None if text is None else _nano(text)


def begins_like(url: str, known: str) -> bool:
    """Whether the path of a URL begins as that of a catalogue's row does, whatever its placeholders are."""
    theirs, ours = urlsplit(url).path.split("/"), urlsplit(known).path.split("/")
    return len(theirs) >= len(ours) and all(a == b or "{" in b for a, b in zip(theirs, ours, strict=False))


def profile_of(row: ProviderSettings, known: CatalogueRow | None) -> ProfileRow:
    """The flags of the catalogue's row with those the settings name; of an unknown server only the usual one."""
    base = msgspec.structs.asdict(known.profile if known else Profile())
    own = {name: value for name, value in msgspec.structs.asdict(row.profile).items() if value is not None}
    return msgspec.convert({**base, **own}, ProfileRow)


def operations_of(row: ProviderSettings, known: CatalogueRow | None) -> tuple[Operation, ...]:
    """What the provider has endpoints for, where that is said. Who chats can be asked how many tokens that takes."""
    found = tuple(Operation(one) for one in row.operations)
    if not found and known is not None and row.dialect in (None, known.dialect):
        found = known.operations
    return (*found, Operation.COUNT_TOKENS) if Operation.CHAT in found else found
