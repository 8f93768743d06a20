"""`ostiary routes`: where a call would go, and why."""

from pathlib import Path
from typing import Annotated

import typer

from ostiary.bootstrap.explanation import Described, explained
from ostiary.bootstrap.system import SystemClock
from ostiary.cli.config import AsJson, ConfigFile, command, fail, loaded
from ostiary.cli.output import print_json, print_table
from ostiary.core.call import DialectName, Operation
from ostiary.core.capability import Capability
from ostiary.core.error import Code, OperatorError
from ostiary.core.label import Sensitivity
from ostiary.core.limit import BODY_BYTES_MAX
from ostiary.gateway.route.explain import Candidate

app = typer.Typer(no_args_is_help=True, help="Where calls go, and why.")


@app.callback()
def routes() -> None:
    """Where calls go, and why."""


@app.command("explain")
@command
def explain(
    model: Annotated[str, typer.Argument(help="The model as applications ask for it.")],
    *,
    team: Annotated[
        str, typer.Option(help="Whose call, as tenant/team; without it what a team may use is not asked.")
    ] = "",
    key: Annotated[str, typer.Option(help="The name of one of the team's keys in the file.")] = "",
    operation: Annotated[Operation, typer.Option(help="What is asked for.")] = Operation.CHAT,
    sensitivity: Annotated[Sensitivity, typer.Option(help="The label of its data.")] = Sensitivity.INTERNAL,
    metadata: Annotated[
        list[str] | None, typer.Option(metavar="KEY=VALUE", help="What `x-ostiary-metadata` says; repeatable.")
    ] = None,
    body: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A request body to read sizes and needs from.")
    ] = None,
    dialect: Annotated[DialectName, typer.Option(help="The dialect of the body.")] = DialectName.OPENAI,
    stream: Annotated[bool, typer.Option("--stream", help="A streamed call; a body says so itself.")] = False,
    input_tokens: Annotated[int, typer.Option(min=0, help="Tokens of input, where there is no body.")] = 0,
    max_tokens: Annotated[int | None, typer.Option(min=1, help="The bound on output, where there is no body.")] = None,
    need: Annotated[
        list[Capability] | None, typer.Option(help="What it needs of a model, where there is no body; repeatable.")
    ] = None,
    subject: Annotated[str, typer.Option(help="What keeps a caller at one target; the key's id unless given.")] = "",
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Explain where a call would go by the configuration file: the targets in the order in which they are tried, and
    why each of the others is left out. Exit code 1 where no target is left.

    Nothing is sent. What only a running worker has seen, the health of targets, is not known here: all count as well.
    """
    settings = loaded(config)
    if settings.file is None:
        fail("there is no configuration file to explain; name one with --config")
    call = Described(
        model=model,
        team=team,
        key=key,
        operation=operation,
        dialect=dialect,
        label=sensitivity,
        metadata=_pairs(metadata or []),
        body=None if body is None else _read(body),
        stream=stream,
        input_tokens=input_tokens,
        max_tokens=max_tokens,
        capabilities=tuple(need or ()),
        subject=subject,
    )
    found = explained(settings, call, SystemClock().now_ns() // 1_000_000_000)
    if as_json:
        print_json(
            {
                "model": found.model,
                "strategy": found.strategy,
                "health": None,
                "candidates": found.candidates,
                "checks": found.checks,
                "instead": found.instead,
                "instead_on": found.instead_on,
            }
        )
    else:
        print_table(
            ("turn", "target", "model", "residency", "region", "kept", "why"), [_cells(one) for one in found.candidates]
        )
        typer.echo(f"strategy: {found.strategy}; health is not known offline: every target counts as well")
        if found.checks:
            typer.echo(f"answers are checked for: {', '.join(found.checks)}")
        if found.instead:
            typer.echo(f"instead of {', '.join(found.instead_on)}: {', then '.join(found.instead)}")
    if all(one.place is None for one in found.candidates):
        raise typer.Exit(1)


def _cells(one: Candidate) -> tuple[object, ...]:
    kept = "yes" if one.place is not None else one.reason
    after = f" (after {', '.join(one.on)})" if one.on and one.place is not None else ""
    return one.place, one.target, one.model, one.residency, one.region or None, kept, one.why + after


def _pairs(given: list[str]) -> dict[str, str]:
    pairs = dict(text.split("=", 1) for text in given if "=" in text)
    if len(pairs) < len(given):
        fail("metadata is given as key=value, each key once")
    return pairs


def _read(file: Path) -> bytes:
    try:
        data = file.read_bytes()
    except OSError as error:
        raise OperatorError(Code.CONFIG_INVALID, f"{file} cannot be read: {error.strerror or error}.") from error
    if len(data) > BODY_BYTES_MAX:
        raise OperatorError(Code.CONFIG_INVALID, f"{file} is larger than {BODY_BYTES_MAX} bytes.")
    return data
