"""A peer that plays exactly the bytes it is told, for tests of what a hostile upstream can do.

A script is a list of steps for one connection: bytes are sent, and `Read`, `Wait`, `Close`, `Reset` do as they say.
Each new connection plays the next script; the last one repeats.
"""

import asyncio
import ssl
from collections.abc import Sequence
from enum import Enum
from typing import Final, Self

import msgspec

from ostiary.simulator.server import reset

_WAIT_SECONDS: Final = 10.0


class Read(msgspec.Struct, frozen=True):
    """Read until a request's end: head, and as many bytes as its content-length says; or just so many bytes."""

    count: int = 0


class Wait(msgspec.Struct, frozen=True):
    """Go on once the test has set this event."""

    event: asyncio.Event


class Forever(msgspec.Struct, frozen=True):
    """Send these bytes again and again, as fast as they are taken, until the client goes."""

    data: bytes


class End(Enum):
    """Ends of a connection. Without one the connection stays until the client goes."""

    CLOSE = "close"
    RESET = "reset"
    CUT = "cut"


Step = bytes | Read | Wait | Forever | End


class HostilePeer:
    """`async with HostilePeer([Read(), b"HTTP/1.1 ...", End.CLOSE]) as peer:` listens at 127.0.0.1:`peer.port`.

    `received` holds what each connection sent, `gone` is set when a client has closed one, `sent` counts the bytes
    that `Forever` could push. End.CUT drops a TLS connection without close_notify.
    """

    def __init__(self, *scripts: Sequence[Step], tls: ssl.SSLContext | None = None) -> None:
        self._scripts = scripts
        self._tls = tls
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self.received: list[bytearray] = []
        self.gone = asyncio.Event()
        self.port = 0
        self.sent = 0

    @property
    def connections(self) -> int:
        """Connections ever made."""
        return len(self.received)

    async def __aenter__(self) -> Self:
        """Listen."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self._tls, limit=2**24)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        """Stop listening and drop every connection."""
        assert self._server is not None
        self._server.close()
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        script = self._scripts[min(self.connections, len(self._scripts) - 1)]
        received = bytearray()
        self.received.append(received)
        try:
            for step in script:
                if not await self._play(step, received, reader, writer):
                    return
            received += await reader.read()
        except (ConnectionError, ssl.SSLError, asyncio.IncompleteReadError):
            pass
        except asyncio.CancelledError:
            return  # the test is over; a cancelled stream handler would only make noise
        finally:
            self.gone.set()
            writer.transport.abort()
            self._tasks.discard(task)

    async def _play(
        self, step: Step, received: bytearray, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        """Do one step; False where the connection is over."""
        match step:
            case bytes():
                writer.write(step)
                await writer.drain()
            case Read():
                received += await (reader.readexactly(step.count) if step.count else _request(reader))
            case Wait():
                async with asyncio.timeout(_WAIT_SECONDS):
                    await step.event.wait()
            case Forever():
                while True:
                    writer.write(step.data)
                    await writer.drain()
                    self.sent += len(step.data)
            case End.CLOSE:
                writer.close()
                await writer.wait_closed()
                return False
            case End.CUT:
                writer.transport.abort()
                return False
            case End.RESET:
                reset(writer.transport)
                return False
        return True


async def _request(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readuntil(b"\r\n\r\n")
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return head + await reader.readexactly(int(line[15:]))
    return head
