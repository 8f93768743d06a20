"""One client connection: bytes in, requests to the application, answers out.

States: waiting for a head, reading a body, handling. Requests on one connection are handled one after the other;
what a client sends ahead of its answers is queued up to a bound. Every error in the HTTP itself is answered once and
ends the connection, so that nothing after it can be taken for a request.

What a head must be beyond llhttp's own strictness stands in `serving/head.py`. A request that offers a WebSocket is
the last of its connection: a byte behind it, before the offer is taken, drops the connection.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Sequence
from http import HTTPStatus
from typing import Final, cast

import httptools

from ostiary.core.error import CallerError, Code, GatewayError, OstiaryError
from ostiary.core.http import Accepted, Header, RequestHead
from ostiary.core.limit import (
    BODY_CHUNKS_MAX,
    BODY_IDLE_SECONDS_MAX,
    BODY_SECONDS_MAX,
    HEADER_BYTES_MAX,
    HEADER_COUNT_MAX,
    HEADER_SECONDS_MAX,
    KEEPALIVE_IDLE_SECONDS_MAX,
    LINGER_SECONDS_MAX,
    PIPELINED_REQUESTS_MAX,
    REQUEST_LINE_BYTES_MAX,
    STREAM_KEEPALIVE_SECONDS,
    WRITE_BUFFER_BYTES_MAX,
    WRITE_STALL_SECONDS_MAX,
)
from ostiary.gateway.ports import SHED, Channel
from ostiary.serving import DRAINING, Host
from ostiary.serving.head import SINGLE, answer_bytes, comes_soon, read_head, without_upgrade
from ostiary.serving.incoming import HeadRefusedError, Incoming, ReadHead, not_http, too_large, too_many_ahead
from ostiary.serving.known import KnownHead, known
from ostiary.serving.websocket import Upgraded
from ostiary.websocket.handshake import accept_value

_BODYLESS: Final = (204, 304)
_TICK_SECONDS: Final = 1.0


class Connection(asyncio.Protocol):
    """The protocol object of one client connection. Also the `Sink` of the request it is handling."""

    __slots__ = (
        "_closing",
        "_current",
        "_deadline",
        "_fresh",
        "_head_bytes",
        "_header_count",
        "_headers",
        "_incoming",
        "_keepalive",
        "_keepalive_at",
        "_known",
        "_loop",
        "_offered",
        "_owed",
        "_parser",
        "_peer",
        "_read",
        "_ready",
        "_resume",
        "_server",
        "_stall_at",
        "_stall_bytes",
        "_started_at",
        "_stream_chunked",
        "_task",
        "_timer",
        "_transport",
        "_upgrading",
        "_url",
        "_writes",
        "begun",
        "gone",
    )

    def __init__(self, server: Host) -> None:
        self._server = server
        self._loop = server.loop
        self._writes = server.writes
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpRequestParser(self)
        self._peer = ""
        self._url = b""
        self._headers: dict[bytes, bytes] = {}
        self._header_count = 0
        self._head_bytes = 0
        self._started_at = 0.0
        self._known: KnownHead | None = None
        self._read: ReadHead | None = None
        self._fresh = True
        self._owed = 0
        self._incoming: Incoming | None = None
        self._ready: deque[Incoming] = deque()
        self._current: Incoming | None = None
        self._task: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._deadline = 0.0
        self._resume: asyncio.Future[None] | None = None
        self._stall_at = 0.0
        self._stall_bytes = 0
        self._closing = False
        self._keepalive = b""
        self._keepalive_at = 0.0
        self._stream_chunked = True
        self._offered = False
        self._upgrading = False
        self.begun = False
        self.gone = False

    # --- asyncio.Protocol ---------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport = cast("asyncio.Transport", transport)  # uvloop's is one in all but its class
        self._transport = transport
        if not self._server.opened(self):
            self.gone = True
            transport.abort()
            return
        peer = transport.get_extra_info("peername")
        self._peer = peer[0] if isinstance(peer, tuple) else ""
        transport.set_write_buffer_limits(high=WRITE_BUFFER_BYTES_MAX, low=WRITE_BUFFER_BYTES_MAX // 4)
        self._deadline = self._loop.time() + HEADER_SECONDS_MAX
        self._timer = self._loop.call_later(_TICK_SECONDS, self._tick)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        self.gone = True
        self._closing = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._task is not None:
            self._task.cancel()
        self._wake()
        for incoming in self._ready:
            self._release(incoming)
        self._ready.clear()
        if self._incoming is not None:
            self._release(self._incoming)
            self._incoming = None
        self._server.closed(self)

    def data_received(self, data: bytes) -> None:
        if self._closing:
            return
        self._server.bytes_in += len(data)
        if self._upgrading:
            self.abort()
            return
        if (self._owed or self._known is not None) and not (data := self._again(data)):
            return
        self._fresh = self._incoming is None and not self._started_at
        if self._fresh:
            self._known = None
        plain = data
        if self._incoming is None and b"pgrade" in data:
            data = without_upgrade(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as pause:
            self._upgrading = True
            if not self._offered:
                self._reject(CallerError(Code.REQUEST_MALFORMED, "Upgrades are not offered here."))
            elif len(data) > pause.args[0]:
                self.abort()  # it may not speak yet: whoever does hopes that two readers disagree
            return
        except httptools.HttpParserCallbackError as error:
            cause = error.__context__
            if not isinstance(cause, OstiaryError):
                raise
            self._reject(cause)
            return
        except httptools.HttpParserInvalidMethodError:
            self._reject(CallerError(Code.REQUEST_MALFORMED, "The request's method is not one of HTTP's.", status=405))
            return
        except httptools.HttpParserError as error:
            self._reject(not_http(error))
            return
        read, self._read = self._read, None
        if read is not None and data is plain:
            self._known = known(data, read)
        # Bytes of a head that is not complete yet are only counted by llhttp's callbacks once a field ends.
        if self._incoming is None and self._started_at:
            self._head_bytes += len(data)
            if self._head_bytes > HEADER_BYTES_MAX + REQUEST_LINE_BYTES_MAX:
                self._reject(CallerError(Code.REQUEST_LIMIT, "The request's head is too large.", status=431))

    def _again(self, data: bytes) -> bytes:
        """Read requests whose head is known, past the parser; gives what is left for it, b"" where nothing is."""
        try:
            while True:
                at, end, size = 0, self._owed, len(data)
                if not end:
                    known = self._known
                    if known is None or self._incoming is not None or self._started_at:
                        return data
                    at = known.find(data)
                    if not at:
                        return data
                    if len(self._ready) >= PIPELINED_REQUESTS_MAX:
                        raise too_many_ahead()
                    head = known.read
                    self._url = head.url
                    self._started_at = self._loop.time()
                    incoming = self._headed(head, known)
                    end = at + head.length
                    if end > size:
                        self._await_body(incoming, head)
                if end > size:
                    self._owed = end - size
                    if at < size:
                        self.on_body(data[at:])
                    return b""
                self._owed = 0
                if at < end:
                    self._take(data[at:end])
                self.on_message_complete()
                if end == size or self._closing:
                    return b""
                data = data[end:]
        except OstiaryError as error:
            self._reject(error)
            return b""

    def eof_received(self) -> bool:
        return False

    def pause_writing(self) -> None:
        if self._resume is None:
            self._resume = self._loop.create_future()
            self._expect_reading()

    def resume_writing(self) -> None:
        self._stall_at = 0.0
        self._wake()

    def _expect_reading(self) -> None:
        """The client has so long to take what is buffered for it, or a good part of it."""
        assert self._transport is not None
        self._stall_at = self._loop.time() + WRITE_STALL_SECONDS_MAX
        self._stall_bytes = self._transport.get_write_buffer_size()

    def _wake(self) -> None:
        resume, self._resume = self._resume, None
        if resume is not None and not resume.done():
            resume.set_result(None)

    # --- llhttp's callbacks -------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        if len(self._ready) >= PIPELINED_REQUESTS_MAX:
            raise too_many_ahead()
        self._url = b""
        self._headers = {}
        self._header_count = 0
        self._head_bytes = 0
        self._started_at = self._loop.time()
        if self._current is None:
            self._deadline = self._started_at + HEADER_SECONDS_MAX

    def on_url(self, url: bytes) -> None:
        self._url = self._url + url if self._url else url
        if len(self._url) > REQUEST_LINE_BYTES_MAX:
            raise CallerError(Code.REQUEST_LIMIT, "The request's target is too long.", status=414)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._header_count += 1
        self._head_bytes += len(name) + len(value) + 4
        if self._header_count > HEADER_COUNT_MAX or self._head_bytes > HEADER_BYTES_MAX:
            raise CallerError(Code.REQUEST_LIMIT, "The request has too many or too large header fields.", status=431)
        if self._incoming is not None:
            return  # a trailer field: bounded above, never merged into the head (RFC 9112 section 7.1.2)
        name = name.lower()
        headers = self._headers
        if name in headers:
            if name in SINGLE:
                raise CallerError(
                    Code.REQUEST_MALFORMED, f"The header {name.decode('ascii', 'replace')} is there twice."
                )
            headers[name] += b", " + value
        else:
            headers[name] = value

    def on_headers_complete(self) -> None:
        head = read_head(self._parser, self._url, self._headers, self._header_count)
        self._offered = head.offered
        if self._fresh:
            self._fresh, self._read = False, head
        self._head_bytes = 0
        self._header_count = 0
        incoming = self._headed(head)
        if head.length > 0 or head.chunked:
            self._await_body(incoming, head)

    def _headed(self, head: ReadHead, again: KnownHead | None = None) -> Incoming:
        """A head is complete: let the application decide on it."""
        server, before = self._server, None if again is None else again.accepted
        self._incoming = incoming = Incoming(head.keep_alive and not server.draining, head.is_http_11)
        verdict = server.application.accept(
            RequestHead(head.method, head.path, head.query, head.headers, self._peer, self._started_at, before)
        )
        if isinstance(verdict, Accepted):
            incoming.accepted = verdict
            if again is not None:
                again.accepted = verdict
            if head.length > verdict.body_bytes_max:
                raise too_large(verdict.body_bytes_max)
            return incoming
        incoming.refusal = verdict
        if head.length <= 0 and not head.chunked:
            return incoming
        if verdict.status == HTTPStatus.SERVICE_UNAVAILABLE and comes_soon(head.headers) and not self._offered:
            # It may come back on this connection, and a new one costs both more than to throw a short body away.
            return incoming
        incoming.keep_alive = False  # its body is not worth reading
        incoming.linger = True
        self._enqueue(incoming)
        raise HeadRefusedError

    def _await_body(self, incoming: Incoming, head: ReadHead) -> None:
        """The client has so long to send the body that it announced, and may wait for being told to."""
        now = self._loop.time()
        incoming.deadline = now + BODY_SECONDS_MAX
        if self._current is not None:
            return
        self._deadline = now + BODY_IDLE_SECONDS_MAX
        expect = head.headers.get(b"expect")
        if expect and expect.lower() == b"100-continue" and self._transport is not None:
            self._writes.add(self._transport, b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, data: bytes) -> None:
        incoming = self._take(data)
        if incoming is not None and self._current is None:
            self._deadline = min(self._loop.time() + BODY_IDLE_SECONDS_MAX, incoming.deadline)

    def _take(self, data: bytes) -> Incoming | None:
        incoming, server = self._incoming, self._server
        if incoming is None or (accepted := incoming.accepted) is None:
            return None
        pieces, more = incoming.body, len(data)
        size = incoming.size + more
        if size > accepted.body_bytes_max:
            raise too_large(accepted.body_bytes_max)
        if len(pieces) >= BODY_CHUNKS_MAX:
            raise CallerError(Code.REQUEST_LIMIT, "The body comes in too many pieces.")
        incoming.size = size
        server.body_bytes = together = server.body_bytes + more
        if together > server.bodies_bytes_max and server.refuses(size):
            raise GatewayError(Code.GATEWAY_OVERLOADED, "Too many large bodies are under way.", retry_after_seconds=1.0)
        pieces.append(data)
        return incoming

    def on_message_complete(self) -> None:
        incoming, self._incoming = self._incoming, None
        self._started_at = 0.0
        if incoming is not None:
            self._enqueue(incoming)

    # --- one request after the other ----------------------------------------------------------------------

    def _enqueue(self, incoming: Incoming) -> None:
        if self._current is None and not self._ready:
            self._start(incoming)
            return
        self._ready.append(incoming)
        # A client that sends ahead waits: nothing more is read until its earlier requests are answered.
        if self._transport is not None and not self._transport.is_closing():
            self._transport.pause_reading()

    def _start(self, incoming: Incoming) -> None:
        self.begun = False
        self._current = incoming
        self._deadline = 0.0
        accepted, refusal = incoming.accepted, incoming.refusal
        if accepted is not None:
            body = b"".join(incoming.body)
            incoming.body.clear()
            self._server.busy += 1
            self._task = self._loop.create_task(self._handle(accepted, body, incoming))
        elif refusal is not None:
            self.answer(refusal.status, refusal.headers, refusal.body)
            self._finish(incoming)

    async def _handle(self, accepted: Accepted, body: bytes, incoming: Incoming) -> None:
        server = self._server
        try:
            await server.application.serve(accepted, body, self)
        except asyncio.CancelledError:
            # The only senders of this cancellation are connection_lost, the write stall, want of memory and the end of a
            # drain: the connection is of no further use, and nothing above this task waits for it.
            self.abort()
        finally:
            server.busy -= 1
            server.body_bytes -= incoming.size
            self._task = None
            self._finish(incoming)

    def _release(self, incoming: Incoming) -> None:
        self._server.body_bytes -= incoming.size
        incoming.size = 0

    def _finish(self, current: Incoming) -> None:
        self._current = None
        self._keepalive = b""
        if self.gone or self._transport is None:
            return
        if not self.begun:
            self.abort()  # an application that does not answer: never leave the client waiting
            return
        if not current.keep_alive or self._server.draining:
            self._close(linger=current.linger)
            return
        if self._ready:
            self._loop.call_soon(self._next)
        else:
            waits = HEADER_SECONDS_MAX if self._started_at else KEEPALIVE_IDLE_SECONDS_MAX
            self._deadline = self._loop.time() + waits

    def _next(self) -> None:
        if self._ready and self._current is None and not self.gone:
            incoming = self._ready.popleft()
            if not self._ready and self._transport is not None and not self._transport.is_closing():
                self._transport.resume_reading()
            self._start(incoming)

    def _reject(self, error: OstiaryError) -> None:
        """Answer a fault of the HTTP itself, after what is still being answered, and close."""
        if isinstance(error, HeadRefusedError):
            self._closing = True
            return
        incoming = Incoming(keep_alive=False, linger=True)
        path = self._url.partition(b"?")[0]
        incoming.refusal = self._server.application.refuse(error, path)
        if self._incoming is not None:
            self._release(self._incoming)
            self._incoming = None
        self._server.rejected += 1
        self._enqueue(incoming)
        self._closing = True

    def _close(self, *, linger: bool = False) -> None:
        """End the connection. With `linger`, the client may still be sending: closing now would reset the connection
        and could take the answer with it, so only our side is closed and what comes is thrown away for a while."""
        self._closing = True
        for incoming in self._ready:
            self._release(incoming)
        self._ready.clear()
        if self._transport is not None and not self._transport.is_closing():
            self._writes.flush()
            if linger and self._transport.can_write_eof():
                self._deadline = self._loop.time() + LINGER_SECONDS_MAX
                self._transport.write_eof()
                return
            self._deadline = 0.0
            if not self._stall_at:
                self._expect_reading()
            self._transport.close()

    def abort(self) -> None:
        """Drop the connection at once."""
        self._closing = True
        if self._transport is not None:
            self._transport.abort()

    @property
    def idle(self) -> bool:
        """Whether no request is being read or answered."""
        return self._current is None and self._incoming is None

    @property
    def held_bytes(self) -> int:
        """See Peer."""
        if self._current is None or self._transport is None or self._closing:
            return 0
        return self._current.size + self._transport.get_write_buffer_size()

    def cancel(self, why: str = DRAINING) -> None:
        """Cancel the request being handled; an idle connection is closed."""
        if self._task is None:
            self._close()
            return
        # Behind its first step: a task that is cancelled before runs nothing, not even what gives its place back.
        self._loop.call_soon(self._task.cancel, why)
        if why is SHED and self._current is not None:
            self._closing, self._current.keep_alive = True, False
            if self._resume is not None:
                self.abort()  # it does not read: it would not take the end of its answer either

    def _tick(self) -> None:
        """One lazy timer per connection: deadlines are numbers, looked at once a second."""
        self._timer = None
        if self.gone:
            return
        now = self._loop.time()
        if self._stall_at and now >= self._stall_at:
            self._look_at_reader()
        elif self._deadline and now >= self._deadline:
            self._expire()
        elif self._keepalive and now >= self._keepalive_at and self._resume is None:
            self._write_chunk(self._keepalive)
        if not self.gone:
            self._timer = self._loop.call_later(_TICK_SECONDS, self._tick)

    def _look_at_reader(self) -> None:
        """Drop a client that reads too little. One that takes a long answer at a fair pace may go on."""
        assert self._transport is not None
        if self._stall_bytes - self._transport.get_write_buffer_size() >= WRITE_BUFFER_BYTES_MAX // 2:
            self._expect_reading()
            return
        self._server.stalled += 1
        self.abort()

    def _expire(self) -> None:
        self._deadline = 0.0
        if self._closing:
            self.abort()  # a client that neither reads nor closes
        elif self._started_at and self._current is None:
            self._reject(CallerError(Code.REQUEST_TIMEOUT, "The request did not arrive completely in time."))
        elif self.idle:
            self._close()

    # --- the sink -----------------------------------------------------------------------------------------

    def answer(self, status: int, headers: Sequence[Header], body: bytes) -> None:
        if self.gone or self.begun or self._transport is None:
            return
        self.begun = True
        current, server = self._current, self._server
        keep = current is not None and current.keep_alive and not server.draining
        length = b"content-length: %d" % len(body)
        self._writes.add(self._transport, answer_bytes(status, headers, server.date_line, length, body, keep=keep))

    def begin(self, status: int, headers: Sequence[Header], *, keepalive: bytes = b"") -> None:
        if self.gone or self.begun or self._transport is None:
            return
        self.begun = True
        keep = self._current is not None and self._current.keep_alive and not self._server.draining
        # HTTP/1.0 knows no chunks: its stream ends with the connection. Some answers have no body (RFC 9110, 15).
        self._stream_chunked = self._current is not None and self._current.is_http_11 and status not in _BODYLESS
        if not self._stream_chunked and self._current is not None and status not in _BODYLESS:
            self._current.keep_alive = keep = False
        coding = b"transfer-encoding: chunked" if self._stream_chunked else b""
        self._writes.add(self._transport, answer_bytes(status, headers, self._server.date_line, coding, keep=keep))
        self._keepalive = keepalive
        self._keepalive_at = self._loop.time() + STREAM_KEEPALIVE_SECONDS

    def write(self, data: bytes) -> Awaitable[None] | None:
        if self.gone or not data:
            return None
        self._write_chunk(data)
        return self._resume

    def end(self) -> None:
        self._keepalive = b""
        if self.gone or self._transport is None:
            return
        if self._stream_chunked:
            self._writes.add(self._transport, b"0\r\n\r\n")

    def upgrade(self, headers: Sequence[Header]) -> Channel | None:
        """See ports.Sink. From here on the transport belongs to the channel."""
        transport, task = self._transport, self._task
        if self.gone or self.begun or transport is None or task is None or transport.is_closing():
            return None
        assert self._offered
        accepted = accept_value(self._headers[b"sec-websocket-key"])
        taken = (
            (b"upgrade", b"websocket"),
            (b"connection", b"Upgrade"),
            (b"sec-websocket-accept", accepted),
            *headers,
        )
        self._writes.flush()
        transport.write(answer_bytes(101, taken, self._server.date_line, keep=True))
        self.begun = self.gone = self._closing = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        upgraded = Upgraded(self._server, task)
        self._server.replaced(self, upgraded)
        self._transport = None
        return upgraded.attach(transport)

    def _write_chunk(self, data: bytes) -> None:
        assert self._transport is not None
        self._keepalive_at = self._loop.time() + STREAM_KEEPALIVE_SECONDS
        if self._stream_chunked:
            data = b"%x\r\n%b\r\n" % (len(data), data)
        self._writes.add(self._transport, data)
