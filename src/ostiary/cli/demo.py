"""`ostiary demo`: everything at once, with nothing needed."""

import asyncio
import sys
from typing import Annotated

import typer

from ostiary.bootstrap.demo import run
from ostiary.cli.config import command


@command
def demo(
    port: Annotated[int, typer.Option(help="The gateway's port; 0 chooses a free one.")] = 0,
    admin_port: Annotated[int, typer.Option(help="The port of health and metrics; 0 chooses a free one.")] = 0,
    traffic: Annotated[bool, typer.Option(help="Send sample traffic.")] = True,
) -> None:
    """Run the gateway with simulated providers, sample teams and lively traffic until interrupted."""
    sys.exit(asyncio.run(run(port, admin_port, traffic=traffic)))
