"""The options every command shares, and how a command ends."""

import sys
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Annotated, NoReturn, ParamSpec, TypeVar

import typer

from ostiary.core.error import OstiaryError
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
