"""More load than a server behind the gateway can take. Prints one line of JSON.

python overload.py URL BODY HEADERS URGENT --times 10 --seconds 8

First as much as can be answered, by a closed loop: the peak. Then `times` as much, by an open loop that sends when a
request is due whatever became of those before it, a twentieth of it with the headers in URGENT, whose team goes first.
Then half the peak, until a quarter of a second passes in which nothing is refused.
"""

import argparse
import asyncio
import collections
import json
import time
from urllib.parse import urlsplit

import uvloop

URGENT_EVERY = 20
CONNECTIONS = 512


class Conversation(asyncio.Protocol):
    def __init__(self, run):
        self.run, self.buffer, self.transport, self.at, self.urgent = run, b"", None, 0.0, False

    def connection_made(self, transport):
        self.transport = transport

    def send(self, urgent=False):
        self.urgent, self.buffer, self.at = urgent, b"", time.perf_counter()
        self.transport.write(self.run.urgent if urgent else self.run.usual)

    def data_received(self, received):
        self.buffer += received
        head = self.buffer.find(b"\r\n\r\n")
        if head < 0:
            return
        lower = self.buffer[:head].lower()
        length = int(lower[lower.index(b"content-length:") + 15 :].split(b"\r\n", 1)[0])
        if len(self.buffer) >= head + 4 + length:
            self.run.finished(self, int(self.buffer[9:12]), time.perf_counter() - self.at)

    def connection_lost(self, exc):
        self.run.lost += not self.run.over


class Run:
    def __init__(self, args):
        self.args, parts = args, urlsplit(args.url)
        self.host, self.port = parts.hostname, parts.port
        with open(args.body, "rb") as file:
            body = file.read()

        def request(headers):
            lines = [f"POST {parts.path} HTTP/1.1", f"host: {parts.netloc}", *headers.splitlines()]
            return ("\r\n".join([*lines, f"content-length: {len(body)}"]) + "\r\n\r\n").encode() + body

        self.usual, self.urgent = request(args.headers), request(args.urgent)
        self.idle, self.closed, self.over, self.lost, self.unsent = collections.deque(), False, False, 0, 0
        self.clear()

    def clear(self):
        self.took = {200: [], 503: []}
        self.urgent_status = collections.Counter()
        self.others, self.refused_at = collections.Counter(), 0.0

    def finished(self, conversation, status, seconds):
        if status in self.took:
            self.took[status].append(seconds)
        else:
            self.others[status] += 1
        if status == 503:
            self.refused_at = time.perf_counter()
        if conversation.urgent:
            self.urgent_status[status] += 1
        if self.closed:
            conversation.send()
        else:
            self.idle.append(conversation)

    async def connect(self, count):
        loop = asyncio.get_running_loop()
        for _ in range(count):
            self.idle.append((await loop.create_connection(lambda: Conversation(self), self.host, self.port))[1])

    async def peak(self):
        self.closed = True
        for _ in range(self.args.places):
            self.idle.pop().send()
        await asyncio.sleep(1.0)
        self.clear()
        await asyncio.sleep(self.args.seconds / 2)
        found = len(self.took[200]) / (self.args.seconds / 2)
        self.closed = False
        await asyncio.sleep(0.3)
        return found

    async def offered(self, rate, seconds, over=lambda: False):
        """An open loop; a request that is due and finds no connection free is counted, not sent late."""
        self.clear()
        start, sent = time.perf_counter(), 0
        while (now := time.perf_counter()) < start + seconds and not over():
            while sent < (now - start) * rate:
                sent += 1
                if self.idle:
                    self.idle.popleft().send(sent % URGENT_EVERY == 0)
                else:
                    self.unsent += 1
            await asyncio.sleep(0.001)
        return sent, time.perf_counter() - start

    async def main(self):
        await self.connect(CONNECTIONS)
        peak = await self.peak()
        await self.offered(peak * self.args.times, 1.0)
        sent, seconds = await self.offered(peak * self.args.times, self.args.seconds)
        good, refused = self.took[200], self.took[503]
        result = {
            "peak_per_s": round(peak),
            "offered_per_s": round((sent - self.unsent) / seconds),
            "goodput": round(len(good) / seconds / peak, 3),
            "good": quantiles(good),
            "refused": quantiles(refused),
            "urgent_refused": self.urgent_status[503],
            "urgent_answered": self.urgent_status[200],
            "other_statuses": dict(self.others),
        }
        began = time.perf_counter()
        await self.offered(peak / 2, 10.0, lambda: time.perf_counter() - max(self.refused_at, began) > 0.25)
        result["recovered_s"] = round(max(self.refused_at - began, 0.0), 3)
        self.over = True
        return {**result, "connections_lost": self.lost}


def quantiles(values):
    values = sorted(values) or [0.0]
    return {f"p{q}_ms": round(values[min(int(len(values) * q / 100), len(values) - 1)] * 1e3, 3) for q in (50, 99)}


parser = argparse.ArgumentParser()
for name in ("url", "body", "headers", "urgent"):
    parser.add_argument(name)
parser.add_argument("--times", type=float, default=10.0)
parser.add_argument("--places", type=int, default=16)
parser.add_argument("--seconds", type=float, default=8.0)
print(json.dumps(uvloop.run(Run(parser.parse_args()).main())))
