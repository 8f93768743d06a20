"""The command `ostiary` and its groups."""

from typing import Final

import typer

from ostiary import __version__
from ostiary.cli import alerts, audit, cache, keys, models, providers, review, routes, teams, tenants, usage
from ostiary.cli.backup import backup, restore
from ostiary.cli.check import check
from ostiary.cli.demo import demo
from ostiary.cli.migrate import migrate
from ostiary.cli.schema import print_schema
from ostiary.cli.serve import serve
from ostiary.cli.simulate import simulate

app: Final = typer.Typer(
    name="ostiary",
    help="The self-hosted platform through which a company's use of large language models passes.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command("serve")(serve)
app.command("check")(check)
app.command("schema")(print_schema)
app.command("migrate")(migrate)
app.command("backup")(backup)
app.command("restore")(restore)
app.command("simulate")(simulate)
app.command("demo")(demo)
app.add_typer(keys.app, name="keys")
app.add_typer(teams.app, name="teams")
app.add_typer(tenants.app, name="tenants")
app.add_typer(usage.app, name="usage")
app.add_typer(providers.app, name="providers")
app.add_typer(models.app, name="models")
app.add_typer(routes.app, name="routes")
app.add_typer(cache.app, name="cache")
app.add_typer(audit.app, name="audit")
app.add_typer(alerts.app, name="alerts")
app.add_typer(review.app, name="review")


@app.command("version")
def version() -> None:
    """Print the version."""
    typer.echo(__version__)
