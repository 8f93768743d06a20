"""An answer on its way from a provider to a client: bytes in, bytes out, and what was learnt of it. No I/O.

Frames of a stream pass the guards' queue in order. Within one dialect a frame leaves as it came; otherwise it is encoded
from its canonical events. What is no stream of events passes as it comes.
"""

from collections.abc import Callable, Sequence
from typing import Final, Protocol

import msgspec

from ostiary.core.error import Code, OstiaryError, UpstreamError
from ostiary.core.http import Header, header
from ostiary.core.limit import UPSTREAM_BODY_BYTES_MAX
from ostiary.core.stream import Started, StreamEvent
from ostiary.core.usage import Usage
from ostiary.gateway.dialect import Frame, StreamDecoder, StreamEncoder
from ostiary.gateway.guard.holdback import Holdback

_ANSWERED: Final = frozenset(
    (
        b"content-disposition",
        b"content-range",
        b"content-type",
        b"etag",
        b"last-modified",
        b"retry-after",
        b"x-goog-upload-status",
    )
)
"""The headers of a provider that come back with an answer that passes as it came."""

_UNBUFFERED: Final[tuple[Header, ...]] = ((b"cache-control", b"no-cache"), (b"x-accel-buffering", b"no"))


def stream_headers(encoder: StreamEncoder) -> tuple[Header, ...]:
    """The headers of a stream of events."""
    return ((b"content-type", encoder.media_type), *_UNBUFFERED)


class Piece(msgspec.Struct, frozen=True):
    """What may be sent after some bytes came in. `content` says that something produced is among them, `ended` that
    the stream is complete."""

    data: bytes
    content: bool
    ended: bool


class Carrier(Protocol):
    """What carries an answer to a client: the head it has there, and piece by piece what it may get. What is known of
    the answer so far stands in the other fields."""

    status: int
    headers: tuple[Header, ...]
    keepalive: bytes
    usage: Usage | None
    produced_bytes: int
    response_model: str
    finish_reason: str

    def feed(self, data: bytes) -> Piece:
        """What `data` (b"" at its end) lets out. Raises UpstreamError."""
        ...

    def wrote(self, data: bytes) -> None:
        """To be told of each piece that goes to the client."""
        ...

    def error(self, error: OstiaryError, request_id: str) -> bytes | None:
        """What ends an answer that has begun and cannot go on, behind what was written; None where its form has no such
        end, so that it must be broken off."""
        ...


class Relay:
    """Implements Carrier for events.

    `passes` says that client and provider speak one dialect: then `encoder` makes only the head and the error.
    What a provider leaves open of how a translated answer begins, its id or its model, is taken from `stand_in`.
    """

    def __init__(
        self,
        decoder: StreamDecoder,
        encoder: StreamEncoder,
        screened: Holdback[Frame],
        *,
        passes: bool,
        include_usage: bool,
        stand_in: Started | None = None,
    ) -> None:
        self._decoder = decoder
        self._encoder = None if passes else encoder
        self._stand_in = stand_in
        self.status = 200
        self.keepalive = encoder.keepalive
        self.headers = stream_headers(encoder)
        self.wrote = encoder.wrote
        self.error = encoder.error
        self._screened = screened
        self._show_usage_only = include_usage or not passes
        self._glances = passes and screened.open
        self.usage: Usage | None = None
        self.produced_bytes = 0
        self.response_model = ""
        self.finish_reason = ""

    def feed(self, data: bytes) -> Piece:
        """What `data` (b"" at its end) lets out. Raises UpstreamError as the decoder does."""
        if self._glances and (produced := self._decoder.glance(data)):
            self.produced_bytes += produced
            return Piece(data, content=True, ended=False)
        frames = self._decoder.feed(data) if data else self._decoder.close()
        frames = self._screened.push(frames)
        if not data:
            frames = [*frames, *self._screened.flush()]
        content = ended = False
        encoder = self._encoder
        out: list[bytes] = []
        for frame in frames:
            if frame.content:
                content = True
                self.produced_bytes += frame.produced_bytes
            if frame.usage is not None:
                self.usage = frame.usage
            if frame.response_model:
                self.response_model = frame.response_model
            if frame.finish_reason:
                self.finish_reason = frame.finish_reason
            if frame.terminal:
                ended = True
            if encoder is not None:
                events = frame.events if self._stand_in is None else self._begun(frame.events, self._stand_in)
                for event in events:
                    out.append(encoder.encode(event))  # noqa: PERF401 - nearly always one: a list of its own costs more
            elif self._show_usage_only or not frame.usage_only:
                out.append(frame.raw)
        return Piece(out[0] if len(out) == 1 else b"".join(out), content, ended or not data)

    def _begun(self, events: Sequence[StreamEvent], stand_in: Started) -> Sequence[StreamEvent]:
        """The events, of which the one that begins the answer has an id and names a model."""
        for place, event in enumerate(events):
            if isinstance(event, Started):
                self._stand_in = None
                whole = msgspec.structs.replace(
                    event,
                    id=event.id or stand_in.id,
                    response_model=event.response_model or stand_in.response_model,
                )
                return (*events[:place], whole, *events[place + 1 :])
        return events


class Judged(Protocol):
    """What an answer says of itself."""

    @property
    def usage(self) -> Usage | None: ...
    @property
    def response_model(self) -> str: ...


class Tap(Protocol):
    """Reads along: what is known of an answer so far."""

    usage: Usage | None
    response_model: str
    finish_reason: str

    def feed(self, data: bytes) -> None:
        """More of the answer (b"" at its end). Raises UpstreamError where it is of no known form."""
        ...


class RawRelay:
    """Implements Carrier for an answer of any kind, which passes unchanged. What `tap` cannot read is only not
    metered; without one nothing is read. `encoder` makes the error of one that is a stream of events."""

    keepalive = b""

    def __init__(
        self, status: int, headers: Sequence[Header], tap: Tap | None, encoder: StreamEncoder | None = None
    ) -> None:
        self.status = status
        self.headers = passed_headers(headers)
        self._encoder = encoder
        self.usage: Usage | None = None
        self.produced_bytes = 0
        self.response_model = ""
        self.finish_reason = ""
        self._tap = tap

    def feed(self, data: bytes) -> Piece:
        """The same bytes. Raises nothing."""
        self.produced_bytes += len(data)
        tap = self._tap
        if tap is not None:
            try:
                tap.feed(data)
            except UpstreamError:
                self._tap = None
            self.usage, self.response_model, self.finish_reason = tap.usage, tap.response_model, tap.finish_reason
        return Piece(data, content=True, ended=not data)

    def wrote(self, data: bytes) -> None:
        """See Carrier."""
        if self._encoder is not None:
            self._encoder.wrote(data)

    def error(self, error: OstiaryError, request_id: str) -> bytes | None:
        """See Carrier."""
        return None if self._encoder is None else self._encoder.error(error, request_id)


class WholeRelay:
    """Implements Carrier for an answer that came where a stream was asked for: kept until it is whole, then given to
    `judge`, which says what is known of it or raises UpstreamError."""

    keepalive = b""

    def __init__(self, status: int, headers: Sequence[Header], judge: Callable[[bytes], Judged]) -> None:
        self.status = status
        self.headers = passed_headers(headers)
        self.usage: Usage | None = None
        self.produced_bytes = 0
        self.response_model = ""
        self.finish_reason = ""
        self._judge = judge
        self._kept: list[bytes] = []

    def feed(self, data: bytes) -> Piece:
        """Nothing before the end. Raises UpstreamError upstream.too_large beyond UPSTREAM_BODY_BYTES_MAX."""
        if data:
            self.produced_bytes += len(data)
            if self.produced_bytes > UPSTREAM_BODY_BYTES_MAX:
                raise UpstreamError(Code.UPSTREAM_TOO_LARGE, "The provider's answer is too large.")
            self._kept.append(data)
            return Piece(b"", content=False, ended=False)
        body = b"".join(self._kept)
        judged = self._judge(body)
        self.usage, self.response_model = judged.usage, judged.response_model
        return Piece(body, content=True, ended=True)

    def wrote(self, data: bytes) -> None:
        """See Carrier."""

    def error(self, error: OstiaryError, request_id: str) -> bytes | None:  # noqa: ARG002 - the contract's
        """See Carrier."""
        return None


def passed_headers(headers: Sequence[Header]) -> tuple[Header, ...]:
    """The headers of a provider's answer that pass with its bytes."""
    return tuple(pair for pair in headers if pair[0] in _ANSWERED)


def event_stream(headers: Sequence[Header]) -> bool:
    """Whether an answer is a stream of events."""
    return (header(headers, b"content-type") or b"").lower().startswith(b"text/event-stream")
