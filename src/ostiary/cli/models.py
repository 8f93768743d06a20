"""`ostiary models`: what is known of models, and what recorded calls would have cost on another one."""

import datetime as dt
from pathlib import Path
from typing import Annotated

import typer

from ostiary.bootstrap.compile import compile_file
from ostiary.bootstrap.known import price_file, price_row
from ostiary.bootstrap.offline import opened
from ostiary.cli.config import AsJson, ConfigFile, command, fail, loaded
from ostiary.cli.output import money, print_json, print_table
from ostiary.cli.usage import dimensions
from ostiary.control.catalogue import catalogue, price_lists
from ostiary.control.models import KnownModel, find_model, models, prices_of
from ostiary.control.rerate import Rerated, rerate
from ostiary.core.capability import Capability
from ostiary.govern.usage.model import UsageQuery
from ostiary.settings import Loaded
from ostiary.snapshot.tables import PriceRow, Rates

app = typer.Typer(no_args_is_help=True, help="Models that are known: limits, capabilities, prices, retirement.")

Name = Annotated[str, typer.Argument(help="A model as provider/model; without the provider where one alone has it.")]
Day = Annotated[str, typer.Option(help="First day, YYYY-MM-DD (UTC); the first of this month unless given.")]
_INPUTS = (Capability.IMAGES, Capability.FILES, Capability.AUDIO, Capability.VIDEO)
_OUTPUTS = {Capability.IMAGE_OUTPUT: "images", Capability.AUDIO_OUTPUT: "audio"}
_MODALITIES = (*_INPUTS, *_OUTPUTS)
_PER = {
    "image": "image",
    "request": "request",
    "audio_minute": "minute",
    "character": "million characters",
    "search_unit": "search",
}


@app.command("list")
@command
def list_(
    *,
    provider: Annotated[str, typer.Option(help="Only this provider's, by the name of its row or price list.")] = "",
    can: Annotated[list[str] | None, typer.Option(help="Only those known to have this capability; repeatable.")] = None,
    modality: Annotated[str, typer.Option(help="Only those known to take or make it, such as images.")] = "",
    kind: Annotated[str, typer.Option(help="Only of this kind: chat, embedding, image, speech ...")] = "",
    context: Annotated[int, typer.Option(help="Only with a context window of at least so many tokens.")] = 0,
    retired: Annotated[
        bool | None,
        typer.Option("--retired/--not-retired", help="Only those whose day of retirement has come, or not."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List the models that are known, with what is published of each; what is not known is shown as `-`."""
    wanted = [_capability(word) for word in (*(can or ()), *((modality,) if modality else ()))]
    if modality and _capability(modality) not in _MODALITIES:
        fail(f"no modality `{modality}`; there are: {', '.join(_MODALITIES)}")
    only = _list_of(provider) if provider else ""
    today = _today()
    found = [
        (name, row)
        for name, rows in models().items()
        for row in rows
        if (not only or name == only)
        and all(one in row.can for one in wanted)
        and kind in ("", row.kind)
        and (not context or (row.context_window or 0) >= context)
        and (retired is None or row.retired(today) is retired)
    ]
    if as_json:
        print_json([_object(name, row, today) for name, row in found])
        return
    print_table(
        ("model", "kind", "context", "output", "in $/M", "out $/M", "takes", "can", "retires"),
        [_cells(name, row, today) for name, row in found],
    )


@app.command("explain")
@command
def explain(name: Name, *, config: ConfigFile = None, as_json: AsJson = False) -> None:
    """Explain one model: limits, capabilities, every price with the day it holds from, retirement, and the entries of
    the configuration file that use it."""
    price_list, row = _model(name)
    settings = loaded(config)
    used = _used_by(settings, price_list, row)
    today = _today()
    prices = prices_of(price_list, row.id, None)
    if as_json:
        print_json({**_object(price_list, row, today), "prices": [_price(one) for one in prices], "used_by": used})
        return
    print_table(("", f"{price_list}/{row.id}"), _facts(row, today, used))
    typer.echo()
    if not prices:
        typer.echo("no price is shipped; calls cost the ceiling unless the configuration file has one")
        return
    print_table(
        ("from", "class", "input above", "USD per million tokens, or per what is named"),
        [
            (_day(one.valid_from), one.variant or "standard", above or None, _rates(rates))
            for one in prices
            for above, rates in ((0, one.rates), *one.tiers)
        ],
    )


@app.command("compare")
@command
def compare(
    names: Annotated[list[str], typer.Argument(help="Two models or more, as provider/model.")],
    *,
    as_json: AsJson = False,
) -> None:
    """Compare models side by side, at today's standard prices."""
    if len(names) < 2:
        fail("name at least two models")
    chosen = [_model(name) for name in names]
    today = _today()
    if as_json:
        print_json(
            [
                {**_object(name, row, today), "prices": [_price(one) for one in prices_of(name, row.id, None)]}
                for name, row in chosen
            ]
        )
        return
    columns = [dict(_facts(row, today, ())) | _today_rates(name, row, today) for name, row in chosen]
    fields = dict.fromkeys(field for column in columns for field in column if field != "used by")
    print_table(
        ("", *(f"{name}/{row.id}" for name, row in chosen)),
        [(field, *(column.get(field) for column in columns)) for field in fields],
    )


@app.command("whatif")
@command
def whatif(
    name: Name,
    *,
    by: Annotated[
        str, typer.Option(help="Groups, separated by commas, as in `ostiary usage`; `total` for none.")
    ] = "model",
    since: Day = "",
    until: Annotated[str, typer.Option(help="Last day, YYYY-MM-DD (UTC).")] = "",
    tenant: Annotated[str | None, typer.Option(help="Only this tenant's calls.")] = None,
    team: Annotated[str | None, typer.Option(help="Only this team's calls.")] = None,
    variant: Annotated[str, typer.Option("--class", help="A class of service: batch, flex, priority, fast.")] = "",
    prices: Annotated[
        Path | None, typer.Option(help="A YAML list of prices as in `pricing.prices`, used before all others.")
    ] = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Say what the recorded calls would have cost on another model: each by its own tokens, at the price of its day.

    The same tokens are assumed: another model counts, caches and answers otherwise. Prices of the configuration file
    go before the shipped ones, as they do for calls.
    """
    settings = loaded(config)
    price_list, model, known = _target(settings, name, prices)
    own = price_file(prices) if prices is not None else []
    own += settings.settings.pricing.prices
    try:
        rows = [price_row(one) for one in own if f"{one.provider}/{one.model}" in {name, f"{price_list}/{model}"}]
    except ValueError as no_day:
        fail(str(no_day))
    listed = sorted(rows, key=lambda one: -one.valid_from) if not variant else []
    shipped = sorted(prices_of(price_list, model, variant), key=lambda one: -one.valid_from)
    if not listed and not shipped:
        fail(f"no {variant or 'standard'} price is known for {name}; give one with --prices")
    query = UsageQuery(
        () if by == "total" else dimensions(by), since or _today().replace(day=1).isoformat(), until, tenant, team
    )
    with opened(settings) as offline:
        offline.projector.run_once()
        consumed = offline.usage.consumed(offline.actor, query)
        faults = offline.projector.faults
    # As on the way of a call: the operator's own prices before the list, the newest that holds first.
    lines = rerate(
        consumed,
        lambda day: next((one for one in (*listed, *shipped) if one.valid_from <= _seconds(day)), None),
        kind="" if known is None else known.kind,
        context_window=None if known is None else known.context_window,
    )
    if as_json:
        print_json([_rerated(query, line) for line in lines])
    else:
        print_table(
            (*query.by, "calls", "cost USD", "would be USD", "difference USD", "left out"),
            [(*line.group, *_compared(line)) for line in lines],
        )
        for text in _caveats(lines):
            typer.echo(text)
    for origin, error in faults.items():
        typer.echo(f"ostiary: journal {origin} is not wholly counted: {error.message}", err=True)
    if faults:
        raise typer.Exit(1)


# --- names --------------------------------------------------------------------------------------------------


def _capability(word: str) -> Capability:
    try:
        return Capability(word)
    except ValueError:
        fail(f"no capability `{word}`; there are: {', '.join(Capability)}")


def _list_of(provider: str) -> str:
    """The price list of a provider named by its row in the catalogue or by the list itself."""
    row = catalogue().get(provider)
    name = row.prices if row is not None and row.prices else provider
    if name not in models():
        fail(f"no models of `{provider}` are known; there are those of: {', '.join(models())}")
    return name


def _model(name: str) -> tuple[str, KnownModel]:
    provider, slash, rest = name.partition("/")
    row = catalogue().get(provider)
    price_list = row.prices if row is not None and row.prices else provider
    if slash and price_list in models():
        found = find_model(price_list, rest)
        if found is not None:
            return price_list, found
    everywhere = [(one, found) for one in models() if (found := find_model(one, name)) is not None]
    if not everywhere:
        fail(f"no model `{name}` is known; `ostiary models list` shows them all")
    if len(everywhere) > 1:
        fail(f"several providers have `{name}`: {', '.join(f'{one}/{row.id}' for one, row in everywhere)}")
    return everywhere[0]


def _target(settings: Loaded, name: str, prices: Path | None) -> tuple[str, str, KnownModel | None]:
    """The price list and model of a name, which may begin with a provider of the configuration file."""
    provider, slash, rest = name.partition("/")
    configured = settings.settings.providers.get(provider)
    if slash and (configured is not None or prices is not None or provider in price_lists()):
        row = catalogue().get(configured.catalogue or provider) if configured is not None else catalogue().get(provider)
        price_list = (configured.prices if configured is not None else "") or (row.prices if row else "") or provider
        return price_list, rest, find_model(price_list, rest)
    price_list, found = _model(name)
    return price_list, found.id, found


def _used_by(settings: Loaded, price_list: str, row: KnownModel) -> list[str]:
    if settings.file is None:
        return []
    declared = compile_file(settings, settings.data_dir / "secrets")
    lists = {one.name: one.price_provider for one in declared.providers}
    return [
        entry.name
        for entry in declared.models
        if any(
            lists[one.provider] == price_list and (one.model == "*" or find_model(price_list, one.model) == row)
            for one in entry.targets
        )
    ]


# --- how it is shown ----------------------------------------------------------------------------------------


def _cells(name: str, row: KnownModel, today: dt.date) -> tuple[object, ...]:
    price = _price_today(name, row, today)
    takes = ["text"] if row.kind in ("", "chat", "embedding") else []
    return (
        f"{name}/{row.id}",
        row.kind or None,
        row.context_window,
        row.max_output_tokens,
        None if price is None else money(price.rates.input),
        None if price is None else money(price.rates.output),
        ", ".join((*takes, *(one for one in _INPUTS if one in row.can))) or None,
        ", ".join(one for one in row.can if one not in _INPUTS) or None,
        _retires(row, today),
    )


def _facts(row: KnownModel, today: dt.date, used: list[str] | tuple[()]) -> list[tuple[str, object]]:
    return [
        ("name", row.name or None),
        ("kind", row.kind or None),
        ("released", row.released or None),
        ("retires", _retires(row, today)),
        ("deprecated", "yes" if row.deprecated else None),
        ("context window", row.context_window),
        ("most output tokens", row.max_output_tokens),
        *((str(one).replace("_", " "), _word(row.knows(one))) for one in Capability),
        ("used by", ", ".join(used) or None),
    ]


def _word(value: bool | None) -> str:
    return "not known" if value is None else "yes" if value else "no"


def _retires(row: KnownModel, today: dt.date) -> str | None:
    return f"{row.retires} (past)" if row.retired(today) else row.retires or None


def _object(name: str, row: KnownModel, today: dt.date) -> dict[str, object]:
    price = _price_today(name, row, today)
    return {
        "provider": name,
        "model": row.id,
        "kind": row.kind or None,
        "name": row.name or None,
        "released": row.released or None,
        "retires": row.retires or None,
        "retired": row.retired(today) if row.retires else None,
        "deprecated": row.deprecated or None,
        "context_window": row.context_window,
        "max_output_tokens": row.max_output_tokens,
        "capabilities": {one: row.knows(one) for one in Capability},
        "rates": None if price is None else _amounts(price.rates),
    }


def _price(row: PriceRow) -> dict[str, object]:
    return {
        "valid_from": _day(row.valid_from),
        "class": row.variant or "standard",
        "currency": row.currency,
        "list": row.version,
        "rates": _amounts(row.rates),
        "tiers": [{"above": above, "rates": _amounts(rates)} for above, rates in row.tiers],
    }


def _amounts(rates: Rates) -> dict[str, str]:
    return {name: money(value) for name in rates.__struct_fields__ if (value := getattr(rates, name)) is not None}


def _rates(rates: Rates) -> str:
    return ", ".join(
        f"{name.replace('_', ' ')} {amount}" + (f" a {_PER[name]}" if name in _PER else "")
        for name, amount in _amounts(rates).items()
    )


def _price_today(name: str, row: KnownModel, today: dt.date) -> PriceRow | None:
    now = _seconds(today.isoformat())
    return next((one for one in reversed(prices_of(name, row.id)) if one.valid_from <= now), None)


def _today_rates(name: str, row: KnownModel, today: dt.date) -> dict[str, object]:
    price = _price_today(name, row, today)
    if price is None:
        return {}
    return {
        f"USD, {kind.replace('_', ' ')}" + (f", input above {above}" if above else ""): amount
        for above, rates in ((0, price.rates), *price.tiers)
        for kind, amount in _amounts(rates).items()
    }


def _compared(line: Rerated) -> tuple[object, ...]:
    return (
        line.calls,
        money(line.was_nano),
        money(line.would_be_nano),
        _signed(line.would_be_nano - line.was_nano),
        ", ".join(f"{count}: {why}" for why, count in sorted(line.left_out.items())) or None,
    )


def _signed(nano: int) -> str:
    return f"{'-' if nano < 0 else '+'}{money(abs(nano))}"


def _caveats(lines: list[Rerated]) -> list[str]:
    """What the figures do not know, with how many calls it is about."""
    told = (
        (sum(line.estimated for line in lines), "calls whose tokens or cost were estimated when they were made"),
        (
            sum(line.partial for line in lines),
            "calls kept by an earlier version, without sound and images: priced as text",
        ),
        (
            sum(line.too_long for line in lines),
            "calls longer than the model's context window: it would have refused them",
        ),
        (
            sum(line.cached_tokens for line in lines),
            "tokens read from a cache, which another provider may not have held",
        ),
    )
    return [f"{count} {text}" for count, text in told if count]


def _rerated(query: UsageQuery, line: Rerated) -> dict[str, object]:
    group: dict[str, object] = {str(name): word for name, word in zip(query.by, line.group, strict=True)}
    numbers = {name: getattr(line, name) for name in line.__struct_fields__ if name != "group"}
    return {
        **group,
        **numbers,
        "was": money(line.was_nano),
        "would_be": money(line.would_be_nano),
        "difference_nano": line.would_be_nano - line.was_nano,
    }


def _today() -> dt.date:
    return dt.datetime.now(dt.UTC).date()


def _seconds(day: str) -> int:
    return int(dt.datetime.fromisoformat(day).replace(tzinfo=dt.UTC).timestamp())


def _day(seconds: int) -> str:
    return dt.datetime.fromtimestamp(seconds, dt.UTC).date().isoformat() if seconds else "always"
