"""`ostiary tenants`: who is kept apart from whom."""

from typing import Annotated

import typer

from ostiary.bootstrap.offline import opened
from ostiary.cli.config import AsJson, ConfigFile, command, found_anyhow, loaded
from ostiary.cli.output import print_json, print_table, when

app = typer.Typer(no_args_is_help=True, help="Tenants: who is kept apart from whom.")


@app.command("create")
@command
def create(
    name: Annotated[str, typer.Argument(help="Its name and id, for ever.")],
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Create a tenant."""
    with opened(loaded(config)) as offline:
        tenant = offline.tenants.create(offline.actor, name)
    if as_json:
        print_json(tenant)
    else:
        typer.echo(f"tenant {tenant.id} created")


@app.command("list")
@command
def list_(config: ConfigFile = None, as_json: AsJson = False) -> None:
    """List tenants."""
    with opened(loaded(config)) as offline:
        tenants = offline.tenants.list(offline.actor)
    if as_json:
        print_json(tenants)
    else:
        print_table(
            ("tenant", "managed by", "created", "disabled"),
            [(one.id, one.managed_by, when(one.created_ns), when(one.disabled_ns)) for one in tenants],
        )


@app.command("disable")
@command
def disable(name: Annotated[str, typer.Argument(help="The tenant.")], config: ConfigFile = None) -> None:
    """Take a tenant out of use; its records stay."""
    with opened(found_anyhow(config)) as offline:
        offline.tenants.disable(offline.actor, name)
    typer.echo(f"tenant {name} disabled")
