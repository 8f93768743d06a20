"""`ostiary migrate`: bringing the database's schema to what this version needs."""

from typing import Annotated

import typer

from ostiary.bootstrap.offline import make_data_dir
from ostiary.bootstrap.storage import migrate_storage, plan_migration
from ostiary.bootstrap.system import SystemClock
from ostiary.cli.config import ConfigFile, command, loaded
from ostiary.govern.migration import Migration, Plan


@command
def migrate(
    *,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would be done.")] = False,
    contract: Annotated[
        bool, typer.Option("--contract", help="Also take away what only earlier versions of Ostiary use.")
    ] = False,
    config: ConfigFile = None,
) -> None:
    """Bring the database's schema to this version. PostgreSQL waits for this command; an SQLite file is migrated, after
    a copy was made, by whatever opens it. Interrupted, it is run again."""
    settings, clock = loaded(config), SystemClock()
    _print_plan(plan_migration(settings, clock, contract=contract))
    if dry_run:
        return
    make_data_dir(settings.data_dir)
    migrate_storage(settings, clock, contract=contract, told=lambda step: typer.echo(f"done: {_shown(step)}"))


def _print_plan(plan: Plan) -> None:
    steps = (*plan.due, *plan.waiting)
    newest = max((step.version for step in plan.due), default=plan.version)
    if not steps:
        typer.echo(f"{plan.database}: schema {plan.version}, nothing to do")
        return
    typer.echo(f"{plan.database}: schema {plan.version} to {newest}")
    for step in plan.due:
        typer.echo(f"  {_shown(step)}")
    for step in plan.waiting:
        typer.echo(f"  waits: {_shown(step)}; take it with --contract once no earlier version runs")


def _shown(step: Migration) -> str:
    return f"{step.version} {step.title}{' (contracts)' if step.contracts else ''}"
