"""`ostiary usage`: what calls consumed and cost, by whatever group."""

from typing import Annotated

import typer

from ostiary.bootstrap.offline import opened
from ostiary.cli.config import AsJson, ConfigFile, command, fail, loaded
from ostiary.cli.output import money, print_csv, print_json, print_table
from ostiary.core.error import CallerError, Code
from ostiary.govern.usage.model import Dimension, UsageLine, UsageQuery
from ostiary.govern.usage.service import DEFAULT_BY

app = typer.Typer(invoke_without_command=True, help="What calls consumed and cost.")

_DEFAULT = ",".join(DEFAULT_BY)
_NUMBERS = ("requests", "errors", "denied", "input", "output", "cached", "reasoning", "cost", "p50 ms", "p95 ms")


@app.callback()
@command
def usage(
    *,
    by: Annotated[str, typer.Option(help=f"Groups, separated by commas: {', '.join(Dimension)}.")] = _DEFAULT,
    since: Annotated[str, typer.Option(help="First day, YYYY-MM-DD (UTC).")] = "",
    until: Annotated[str, typer.Option(help="Last day, YYYY-MM-DD (UTC).")] = "",
    tenant: Annotated[str | None, typer.Option(help="Only this tenant's.")] = None,
    team: Annotated[str | None, typer.Option(help="Only this team's.")] = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV.")] = False,
) -> None:
    """Report requests, errors, tokens by kind, cost and latency, up to the latest record of the journal."""
    if as_json and as_csv:
        fail("either --json or --csv")
    query = UsageQuery(dimensions(by), since, until, tenant, team)
    with opened(loaded(config)) as offline:
        # Whether or not a server is running: both may project, each record counts once.
        offline.projector.run_once()
        lines = offline.usage.report(offline.actor, query)
        faults = offline.projector.faults
    columns = (*query.by, *_NUMBERS)
    if as_json:
        print_json([_object(query, line) for line in lines])
    elif as_csv:
        print_csv(columns, [(*line.group, *_numbers(line)) for line in lines])
    else:
        rows = [(*line.group, *_numbers(line)) for line in lines]
        print_table(columns, rows, optional=frozenset({"errors", "denied", "cached", "reasoning"}))
    for origin, error in faults.items():
        typer.echo(f"ostiary: journal {origin} is not wholly counted: {error.message}", err=True)
    if faults:
        raise typer.Exit(1)


def dimensions(by: str) -> tuple[Dimension, ...]:
    """The groups named, separated by commas. Raises CallerError object.invalid for one that is none."""
    words = [word.strip() for word in by.split(",") if word.strip()]
    unknown = [word for word in words if word not in frozenset(Dimension)]
    if unknown:
        raise CallerError(
            Code.OBJECT_INVALID, f"Nothing can be grouped by {', '.join(unknown)}; there are: {', '.join(Dimension)}."
        )
    return tuple(dict.fromkeys(Dimension(word) for word in words))


def _numbers(line: UsageLine) -> tuple[object, ...]:
    return (
        line.requests,
        line.errors,
        line.denied,
        line.input_tokens,
        line.output_tokens,
        line.cached_tokens,
        line.reasoning_tokens,
        " + ".join(f"{money(nano)} {currency}" for currency, nano in sorted(line.cost_nano.items())) or None,
        None if line.p50_ms is None else round(line.p50_ms, 1),
        None if line.p95_ms is None else round(line.p95_ms, 1),
    )


def _object(query: UsageQuery, line: UsageLine) -> dict[str, object]:
    group: dict[str, object] = {str(name): word for name, word in zip(query.by, line.group, strict=True)}
    numbers = {name: getattr(line, name) for name in line.__struct_fields__ if name != "group"}
    return {**group, **numbers, "cost": {currency: money(nano) for currency, nano in line.cost_nano.items()}}
