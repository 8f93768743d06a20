"""A model server with few places, as self-hosted ones are: up to PLACES calls at once take MS milliseconds each; with more
of them each takes longer in proportion, so that it never answers more a second.

python narrow.py PORT PLACES MS
"""

import asyncio
import sys

import uvloop

BODY = (
    b'{"id":"chatcmpl-0","object":"chat.completion","created":1741569952,"model":"tiny","choices":[{"index":0,"message":'
    b'{"role":"assistant","content":"Hello!","refusal":null},"logprobs":null,"finish_reason":"stop"}],"usage":'
    b'{"prompt_tokens":19,"completion_tokens":2,"total_tokens":21}}'
)
ANSWER = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(BODY) + BODY
PORT, PLACES, SECONDS = int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]) / 1e3


class Serving(asyncio.Protocol):
    busy = 0

    def __init__(self):
        self.buffer = b""

    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, received):
        self.buffer += received
        head = self.buffer.find(b"\r\n\r\n")
        if head < 0:
            return
        lower = self.buffer[:head].lower()
        at = lower.find(b"content-length:")
        length = int(lower[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
        if len(self.buffer) < head + 4 + length:
            return
        self.buffer = self.buffer[head + 4 + length :]
        Serving.busy += 1
        asyncio.get_running_loop().call_later(SECONDS * max(Serving.busy / PLACES, 1.0), self.answer)

    def answer(self):
        Serving.busy -= 1
        self.transport.write(ANSWER)


async def main():
    server = await asyncio.get_running_loop().create_server(Serving, "127.0.0.1", PORT, backlog=2048)
    await server.serve_forever()


uvloop.run(main())
