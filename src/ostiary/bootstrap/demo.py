"""The demo: the real gateway with simulated providers, three sample teams and lively traffic, in a temporary folder.

It needs no configuration, key or network, and ignores provider keys in the environment. The gateway runs exactly as
`ostiary serve` runs it, as a child process; this process simulates the providers and the applications.
"""

import asyncio
import contextlib
import os
import random
import secrets
import signal
import sys
import tempfile
from pathlib import Path
from typing import Final

import msgspec

from ostiary.bootstrap.job import encode
from ostiary.bootstrap.prepare import Prepared, prepare
from ostiary.bootstrap.system import SystemClock
from ostiary.core.credential import mint
from ostiary.core.error import OstiaryError
from ostiary.core.http import JSON_TYPE, Header, Origin
from ostiary.gateway.ports import PhaseTimeouts, UpstreamRequest
from ostiary.net.client import HttpUpstream
from ostiary.settings import load
from ostiary.simulator.behaviour import Behaviour
from ostiary.simulator.server import SimulatedProvider

_MODELS: Final = ("assistant", "assistant", "assistant", "reasoner", "summariser", "flaky")
_TEAMS: Final = ("search", "support", "research")
_PROMPTS: Final = (
    "Summarise yesterday's incidents in three points.",
    "Which of our articles answers: how do I change my address?",
    "Translate into French: the invoice is attached.",
    "Write a test for a function that parses dates.",
    "Explain idempotency keys to a new colleague.",
)
_TIMEOUT_SECONDS: Final = 60.0

_CONFIGURATION: Final = """\
data_dir: ./data
server: {{host: 127.0.0.1, port: {port}, drain_seconds: 5}}
admin:  {{host: 127.0.0.1, port: {admin_port}}}
log:    {{level: warning}}
providers:
  simulated-openai:    {{dialect: openai, base_url: "{upstream}/v1", auth: {{secret: "${{file:provider.key}}"}}, prices: openai}}
  simulated-anthropic: {{dialect: anthropic, base_url: "{upstream}/v1", auth: {{scheme: x-api-key, secret: "${{file:provider.key}}"}}, prices: anthropic}}
models:
  assistant:
    targets:
      - {{provider: simulated-openai, model: gpt-4o-mini, weight: 3}}
      - {{provider: simulated-anthropic, model: claude-3-5-haiku-latest, weight: 1}}
    drop_unsupported: true
  reasoner:   {{targets: [{{provider: simulated-anthropic, model: claude-sonnet-4-5}}]}}
  summariser: {{targets: [{{provider: simulated-openai, model: gpt-4o}}]}}
  flaky:
    targets: [{{provider: simulated-openai, model: sim-error-503}}]
    fallbacks: [assistant]
tenants:
  - name: demo
    teams:
      - {{name: search,   environment: production, models: ["*"], keys: [{{name: search-app, secret: "{search}"}}]}}
      - {{name: support,  environment: production, models: [assistant, summariser, flaky], keys: [{{name: support-bot, secret: "{support}"}}]}}
      - {{name: research, environment: sandbox, models: ["*"], keys: [{{name: notebook, secret: "{research}"}}]}}
"""


class _Call(msgspec.Struct, frozen=True):
    path: bytes
    body: bytes


async def run(port: int, admin_port: int, *, traffic: bool) -> int:
    """Run the demo until interrupted; the exit status."""
    with tempfile.TemporaryDirectory(prefix="ostiary-demo-") as folder:
        behaviour = Behaviour(first_byte_seconds=0.15, tokens_per_second=60.0)
        async with SimulatedProvider(behaviour, record=False) as provider:
            keys = {team: mint(secrets.token_bytes(40))[0] for team in _TEAMS}
            file = Path(folder) / "ostiary.yaml"
            (Path(folder) / "provider.key").touch(mode=0o600)
            (Path(folder) / "provider.key").write_text("simulated-providers-take-any-key\n", encoding="utf-8")
            file.write_text(
                _CONFIGURATION.format(
                    port=port, admin_port=admin_port, upstream=f"http://127.0.0.1:{provider.port}", **keys
                ),
                encoding="utf-8",
            )
            file.chmod(0o600)
            prepared = prepare(load(file))
            return await _run(prepared, keys, file, traffic=traffic)


async def _run(prepared: Prepared, keys: dict[str, str], file: Path, *, traffic: bool) -> int:
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    job = prepared.job
    # The supervisor says when it is ready, so that what names a key never stands among its arguments; and it ends
    # when this process does, even if that is killed.
    ready, telling = os.pipe()
    lifeline, held = os.pipe()
    sockets = (*(one.socket_fd for one in job.data), *((job.ops.socket_fd,) if job.ops else ()))
    arguments = encode(msgspec.structs.replace(job, announcement="", ready_fd=telling, lifeline_fd=lifeline))
    supervisor = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "ostiary.bootstrap.supervisor",
        arguments,
        pass_fds=(*sockets, job.lock_fd, telling, lifeline),
        start_new_session=True,
    )
    for descriptor in (*sockets, job.lock_fd, telling, lifeline):
        os.close(descriptor)
    loop.add_reader(ready, _announce, ready, _announcement(prepared, keys, file))
    ended = loop.create_task(supervisor.wait())
    tasks = [loop.create_task(_application(prepared.url, keys, random.Random(seed))) for seed in range(4 * traffic)]  # noqa: S311 - sample traffic
    stopping = loop.create_task(stop.wait())
    await asyncio.wait((ended, stopping), return_when=asyncio.FIRST_COMPLETED)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    if not ended.done():
        with contextlib.suppress(ProcessLookupError):
            supervisor.send_signal(signal.SIGINT)
    status = await ended
    stopping.cancel()
    os.close(held)
    return status


def _announce(ready: int, text: str) -> None:
    asyncio.get_running_loop().remove_reader(ready)
    said = os.read(ready, 16)
    os.close(ready)
    if said:
        print(text, flush=True)  # noqa: T201 - what the person who started it reads


async def _application(url: str, keys: dict[str, str], chance: random.Random) -> None:
    """One application: a call, a pause, again, for ever. Failures are part of the show."""
    host, _, port = url.removeprefix("http://").partition(":")
    clock = SystemClock()
    upstream = HttpUpstream(clock)
    try:
        while True:
            await asyncio.sleep(chance.expovariate(1.5))
            team = chance.choice(_TEAMS)
            call = _call(chance)
            headers: tuple[Header, ...] = (
                JSON_TYPE,
                (b"authorization", b"Bearer " + keys[team].encode()),
                (
                    b"x-ostiary-metadata",
                    msgspec.json.encode({"feature": chance.choice(("chat", "digest")), "service": team}),
                ),
            )
            timeouts = PhaseTimeouts(5.0, 30.0, 30.0, clock.monotonic() + _TIMEOUT_SECONDS)
            request = UpstreamRequest(Origin("http", host, int(port)), b"POST", call.path, headers, call.body, timeouts)
            with contextlib.suppress(OstiaryError):
                reply = await upstream.send(request)
                try:
                    while await reply.chunk():
                        pass
                finally:
                    reply.close()
    finally:
        await upstream.aclose()


def _call(chance: random.Random) -> _Call:
    model, prompt = chance.choice(_MODELS), chance.choice(_PROMPTS)
    stream = chance.random() < 0.5
    messages = [{"role": "user", "content": prompt}]
    if chance.random() < 0.3:
        return _Call(
            b"/v1/messages",
            msgspec.json.encode({"model": model, "max_tokens": 256, "messages": messages, "stream": stream}),
        )
    return _Call(
        b"/v1/chat/completions",
        msgspec.json.encode(
            {"model": model, "messages": messages, "stream": stream, "user": f"person-{chance.randrange(40)}"}
        ),
    )


def _announcement(prepared: Prepared, keys: dict[str, str], file: Path) -> str:
    body = '{"model":"assistant","messages":[{"role":"user","content":"Hello!"}]}'
    return f"""
Ostiary is running with simulated providers and sample traffic.

  gateway   {prepared.url}/v1      (OpenAI and Anthropic SDKs: set this as the base URL; Anthropic without /v1)
  health    {prepared.admin_url}/readyz
  metrics   {prepared.admin_url}/metrics
  key       {keys["search"]}

try it:

  curl {prepared.url}/v1/chat/completions -H 'authorization: Bearer {keys["search"]}' -H 'content-type: application/json' -d '{body}'

watch what it records (in another terminal):

  {Path(sys.executable).parent / "ostiary"} usage --by team,model --config {file}

Ctrl-C ends it and removes its folder.
"""
