"""Measure, and print the table. See README.md beside this file."""

import argparse
import json
import math
import os
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

from failing import measure_failing
from limits import measure_limits
from report import report
from subject import (
    BOUNDED,
    BROKEN,
    CLIENTS,
    KEY,
    NARROW,
    NARROW_MS,
    NARROW_PLACES,
    PLAIN,
    PROVIDERS,
    STREAMS,
    URGENT_KEY,
    Running,
    available,
    body,
    path_of,
)

HERE = Path(__file__).resolve().parent
GATEWAY_CORE, LOAD_CORE = 0, 1
OPENAI = {
    "id": "chatcmpl-0",
    "object": "chat.completion",
    "created": 1741569952,
    "model": "gpt-4o-mini-2024-07-18",
    "choices": [
        {
            "index": 0,
            "message": {
                "role": "assistant",
                "content": "Hello! How can I help you today?",
                "refusal": None,
                "annotations": [],
            },
            "logprobs": None,
            "finish_reason": "stop",
        }
    ],
    "usage": {
        "prompt_tokens": 19,
        "completion_tokens": 10,
        "total_tokens": 29,
        "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0},
    },
    "service_tier": "default",
    "system_fingerprint": "fp_0",
}
ANTHROPIC = {
    "id": "msg_0",
    "type": "message",
    "role": "assistant",
    "model": "claude-sonnet-4-5",
    "content": [{"type": "text", "text": "Hello! How can I help you today?"}],
    "stop_reason": "end_turn",
    "stop_sequence": None,
    "usage": {"input_tokens": 19, "output_tokens": 10, "cache_read_input_tokens": 0, "cache_creation_input_tokens": 0},
}
UPSTREAM = """
daemon off; master_process off; pid {work}/up.pid; error_log {work}/up.log;
events {{ worker_connections 8192; }}
http {{
  access_log off; client_body_temp_path {work}/ub; client_body_buffer_size 64k; default_type application/json;
  keepalive_requests 100000000; keepalive_timeout 600s;
  server {{
    listen 127.0.0.1:{plain} backlog=2048;
    location = /status {{ stub_status; }}
    location = /v1/messages {{ return 200 '{anthropic}'; }}
    location / {{ return 200 '{openai}'; }}
  }}
}}
"""
SECTIONS = (
    "plain",
    "hit",
    "big",
    "limits",
    "redis",
    "cross",
    "pairs",
    "latency",
    "failing",
    "stream",
    "open",
    "overload",
    "keys",
)
CHAT = "/v1/chat/completions"
WARM_UP_SECONDS, ROUNDS = 0.4, 5


def spread(values: list[float]) -> dict[str, float]:
    """The median of a figure's rounds, and how far they lie apart."""
    return {
        "median": round(statistics.median(values), 2),
        "least": round(min(values), 2),
        "most": round(max(values), 2),
    }


class Bench:
    def __init__(self, work: Path, seconds: float):
        self.work, self.seconds, self.polls = work, seconds, 0
        self.helpers: list[subprocess.Popen] = []
        self.ns: list[float] = []
        for port in (PLAIN, STREAMS, NARROW, BROKEN):
            self.refuse_busy(port)
        conf = work / "up.conf"
        conf.write_text(
            UPSTREAM.format(
                work=work,
                plain=PLAIN,
                openai=json.dumps(OPENAI, separators=(",", ":")),
                anthropic=json.dumps(ANTHROPIC, separators=(",", ":")),
            )
        )
        self.helper(["nginx", "-p", str(work), "-c", str(conf), "-e", str(work / "up.log")])
        self.helper([sys.executable, str(HERE / "streams.py"), str(STREAMS)])
        self.helper([sys.executable, str(HERE / "narrow.py"), str(NARROW), str(NARROW_PLACES), str(NARROW_MS)])
        self.helper([sys.executable, str(HERE / "broken.py"), str(BROKEN)])
        for port, path in ((PLAIN, "/status"), (STREAMS, "/count"), (BROKEN, "/count")):
            for _ in range(200):
                try:
                    self.get(port, path)
                    break
                except OSError:
                    time.sleep(0.02)
        self.reference = Running(next(one for one in available() if one.name == "nginx"), work, GATEWAY_CORE)

    def refuse_busy(self, port: int) -> None:
        try:
            self.get(port, "/")
        except OSError:
            return
        sys.exit(f"something already listens on port {port}")

    def helper(self, command: list[str]) -> None:
        self.helpers.append(
            subprocess.Popen(
                ["taskset", "-c", str(LOAD_CORE), *command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )
        )

    def get(self, port: int, path: str) -> bytes:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
            return answer.read()

    def served(self, *, any_dialect: bool) -> int:
        if any_dialect:
            return int(self.get(STREAMS, "/count"))
        self.polls += 1
        return int(self.get(PLAIN, "/status").split(b"\n")[2].split()[2]) - self.polls

    def files(self, data: bytes, dialect: str) -> tuple[Path, str]:
        path = self.work / "body.json"
        path.write_bytes(data)
        lines = ["content-type: application/json"]
        lines.append(f"x-api-key: {KEY}" if dialect == "anthropic" else f"authorization: Bearer {KEY}")
        if dialect == "anthropic":
            lines.append("anthropic-version: 2023-06-01")
        return path, "\n".join(lines)

    def window(
        self, running: Running, path: str, data: bytes, dialect: str, connections: int, *, any_dialect: bool
    ) -> tuple[float, float]:
        """Saturate for a moment: CPU in us per request and requests per second of a window inside it."""
        file, headers = self.files(data, dialect)
        command = ["taskset", "-c", str(LOAD_CORE), "wrk", "-t1", f"-c{connections}", "-d60s"]
        command += ["-s", str(HERE / "post.lua"), running.url(path)]
        environment = {**os.environ, "BENCH_BODY": str(file), "BENCH_HEADERS": headers}
        idle = self.served(any_dialect=any_dialect)
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
        for _ in range(250):
            if self.served(any_dialect=any_dialect) > idle:
                break
            time.sleep(0.02)
        time.sleep(WARM_UP_SECONDS)
        pids = running.pids()
        n, cpu, at = self.served(any_dialect=any_dialect), running.cpu_ns(pids), time.monotonic()
        time.sleep(self.seconds)
        n, cpu, took = self.served(any_dialect=any_dialect) - n, running.cpu_ns(pids) - cpu, time.monotonic() - at
        process.send_signal(signal.SIGINT)  # wrk then tells what it saw
        out = process.communicate()[0]
        bad = sum(int(found) for found in re.findall(r"Non-2xx or 3xx responses: (\d+)", out))
        if bad or not re.search(r"[1-9]\d* requests in", out):
            sys.exit(f"{running.subject.name} {path}: {bad} answers were errors\n{out}")
        return cpu / max(n, 1) / 1e3, n / took

    def one_n(self) -> float:
        """The CPU of one plain nginx proxy request, just now, in us."""
        n, _ = self.window(self.reference, CHAT, body("bench", 1000), "openai", 32, any_dialect=False)
        self.ns.append(n)
        return n

    def wrk(
        self,
        running: Running,
        path: str,
        data: bytes,
        *,
        dialect: str = "openai",
        connections: int = 32,
        any_dialect: bool = False,
        rounds: int = ROUNDS,
    ) -> dict:
        """CPU per request in turns with nginx's, so that a machine that changes its speed changes both. `any_dialect`:
        the provider is the one that speaks all of them."""
        windows, rates, ratios = [], [], []
        for _ in range(rounds):
            n = self.one_n()
            cpu, rate = self.window(running, path, data, dialect, connections, any_dialect=any_dialect)
            windows.append(cpu)
            rates.append(rate)
            ratios.append(cpu / n)
        return {
            "cpu_us": round(statistics.median(windows), 1),
            "n": spread(ratios),
            "rate": round(statistics.median(rates)),
        }

    def hits(self, running: Running, path: str, data: bytes) -> dict:
        """Saturate with one request whose answer is kept: the provider sees none of it, so wrk itself counts, over whole
        runs in turns with nginx's windows."""
        command = ["taskset", "-c", str(LOAD_CORE), "wrk", "-t1", "-c32", f"-d{math.ceil(self.seconds)}s"]
        command += ["-s", str(HERE / "post.lua"), running.url(path)]
        windows, rates, ratios = [], [], []
        for run in range(ROUNDS + 1):
            n = self.one_n()
            file, headers = self.files(data, "openai")
            environment = {**os.environ, "BENCH_BODY": str(file), "BENCH_HEADERS": headers}
            pids, asked = running.pids(), self.served(any_dialect=False)
            cpu, at = running.cpu_ns(pids), time.monotonic()
            out = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=environment).stdout
            cpu, took = running.cpu_ns(pids) - cpu, time.monotonic() - at
            count = int(re.search(r"(\d+) requests in", out)[1])
            asked = self.served(any_dialect=False) - asked
            if "Non-2xx" in out or not count or (run and asked):
                sys.exit(
                    f"{running.subject.name} {path}: not answered from the cache (run {run}: {asked} asked)\n{out}"
                )
            if run:  # the first one fills the cache
                windows.append(cpu / count / 1e3)
                rates.append(count / took)
                ratios.append(windows[-1] / n)
        return {
            "cpu_us": round(statistics.median(windows), 1),
            "n": spread(ratios),
            "rate": round(statistics.median(rates)),
        }

    def settle(self, running: Running, path: str, data: bytes) -> None:
        """Wait until a subject answers: counters that are new to a server lend nothing for a moment."""
        for _ in range(100):
            if not self.client("latency", running.url(path), data, rate=50, seconds=0.1)["errors"]:
                return
            time.sleep(0.1)
        sys.exit(f"{running.subject.name} {path}: no answers within ten seconds")

    def client(
        self, mode: str, url: str, data: bytes, *, dialect: str = "openai", beside: bytes = b"", **options: float
    ) -> dict:
        """`beside` is another body for every other request."""
        file, headers = self.files(data, dialect)
        arguments = [part for name, value in options.items() for part in (f"--{name}", str(value))]
        if beside:
            other = self.work / "beside.json"
            other.write_bytes(beside)
            arguments += ["--beside", str(other)]
        done = subprocess.run(
            [
                "taskset",
                "-c",
                str(LOAD_CORE),
                sys.executable,
                str(HERE / "client.py"),
                mode,
                url,
                str(file),
                headers,
                *arguments,
            ],
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
        return json.loads(done.stdout.splitlines()[-1])

    def streams(self, running: Running, path: str, data: bytes, *, dialect: str = "openai") -> dict:
        """Paced streams of 64 chunks, 20 ms apart, 16 at once: CPU per stream, in turns with nginx's."""
        self.get(STREAMS, "/set?ms=20&chunks=64")
        plain = body("bench-stream", 1000, stream=True)
        windows, first, ratios = [], [], []
        for round_ in range(4):
            base, _ = self.paced(self.reference, CHAT, plain, "openai")
            cpu, first_ms = self.paced(running, path, data, dialect)
            if round_:  # the first one opens connections
                windows.append(cpu)
                first.append(first_ms)
                ratios.append(cpu / base)
        return {
            "cpu_us": round(statistics.median(windows)),
            "nginx": spread(ratios),
            "first_p50_ms": statistics.median(first),
        }

    def paced(self, running: Running, path: str, data: bytes, dialect: str) -> tuple[float, float]:
        """CPU in us per stream, and the median wait for a stream's first chunk in ms."""
        pids = running.pids()
        cpu = running.cpu_ns(pids)
        told = self.client(
            "streams", running.url(path, stream=True), data, dialect=dialect, count=16, seconds=self.seconds
        )
        if told["errors"]:
            sys.exit(f"{running.subject.name} {path}: {told['errors']} streams failed")
        return (running.cpu_ns(pids) - cpu) / told["streams"] / 1e3, told["first_p50_ms"]

    def open_streams(self, running: Running, path: str, data: bytes, count: int) -> dict:
        """Memory with `count` streams open, each having had its first chunk."""
        self.get(STREAMS, "/set?ms=1000&chunks=64")
        before = running.memory_kib()
        file, headers = self.files(data, "openai")
        process = subprocess.Popen(
            [
                "taskset",
                "-c",
                str(LOAD_CORE),
                sys.executable,
                str(HERE / "client.py"),
                "open",
                running.url(path, stream=True),
                str(file),
                headers,
                "--count",
                str(count),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        told = json.loads(process.stdout.readline())
        time.sleep(0.5)
        after = running.memory_kib()
        process.stdin.close()
        process.wait(20)
        grown = sum(after.values()) - sum(before.values())
        return {"open": told["open"], "kib_each": round(grown / count, 1), "errors": told["errors"]}

    def overload(self, running: Running, path: str, data: bytes) -> dict:
        """Ten times what a server with few places can answer: what is answered as a share of the peak, how fast the rest
        is refused, whom it hits, and when it is over."""
        file, headers = self.files(data, "openai")
        command = [sys.executable, str(HERE / "overload.py"), running.url(path), str(file), headers]
        done = subprocess.run(
            ["taskset", "-c", str(LOAD_CORE), *command, headers.replace(KEY, URGENT_KEY)],
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
        return json.loads(done.stdout.splitlines()[-1])

    def close(self) -> None:
        self.reference.stop()
        for one in self.helpers:
            one.terminate()
            one.wait()


def measure(bench: Bench, running: Running, sections: set[str], result: dict) -> None:
    chat = CHAT
    if "plain" in sections:
        result["plain"] = bench.wrk(running, chat, body("bench", 1000))
        result["plain_128"] = bench.wrk(running, chat, body("bench", 1000), connections=128)
    if "hit" in sections and running.subject.cross:
        result["hit"] = bench.hits(running, chat, body("bench-kept", 1000))
    if "big" in sections:
        result["big"] = bench.wrk(running, chat, body("bench", 20_000))
    if "cross" in sections and running.subject.cross:
        result["openai_to_anthropic"] = bench.wrk(running, chat, body("bench-claude", 1000))
        result["anthropic_to_openai"] = bench.wrk(
            running, "/v1/messages", body("bench", 1000, dialect="anthropic"), dialect="anthropic"
        )
        result["anthropic_to_anthropic"] = bench.wrk(
            running, "/v1/messages", body("bench-claude", 1000, dialect="anthropic"), dialect="anthropic"
        )
    if "pairs" in sections and running.subject.cross:
        measure_pairs(bench, running, result)
    if "latency" in sections:
        result["latency"] = bench.client(
            "latency", running.url(chat), body("bench", 1000), rate=200, seconds=bench.seconds * 2
        )
    if "failing" in sections and running.subject.cross:
        result.update(measure_failing(bench, running))
    if "stream" in sections:
        result["stream"] = bench.streams(running, chat, body("bench-stream", 1000, stream=True))
        if running.subject.cross:
            result["stream_openai_to_anthropic"] = bench.streams(
                running, chat, body("bench-claude-stream", 1000, stream=True)
            )
            result["stream_anthropic_to_openai"] = bench.streams(
                running,
                "/v1/messages",
                body("bench-stream", 1000, stream=True, dialect="anthropic"),
                dialect="anthropic",
            )
    if "overload" in sections and running.subject.cross:
        result["overload of a server"] = bench.overload(running, chat, body("bench-narrow", 1000))
        bounded = Running(BOUNDED, bench.work, GATEWAY_CORE)
        try:
            result["overload of a worker"] = bench.overload(bounded, chat, body("bench-narrow", 1000))
        finally:
            bounded.stop()
    if "open" in sections:
        result["open"] = bench.open_streams(running, chat, body("bench-stream", 1000, stream=True), 1000)


def measure_pairs(bench: Bench, running: Running, result: dict) -> None:
    """Every client dialect before every provider dialect: a plain answer of 1 KB and a paced stream of 64 words."""
    for client in CLIENTS:
        for provider in PROVIDERS:
            print(f"  {client} to {provider}", file=sys.stderr, flush=True)
            model = f"any-{provider}"
            bench.get(STREAMS, "/set?ms=20&chunks=10")
            result[f"pair {client} to {provider}"] = bench.wrk(
                running,
                path_of(client, model, stream=False),
                body(model, 1000, dialect=client),
                dialect=client,
                any_dialect=True,
                rounds=3,
            )
            result[f"pair stream {client} to {provider}"] = bench.streams(
                running,
                path_of(client, model, stream=True),
                body(model, 1000, stream=True, dialect=client),
                dialect=client,
            )


def many_keys(bench: Bench, subject, work: Path) -> dict:
    """The same request with 10 keys and with a million in the installation's database."""
    found = {}
    for name, count in (("ten", 10), ("million", 1_000_000)):
        folder = work / name
        running = Running(subject, folder, GATEWAY_CORE)
        running.stop()
        subprocess.run(
            [sys.executable, str(HERE / "keys.py"), str(folder / subject.name / "data"), str(count)],
            check=True,
            stdout=subprocess.DEVNULL,
        )
        running = Running(subject, folder, GATEWAY_CORE)
        time.sleep(3.0)  # the device is still busy with what was written
        try:
            found[name] = {
                **bench.wrk(running, "/v1/chat/completions", body("bench", 1000)),
                "start_s": round(running.start_seconds, 2),
                "rss_kib": running.memory_kib(),
            }
        finally:
            running.stop()
    return found


def fsync_ms(folder: Path) -> float:
    """What the device takes to sync one 4 KiB write: the figure to hold latencies against."""
    path = folder / "sync"
    took = []
    with path.open("wb") as file:
        for _ in range(50):
            file.write(bytes(4096))
            file.flush()
            at = time.perf_counter()
            os.fdatasync(file.fileno())
            took.append(time.perf_counter() - at)
    return round(statistics.median(took) * 1e3, 3)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--only", default=",".join(SECTIONS))
    parser.add_argument("--subjects", default="")
    parser.add_argument("--seconds", type=float, default=2.0)
    arguments = parser.parse_args()
    for tool in ("nginx", "wrk", "taskset"):
        if not shutil.which(tool):
            sys.exit(f"the benchmark needs {tool}: apt install nginx wrk util-linux")
    sections = set(arguments.only.split(","))
    wanted = set(filter(None, arguments.subjects.split(",")))
    results: dict[str, dict] = {}
    with tempfile.TemporaryDirectory(prefix="ostiary-bench-") as folder:
        work = Path(folder)
        bench = Bench(work, arguments.seconds)
        try:
            for subject in available():
                if wanted and subject.name not in (*wanted, bench.reference.subject.name):
                    continue
                print(f"measuring {subject.name} ({subject.note})", file=sys.stderr, flush=True)
                is_reference = subject.name == bench.reference.subject.name
                running = bench.reference if is_reference else Running(subject, work, GATEWAY_CORE)
                result: dict = {"start_s": round(running.start_seconds, 2)}
                time.sleep(1.0)
                result["idle_kib"] = running.memory_kib()
                try:
                    # The rest of the reference is measured in turns with every other.
                    measure(bench, running, sections & {"latency", "open"} if is_reference else sections, result)
                    result["after_kib"] = running.memory_kib()
                finally:
                    if not is_reference:
                        running.stop()
                results[subject.name] = result
            if {"limits", "redis"} & sections and (not wanted or "ostiary" in wanted):
                results["bounded"] = measure_limits(bench, GATEWAY_CORE, sections)
            if "keys" in sections and (not wanted or "ostiary" in wanted):
                results["keys"] = many_keys(
                    bench, next(one for one in available() if one.name == "ostiary"), work / "keys"
                )
            if bench.ns:
                results["n_us"] = spread(bench.ns)
        finally:
            bench.close()
        results["fsync_ms"] = fsync_ms(work)
    kept = HERE / "results"
    kept.mkdir(exist_ok=True)
    (kept / "latest.json").write_text(json.dumps(results, indent=1) + "\n")
    report(results)


main()
