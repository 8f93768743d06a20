"""A gateway as it is deployed, `ostiary serve` in a process of its own, before a simulated provider of both dialects."""

import asyncio
import contextlib
import signal
import subprocess
import sys
import threading
from pathlib import Path

import msgspec

from ostiary.simulator.behaviour import of_header
from ostiary.simulator.server import SimulatedProvider

KEY = "a-key-of-the-team-that-tests-clients"
NARROW_KEY = "a-key-that-may-use-one-model-only"
MODELS = {"chat", "gpt", "claude", "ranker"}
UPSTREAM_KEY = "sk-upstream-canary-0123456789abcdef"
WAIT_SECONDS = 60.0

CONFIGURATION = """\
data_dir: ./data
server: {{port: 0, drain_seconds: 2}}
admin:  {{port: 0}}
log:    {{level: warning}}
providers:
  oai: {{dialect: openai, base_url: "{upstream}/v1", auth: {{secret: "${{file:provider.key}}"}}}}
  ant: {{dialect: anthropic, base_url: "{upstream}", auth: {{scheme: x-api-key, secret: "${{file:provider.key}}"}}}}
  coh: {{dialect: cohere, base_url: "{upstream}", auth: {{secret: "${{file:provider.key}}"}}}}
models:
  chat:    {{targets: [{{provider: oai, model: sim-gpt}}]}}
  gpt:     {{targets: [{{provider: oai, model: sim-gpt}}]}}
  claude:  {{targets: [{{provider: ant, model: sim-claude}}]}}
  "flaky/*": {{targets: [{{provider: oai, model: "*"}}], fallbacks: [claude]}}
  ranker:  {{targets: [{{provider: coh, model: sim-rank}}]}}
  "oai/*": {{targets: [{{provider: oai, model: "*"}}], retries: {{attempts: 1}}}}
  "ant/*": {{targets: [{{provider: ant, model: "*"}}], retries: {{attempts: 1}}}}
tenants:
  - name: acme
    teams:
      - name: search
        models: ["*"]
        keys:
          - {{name: clients, secret: {key}}}
          - {{name: narrow, secret: {narrow}, models: [gpt]}}
"""


class _Named(msgspec.Struct):
    model: str = ""


def _asked(request):
    """What a model named like `fault=cut; after=3` asks of the simulator; other names mean what they always do."""
    name = _named(request)
    return of_header(name) if "=" in name else None


def _named(request):
    """The model a JSON body names; empty for a form."""
    try:
        return msgspec.json.decode(request.body, type=_Named).model if request.body else ""
    except msgspec.DecodeError:
        return ""


class Upstream:
    """The simulated provider, on a loop in a thread of its own, so that clients that block cannot stop it."""

    def __init__(self):
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="simulated-provider")
        self.provider = SimulatedProvider(script=_asked)

    def __enter__(self):
        self._thread.start()
        self._run(self.provider.__aenter__())
        return self

    def __exit__(self, *exc):
        try:
            self._run(self.provider.__aexit__(*exc))
        finally:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(WAIT_SECONDS)
            self._loop.close()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.provider.port}"

    def last(self, model):
        """The last request for the provider's model `model`."""
        return next(one for one in reversed(self.provider.requests) if self._model(one) == model)

    def body(self, model):
        """Its body, as values."""
        return msgspec.json.decode(self.last(model).request.body)

    def cancelled(self, model):
        """Wait until the last request for `model` has been given up by the gateway; TimeoutError if it is not."""
        entry = self.last(model)
        self._run(self.provider.until(lambda: entry.cancelled))

    def _run(self, awaitable):
        return asyncio.run_coroutine_threadsafe(awaitable, self._loop).result(WAIT_SECONDS)

    @staticmethod
    def _model(entry):
        return _named(entry.request)


class Process:
    """A command that says so once it serves. `lines` is all it said."""

    def __init__(self, *words, cwd, says="ready: "):
        self._process = subprocess.Popen(
            words, cwd=cwd, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        self._says = says
        self._ready = threading.Event()
        self.lines = []
        self._reader = threading.Thread(target=self._read, name=f"output of {words[0]}")
        self._reader.start()

    def _read(self):
        for line in self._process.stdout:
            self.lines.append(line)
            if self._says in line:
                self._ready.set()
        self._ready.set()

    def wait_ready(self):
        """The line that says so. AssertionError with all it said if it ended instead."""
        assert self._ready.wait(WAIT_SECONDS), "".join(self.lines)
        found = [line for line in self.lines if self._says in line]
        assert found, "".join(self.lines)
        return found[0]

    def stop(self):
        """Ask it to stop, as an init system does; its exit status."""
        self._process.send_signal(signal.SIGTERM)
        try:
            return self._process.wait(WAIT_SECONDS)
        finally:
            self._process.kill()
            self._reader.join(WAIT_SECONDS)
            self._process.stdout.close()


def ostiary(folder, *words):
    """What another command says of the gateway in this folder."""
    command = [Path(sys.executable).with_name("ostiary"), *words, "--config", folder / "ostiary.yaml"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=WAIT_SECONDS)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@contextlib.contextmanager
def gateway(folder, configuration):
    """`ostiary serve` on this configuration; gives the URL it listens on.

    When asked to stop it must do so cleanly, and leave a journal that verifies and in which each call was closed once,
    whatever its client did.
    """
    (folder / "provider.key").write_text(UPSTREAM_KEY + "\n")
    (folder / "ostiary.yaml").write_text(configuration)
    process = Process(str(Path(sys.executable).with_name("ostiary")), "serve", "--config", "ostiary.yaml", cwd=folder)
    try:
        yield process.wait_ready().split()[2]
    finally:
        status = process.stop()
    assert status == 0, "".join(process.lines)
    assert UPSTREAM_KEY not in "".join(process.lines)
    ostiary(folder, "audit", "verify")
    lines = [msgspec.json.decode(line) for line in ostiary(folder, "audit", "show").splitlines()]
    opened = [line["sequence"] for line in lines if line["kind"] == "opened"]
    closed = sorted(line["record"]["opened"] for line in lines if line["kind"] == "closed")
    assert [one for one in closed if one >= 0] == opened  # -1: a ready answer, for which nothing was opened
