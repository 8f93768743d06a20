"""A server with a small application on a loopback port, and a raw client."""

import asyncio
import socket
from contextlib import asynccontextmanager

from ostiary.bootstrap.system import SystemClock
from ostiary.core.error import OstiaryError
from ostiary.core.http import Accepted, Answer
from ostiary.serving.server import Server

TEXT = (b"content-type", b"text/plain")


class Echo:
    """POST /echo answers its body, /stream sends `chunks` pieces, /hang waits for ever, GET /refused is refused."""

    def __init__(self):
        self.heads = []
        self.bodies = []
        self.cancelled = asyncio.Event()
        self.started = asyncio.Event()
        self.release = asyncio.Event()
        self.chunks = [b"one", b"two"]
        self.body_bytes_max = 1_000_000
        self.written = 0

    def accept(self, head):
        self.heads.append(head)
        if head.path == b"/refused":
            return Answer(401, (TEXT,), b"no key")
        if head.path == b"/get":
            return Answer(200, (TEXT,), b"got " + head.query)
        if head.method != "POST":
            return Answer(405, (TEXT,), b"POST only")
        return Accepted(self.body_bytes_max, head)

    async def serve(self, accepted, body, sink):
        self.bodies.append(body)
        self.started.set()
        path = accepted.context.path
        if path == b"/hang":
            try:
                await self.release.wait()
            except asyncio.CancelledError:
                self.cancelled.set()
                raise
            sink.answer(200, (TEXT,), b"released")
        elif path == b"/stream":
            sink.begin(200, (TEXT,))
            try:
                for chunk in self.chunks:
                    if (waits := sink.write(chunk)) is not None:
                        await waits
                    self.written += len(chunk)
            except asyncio.CancelledError:
                self.cancelled.set()
                raise
            sink.end()
        else:
            sink.answer(200, (TEXT,), body)

    def refuse(self, error: OstiaryError, path):
        return Answer(error.status, (TEXT,), error.code.encode())


@asynccontextmanager
async def serving(application=None, tls=None):
    application = application or Echo()
    loop = asyncio.get_running_loop()
    server = Server(application, SystemClock(), loop)
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind(("127.0.0.1", 0))
    await server.start([sock], tls)
    server.port = sock.getsockname()[1]
    server.app = application
    try:
        yield server
    finally:
        await server.drain(0.0)


async def talk(server, data, *, until_close=True, seconds=5.0, eof=False):
    """Send bytes; everything the server answers until it closes (or until it says nothing more for a moment)."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    try:
        writer.write(data)
        if eof:
            writer.write_eof()
        async with asyncio.timeout(seconds):
            if until_close:
                try:
                    return await reader.read()
                except ConnectionResetError:
                    return b"RESET"
            return await reader.readuntil(b"\r\n\r\n")
    finally:
        writer.close()
        try:
            await writer.wait_closed()
        except ConnectionError:
            pass


def request(*, method=b"POST", path=b"/echo", body=b"", extra=b"", close=True):
    return (
        method
        + b" "
        + path
        + b" HTTP/1.1\r\n"
        + b"host: a\r\n"
        + (b"connection: close\r\n" if close else b"")
        + extra
        + b"content-length: %d\r\n\r\n" % len(body)
        + body
    )


def answers(data):
    """How many HTTP answers stand in `data`."""
    return data.count(b"HTTP/1.1 ")
