"""A provider that answers below /well, 20 ms later below /steady, refuses below /refuse and says nothing below /silent.

python broken.py PORT          GET /count gives the requests it had so far, by that first part of their paths
"""

import asyncio
import collections
import json
import sys

import uvloop

BODY = (
    b'{"id":"chatcmpl-0","object":"chat.completion","created":1741569952,"model":"gpt-4o-mini","choices":[{"index":0,'
    b'"message":{"role":"assistant","content":"Hello!","refusal":null},"logprobs":null,"finish_reason":"stop"}],'
    b'"usage":{"prompt_tokens":19,"completion_tokens":2,"total_tokens":21}}'
)
HEAD = b"HTTP/1.1 %b\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
ANSWER = HEAD % (b"200 OK", len(BODY)) + BODY
STEADY_SECONDS = 0.02
REFUSED = b'{"error":{"message":"no","type":"server_error"}}'
COUNTS: collections.Counter[str] = collections.Counter()


class Serving(asyncio.Protocol):
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
        path = self.buffer[:head].split(b" ", 2)[1].decode()
        self.buffer = self.buffer[head + 4 + length :]
        how = path.split("/")[1]
        if how == "count":
            told = json.dumps(COUNTS).encode()
            self.transport.write(HEAD % (b"200 OK", len(told)) + told)
            return
        COUNTS[how] += 1
        if how == "refuse":
            self.transport.write(HEAD % (b"500 Internal Server Error", len(REFUSED)) + REFUSED)
        elif how == "well":
            self.transport.write(ANSWER)
        elif how == "steady":
            asyncio.get_running_loop().call_later(STEADY_SECONDS, self.transport.write, ANSWER)


async def main():
    server = await asyncio.get_running_loop().create_server(Serving, "127.0.0.1", int(sys.argv[1]), backlog=2048)
    await server.serve_forever()


uvloop.run(main())
