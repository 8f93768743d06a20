"""One HTTP/1.1 connection to an upstream: a protocol on httptools' response parser.

States, one request at a time:

    idle ──start──▶ head awaited ──head──▶ body ──end──▶ idle (kept) or closed
                        │                    │
                        └──── any breach, timeout, cut or abort ────▶ closed

A connection becomes idle again only if the answer ended completely, the server keeps it alive, our request was
written whole and not one byte came beyond the answer; a byte that arrives while idle closes it. Beyond what llhttp
refuses by itself, a breach is: a version other than 1.0 or 1.1, a status outside 100-599, a switch of protocols,
a transfer-encoding other than one `chunked`, a content-encoding, a body where none may be, too many or too long
headers, interim answers, trailers or bytes that carry no body.

Timers: one handle per connection, never armed beyond the deadline. Each phase only moves `_expires`; the handle is
re-armed when it fires early, or when a phase ends sooner than it (`_timer_at`, endless where none is armed). So a request on a busy connection arms nothing.
"""

import asyncio
import select
import socket
import ssl
from collections.abc import Callable
from math import inf
from typing import Final, Protocol, cast

import httptools

from ostiary.core import limit
from ostiary.core.error import Code, UpstreamError
from ostiary.core.http import Header
from ostiary.gateway.ports import PhaseTimeouts
from ostiary.net import tls
from ostiary.net.reply import Reply
from ostiary.transport.writes import Writes

_JOIN_BYTES_MAX: Final = 64 * 1024
"""Head and body are joined into one write up to here; beyond it the copy costs more than a second buffer."""


class Keeper(Protocol):
    """Who is told what becomes of a connection."""

    def idle(self, connection: "Connection") -> None:
        """The answer ended cleanly; the connection may be used again."""
        ...

    def lost(self, connection: "Connection") -> None:
        """The connection is closed. Told exactly once."""
        ...


_FIELDS_MAX: Final = 2 * limit.UPSTREAM_HEADER_COUNT_MAX
"""Names and values."""

_PLAIN: Final = frozenset((b"", b"identity"))
"""Content codings that are none."""


class _RefusedError(Exception):
    """Leaves the parser's callbacks; the reason is in `_breach`."""


class Connection(asyncio.Protocol):
    """See the module. `idle_since` and `born` are loop times, the pool's business."""

    __slots__ = (
        "_body_begun",
        "_breach",
        "_check_version",
        "_complete",
        "_deadline",
        "_expires",
        "_fields",
        "_gathered_at",
        "_head_bytes",
        "_idle_seconds",
        "_informational",
        "_keep_alive",
        "_keeper",
        "_loop",
        "_parser",
        "_paused",
        "_pieces",
        "_poll",
        "_quiet_bytes",
        "_reply",
        "_timer",
        "_timer_at",
        "_transport",
        "_until_eof",
        "_writes",
        "born",
        "closed",
        "idle_since",
        "on_body",
        "used",
    )

    def __init__(self, loop: asyncio.AbstractEventLoop, keeper: Keeper, sock: socket.socket, writes: Writes) -> None:
        self._loop = loop
        self._keeper = keeper
        self._writes = writes
        self._poll = select.poll()
        self._poll.register(sock, select.POLLIN)
        self._parser: httptools.HttpResponseParser | None = None
        self._transport: asyncio.Transport | None = None
        self._reply: Reply | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = inf
        self._expires = 0.0
        self._deadline = 0.0
        self._idle_seconds = 0.0
        self._fields: list[bytes] = []  # of a head or a trailer: a name, its value, the next name
        self._pieces: list[bytes] = []
        self.on_body: Callable[[bytes], None] = self._pieces.append  # a read may bring a thousand
        self._head_bytes = 0
        self._quiet_bytes = 0
        self._informational = 0
        self._body_begun = False
        self._check_version = False
        self._complete = False
        self._gathered_at = -1
        self._keep_alive = False
        self._until_eof = False
        self._paused = False
        self._breach: UpstreamError | None = None
        self.born = loop.time()
        self.idle_since = 0.0
        self.used = False
        self.closed = False

    # --- the client's side --------------------------------------------------------------------------------

    def start(self, head: bytes, body: bytes, timeouts: PhaseTimeouts, now: float, deadline: float) -> Reply:
        """Write a request and return the reply it will fill. Only on an idle connection. `now` and `deadline` are loop
        times; the deadline holds in place of that of the timeouts."""
        transport = self._transport
        assert self._reply is None
        assert transport is not None
        reply = self._reply = Reply(self._loop, self)
        self._head_bytes = self._quiet_bytes = 0
        self._body_begun = self._complete = False
        if self._check_version:
            self._check_version = False
            self._informational = 0
        if len(body) <= _JOIN_BYTES_MAX:
            writes = self._writes
            self._gathered_at = writes.turns
            writes.add(transport, head + body)
        else:
            self._gathered_at = -1
            transport.writelines((head, body))
        self._idle_seconds = timeouts.idle_seconds
        self._deadline = deadline
        expires = self._expires = now + timeouts.first_byte_seconds
        if expires < self._timer_at or deadline < self._timer_at:
            self._arm(expires)
        return reply

    def usable(self) -> bool:
        """Whether an idle connection may carry another request: open, and nothing waits unread in its socket.

        A pending byte is an answer nobody asked for, a pending end means the server has closed; with TLS either
        may be a mere session ticket, and a new connection is the cheap way to be sure. However short a time it was
        idle: a surplus comes right behind its answer, and would be given to whoever asks next.
        """
        transport = self._transport
        if self.closed or transport is None or transport.is_closing():
            return False
        return not self._poll.poll(0)  # a peek would cost an exception

    def resume(self) -> None:
        """The reader has taken what was held."""
        if self._paused and self._transport is not None and not self.closed:
            self._paused = False
            # The reader's own slowness is not the upstream's silence: its idle time starts now.
            self._arm(self._loop.time() + self._idle_seconds)
            self._transport.resume_reading()

    def abort(self) -> None:
        """Close at once, dropping what is unsent; a reply under way fails. Idempotent."""
        reply, self._reply = self._reply, None
        self._retire()
        if self._transport is not None:
            self._transport.abort()
        if reply is not None:
            reply.failed(UpstreamError(Code.UPSTREAM_CUT, "The connection to the provider was closed."))

    def close(self) -> None:
        """Close an idle connection politely (TLS close_notify). Idempotent."""
        self._retire()
        if self._transport is not None:
            self._transport.close()

    def _retire(self) -> None:
        """Never to be used again; the keeper learns of it when the transport has closed."""
        self.closed = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
            self._timer_at = inf

    # --- asyncio's side -----------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by the loop once, after TLS."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is one in all but its base class
        self._parser = httptools.HttpResponseParser(self)
        if self.closed:  # aborted while connecting
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        """Called by the loop with what one read brought."""
        reply = self._reply
        if reply is None:
            self.abort()
            return
        began = self._body_begun
        if not began:
            if not self._head_bytes and not data.startswith(b"HTTP/1.1 "):
                self._check_version = True
                if data[:1] != b"H":
                    self._break("The provider's answer is not HTTP/1.1.")
                    return
            self._head_bytes += len(data)
        parser = self._parser
        assert parser is not None
        try:
            parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            if self._complete:
                self._keep_alive = False  # bytes beyond the answer: the answer stands, the connection does not
            elif self._breach is None:
                self._breach = _breach(f"The provider's answer is not valid HTTP ({error}).")
        body = b"".join(self._pieces)  # of one piece it makes no copy
        if body:
            self._pieces.clear()
            if reply.body(body) > limit.UPSTREAM_STREAM_BYTES_MAX:
                self._fail(
                    UpstreamError(
                        Code.UPSTREAM_TOO_LARGE,
                        f"The provider's answer exceeds {limit.UPSTREAM_STREAM_BYTES_MAX} bytes.",
                    )
                )
                return
        if self._breach is not None:
            self._fail(self._breach)
            return
        if self._complete:
            self._finish(reply)
            return
        if not self._body_begun:
            if self._head_bytes > limit.UPSTREAM_HEADER_BYTES_MAX:
                self._break("The provider's headers are too long.")
            return
        if not body:
            self._passed_over(reply, len(data), began=began)
            return
        self._quiet_bytes = 0
        expires = self._expires = self._loop.time() + self._idle_seconds
        if expires < self._timer_at:
            self._arm(expires)
        reply.wake()
        if reply.full() and self._transport is not None and not self._paused:
            self._paused = True
            self._transport.pause_reading()

    def _passed_over(self, reply: Reply, size: int, *, began: bool) -> None:
        """A read brought no byte of the body that had begun before it or begins with it."""
        self._quiet_bytes += size
        if self._quiet_bytes > limit.UPSTREAM_HEADER_BYTES_MAX:
            self._break("The provider's answer carries too many bytes that are no body.")
        elif not began:
            self._arm(self._loop.time() + self._idle_seconds)
            reply.wake()

    def eof_received(self) -> bool:
        """Called by the loop at FIN: an end where the body has no other, else a cut is told when it closes."""
        reply = self._reply
        if reply is not None and self._body_begun and self._until_eof and self._notified():
            self._keep_alive = False
            self._finish(reply)
        return False

    def _notified(self) -> bool:
        """Whether the peer said that this is the end. FIN says it; under TLS anyone could have sent the FIN, and only
        a close_notify says it: then a read gives the end, otherwise the want of more."""
        session = self._transport.get_extra_info("ssl_object") if self._transport is not None else None
        if session is None:
            return True
        try:
            return not session.read(1)
        except ssl.SSLError:
            return False

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by the loop once, at the end."""
        reply, self._reply = self._reply, None
        self._retire()
        self._transport = None
        self._parser = None  # it refers back to this object
        if reply is not None:
            if isinstance(exc, ssl.SSLError):
                reply.failed(tls.failure(exc))
            elif self._head_bytes:
                reply.failed(UpstreamError(Code.UPSTREAM_CUT, "The provider's answer ended early."))
            else:
                reply.failed(
                    UpstreamError(Code.UPSTREAM_CUT, "The provider closed the connection without an answer."),
                    stale=self.used,
                )
        self._keeper.lost(self)

    # --- the parser's side --------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        """The first byte of an answer, or of one too many."""
        if self._complete:
            raise _RefusedError

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header, or a trailer, which is dropped but counted."""
        fields = self._fields
        fields += name, value  # once per header: what can wait is done for all of them at the end of the head
        if len(fields) > _FIELDS_MAX:
            self._refuse("The provider sends too many headers.")

    def on_headers_complete(self) -> None:
        """The end of a head."""
        parser, reply = self._parser, self._reply
        assert reply is not None
        assert parser is not None
        status = parser.get_status_code()
        if self._check_version and parser.get_http_version() not in ("1.1", "1.0"):
            self._refuse("The provider's answer is not HTTP/1.1.")
        if not 200 <= status <= 599:
            self._interim(status)
            return
        headers = _paired(self._fields)
        self._fields.clear()
        self._until_eof = not self._framed(status, headers, parser)
        self._keep_alive = parser.should_keep_alive()
        self._body_begun = True
        reply.status = status
        reply.headers = headers

    def _interim(self, status: int) -> None:
        """A head before the answer's own; refused where it is none."""
        if not 100 <= status < 200 or status == 101:
            self._refuse(f"The provider's answer has the status {status}.")
        self._informational += 1
        self._check_version = True
        if self._informational > limit.UPSTREAM_INFORMATIONAL_MAX:
            self._refuse("The provider sends too many interim answers.")

    def on_message_complete(self) -> None:
        """The end of an answer, or of an interim one."""
        if self._body_begun:
            self._complete = True
        if self._fields:
            self._fields.clear()  # of a trailer, or of an interim answer

    def _framed(self, status: int, headers: tuple[Header, ...], parser: httptools.HttpResponseParser) -> bool:
        """Whether the body's end is told by length or chunks (else by the connection's); refuses what is ambiguous."""
        fields = dict(headers)
        if len(fields) != len(headers):
            fields = _joined(headers)
        length = fields.get(b"content-length")
        coding = fields.get(b"transfer-encoding")
        if coding is not None:
            if coding.lower() != b"chunked":
                self._refuse("The provider's transfer-encoding is not plain chunked.")
            if self._check_version and parser.get_http_version() == "1.0":
                self._refuse("The provider's answer is chunked in HTTP/1.0.")
        if b"content-encoding" in fields and not _PLAIN.issuperset(fields[b"content-encoding"].lower().split(b", ")):
            self._refuse("The provider compressed its answer though identity was asked for.")
        # What came so far, of the body too: only where that is more than a head may be, its own size is asked for.
        if self._head_bytes > limit.UPSTREAM_HEADER_BYTES_MAX and _size(headers) > limit.UPSTREAM_HEADER_BYTES_MAX:
            self._refuse("The provider's headers are too long.")
        if status == 204 and (coding is not None or (length or b"").strip(b"0")):
            self._refuse("The provider's answer has a body where none may be.")
        return length is not None or coding is not None or status in (204, 304)

    def _refuse(self, message: str) -> None:
        self._breach = _breach(message)
        raise _RefusedError

    # --- ends ---------------------------------------------------------------------------------------------

    def _finish(self, reply: Reply) -> None:
        transport = self._transport
        self._reply = None
        self.used = True
        reply.completed()
        if (
            self._keep_alive
            and not self.closed
            and transport is not None
            and not transport.is_closing()
            and transport.get_write_buffer_size() == 0
            and self._writes.turns != self._gathered_at
        ):
            if self._paused:
                self._paused = False
                transport.resume_reading()
            self._keeper.idle(self)
        else:
            self.close()

    def _break(self, message: str) -> None:
        self._fail(_breach(message))

    def _fail(self, error: UpstreamError) -> None:
        reply, self._reply = self._reply, None
        self.abort()
        if reply is not None:
            reply.failed(error)

    # --- time ---------------------------------------------------------------------------------------------

    def _arm(self, expires: float) -> None:
        self._expires = expires
        at = min(expires, self._deadline)
        if self._timer is None:
            self._timer_at = at
            self._timer = self._loop.call_at(at, self._tick)
        elif at < self._timer_at:
            self._timer.cancel()
            self._timer_at = at
            self._timer = self._loop.call_at(at, self._tick)

    def _tick(self) -> None:
        self._timer = None
        self._timer_at = inf
        if self._reply is None:
            return
        expires = self._deadline if self._paused else min(self._expires, self._deadline)
        now = self._loop.time()
        if now < expires:
            self._timer_at = expires
            self._timer = self._loop.call_at(expires, self._tick)
        elif now >= self._deadline:
            self._fail(UpstreamError(Code.UPSTREAM_TIMEOUT, "The provider's answer did not end in time."))
        elif self._body_begun:
            self._fail(UpstreamError(Code.UPSTREAM_TIMEOUT, "The provider paused its answer for too long."))
        else:
            self._fail(UpstreamError(Code.UPSTREAM_TIMEOUT, "The provider did not begin to answer in time."))


def _paired(fields: list[bytes]) -> tuple[Header, ...]:
    """The headers of a head as the parser told them, one by one: names in lower case, values without space at their ends.
    Neither holds a line feed, so all names are put in lower case at once, and a value that ends in space is looked for
    among all of them."""
    values = fields[1::2]
    lines = b"\n".join(values) + b"\n"
    if b" \n" in lines or b"\t\n" in lines:
        values = [value.rstrip(b" \t") for value in values]
    return tuple(zip(b"\n".join(fields[::2]).lower().split(b"\n"), values, strict=True)) if fields else ()


def _joined(headers: tuple[Header, ...]) -> dict[bytes, bytes]:
    """The fields of a head, each once: the values of one that comes again are a list (RFC 9110, section 5.3)."""
    fields: dict[bytes, bytes] = {}
    for name, value in headers:
        fields[name] = fields[name] + b", " + value if name in fields else value
    return fields


def _size(headers: tuple[Header, ...]) -> int:
    return sum(len(name) + len(value) for name, value in headers)


def _breach(message: str) -> UpstreamError:
    return UpstreamError(Code.UPSTREAM_PROTOCOL, message)
