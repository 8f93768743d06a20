"""`ostiary cache`: kept answers that are not to be given again."""

from typing import Annotated

import typer

from ostiary.bootstrap.offline import opened
from ostiary.cli.config import AsJson, ConfigFile, command, loaded
from ostiary.cli.output import print_json, print_table, when
from ostiary.govern.purges.model import Purge

app = typer.Typer(no_args_is_help=True, help="Kept answers that are not to be given again.")


@app.command("purge")
@command
def purge(
    *,
    tenant: Annotated[str | None, typer.Option(help="Only this tenant's; alone: all of them.")] = None,
    model: Annotated[str | None, typer.Option(help="Answers of this model.")] = None,
    team: Annotated[str | None, typer.Option(help="Answers to this team of the tenant.")] = None,
    tag: Annotated[str | None, typer.Option(help="Answers with this tag, of an entry's or a caller's.")] = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Give no answer again that is kept until now. Workers know of it within a second, on every replica."""
    with opened(loaded(config)) as offline:
        done = offline.purges.purge(offline.actor, tenant=tenant, model=model, team=team, tag=tag)
    if as_json:
        print_json(done)
    else:
        typer.echo(f"purged: {_what(done)}")


@app.command("purges")
@command
def purges(config: ConfigFile = None, as_json: AsJson = False) -> None:
    """List the purges in force, the last first."""
    with opened(loaded(config)) as offline:
        found = offline.purges.list(offline.actor)
    if as_json:
        print_json(found)
    else:
        print_table(("number", "what", "at"), [(str(one.number), _what(one), when(one.at_ns)) for one in found])


def _what(one: Purge) -> str:
    return f"{one.tag or 'everything'} of {f'tenant {one.tenant}' if one.tenant else 'every tenant'}"
