"""`ostiary teams`: whose keys may use which models, in which environment."""

from typing import Annotated

import typer

from ostiary.bootstrap.offline import opened
from ostiary.cli.config import AsJson, ConfigFile, command, found_anyhow, loaded
from ostiary.cli.output import print_json, print_table, when

app = typer.Typer(no_args_is_help=True, help="Teams: whose keys may use which models, in which environment.")

Tenant = Annotated[str, typer.Option("--tenant", help="The tenant.")]
Name = Annotated[str, typer.Argument(help="The team's name, for ever.")]
Models = Annotated[list[str], typer.Option("--model", help='A model it may use; may be repeated; "*" for every one.')]


@app.command("create")
@command
def create(
    name: Name,
    *,
    tenant: Tenant,
    models: Models,
    environment: Annotated[str, typer.Option(help="sandbox, staging or production; for ever.")] = "production",
    max_tokens: Annotated[int | None, typer.Option(help="Most output tokens a call may ask for.")] = None,
    tool_depth: Annotated[int | None, typer.Option(help="Most consecutive tool rounds.")] = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Create a team in a tenant."""
    with opened(loaded(config)) as offline:
        team = offline.teams.create(
            offline.actor, tenant, name, environment, models, max_tokens=max_tokens, tool_depth=tool_depth
        )
    if as_json:
        print_json(team)
    else:
        typer.echo(f"team {team.tenant}/{team.name} created in {team.environment}")


@app.command("list")
@command
def list_(
    tenant: Annotated[str | None, typer.Option(help="Only this tenant's.")] = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """List teams."""
    with opened(loaded(config)) as offline:
        teams = offline.teams.list(offline.actor, tenant)
    if as_json:
        print_json(teams)
    else:
        print_table(
            ("tenant", "team", "environment", "models", "managed by", "created", "disabled"),
            [
                (
                    one.tenant,
                    one.name,
                    one.environment,
                    ", ".join(one.models),
                    one.managed_by,
                    when(one.created_ns),
                    when(one.disabled_ns),
                )
                for one in teams
            ],
        )


@app.command("models")
@command
def models_(name: Name, tenant: Tenant, models: Models, config: ConfigFile = None, as_json: AsJson = False) -> None:
    """Replace the list of models a team may use."""
    with opened(loaded(config)) as offline:
        team = offline.teams.allow_models(offline.actor, tenant, name, models)
    if as_json:
        print_json(team)
    else:
        typer.echo(f"team {tenant}/{name} may use: {', '.join(team.models)}")


@app.command("disable")
@command
def disable(name: Name, tenant: Tenant, config: ConfigFile = None) -> None:
    """Take a team and all its keys out of use; its records stay."""
    with opened(found_anyhow(config)) as offline:
        offline.teams.disable(offline.actor, tenant, name)
    typer.echo(f"team {tenant}/{name} disabled")
