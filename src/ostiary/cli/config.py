"""The options every command shares, and how a command ends."""

import sys
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Annotated, NoReturn, ParamSpec, TypeVar

import typer

from ostiary.bootstrap.emergency import rescue
from ostiary.bootstrap.publication import SECRETS_DIR
from ostiary.core.error import OperatorError, OstiaryError
from ostiary.settings import Loaded, find_file, load

ConfigFile = Annotated[
    Path | None, typer.Option("--config", help="The configuration file; ./ostiary.yaml if it is there.", metavar="FILE")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]

P = ParamSpec("P")
R = TypeVar("R")

NOT_HELD = 1
BAD_USE = 2


def loaded(config: Path | None) -> Loaded:
    """The settings a command works on."""
    return load(find_file(config))


def found_anyhow(config: Path | None) -> Loaded:
    """As `loaded`; and where the file is not valid, as much of the settings as an emergency needs, which is said: where the
    installation is. For commands alone that do not go by what else stands in the file."""
    file = find_file(config)
    try:
        return load(file)
    except OperatorError as error:
        if file is None:
            raise
        typer.echo(f"ostiary: the configuration file is not valid: {error.message}", err=True)
        rescued = rescue(file, SECRETS_DIR)
    typer.echo(f"ostiary: going on all the same, with {rescued.told}; nothing else of the file is used", err=True)
    return rescued.loaded


def fail(message: str, status: int = BAD_USE) -> NoReturn:
    """End the command with a message for the person who ran it."""
    typer.echo(f"ostiary: {message}", err=True)
    sys.exit(status)


def command(function: Callable[P, R]) -> Callable[P, R]:
    """Turn the product's errors into a message and exit code 2."""

    @wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return function(*args, **kwargs)
        except OstiaryError as error:
            fail(error.message)

    return run
