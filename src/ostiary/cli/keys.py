"""`ostiary keys`: the credentials of applications. A secret is printed once, when it is made."""

from typing import Annotated

import typer

from ostiary.bootstrap.offline import Offline, opened
from ostiary.cli.config import AsJson, ConfigFile, command, found_anyhow, loaded
from ostiary.cli.output import duration, print_json, print_table, when
from ostiary.core.error import CallerError, Code
from ostiary.core.principal import Deployment
from ostiary.govern.keys.model import Key, Minted

app = typer.Typer(no_args_is_help=True, help="Keys: the credentials of applications.")

KeyName = Annotated[str, typer.Argument(metavar="KEY", help="The key's id, or the beginning of its secret as listed.")]


@app.command("create")
@command
def create(
    name: Annotated[str, typer.Argument(help="What the key is called.")],
    *,
    tenant: Annotated[str, typer.Option(help="The tenant.")],
    team: Annotated[str, typer.Option(help="The team, of the file or of the database.")],
    models: Annotated[
        list[str] | None, typer.Option("--model", help="Only these of the team's models; may be repeated.")
    ] = None,
    expires: Annotated[str | None, typer.Option(help="How long it is accepted: 90d, 12h, 30m, 45s.")] = None,
    project: Annotated[str, typer.Option(help="The part of the team's work it is for.")] = "",
    service: Annotated[str, typer.Option(help="The software that uses it.")] = "",
    version: Annotated[str, typer.Option(help="That software's version.")] = "",
    commit: Annotated[str, typer.Option(help="That software's commit.")] = "",
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Create a key for a team and print it, this once."""
    with opened(loaded(config)) as offline:
        minted = offline.keys.create(
            offline.actor,
            tenant,
            team,
            name,
            models=models or None,
            lifetime_seconds=None if expires is None else duration(expires),
            deployment=Deployment(service, version, commit),
            project=project,
        )
    _print_minted(minted, as_json=as_json)


@app.command("list")
@command
def list_(
    tenant: Annotated[str | None, typer.Option(help="Only this tenant's.")] = None,
    team: Annotated[str | None, typer.Option(help="Only this team's.")] = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """List the keys of the database; those of the file stand there."""
    with opened(found_anyhow(config)) as offline:
        keys = offline.keys.list(offline.actor, tenant, team)
        now = offline.clock.now_ns()
    if as_json:
        print_json([{**_fields(key), "state": key.state(now)} for key in keys])
        return
    print_table(
        ("id", "key", "tenant", "team", "environment", "models", "begins with", "created", "expires", "state"),
        [
            (
                key.id,
                key.name,
                key.tenant,
                key.team,
                key.environment,
                "the team's" if key.models is None else ", ".join(key.models),
                key.secrets[-1].hint if key.secrets else "-",
                when(key.created_ns),
                when(key.expires_ns),
                key.state(now),
            )
            for key in keys
        ],
    )


@app.command("rotate")
@command
def rotate(
    key: KeyName,
    overlap: Annotated[str, typer.Option(help="How long the old secret is still accepted: 1h, 7d.")] = "0s",
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Make a new secret for a key and print it, this once."""
    with opened(found_anyhow(config)) as offline:
        found = _locate(offline, key)
        minted = offline.keys.rotate(offline.actor, found.tenant, found.id, overlap_seconds=duration(overlap))
    _print_minted(minted, as_json=as_json)


@app.command("revoke")
@command
def revoke(key: KeyName, config: ConfigFile = None) -> None:
    """Never accept a key again."""
    with opened(found_anyhow(config)) as offline:
        found = _locate(offline, key)
        offline.keys.revoke(offline.actor, found.tenant, found.id)
    typer.echo(f"key {found.tenant}/{found.team}/{found.name} revoked")


def _locate(offline: Offline, word: str) -> Key:
    """The one key with this id or beginning."""
    found = [
        key
        for key in offline.keys.list(offline.actor)
        if key.id == word or any(word.startswith(secret.hint) or secret.hint == word for secret in key.secrets)
    ]
    if len(found) != 1:
        # Never repeat the word: it may be a whole secret.
        raise CallerError(Code.OBJECT_NOT_FOUND, "There is no such key; `ostiary keys list` shows ids and beginnings.")
    return found[0]


def _print_minted(minted: Minted, *, as_json: bool) -> None:
    text = minted.secret.reveal()
    if as_json:
        print_json({**_fields(minted.key), "secret": text})
        return
    key = minted.key
    typer.echo(f"key {key.tenant}/{key.team}/{key.name} ({key.environment}), id {key.id}", err=True)
    typer.echo("the secret is shown this once:", err=True)
    typer.echo(text)


def _fields(key: Key) -> dict[str, object]:
    return {name: getattr(key, name) for name in key.__struct_fields__}
