"""`ostiary check`: whether a configuration would be taken, and what an operator should know of it."""

import datetime as dt
import sys

import msgspec
import typer

from ostiary.bootstrap.compile import Declared, compile_file
from ostiary.bootstrap.known import retiring
from ostiary.cli.config import NOT_HELD, AsJson, ConfigFile, command, fail, loaded
from ostiary.core.error import OperatorError
from ostiary.snapshot.tables import Residency


@command
def check(config: ConfigFile = None, as_json: AsJson = False) -> None:
    """Check the configuration file: exit 0 if it would be taken, 1 with file, line and reason if not."""
    try:
        settings = loaded(config)
        if settings.file is None:
            fail("there is no configuration file to check; name one with --config")
        declared = compile_file(settings, settings.data_dir / "secrets")
    except OperatorError as error:
        if as_json:
            typer.echo(msgspec.json.encode({"valid": False, "error": error.message}).decode())
        else:
            typer.echo(error.message, err=True)
        sys.exit(NOT_HELD)
    facts = _facts(declared)
    warnings = (*declared.warnings, *retiring(declared.models, declared.providers, dt.datetime.now(dt.UTC).date()))
    if as_json:
        typer.echo(msgspec.json.encode({"valid": True, "warnings": warnings, "facts": facts}).decode())
        return
    for text in warnings:
        typer.echo(f"warning: {text}")
    for text in facts:
        typer.echo(text)
    typer.echo(f"{settings.file}: valid")


def _facts(declared: Declared) -> list[str]:
    """What holds for this configuration: sizes, and where regulated data can go."""
    private = {row.name for row in declared.providers if row.residency is Residency.PRIVATE}
    reach = sorted(row.name for row in declared.models if any(one.provider in private for one in row.targets))
    facts = [
        (
            f"{len(declared.providers)} providers, {len(declared.models)} models, {len(declared.teams)} teams, "
            f"{len(declared.keys)} keys"
        )
    ]
    if reach:
        facts.append(f"regulated data can reach only the private targets of: {', '.join(reach)}")
    else:
        facts.append("regulated data is refused everywhere: no target is private")
    return facts
