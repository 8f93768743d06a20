"""`ostiary alerts`: which shares of budgets were reached, who has heard of it, and whether a channel works."""

import asyncio
import sys
from typing import Annotated

import typer

from ostiary.bootstrap.channels import channels_of
from ostiary.bootstrap.offline import opened
from ostiary.bootstrap.system import SystemClock
from ostiary.cli.config import NOT_HELD, AsJson, ConfigFile, command, fail, loaded
from ostiary.cli.output import print_json, print_table, when
from ostiary.core.limit import ALERT_KEPT_SECONDS
from ostiary.jobs.alerts.model import Standing, message
from ostiary.jobs.alerts.ports import DeliveryFailed
from ostiary.jobs.alerts.service import Channel, find, send_test
from ostiary.net.client import HttpUpstream
from ostiary.settings import Loaded

app = typer.Typer(no_args_is_help=True, help="Alerts of budgets: what was reached, and who has heard of it.")

_NANO = 1_000_000_000


@app.command("list")
@command
def list_(
    count: Annotated[int, typer.Option(min=1, max=1_000, help="How many, the newest first.")] = 20,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """List the latest alerts and where each stands with every channel."""
    with opened(loaded(config)) as offline:
        offline.projector.run_once()
        found = offline.alerts.standings(offline.clock.now_ns() - ALERT_KEPT_SECONDS * _NANO, count)
    if as_json:
        print_json(
            [
                {"id": one.id, "at_ns": one.alert.at_ns, **message(one.id, one.alert).fields(), "deliveries": standings}
                for one, standings in found
            ]
        )
        return
    print_table(
        ("reached", "scope", "share", "spent", "budget", "deliveries"),
        [
            (
                when(one.alert.at_ns),
                one.alert.scope,
                f"{one.alert.share:.0%}",
                *_amounts(message(one.id, one.alert).fields()),
                ", ".join(_word(it) for it in standings if it.reason or not it.given_up) or "-",
            )
            for one, standings in found
        ],
    )


@app.command("test")
@command
def try_(
    channel: Annotated[str, typer.Argument(help="The channel's name in the file.")],
    config: ConfigFile = None,
) -> None:
    """Send a message that says it is a test; exit 1 where the channel does not take it."""
    try:
        asyncio.run(_send(loaded(config), channel))
    except DeliveryFailed as error:
        typer.echo(f"{channel}: {error.reason}", err=True)
        sys.exit(NOT_HELD)
    typer.echo(f"{channel}: delivered")


async def _send(settings: Loaded, name: str) -> None:
    clock = SystemClock()
    upstream = HttpUpstream(clock)
    try:
        channels = channels_of(settings, upstream, clock)
        found: Channel | None = find(channels, name)
        if found is None:
            known = ", ".join(one.name for one in channels) or "none"
            fail(f"there is no channel `{name}`; in the file: {known}")
        else:
            await send_test(found, clock.now_ns())
    finally:
        await upstream.aclose()


def _amounts(fields: dict[str, str | int | float | None]) -> tuple[str, str]:
    if fields["budget"] is not None:
        return f"{fields['spent']} {fields['currency']}", f"{fields['budget']} {fields['currency']}"
    return f"{fields['spent_tokens']} tokens", f"{fields['budget_tokens']} tokens"


def _word(one: Standing) -> str:
    if one.done_ns:
        return f"{one.channel} {when(one.done_ns)}"
    if one.given_up:
        return f"{one.channel} given up: {one.reason}"
    return f"{one.channel} tried {one.attempts} times" + (f": {one.reason}" if one.reason else "")
