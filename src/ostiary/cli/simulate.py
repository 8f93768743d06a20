"""`ostiary simulate`: the simulated providers as a server of their own."""

import asyncio
from typing import Annotated

import typer

from ostiary.cli.config import fail
from ostiary.simulator.behaviour import PRESETS, Behaviour
from ostiary.simulator.server import SimulatedProvider


def simulate(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port; 0 chooses a free one.")] = 9000,
    seed: Annotated[int, typer.Option(help="Another seed gives other answers.")] = 0,
    first_byte_seconds: Annotated[float, typer.Option(min=0, help="Latency before each answer.")] = 0.0,
    tokens_per_second: Annotated[float, typer.Option(min=0, help="Rate of streams; 0 is at once.")] = 0.0,
) -> None:
    """Serve simulated OpenAI and Anthropic providers until interrupted. They always say that they are simulated."""
    behaviour = Behaviour(seed=seed, first_byte_seconds=first_byte_seconds, tokens_per_second=tokens_per_second)
    try:
        asyncio.run(_serve(host, port, behaviour))
    except KeyboardInterrupt:
        return
    except OSError as error:
        fail(f"cannot listen on {host}:{port}: {error.strerror or error}")


async def _serve(host: str, port: int, behaviour: Behaviour) -> None:
    async with SimulatedProvider(behaviour, host=host, port=port, record=False) as provider:
        base = f"http://{host}:{provider.port}"
        paths = "POST /v1/chat/completions, /v1/responses, /v1/embeddings, GET /v1/models"
        typer.echo(f"simulated OpenAI    {base}/v1   ({paths})")
        typer.echo(f"simulated Anthropic {base}/v1   (POST /v1/messages, /v1/messages/count_tokens)")
        typer.echo(f"any key will do; models that misbehave on purpose: {', '.join(sorted(PRESETS))}")
        await asyncio.Event().wait()
