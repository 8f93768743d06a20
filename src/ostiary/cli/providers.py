"""`ostiary providers`: what the shipped catalogue knows of providers and self-hosted servers."""

from typing import Annotated

import typer

from ostiary.cli.config import AsJson, command, fail
from ostiary.cli.output import print_json, print_table
from ostiary.control.catalogue import CatalogueRow, catalogue, differences

app = typer.Typer(no_args_is_help=True, help="Providers and self-hosted servers that are known by name.")

Name = Annotated[str, typer.Argument(help="The row's name.")]


@app.command("list")
@command
def list_(
    *,
    dialect: Annotated[str, typer.Option(help="Only those that speak this dialect.")] = "",
    residency: Annotated[str, typer.Option(help="hosted or private.")] = "",
    as_json: AsJson = False,
) -> None:
    """List the catalogue: what a provider in the configuration file needs no more than its name for."""
    rows = {
        name: row
        for name, row in catalogue().items()
        if (not dialect or dialect in (row.dialect, *row.also)) and residency in ("", row.residency)
    }
    if as_json:
        print_json(rows)
        return
    print_table(
        ("provider", "dialect", "residency", "key", "to fill in", "address"),
        [
            (name, row.dialect, row.residency, row.env or row.auth, ", ".join(row.wanted()) or None, row.base_url)
            for name, row in rows.items()
        ],
    )


@app.command("show")
@command
def show(name: Name, *, as_json: AsJson = False) -> None:
    """Show one row: everything that is known, and an entry for the configuration file."""
    row = catalogue().get(name)
    if row is None:
        fail(f"the catalogue has no provider `{name}`; `ostiary providers list` shows them")
    if as_json:
        print_json({"name": name, **{field: getattr(row, field) for field in row.__struct_fields__}})
        return
    print_table(("", name), _facts(row))
    typer.echo(f"\nproviders:\n  {name}: {{{', '.join(f'{want}: …' for want in row.wanted())}}}")


def _facts(row: CatalogueRow) -> list[tuple[str, object]]:
    data = row.data
    return [
        ("address", row.base_url + (f"?{row.query}" if row.query else "")),
        ("dialect", ", ".join((row.dialect, *row.also))),
        ("operations", ", ".join(row.operations) or "those of its dialect"),
        ("credential", ", ".join((row.auth, *row.auth_also))),
        ("key", row.env or None),
        ("residency", row.residency),
        ("region", row.region or None),
        ("kept for", "not known" if data is None or data.retention_days is None else f"{data.retention_days} days"),
        ("trained on", "not known" if data is None or data.trained_on is None else "yes" if data.trained_on else "no"),
        ("agreements", ", ".join(data.agreements) if data is not None and data.agreements else "not known"),
        ("says so", None if data is None else f"{', '.join(data.sources)} ({data.reviewed})"),
        ("differs in", ", ".join(differences(row.profile)) or None),
        ("prices", row.prices or None),
        ("documentation", row.docs),
    ]
