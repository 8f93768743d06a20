"""`ostiary backup` and `ostiary restore`."""

import datetime as dt
from pathlib import Path
from typing import Annotated

import typer

from ostiary.bootstrap.backup import back_up
from ostiary.bootstrap.restore import restore as put_back
from ostiary.cli.config import AsJson, ConfigFile, command, loaded
from ostiary.cli.output import print_json, when


@command
def backup(
    to: Annotated[Path, typer.Option("--to", metavar="PATH", help="The file to write; in a folder: a new one in it.")],
    keys: Annotated[
        Path | None,
        typer.Option("--keys", metavar="FILE", help="Where the keys go, apart; beside the other file unless given."),
    ] = None,
    *,
    journal_only: Annotated[
        bool, typer.Option("--journal-only", help="Without the database: to bring an older backup up to now.")
    ] = False,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Back up database, journal and kept answers into one file, and the keys into another. The gateway may run."""
    target = to
    if to.is_dir():
        target = to / f"ostiary-{dt.datetime.now(dt.UTC).strftime('%Y%m%dT%H%M%S%fZ')}.backup"
    apart = keys if keys is not None else target.with_suffix(".keys")
    done = back_up(loaded(config), target, apart, journal_only=journal_only, told=_told)
    if as_json:
        print_json(done)
        return
    database = f"{done.database} with schema {done.schema}" if done.database else "no database"
    typer.echo(f"{done.file}: {done.bytes} bytes, {done.records} records, {database}")
    typer.echo(f"{done.keys_file}: the keys; keep them elsewhere")
    typer.echo(f"recovery point: {when(done.covers_until_ns)}, taken in {done.seconds:.1f} s")


@command
def restore(
    archive: Annotated[Path, typer.Argument(metavar="FILE", help="What `ostiary backup` wrote.")],
    keys: Annotated[
        Path | None, typer.Option("--keys", metavar="FILE", help="The keys; those in the data folder unless given.")
    ] = None,
    *,
    newer: Annotated[
        Path | None, typer.Option("--newer", metavar="FILE", help="A later backup, whose journal to go on with.")
    ] = None,
    journal_only: Annotated[
        bool, typer.Option("--journal-only", help="The database was restored with another replica's backup.")
    ] = False,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Restore a backup into an empty data folder and an empty database, verify and project it."""
    done = put_back(loaded(config), archive, keys, newer=newer, journal_only=journal_only, told=_told)
    if as_json:
        print_json(done)
        return
    typer.echo(f"restored {done.records} records of {', '.join(done.origins) or 'no journal'}; the journal holds")
    typer.echo(f"recovery point: {when(done.point_ns)}, {done.age_seconds:.1f} s before this command")
    typer.echo(f"recovery time: {done.seconds:.1f} s; {done.projected} records projected")


def _told(text: str) -> None:
    typer.echo(text, err=True)
