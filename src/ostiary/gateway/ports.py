"""What the gateway needs of the world. Adapters implement these; tests and `ostiary.testing` ship fakes.

Each method's docstring states what holds under failure. Nothing here does I/O.
"""

from collections.abc import Sequence
from typing import Protocol

import msgspec

from ostiary.core.event import Closed, Kind
from ostiary.core.http import Header, Origin
from ostiary.core.port import Clock, Ids, Random
from ostiary.core.principal import Principal
from ostiary.core.secret import Secret
from ostiary.snapshot.tables import SecretRef, TlsRow

__all__ = [
    "Clock",
    "Ids",
    "Journal",
    "KeyRing",
    "Observer",
    "PhaseTimeouts",
    "Random",
    "Receipt",
    "Secrets",
    "Sink",
    "Upstream",
    "UpstreamReply",
    "UpstreamRequest",
]


class PhaseTimeouts(msgspec.Struct, frozen=True):
    """Seconds: to connect (DNS, TCP, proxy and TLS together), to the first byte of the answer's head, between two
    reads of the body. `deadline` is the monotonic time at which everything ends."""

    connect_seconds: float
    first_byte_seconds: float
    idle_seconds: float
    deadline: float


class UpstreamRequest(msgspec.Struct, frozen=True):
    """One HTTP/1.1 request to a provider. `target` is the raw path with query; `headers` without host,
    content-length, connection and accept-encoding, which the client sets itself."""

    origin: Origin
    method: bytes
    target: bytes
    headers: tuple[Header, ...]
    body: bytes
    timeouts: PhaseTimeouts
    tls: TlsRow = TlsRow()
    proxy: Origin | None = None


class UpstreamReply(Protocol):
    """An answer whose head has arrived. Either read it to its end or `close` it; `close` is idempotent, never
    blocks and drops the connection unless the answer was read completely."""

    status: int
    headers: tuple[Header, ...]
    connect_ms: float
    first_byte_ms: float

    async def chunk(self) -> bytes:
        """The next bytes of the body as they arrive, b"" at its end.

        Raises UpstreamError: upstream.timeout (idle or total), upstream.cut, upstream.protocol, upstream.too_large.
        Cancelling the awaiting task leaves the reply usable only for `close`.
        """
        ...

    async def read(self, bytes_max: int) -> bytes:
        """The whole body; upstream.too_large beyond `bytes_max`. Raises as `chunk`."""
        ...

    def close(self) -> None: ...


class Upstream(Protocol):
    """Outbound HTTP."""

    async def send(self, request: UpstreamRequest) -> UpstreamReply:
        """Send and wait for the answer's head.

        Raises UpstreamError: upstream.unreachable (DNS, refused, no route), upstream.tls, upstream.timeout,
        upstream.protocol, upstream.cut; GatewayError gateway.overloaded where the pool is at its bound.
        Cancelling closes the connection at once. A request is sent twice only where a kept-alive connection
        turned out to be closed before any byte of the answer came.
        """
        ...


class Receipt(msgspec.Struct, frozen=True):
    """A record's place: the origin that wrote it and its sequence number there, from 0."""

    origin: str
    sequence: int


class Journal(Protocol):
    """The append-only record of what happened."""

    durability: str

    def append(self, kind: Kind, payload: bytes) -> Receipt:
        """Write one record to the operating system, in order, before returning.

        It then survives the death of this process; it is on the device within the sync interval. Raises
        GatewayError audit.unavailable where it cannot be written or the device has not kept up within the bounds
        of core/limit.py; then nothing of it was acknowledged and no part of it will be read.
        """
        ...

    async def synced(self, receipt: Receipt) -> None:
        """Return once the record is on the device. Raises GatewayError audit.unavailable where that took longer than
        the bound of core/limit.py; it may still get there later."""
        ...

    def defer(self, kind: Kind, payload: bytes) -> None:
        """Write one record as soon as the journal can be written again: for the closing record of a call whose
        `append` failed, so that the call does not stay open. Bounded; never raises."""
        ...

    def healthy(self) -> bool:
        """Whether the next append is expected to succeed."""
        ...


class KeyRing(Protocol):
    """Which credential belongs to whom."""

    def find(self, credential: bytes) -> Principal | None:
        """The principal behind a credential, or None where it is unknown, revoked or expired. Takes the same
        time either way up to noise, whatever the number of keys."""
        ...


class Secrets(Protocol):
    """Secrets by reference, loaded beforehand, never read from disk here."""

    def get(self, ref: SecretRef) -> Secret | None: ...


class Observer(Protocol):
    """Told what happened; must not raise and must not block."""

    def closed(self, record: Closed) -> None: ...
    def unauthenticated(self, code: str) -> None: ...
    def streams(self, open_count: int) -> None: ...


class Sink(Protocol):
    """Where an answer goes: one HTTP exchange with a client.

    Either `answer` once, or `begin`, any number of `write`s, and `end`. A client that goes away cancels the task
    that serves it; `gone` is then true and every method does nothing.
    """

    gone: bool
    begun: bool

    def answer(self, status: int, headers: Sequence[Header], body: bytes) -> None:
        """The whole answer in one write."""
        ...

    def begin(self, status: int, headers: Sequence[Header], *, keepalive: bytes = b"") -> None:
        """Start a streamed answer. `keepalive` is sent whenever nothing else was for a while, until the end."""
        ...

    async def write(self, data: bytes) -> None:
        """Send a piece. Waits while the client reads slower than we write; beyond the bound of core/limit.py the
        connection is dropped and the task cancelled."""
        ...

    def end(self) -> None: ...
