"""What is measured: how each is started, where it listens, what it is asked. All offer an OpenAI plain model, a stream,
and, where they can, the same from the other dialect."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PLAIN, STREAMS, NARROW, BROKEN = 9401, 9402, 9403, 9404
NARROW_PLACES, NARROW_MS = 8, 50
KEY = "osk-bench-0123456789abcdefghij"
URGENT_KEY = "osk-urgent-0123456789abcdefghi"

NGINX = """
daemon off; worker_processes 1; pid {work}/nginx.pid; error_log {work}/nginx.log;
events {{ worker_connections 8192; }}
http {{
  access_log off; client_body_buffer_size 64k; client_body_temp_path {work}/nb; proxy_temp_path {work}/np;
  keepalive_requests 1000000; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_buffering off;
  upstream plain {{ server 127.0.0.1:{plain}; keepalive 256; keepalive_requests 1000000; }}
  upstream streams {{ server 127.0.0.1:{streams}; keepalive 1024; keepalive_requests 1000000; }}
  server {{
    listen 127.0.0.1:{port} backlog=2048;
    location = /readyz {{ return 200 ok; }}
    location /v1/ {{ proxy_pass http://plain; }}
    location /stream/ {{ proxy_pass http://streams/; }}
  }}
}}
"""

OURS = """
data_dir: "{work}/data"
server: {{host: 127.0.0.1, port: {port}}}
admin: {{host: 127.0.0.1, port: {admin}}}
log: {{level: warning}}
providers:
  plain:  {{dialect: openai, base_url: "http://127.0.0.1:{plain}/v1", auth: {{scheme: bearer, secret: "${{env:BENCH_UPSTREAM}}"}}, prices: openai}}
  claude: {{dialect: anthropic, base_url: "http://127.0.0.1:{plain}/v1", auth: {{scheme: x-api-key, secret: "${{env:BENCH_UPSTREAM}}"}}, prices: anthropic}}
  stream: {{dialect: openai, base_url: "http://127.0.0.1:{streams}/v1", auth: {{scheme: bearer, secret: "${{env:BENCH_UPSTREAM}}"}}, prices: openai}}
  claude-stream: {{dialect: anthropic, base_url: "http://127.0.0.1:{streams}/v1", auth: {{scheme: x-api-key, secret: "${{env:BENCH_UPSTREAM}}"}}, prices: anthropic}}
  narrow: {{dialect: openai, base_url: "http://127.0.0.1:{narrow}/v1", auth: {{scheme: bearer, secret: "${{env:BENCH_UPSTREAM}}"}}, prices: openai, capacity: {{concurrent_requests: {places}, waiting_requests: 32, wait_seconds: 1}}}}
  well:   {{dialect: openai, base_url: "http://127.0.0.1:{broken}/well/v1", auth: {{scheme: none}}, prices: openai}}
  steady: {{dialect: openai, base_url: "http://127.0.0.1:{broken}/steady/v1", auth: {{scheme: none}}, prices: openai}}
  refuse: {{dialect: openai, base_url: "http://127.0.0.1:{broken}/refuse/v1", auth: {{scheme: none}}, prices: openai}}
  silent: {{dialect: openai, base_url: "http://127.0.0.1:{broken}/silent/v1", auth: {{scheme: none}}, prices: openai}}
  any-openai: {{dialect: openai, base_url: "http://127.0.0.1:{streams}/any/v1", auth: {{scheme: bearer, secret: "${{env:BENCH_UPSTREAM}}"}}, prices: openai}}
  any-anthropic: {{dialect: anthropic, base_url: "http://127.0.0.1:{streams}/any", auth: {{scheme: x-api-key, secret: "${{env:BENCH_UPSTREAM}}"}}, prices: anthropic}}
  any-openai-responses: {{dialect: openai-responses, base_url: "http://127.0.0.1:{streams}/any/v1", auth: {{scheme: bearer, secret: "${{env:BENCH_UPSTREAM}}"}}, prices: openai}}
  any-gemini: {{dialect: gemini, base_url: "http://127.0.0.1:{streams}/any/v1beta", auth: {{scheme: header, header: x-goog-api-key, secret: "${{env:BENCH_UPSTREAM}}"}}, prices: openai}}
  any-bedrock: {{dialect: bedrock, base_url: "http://127.0.0.1:{streams}/any", auth: {{scheme: bearer, secret: "${{env:BENCH_UPSTREAM}}"}}, prices: anthropic}}
  any-cohere: {{dialect: cohere, base_url: "http://127.0.0.1:{streams}/any", auth: {{scheme: bearer, secret: "${{env:BENCH_UPSTREAM}}"}}, prices: openai}}
models:
  any-openai: {{targets: [{{provider: any-openai, model: gpt-4o-mini}}]}}
  any-anthropic: {{targets: [{{provider: any-anthropic, model: claude-sonnet-4-5}}]}}
  any-openai-responses: {{targets: [{{provider: any-openai-responses, model: gpt-4o-mini}}]}}
  any-gemini: {{targets: [{{provider: any-gemini, model: gpt-4o-mini}}]}}
  any-bedrock: {{targets: [{{provider: any-bedrock, model: claude-sonnet-4-5}}]}}
  any-cohere: {{targets: [{{provider: any-cohere, model: gpt-4o-mini}}]}}
  bench: {{targets: [{{provider: plain, model: gpt-4o-mini}}]}}
  bench-narrow: {{targets: [{{provider: narrow, model: tiny}}]}}
  bench-well: {{targets: [{{provider: well, model: gpt-4o-mini}}], fallbacks: [bench]}}
  bench-steady: {{targets: [{{provider: steady, model: gpt-4o-mini}}]}}
  bench-refuse: {{targets: [{{provider: refuse, model: gpt-4o-mini}}], fallbacks: [bench]}}
  bench-silent: {{targets: [{{provider: silent, model: gpt-4o-mini}}], fallbacks: [bench], timeouts: {{first_token_seconds: 0.5}}}}
  bench-kept: {{targets: [{{provider: plain, model: gpt-4o-mini}}], cache: {{ttl_seconds: 3600}}}}
  bench-claude: {{targets: [{{provider: claude, model: claude-sonnet-4-5}}]}}
  bench-stream: {{targets: [{{provider: stream, model: gpt-4o-mini}}]}}
  bench-claude-stream: {{targets: [{{provider: claude-stream, model: claude-sonnet-4-5}}]}}
tenants:
  - name: bench
    teams:
      - {{name: bench, models: ["*"], keys: [{{name: bench, secret: "${{env:BENCH_KEY}}"}}]}}
      - {{name: urgent, models: ["*"], priority: interactive, keys: [{{name: urgent, secret: "${{env:BENCH_URGENT_KEY}}"}}]}}
"""

LITELLM = """
model_list:
  - {{model_name: bench, litellm_params: {{model: openai/gpt-4o-mini, api_base: "http://127.0.0.1:{plain}/v1", api_key: sk-up}}}}
  - {{model_name: bench-stream, litellm_params: {{model: openai/gpt-4o-mini, api_base: "http://127.0.0.1:{streams}/v1", api_key: sk-up}}}}
general_settings: {{master_key: "{key}", disable_error_logs: true}}
"""


@dataclass
class Subject:
    """`command` and `files` may use {work}, {port} and {admin}."""

    name: str
    port: int
    command: list[str]
    files: dict[str, str]
    health: str = "/readyz"
    stream_prefix: str = ""
    cross: bool = False
    note: str = ""


SUBJECTS = [
    Subject(
        "nginx",
        9410,
        ["nginx", "-p", "{work}", "-c", "{work}/nginx.conf", "-e", "{work}/nginx.log"],
        {"nginx.conf": NGINX},
        stream_prefix="/stream",
        note="plain reverse proxy, no checks",
    ),
    Subject(
        "ostiary",
        9420,
        [str(ROOT / ".venv/bin/ostiary"), "serve", "--config", "{work}/ostiary.yaml"],
        {"ostiary.yaml": OURS},
        cross=True,
        note="key, bounds, policy, price, metrics, durable journal",
    ),
    Subject(
        "litellm",
        9430,
        ["litellm", "--config", "{work}/litellm.yaml", "--host", "127.0.0.1", "--port", "{port}"],
        {"litellm.yaml": LITELLM},
        health="/health/liveliness",
        note="master key only",
    ),
]


BOUNDED = Subject(
    "ostiary-bounded",
    9440,
    SUBJECTS[1].command,
    {
        "ostiary.yaml": OURS.replace(
            ", capacity: {{concurrent_requests: {places}, waiting_requests: 32, wait_seconds: 1}}", ""
        )
        + "overload: {{concurrent_requests: {places}, waiting_requests: 32, wait_seconds: 1}}\n"
    },
    note="the same with a bound on all calls in flight",
)
"""For the section `overload`."""


def available() -> list[Subject]:
    """Those whose command is there."""
    return [one for one in SUBJECTS if shutil.which(one.command[0])]


class Running:
    """A started subject."""

    def __init__(self, subject: Subject, work: Path, core: int):
        self.subject, self.work = subject, work / subject.name
        self.work.mkdir(parents=True, exist_ok=True)
        values = {
            "work": self.work,
            "port": subject.port,
            "admin": subject.port + 1,
            "plain": PLAIN,
            "streams": STREAMS,
            "narrow": NARROW,
            "places": NARROW_PLACES,
            "broken": BROKEN,
            "key": KEY,
        }
        for name, text in subject.files.items():
            (self.work / name).write_text(text.format(**values))
        command = [part.format(**values) if "{" in part else part for part in subject.command]
        environment = {**os.environ, "BENCH_KEY": KEY, "BENCH_URGENT_KEY": URGENT_KEY, "BENCH_UPSTREAM": "sk-up"}
        with socket.socket() as probe:
            if not probe.connect_ex(("127.0.0.1", subject.port)):
                sys.exit(f"something already listens on port {subject.port}: it would be measured instead")
        self.log = (self.work / "log").open("wb")
        began = time.monotonic()
        self.process = subprocess.Popen(
            ["taskset", "-c", str(core), *command],
            stdout=self.log,
            stderr=self.log,
            env=environment,
            cwd=self.work,
            start_new_session=True,
        )
        while True:
            if self.process.poll() is not None or time.monotonic() - began > 90:
                sys.exit(f"{subject.name} did not start:\n" + (self.work / "log").read_text()[-2000:])
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{subject.port}{subject.health}", timeout=2) as answer:
                    if answer.status == 200:
                        break
            except (urllib.error.URLError, OSError):
                time.sleep(0.005)
        self.start_seconds = time.monotonic() - began

    def url(self, path: str, *, stream: bool = False) -> str:
        prefix = self.subject.stream_prefix if stream else ""
        return f"http://127.0.0.1:{self.subject.port}{prefix}{path}"

    def pids(self) -> list[int]:
        found = [self.process.pid]
        for pid in found:
            try:
                for task in os.listdir(f"/proc/{pid}/task"):
                    found += map(int, Path(f"/proc/{pid}/task/{task}/children").read_text().split())
            except OSError:
                continue
        return found

    def cpu_ns(self, pids: list[int] | None = None) -> int:
        total = 0
        for pid in pids or self.pids():
            try:
                total += time.clock_gettime_ns((~pid << 3) | 2)
            except OSError:
                continue
        return total

    def memory_kib(self) -> dict[str, int]:
        """Resident memory by what each process of the tree is."""
        found: dict[str, int] = {}
        for pid in self.pids():
            try:
                text = Path(f"/proc/{pid}/status").read_text()
                words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            name = next(
                (word.decode().rpartition(".")[2] for word in words if word.startswith(b"ostiary.bootstrap.")),
                Path(words[0].decode().split(":")[0] or "?").name,
            )
            line = next((line for line in text.splitlines() if line.startswith("VmRSS")), "VmRSS: 0 kB")
            found[name] = found.get(name, 0) + int(line.split()[1])
        return found

    def stop(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.log.close()


CLIENTS = ("openai", "anthropic", "openai-responses", "gemini")
PROVIDERS = ("openai", "anthropic", "openai-responses", "gemini", "bedrock", "cohere")


def path_of(dialect: str, model: str, *, stream: bool) -> str:
    """Where a client of a dialect asks for a chat."""
    match dialect:
        case "anthropic":
            return "/v1/messages"
        case "openai-responses":
            return "/v1/responses"
        case "gemini":
            return f"/v1beta/models/{model}:" + ("streamGenerateContent?alt=sse" if stream else "generateContent")
        case _:
            return "/v1/chat/completions"


def body(model: str, size: int, *, stream: bool = False, dialect: str = "openai", user: str = "") -> bytes:
    """A chat request of about `size` bytes; `user` is the end user it names, in OpenAI's dialect."""
    text = "The quick brown fox jumps over the lazy dog, again and again. "
    if dialect in ("openai-responses", "gemini"):
        told = (text * (size // len(text) + 1))[: size - 100]
        value: dict[str, object] = (
            {"model": model, "input": told, "max_output_tokens": 256, "temperature": 0.7}
            if dialect == "openai-responses"
            else {
                "contents": [{"role": "user", "parts": [{"text": told}]}],
                "generationConfig": {"maxOutputTokens": 256, "temperature": 0.7},
            }
        )
        if stream and dialect == "openai-responses":
            value["stream"] = True
        return json.dumps(value, separators=(",", ":")).encode()
    value = {
        "model": model,
        "messages": [{"role": "user", "content": ""}],
        "max_tokens": 256,
        "temperature": 0.7,
    }
    if dialect == "openai":
        value["messages"].insert(0, {"role": "system", "content": "You are a helpful assistant."})
        if user:
            value["user"] = user
        if stream:
            value["stream_options"] = {"include_usage": True}
    if stream:
        value["stream"] = True
    room = max(size - len(json.dumps(value)), 1)
    value["messages"][-1]["content"] = (text * (room // len(text) + 1))[:room]
    return json.dumps(value).encode()
