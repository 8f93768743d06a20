"""A streaming provider for measurements, one write an event, at a settable cadence: OpenAI's or Anthropic's events as they
stand here, and under /any the answers of every dialect, plain and streamed, as the simulated provider makes them.

python streams.py PORT          GET /set?ms=20&chunks=64 sets the cadence, GET /count gives streams begun so far
"""

import asyncio
import sys
from typing import ClassVar

import uvloop

from ostiary.simulator.behaviour import Behaviour, Received
from ostiary.simulator.provider import Provider

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
BASE = b'{"id":"chatcmpl-0","object":"chat.completion.chunk","created":1741569952,"model":"gpt-4o-mini","choices":[{"index":0,"delta":%b,"logprobs":null,"finish_reason":%b}]}'
USAGE = b'{"id":"chatcmpl-0","object":"chat.completion.chunk","created":1741569952,"model":"gpt-4o-mini","choices":[],"usage":{"prompt_tokens":19,"completion_tokens":64,"total_tokens":83}}'
START = b'{"type":"message_start","message":{"id":"msg_0","type":"message","role":"assistant","model":"claude","content":[],"stop_reason":null,"stop_sequence":null,"usage":{"input_tokens":19,"output_tokens":1}}}'


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def data(text: bytes) -> bytes:
    return chunk(b"data: " + text + b"\n\n")


def event(name: bytes, text: bytes) -> bytes:
    return chunk(b"event: " + name + b"\ndata: " + text + b"\n\n")


OPENAI = (
    [HEAD + data(BASE % (b'{"role":"assistant","content":""}', b"null"))],
    data(BASE % (b'{"content":" word and more"}', b"null")),
    [data(BASE % (b"{}", b'"stop"')), data(USAGE), data(b"[DONE]") + b"0\r\n\r\n"],
)
ANTHROPIC = (
    [
        HEAD + event(b"message_start", START),
        event(
            b"content_block_start",
            b'{"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}',
        ),
    ],
    event(
        b"content_block_delta",
        b'{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":" word and more"}}',
    ),
    [
        event(b"content_block_stop", b'{"type":"content_block_stop","index":0}'),
        event(
            b"message_delta",
            b'{"type":"message_delta","delta":{"stop_reason":"end_turn","stop_sequence":null},"usage":{"output_tokens":64}}',
        ),
        event(b"message_stop", b'{"type":"message_stop"}') + b"0\r\n\r\n",
    ],
)


def answered(path: str, headers: tuple, body: bytes, chunks: int) -> tuple[list[bytes], bool]:
    """What the simulated provider answers: a head, then the pieces of its body; and whether it is a stream."""
    plan = Provider(Behaviour(tokens=chunks)).plan(Received("POST", path, headers, body))
    pieces = [piece.data for piece in plan.pieces]
    head = b"HTTP/1.1 %d OK\r\n" % plan.status + b"".join(b"%b: %b\r\n" % pair for pair in plan.headers)
    if not plan.streamed:
        whole = b"".join(pieces)
        return [head + b"content-length: %d\r\n\r\n" % len(whole) + whole], False
    parts = [head + b"transfer-encoding: chunked\r\n\r\n", *map(chunk, pieces)]
    parts[-1] += b"0\r\n\r\n"
    return parts, True


class State:
    answers: ClassVar[dict] = {}
    seconds = 0.02
    chunks = 64
    streams = 0


class Peer(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport, self.buffer = transport, b""
        self.loop = asyncio.get_running_loop()

    def connection_lost(self, exc):
        self.transport = None

    def data_received(self, received):
        self.buffer += received
        end = self.buffer.find(b"\r\n\r\n")
        if end < 0:
            return
        head = self.buffer[:end].lower()
        at = head.find(b"content-length:")
        length = int(head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
        if len(self.buffer) < end + 4 + length:
            return
        line, raw = self.buffer.split(b"\r\n", 1)[0], self.buffer[: end + 4 + length]
        self.buffer = self.buffer[end + 4 + length :]
        path = line.split(b" ")[1]
        if path.startswith(b"/set?"):
            for pair in path[5:].split(b"&"):
                name, value = pair.split(b"=")
                if name == b"ms":
                    State.seconds = float(value) / 1e3
                else:
                    State.chunks = int(value)
            return self.say(b"ok")
        if path == b"/count":
            return self.say(b"%d" % State.streams)
        State.streams += 1
        if path.startswith(b"/any/"):
            return self.any(path[4:], raw[: end + 2], raw[end + 4 :])
        self.first, self.each, self.last = ANTHROPIC if b"/messages" in path else OPENAI
        self.left = State.chunks
        self.transport.writelines(self.first)
        self.wait()
        return None

    def any(self, path, head, body):
        found = State.answers.get((path, State.chunks, b'"stream":true' in body))
        if found is None:
            headers = tuple(
                (name.lower(), value)
                for name, _, value in (line.partition(b": ") for line in head.split(b"\r\n")[1:] if line)
            )
            found = answered(path.decode(), headers, body, State.chunks)
            State.answers[path, State.chunks, b'"stream":true' in body] = found
        parts, streamed = found
        if not streamed:
            self.transport.write(parts[0])
            return
        self.transport.write(parts[0])
        self.parts = iter(parts[1:])
        self.play()

    def play(self):
        part = next(self.parts, None)
        if part is None or self.transport is None:
            return
        self.transport.write(part)
        self.loop.call_later(State.seconds, self.play)

    def say(self, text):
        self.transport.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(text) + text)

    def wait(self):
        if State.seconds:
            self.loop.call_later(State.seconds, self.step)
        else:
            self.loop.call_soon(self.step)

    def step(self):
        if self.transport is None:
            return
        if self.left:
            self.left -= 1
            self.transport.write(self.each)
            self.wait()
        else:
            for piece in self.last:
                self.transport.write(piece)


async def main(port: int) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Peer, "127.0.0.1", port, backlog=2048)
    await server.serve_forever()


uvloop.run(main(int(sys.argv[1])))
