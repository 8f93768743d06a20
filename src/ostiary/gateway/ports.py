"""What the gateway needs of the world. Adapters implement these; tests and `ostiary.testing` ship fakes.

Each method's docstring states what holds under failure. Nothing here does I/O.
"""

from array import array
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from typing import Final, Protocol

import msgspec

from ostiary.core.call import DialectName, Operation
from ostiary.core.event import Closed, Kind
from ostiary.core.http import Answer, Header, Origin
from ostiary.core.principal import Principal
from ostiary.core.secret import Secret
from ostiary.snapshot.tables import ProviderRow, SecretRef, TlsRow


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

    async def chunk(self) -> bytes:
        """The next bytes of the body as they arrive, b"" at its end.

        Raises UpstreamError: upstream.timeout (idle or total), upstream.cut, upstream.protocol, upstream.too_large.
        Cancelling the awaiting task leaves the reply usable only for `close`.
        """
        ...

    async def pour(self, take: Callable[[bytes], bool]) -> None:
        """Give each piece to `take` as it arrives, b"" at the end, until it gives False: it is called between turns of the
        awaiting task, so that a piece wakes nobody. What it has been given it has taken, whatever it gives.

        Raises as `chunk`, and what `take` raises.
        """
        ...

    async def read(self, bytes_max: int) -> bytes:
        """The whole body; upstream.too_large beyond `bytes_max`. Raises as `chunk`."""
        ...

    def close(self) -> None: ...


class Channel(Protocol):
    """An open WebSocket of text messages, towards a client or a provider.

    `gone` says that nothing sent now would arrive, `draining` that this process is to end. `code` and `reason` are
    those the connection was ended with, once `receive` gave None: by the peer's close frame (1005: it gave no code), for
    a rule the peer broke (`breached`), or 1006 where it was lost. `stalled` says that the peer read too little.
    """

    gone: bool
    code: int
    reason: str
    stalled: bool
    breached: bool

    @property
    def draining(self) -> bool: ...

    async def receive(self) -> bytes | None:
        """The next message, or None once the peer has ended the connection. One reader at a time. What is held for it
        is bounded: beyond the bounds of core/limit.py nothing more is read from the peer."""
        ...

    async def send(self, message: bytes) -> None:
        """Send a message. Waits while the peer reads slower than we write; one that takes too little for too long is
        dropped. Does nothing once the connection has ended."""
        ...

    def close(self, code: int, reason: str = "") -> None:
        """End the connection, with a close frame where that is still possible. Idempotent, never waits."""
        ...


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

    async def connect(self, request: UpstreamRequest, protocols: Sequence[bytes]) -> Channel | Answer:
        """Open a WebSocket, offering these subprotocols, on a connection of its own; the provider's answer where it
        opens none. The request is a GET without a body. Raises as `send`; upstream.protocol where the handshake is not
        what was asked for.
        """
        ...


class Credentials(Protocol):
    """What the gateway proves itself to providers with. All of it belongs to one event loop."""

    def headers(self, provider: ProviderRow, request: UpstreamRequest) -> tuple[Header, ...] | None:
        """The headers to add to a request that is complete but for them, or None where `fetch` must come first.

        Never waits. A credential near its end is renewed behind the caller's back. Raises UpstreamError
        upstream.credential where the provider's settings cannot give one.
        """
        ...

    async def fetch(self, provider: ProviderRow) -> None:
        """Get a credential, after which `headers` gives some, unless the provider's secret was replaced meanwhile.

        One fetch at a time per provider, shared by its callers; cancelling one does not disturb the others. Bounded in
        time, steps and size. Raises UpstreamError upstream.credential in plain words without secrets; for a while after
        a failure it raises the same again without asking anyone.
        """
        ...

    def swap(self, providers: Iterable[ProviderRow]) -> frozenset[str]:
        """Take the rows of a new snapshot, or secrets read anew: what belongs to another row or secret is dropped, and
        the names of its providers returned."""
        ...


class Receipt(msgspec.Struct, frozen=True):
    """A record's place: the origin that wrote it and its sequence number there, from 0."""

    origin: str
    sequence: int


class Journal(Protocol):
    """The append-only record of what happened."""

    durability: str

    def append(self, kind: Kind, payload: bytes, closes: int | None = None) -> Receipt:
        """Write one record to the operating system, in order, before returning. `closes` is the sequence number of the
        opening record that a closing one names, -1 for none; None has it read from the payload.

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


class RateCell(msgspec.Struct, frozen=True, array_like=True):
    """One limit by rate: `burst` at once, then one every `interval_seconds`; `cost` of them are asked for."""

    name: str
    interval_seconds: float
    burst: int
    cost: int


class Slot(msgspec.Struct, frozen=True, array_like=True):
    """A place among the calls that a scope may have open at once."""

    scope: str
    limit: int


class LimitTake(msgspec.Struct, frozen=True):
    """What one call asks of all limits together."""

    cells: tuple[RateCell, ...]
    slots: tuple[Slot, ...]


class LimitVerdict(msgspec.Struct, frozen=True, array_like=True):
    """`refused` is the place of the limit that has no room, counted through slots and then cells, or -1; then nothing was
    taken. `reset_seconds` says of each cell when its whole burst is there again."""

    refused: int
    wait_seconds: float
    reset_seconds: tuple[float, ...]


class LimitBatch(msgspec.Struct, frozen=True):
    """What one worker has to say of limits. `corrections` move cells by seconds; `open` says how many calls this worker
    has open in a scope, and is true when the batch is sent; a `beat` says that the worker is there."""

    takes: tuple[LimitTake, ...]
    corrections: tuple[tuple[str, float], ...]
    open: tuple[tuple[str, int], ...]
    beat: bool


class LimitAnswer(msgspec.Struct, frozen=True, array_like=True):
    """A verdict for each call, in order; and how many workers there are (0: not a beat, not counted)."""

    verdicts: tuple[LimitVerdict, ...]
    workers: int


class Other(msgspec.Struct, frozen=True):
    """What another worker has stated of a budget. `final`: it is gone, this is its journal's sum, it leases nothing."""

    worker: str
    spent_nano: int
    spent_tokens: int
    lease_nano: int
    lease_tokens: int
    final: bool = False


class Stated(msgspec.Struct, frozen=True):
    """What this worker has spent of a scope's budget in the period from `start` to `end` (seconds since 1970; an `end` of
    0 is not known), and has leased beyond that, of which `held` is needed. All of it is absolute: stating it again changes
    nothing. `others` is what the worker knows of others where the counters may have lost it; without `mine` the statement
    is of them alone. `budget_*` None: no bound."""

    scope: str
    start: int
    end: int = 0
    spent_nano: int = 0
    spent_tokens: int = 0
    lease_nano: int = 0
    lease_tokens: int = 0
    held_nano: int = 0
    held_tokens: int = 0
    budget_nano: int | None = None
    budget_tokens: int | None = None
    alerts: tuple[float, ...] = ()
    others: tuple[Other, ...] = ()
    mine: bool = True


class Want(msgspec.Struct, frozen=True):
    """A hold that needs room in each of some stated accounts, by their places in the batch."""

    nano: int
    tokens: int
    accounts: tuple[int, ...]


class BudgetBatch(msgspec.Struct, frozen=True):
    """What one worker has to say of budgets. `generation` is that of the counters to which it has stated everything."""

    generation: str
    stated: tuple[Stated, ...]
    wants: tuple[Want, ...]


class Lent(msgspec.Struct, frozen=True):
    """An account after a batch: the lease that this worker now has, what others have stated, and which alerts the batch
    set off."""

    lease_nano: int
    lease_tokens: int
    others: tuple[Other, ...] = ()
    crossed: tuple[float, ...] = ()
    spent_nano: int = 0
    spent_tokens: int = 0


class Granted(msgspec.Struct, frozen=True, array_like=True):
    """Whether a hold fits: `refused` is -1 where it does, -2 where nothing may be lent just now, else the place of the
    first account without room, of which `remaining_*` is left for this worker."""

    refused: int
    remaining_nano: int = 0
    remaining_tokens: int = 0


class BudgetAnswer(msgspec.Struct, frozen=True):
    """Of which `generation` the counters are, for how many seconds they lend nothing, and what became of the batch."""

    generation: str
    rebuilding_seconds: float
    accounts: tuple[Lent, ...]
    wants: tuple[Granted, ...]


class Counters(Protocol):
    """Counters that all workers of an installation share. One exchange at a time.

    Every method raises GatewayError counters.unavailable where there is no answer within EXCHANGE_SECONDS_MAX, or none of
    use; what was asked for may then have happened or not. All statements are absolute, so that the next one is true either
    way; what was charged to a rate stays charged."""

    async def exchange(
        self, limits: LimitBatch | None, budgets: BudgetBatch | None
    ) -> tuple[LimitAnswer | None, BudgetAnswer | None]:
        """Decide both batches, each as a whole and its calls in order: no other worker's come between."""
        ...

    async def leased(self, worker: str) -> tuple[tuple[str, int], ...]:
        """The scopes, and the starts of their periods, in which a worker has leases."""
        ...

    async def aclose(self) -> None: ...


class KeyRing(Protocol):
    """Which credential belongs to whom."""

    def digest(self, credential: bytes) -> bytes:
        """What `find` knows a credential by, the same as long as the ring lives: fit to be kept. It tells no key."""
        ...

    def find(self, digest: bytes) -> Principal | None:
        """Whose a credential is, None where it is unknown, revoked or expired by now, in the same time up to noise."""
        ...


class Secrets(Protocol):
    """Secrets by reference, loaded beforehand, never read from disk here."""

    def get(self, ref: SecretRef) -> Secret | None: ...


class Observer(Protocol):
    """Told what happened; must not raise and must not block."""

    def closed(self, record: Closed) -> None: ...
    def unauthenticated(self, code: str) -> None: ...
    def alerted(self, scope: str, share: float) -> None:
        """A share of a budget was reached."""
        ...

    def streams(self, open_count: int) -> None: ...
    def credential_refused(self, provider: str, key: str) -> None:
        """A provider refused a credential; `key` is the name of one of several (empty: it has one)."""
        ...

    def shed(self, gate: str, reason: str, priority: str) -> None:
        """A call was refused for overload: at the worker's own gate (empty) or a target's."""
        ...

    def compared(self, model: str, outcome: str, similarity: float | None) -> None:
        """A call was compared with earlier questions; where the model was asked all the same, `similarity` is that of its
        answer to the one that would have been given."""
        ...

    def counted(self, *, away: bool, reason: str) -> None:
        """An exchange with shared counters ended; `reason` says why it failed."""
        ...


SHED: Final = "shed"
"""The message with which a task is cancelled whose call is ended for want of memory."""


class Sink(Protocol):
    """Where an answer goes: one HTTP exchange with a client.

    Either `answer` once, or `begin`, any number of `write`s, and `end` or `abort`, or, where the request offered it,
    `upgrade` once. A client that goes away cancels the task that serves it; `gone` is then true and every method does
    nothing.
    """

    gone: bool
    begun: bool

    def answer(self, status: int, headers: Sequence[Header], body: bytes) -> None:
        """The whole answer in one write."""
        ...

    def begin(self, status: int, headers: Sequence[Header], *, keepalive: bytes = b"") -> None:
        """Start a streamed answer. `keepalive` is sent whenever nothing else was for a while, until the end."""
        ...

    def write(self, data: bytes) -> Awaitable[None] | None:
        """Send a piece. Gives what must be awaited before anything else is sent, where the client reads slower than we
        write; beyond the bound of core/limit.py the connection is dropped and the task cancelled."""
        ...

    def end(self) -> None: ...

    def abort(self) -> None:
        """Break off: the client sees a connection that was lost, not an answer that ended."""
        ...

    def upgrade(self, headers: Sequence[Header]) -> Channel | None:
        """Take the offered WebSocket; None where the client is gone. Of the sink nothing else may be used from here
        on: a client that goes away ends the channel and cancels nothing, only the end of a drain still does."""
        ...


class ReplayHead(msgspec.Struct, frozen=True):
    """The head of an answer that is kept, and whether its pieces are those of a stream."""

    status: int
    headers: tuple[Header, ...]
    streamed: bool
    keepalive: bytes = b""


class Recording(Protocol):
    """The place of one answer that is being made. Nobody else has it until `finish` or `drop`. No method raises: an
    answer that cannot be kept is marked as such."""

    def begin(self, head: ReplayHead) -> None: ...

    def piece(self, data: bytes) -> None:
        """More of the answer: of a stream one whole event."""
        ...

    def finish(self) -> None:
        """The answer is whole, or has failed in a way that repeating it would repeat."""
        ...

    def forbid(self) -> None:
        """Keep that there was an answer, and nothing of it: what it says must not be stored."""
        ...

    def drop(self) -> None:
        """Nothing was done: the place is free again."""
        ...


class Replay(Protocol):
    """An answer that is kept, or is being made by another call."""

    running: bool
    """Whether it is still being made."""

    @property
    def fingerprint(self) -> str:
        """Of the request that it answers."""
        ...

    async def head(self) -> ReplayHead | None:
        """Its head, as soon as there is one; None where it is not kept."""
        ...

    def pieces(self, after: int) -> AsyncIterator[bytes]:
        """Its pieces behind the first `after`, as they come, to its end. Raises UpstreamError upstream.cut where the
        call that makes it is gone."""
        ...

    def close(self) -> None:
        """To be called when it is no longer needed."""
        ...


class ReplayStore(Protocol):
    """Where answers of calls with an idempotency key are kept, for REPLAY_SECONDS."""

    async def claim(self, name: str, seal: bytes, fingerprint: str) -> tuple[Recording, None] | tuple[None, Replay]:
        """The place `name`: this call's to fill, or what another has put there. Raises GatewayError
        gateway.overloaded where no place can be had."""
        ...


class CacheKey(msgspec.Struct, frozen=True, array_like=True, cache_hash=True):
    """Who may be given a kept answer, under which rules, from where, and to what: equal in all of it or not at all.

    `scope` names those who share answers within the tenant (everybody, a team or a key); `policy` the rules by
    which the call was let through (`Index.rules`); `targets` what the model stood for; `fingerprint` the whole request, as
    `cache.key.fingerprint` makes it.
    """

    tenant: str
    scope: str
    policy: str
    targets: tuple[str, ...]
    operation: Operation
    dialect: DialectName
    label: str
    fingerprint: bytes


class Kept(msgspec.Struct, frozen=True):
    """An answer as its client got it: the headers of its form (none of ours), and its body in the pieces in which a
    stream is written (`streamed`). In seconds since 1970, `at` is when it was kept, `until` up to when it is fresh and
    `last` up to when it may be given at all. `purge` is the number of the last purge that was known when it was asked
    for, `tags` what a later one may name it by. `similarity` is None for the answer to just this request, else how near
    the question was that it was given to."""

    headers: tuple[Header, ...]
    pieces: tuple[bytes, ...]
    streamed: bool
    keepalive: bytes
    target: str
    response_model: str
    finish_reason: str
    at: int
    until: int
    last: int
    tags: tuple[str, ...] = ()
    purge: int = 0
    similarity: float | None = None

    @property
    def size(self) -> int:
        """Bytes it takes, about."""
        return sum(map(len, self.pieces)) + 1_024


class AnswerCache(Protocol):
    """Where answers are kept. No method raises: a cache that cannot be asked has nothing."""

    @property
    def away(self) -> bool:
        """Whether calls do without it just now."""
        ...

    async def find(self, key: CacheKey) -> Kept | None:
        """What is kept under a key, fresh or not; None too where that cannot be found out in time."""
        ...

    async def keep(self, key: CacheKey, kept: Kept) -> None:
        """Keep an answer in place of an older one, if there is room for it. May go on behind the caller's back."""
        ...

    async def settled(self) -> None:
        """Return once everything that was given to keep is there, or lost."""
        ...

    async def aclose(self) -> None: ...


class Embedder(Protocol):
    """Gives texts places, so that texts that are alike are near one another."""

    @property
    def knows_meaning(self) -> bool:
        """Whether it was trained on what texts mean. Where not, only texts with the same words count as alike."""
        ...

    async def embed(self, text: str) -> "array[float] | None":
        """A vector of length 1 and at most SEMANTIC_DIMENSIONS_MAX numbers; None where there is none to be had. Never
        raises but for a cancellation."""
        ...
