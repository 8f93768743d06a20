"""The real thing: `ostiary serve` as a process of its own, simulated providers in a thread of this one, and the means
to look at it from outside: HTTP, the process table, the files it leaves."""

import asyncio
import contextlib
import http.client
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
from typer.testing import CliRunner

from ostiary.cli.main import app
from ostiary.simulator.server import SimulatedProvider

OSTIARY = str(Path(sys.executable).parent / "ostiary")
APP_KEY = "an-application-key-of-the-file-0123456789"
SIM_SECRET = "sk-provider-canary-5f2b9c1e7a"
READY_SECONDS = 30.0

CONFIGURATION = """\
data_dir: ./data
server: {{host: 127.0.0.1, port: {port}, workers: {workers}, drain_seconds: {drain}{server}}}
admin: {{port: 0}}
{top}
providers:
  sim:        {{dialect: openai, base_url: "http://127.0.0.1:{provider}/v1", auth: {{secret: "${{env:SIM_SECRET}}"}}, prices: openai}}
  sim-claude: {{dialect: anthropic, base_url: "http://127.0.0.1:{provider}/v1", auth: {{scheme: x-api-key, secret: "${{env:SIM_SECRET}}"}}, prices: anthropic}}
models:
  chat:   {{targets: [{{provider: sim, model: gpt-4o-mini}}]}}
  claude: {{targets: [{{provider: sim-claude, model: claude-sonnet-4-5}}]}}
  "sim/*":    {{targets: [{{provider: sim, model: "*"}}]}}
  "claude/*": {{targets: [{{provider: sim-claude, model: "*"}}]}}
{models}
tenants:
  - name: acme
    teams:
      - name: search
        models: ["*"]
        keys: [{{name: app, secret: "${{env:APP_KEY}}"}}]
{tenants}
"""


def until(holds, seconds=10.0, what="it"):
    """What `holds()` gives once it is true; a failure if it is not in time."""
    end = time.monotonic() + seconds
    while True:
        found = holds()
        if found:
            return found
        assert time.monotonic() < end, f"{what} did not come true within {seconds} s"
        threading.Event().wait(0.01)


class ProviderThread:
    """A simulated provider on a loop of its own."""

    def __init__(self, behaviour=None, port=0):
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.thread.start()
        self.provider = SimulatedProvider(behaviour, port=port, record=False)
        self.run(self.provider.__aenter__())
        self.port = self.provider.port

    def run(self, work):
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(10)

    def then(self, *behaviours):
        self.provider.then(*behaviours)

    @property
    def open_connections(self):
        return self.provider.open_connections

    @property
    def connections(self):
        return self.provider.connections

    def stop(self):
        self.run(self.provider.__aexit__())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(5)
        self.loop.close()


class Answer(msgspec.Struct):
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self):
        return json.loads(self.body)


class House:
    """One installation in a folder. `start` it, look at it, `stop` it; `with` does both."""

    def __init__(
        self, folder, provider_port, *, workers=1, drain=5, top="", server="", models="", tenants="", environment=None
    ):
        self.folder = Path(folder)
        self.file = self.folder / "ostiary.yaml"
        self.data = self.folder / "data"
        self.fields = {
            "port": 0,
            "workers": workers,
            "drain": drain,
            "provider": provider_port,
            "top": top,
            "server": server,
            "models": models,
            "tenants": tenants,
        }
        self.environment = {**os.environ, "SIM_SECRET": SIM_SECRET, "APP_KEY": APP_KEY, **(environment or {})}
        for name in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY"):
            if name not in (environment or {}):
                self.environment.pop(name, None)
        self.process = None
        self.out = []
        self.err = []
        self.scheme = "http"
        self.tls = None
        self.write()

    def write(self, text=None, **fields):
        """Replace the file as editors do: beside it, then renamed."""
        self.fields.update(fields)
        beside = self.folder / ".ostiary.yaml.beside"
        beside.write_text(CONFIGURATION.format(**self.fields) if text is None else text, encoding="utf-8")
        beside.replace(self.file)

    # --- the process ----------------------------------------------------------------------------------------

    def spawn(self, *words, stderr=subprocess.PIPE):
        self.out, self.err = [], []
        self.process = subprocess.Popen(
            words or [OSTIARY, "serve", "--config", str(self.file)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=stderr,
            env=self.environment,
            cwd=self.folder,
            start_new_session=True,
        )
        self.readers = [
            threading.Thread(target=_collect, args=(stream, lines), daemon=True)
            for stream, lines in ((self.process.stdout, self.out), (self.process.stderr, self.err))
            if stream is not None
        ]
        for reader in self.readers:
            reader.start()
        return self

    def start(self, *words, **options):
        self.spawn(*words, **options)
        try:
            self.wait_ready()
        except BaseException:
            self.kill()
            raise
        return self

    def wait_ready(self):
        line = until(lambda: self.announced() or self.process.poll() is not None, READY_SECONDS, "readiness")
        assert line is not True, (self.process.returncode, self.out, self.err)
        found = re.match(r"ready: gateway (https?)://\S+?:(\d+) +health and metrics http://\S+?:(\d+)", line)
        self.scheme, self.port, self.admin_port = found.group(1), int(found.group(2)), int(found.group(3))

    def announced(self):
        return next((line for line in self.out if line.startswith("ready: ")), None)

    def pids(self, module=""):
        """Processes of this installation, the supervisor excepted, by a part of their command."""
        found = {}
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            with contextlib.suppress(OSError):
                words = (entry / "cmdline").read_bytes().split(b"\0")
                if any(str(self.data).encode() in word for word in words) and int(entry.name) != self.process.pid:
                    name = words[2].decode() if len(words) > 2 else ""
                    if module in name:
                        found[int(entry.name)] = words
        return found

    def worker(self, slot=0):
        """The pid of the data worker of a slot, None while there is none."""
        for pid, words in self.pids("ostiary.bootstrap.data").items():
            if json.loads(words[3])["slot"] == slot:
                return pid
        return None

    @property
    def ops(self):
        return next(iter(self.pids("ostiary.bootstrap.ops")), None)

    def send(self, number=signal.SIGTERM):
        self.process.send_signal(number)

    def stop(self, number=signal.SIGTERM, seconds=15.0):
        """End it in order; its exit status. Nothing of it may be left."""
        if self.process is None:
            return None
        if self.process.poll() is None:
            self.send(number)
        try:
            status = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            raise
        self.ended()
        return status

    def ended(self):
        """The supervisor is gone: so is everything else, in a moment."""
        until(lambda: not self.pids(), 10, "the end of all processes")
        for reader in self.readers:
            reader.join(5)
        for stream in (self.process.stdout, self.process.stderr):
            if stream is not None:
                stream.close()

    def kill(self):
        for pid in (self.process.pid, *self.pids()):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait(10)
        self.ended()

    def __enter__(self):
        return self if self.process is not None else self.start()

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.stop()
        else:
            self.ended()

    # --- HTTP -----------------------------------------------------------------------------------------------

    def connect(self, timeout=20.0):
        if self.scheme == "https":
            return http.client.HTTPSConnection("127.0.0.1", self.port, timeout=timeout, context=self.tls)
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)

    def ask(self, method, path, body=None, headers=None, *, key=APP_KEY, connection=None, admin=False):
        """One request on a connection of its own, or on the given one."""
        own = connection is None
        if own:
            connection = (
                http.client.HTTPConnection("127.0.0.1", self.admin_port, timeout=20) if admin else self.connect()
            )
        given = {"connection": "close"} if own else {}
        if key is not None:
            given["authorization"] = f"Bearer {key}"
        if body is not None:
            given["content-type"] = "application/json"
        given.update(headers or {})
        data = json.dumps(body) if isinstance(body, dict | list) else body
        try:
            connection.request(method, path, data, given)
            answer = connection.getresponse()
            return Answer(answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read())
        finally:
            if own:
                connection.close()

    def chat(self, model="chat", *, text="Say something.", headers=None, key=APP_KEY, connection=None, **fields):
        body = {"model": model, "messages": [{"role": "user", "content": text}], **fields}
        return self.ask("POST", "/v1/chat/completions", body, headers, key=key, connection=connection)

    def message(self, model="claude", *, key=APP_KEY, **fields):
        body = {"model": model, "max_tokens": 64, "messages": [{"role": "user", "content": "Say something."}], **fields}
        return self.ask("POST", "/v1/messages", body, key=key)

    def models(self, key=APP_KEY):
        """The status of the cheapest request that needs a key."""
        return self.ask("GET", "/v1/models", key=key).status

    def offered(self):
        return {one["id"] for one in self.ask("GET", "/v1/models").json["data"]}

    def metrics(self):
        return self.ask("GET", "/metrics", key=None, admin=True).body.decode()

    def metric(self, start):
        """The sum of the samples whose line begins so."""
        return sum(float(line.rsplit(" ", 1)[1]) for line in self.metrics().splitlines() if line.startswith(start))

    def many(self, work, count, threads=16):
        """Results of `work(i)`, many at once; an exception is a result."""

        def one(i):
            try:
                return work(i)
            except (OSError, http.client.HTTPException) as error:
                return error

        with ThreadPoolExecutor(threads) as pool:
            return list(pool.map(one, range(count)))

    # --- commands and files ---------------------------------------------------------------------------------

    def command(self, *words, code=0, config=True):
        """Run an `ostiary` command to its end, in this process where it leaves that as it is; its output."""
        given = [*words, "--config", str(self.file)] if config else [*words]
        if words[0] == "serve":
            done = subprocess.run(
                [OSTIARY, *given],
                env=self.environment,
                cwd=self.folder,
                capture_output=True,
                timeout=60,
                text=True,
                check=False,
            )
            status, out, err = done.returncode, done.stdout, done.stderr
        else:
            with contextlib.chdir(self.folder):
                result = CliRunner().invoke(app, given, env=self.environment)
            status, out, err = result.exit_code, result.stdout, result.stderr
        assert status == code, (words, status, out, err)
        return out if code == 0 else out + err

    def err_of(self, *words):
        """What a command that succeeds says besides its output."""
        with contextlib.chdir(self.folder):
            result = CliRunner().invoke(app, [*words, "--config", str(self.file)], env=self.environment)
        assert result.exit_code == 0, result.output
        return result.stderr

    def records(self, kind=None):
        words = ("audit", "show") if kind is None else ("audit", "show", "--kind", kind)
        return [json.loads(line) for line in self.command(*words).splitlines()]

    def verify(self):
        """The journal holds; its report."""
        return json.loads(self.command("audit", "verify", "--json"))

    def events(self):
        """What was logged, one object a line; every line must be one."""
        return [json.loads(line) for line in list(self.err)]

    def logged(self, event):
        found = []
        for line in list(self.err):
            with contextlib.suppress(ValueError):
                one = json.loads(line)
                if one.get("event") == event:
                    found.append(one)
        return found


def _collect(stream, lines):
    for line in stream:
        lines.append(line.decode("utf-8", "backslashreplace").rstrip("\n"))


def rss(pid):
    """Resident bytes of a process."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    return 0


def descriptors(pid):
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def alive(pid):
    """Whether a process is there and not a zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False
