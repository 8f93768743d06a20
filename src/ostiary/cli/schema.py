"""`ostiary schema`: the configuration file's JSON Schema, for editors."""

import msgspec
import typer

from ostiary.settings import schema


def print_schema() -> None:
    """Print the JSON Schema of ostiary.yaml."""
    typer.echo(msgspec.json.format(msgspec.json.encode(schema()), indent=2).decode("utf-8"))
