"""The load wrk cannot make. Prints one line of JSON.

client.py latency URL BODY HEADERS --rate 200 --seconds 4     open loop: a request is sent when it is due; with --beside
                                                              BODY every other one has that body, told apart
client.py streams URL BODY HEADERS --count 16 --seconds 4     that many streams at once, again and again
client.py open    URL BODY HEADERS --count 1000               open that many, say so, hold them until stdin ends
"""

import argparse
import asyncio
import json
import sys
import time
from urllib.parse import urlsplit

import uvloop
from quantile import quantiles


class Conversation(asyncio.Protocol):
    def __init__(self, run):
        self.run, self.buffer, self.transport, self.at = run, b"", None, 0.0
        self.chunks, self.beside = 0, False

    def connection_made(self, transport):
        self.transport = transport

    def send(self, *, beside=False):
        self.buffer, self.chunks, self.beside, self.at = b"", 0, beside, time.perf_counter()
        self.transport.write(self.run.beside if beside else self.run.request)

    def data_received(self, received):
        if self.run.mode == "latency":
            self.buffer += received
            head = self.buffer.find(b"\r\n\r\n")
            if head < 0:
                return
            lower = self.buffer[:head].lower()
            length = int(lower[lower.index(b"content-length:") + 15 :].split(b"\r\n", 1)[0])
            if len(self.buffer) >= head + 4 + length:
                self.run.finished(self, time.perf_counter() - self.at, ok=self.buffer.startswith(b"HTTP/1.1 200"))
            return
        if not self.chunks and not received.startswith(b"HTTP/1.1 200"):
            self.run.errors += 1
        self.chunks += 1
        if self.chunks == 1:
            self.run.first.append(time.perf_counter() - self.at)
        self.buffer = (self.buffer + received)[-16:]
        if self.buffer.endswith(b"0\r\n\r\n"):
            self.run.finished(self, time.perf_counter() - self.at, ok=True)

    def connection_lost(self, exc):
        self.run.lost += 1


class Run:
    def __init__(self, args):
        parts = urlsplit(args.url)
        self.mode, self.args, self.host, self.port = args.mode, args, parts.hostname, parts.port
        lines = [f"POST {parts.path} HTTP/1.1", f"host: {parts.netloc}", *args.headers.splitlines()]

        def request(path):
            with open(path, "rb") as file:
                body = file.read()
            return ("\r\n".join([*lines, f"content-length: {len(body)}"]) + "\r\n\r\n").encode() + body

        self.request = request(args.body)
        self.beside = request(args.beside) if args.beside else b""
        self.beside_took, self.beside_errors = [], 0
        self.idle, self.took, self.first, self.errors, self.lost, self.done = [], [], [], 0, 0, 0
        self.until = 0.0

    async def connect(self):
        loop = asyncio.get_running_loop()
        return (await loop.create_connection(lambda: Conversation(self), self.host, self.port))[1]

    def finished(self, conversation, seconds, *, ok):
        self.done += 1
        if conversation.beside:
            self.beside_errors += not ok
            self.beside_took.append(seconds)
        else:
            self.errors += not ok
            self.took.append(seconds)
        if self.mode == "streams" and time.perf_counter() < self.until:
            conversation.send()
        else:
            self.idle.append(conversation)

    async def latency(self):
        self.idle = [await self.connect() for _ in range(32)]
        start, count = time.perf_counter(), int(self.args.rate * self.args.seconds)
        for i in range(count):
            wait = start + i / self.args.rate - time.perf_counter()
            if wait > 0:
                await asyncio.sleep(wait)
            (self.idle.pop() if self.idle else await self.connect()).send(beside=bool(self.beside) and i % 2 == 1)
        for _ in range(500):
            if self.done >= count:
                break
            await asyncio.sleep(0.01)
        told = {"sent": count, "done": self.done, "errors": self.errors + count - self.done, **quantiles(self.took)}
        if self.beside:
            beside = {"done": len(self.beside_took), "errors": self.beside_errors, **quantiles(self.beside_took)}
            told = {**told, "done": len(self.took), "beside": beside}
        if self.args.raw:
            told["took"] = [round(seconds, 6) for seconds in self.took]
        return told

    async def streams(self):
        self.until = time.perf_counter() + self.args.seconds
        for _ in range(self.args.count):
            (await self.connect()).send()
            await asyncio.sleep(0.02 / self.args.count)
        while len(self.idle) + self.lost < self.args.count:
            await asyncio.sleep(0.02)
        first = quantiles(self.first)
        return {"streams": self.done, "errors": self.errors + self.lost, "first_p50_ms": first["p50_ms"]}

    async def open(self):
        for i in range(self.args.count):
            (await self.connect()).send()
            if i % 50 == 49:
                await asyncio.sleep(0.05)
        while len(self.first) < self.args.count:
            await asyncio.sleep(0.05)
        print(json.dumps({"open": len(self.first), "errors": self.errors}), flush=True)
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
        return {}


parser = argparse.ArgumentParser()
parser.add_argument("mode", choices=("latency", "streams", "open"))
for name in ("url", "body", "headers"):
    parser.add_argument(name)
parser.add_argument("--beside", default="")
parser.add_argument("--rate", type=float, default=100.0)
parser.add_argument("--seconds", type=float, default=4.0)
parser.add_argument("--count", type=int, default=16)
parser.add_argument("--raw", type=int, default=0)
arguments = parser.parse_args()
print(json.dumps(uvloop.run(getattr(Run(arguments), arguments.mode)())))
