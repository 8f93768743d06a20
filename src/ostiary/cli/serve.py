"""`ostiary serve`: the gateway itself."""

import typer

from ostiary.bootstrap.prepare import become_supervisor, prepare
from ostiary.cli.config import ConfigFile, command, loaded


@command
def serve(config: ConfigFile = None) -> None:
    """Run the gateway until interrupted.

    With a configuration file (--config, or ./ostiary.yaml), what it says. Without one: providers whose usual key
    variables are set and model servers found on this machine, and one key that is shown on the first start.
    """
    settings = loaded(config)
    prepared = prepare(settings)
    for text in prepared.warnings:
        typer.echo(f"warning: {text}", err=True)
    for one in prepared.found:
        count = f"{len(one.models)} models listed, " if one.models else ""
        typer.echo(f"offers {one.name}: {one.how} ({count}any model as {one.name}/<model>)")
    if settings.file is None and not prepared.found:
        typer.echo(
            "no provider found: set a key variable such as OPENAI_API_KEY or ANTHROPIC_API_KEY, start a local model "
            "server, or write ostiary.yaml; `ostiary demo` needs none of them",
            err=True,
        )
    if prepared.key:
        typer.echo(f"\nyour key, shown only now:\n\n    {prepared.key}\n")
        typer.echo(f"try it:  curl {prepared.url}/v1/models -H 'authorization: Bearer {prepared.key}'\n")
    become_supervisor(prepared.job)
