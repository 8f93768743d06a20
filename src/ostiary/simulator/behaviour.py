"""What a simulated provider does with one request, and where that is chosen. Pure.

Chosen, first that speaks: the programme of a test, the header `x-simulate`, the model's name, the provider's own
default. The header reads like `fault=cut; after=3; rate=50`. Models named by `PRESETS` and `sim-error-<status>`
bring their own.
"""

import zlib
from collections.abc import Iterable, Iterator
from enum import StrEnum
from types import MappingProxyType
from typing import Final

import msgspec

Header = tuple[bytes, bytes]


class Fault(StrEnum):
    """What goes wrong. `after` in `Behaviour` counts the pieces (stream events) sent before it does."""

    NONE = "none"
    DROP = "drop"  # the connection is closed without an answer
    HANG = "hang"  # the request is taken and never answered
    CUT = "cut"  # the connection ends (FIN) before the answer does
    RESET = "reset"  # the same with RST
    STALL = "stall"  # the answer stops and the connection stays
    MALFORMED = "malformed"  # a piece is not valid JSON
    CONTENT_TYPE = "content_type"  # a web page with status 200
    INFINITE = "infinite"  # content without end
    COMMENTS = "comments"  # stream comments without end
    LONG_EVENT = "long_event"  # one stream event without end
    BOMB = "bomb"  # a compressed body
    WRONG_USAGE = "wrong_usage"  # absurd token counts
    NO_USAGE = "no_usage"  # no token counts
    REFUSAL = "refusal"  # the model declines
    FILTER = "filter"  # the answer ends for its content
    ERROR_EVENT = "error_event"  # an error inside a stream, or with status 200
    NO_END = "no_end"  # the stream's end marker is missing
    ECHO_KEY = "echo_key"  # the error text repeats the credential it was sent


class Behaviour(msgspec.Struct, frozen=True, kw_only=True):
    """How one request is answered. Rates and delays are in seconds; a `tokens_per_second` of 0 is at once."""

    status: int = 200
    first_byte_seconds: float = 0.0
    tokens_per_second: float = 0.0
    fault: Fault = Fault.NONE
    after: int = 2
    tokens: int = 0
    text: str = ""
    retry_after: str = ""
    seed: int = 0


PRESETS: Final = MappingProxyType(
    {
        "sim-slow": Behaviour(first_byte_seconds=1.0, tokens_per_second=20.0),
        "sim-lively": Behaviour(first_byte_seconds=0.15, tokens_per_second=80.0),
        "sim-long": Behaviour(tokens=2_000),
        "sim-rate-limited": Behaviour(status=429, retry_after="2"),
        **{f"sim-{fault.value.replace('_', '-')}": Behaviour(fault=fault) for fault in Fault if fault != Fault.NONE},
    }
)

_KEYS: Final = MappingProxyType({"delay": "first_byte_seconds", "rate": "tokens_per_second"})


class UnknownBehaviourError(ValueError):
    """The header `x-simulate` names something that does not exist."""


def of_model(model: str) -> Behaviour | None:
    """What a model's name asks for, or None."""
    if model.startswith("sim-error-") and model[10:].isdigit() and 300 <= int(model[10:]) <= 599:
        return Behaviour(status=int(model[10:]))
    return PRESETS.get(model)


def of_header(value: str) -> Behaviour:
    """What `x-simulate` asks for: `name=value` pairs with semicolons, or the name of a preset."""
    if value in PRESETS:
        return PRESETS[value]
    fields: dict[str, str] = {}
    for pair in filter(None, (part.strip() for part in value.split(";"))):
        name, _, text = pair.partition("=")
        name = name.strip()
        fields[_KEYS.get(name, name)] = text.strip()
    try:
        return msgspec.convert(fields, Behaviour, strict=False) if fields.keys() <= _FIELDS else _unknown(value)
    except msgspec.ValidationError:
        return _unknown(value)


_FIELDS: Final = frozenset(Behaviour.__struct_fields__)


def _unknown(value: str) -> Behaviour:
    raise UnknownBehaviourError(f"x-simulate does not understand {value!r}")


class Received(msgspec.Struct, frozen=True):
    """A request as it arrived: header names in lower case."""

    method: str
    path: str
    headers: tuple[Header, ...]
    body: bytes

    def header(self, name: bytes) -> str:
        """The first value of `name`, or the empty text."""
        for key, value in self.headers:
            if key == name:
                return value.decode("latin-1")
        return ""


class Piece(msgspec.Struct, frozen=True):
    """Bytes of a body, to be sent so many seconds after the piece before."""

    data: bytes
    delay: float = 0.0


class Ending(StrEnum):
    """What happens after the last piece."""

    COMPLETE = "complete"
    CUT = "cut"
    RESET = "reset"
    STALL = "stall"


class Plan(msgspec.Struct, frozen=True):
    """An answer to be played. A `status` of 0 means that not even a head is sent. `streamed` bodies are chunked,
    others have a length. `pieces` may have no end."""

    status: int
    headers: tuple[Header, ...]
    pieces: Iterable[Piece]
    streamed: bool = False
    first_byte_seconds: float = 0.0
    ending: Ending = Ending.COMPLETE


SIMULATED: Final[Header] = (b"x-ostiary-simulated", b"true")
_JSON: Final[Header] = (b"content-type", b"application/json")
_SSE: Final = b"text/event-stream; charset=utf-8"


def whole(behaviour: Behaviour, status: int, document: object, headers: Iterable[Header] = ()) -> Plan:
    """An answer of one JSON document."""
    return Plan(
        status,
        (_JSON, SIMULATED, *headers),
        (Piece(msgspec.json.encode(document)),),
        first_byte_seconds=behaviour.first_byte_seconds,
    )


def streamed(
    behaviour: Behaviour, events: Iterable[bytes], headers: Iterable[Header] = (), *, media: bytes = _SSE
) -> Plan:
    """An answer of events, server-sent ones unless `media` says otherwise, at the behaviour's rate."""
    delay = 1.0 / behaviour.tokens_per_second if behaviour.tokens_per_second > 0 else 0.0
    return Plan(
        200,
        ((b"content-type", media), (b"cache-control", b"no-cache"), SIMULATED, *headers),
        (Piece(event, delay if place else 0.0) for place, event in enumerate(events)),
        streamed=True,
        first_byte_seconds=behaviour.first_byte_seconds,
    )


def _first(pieces: Iterable[Piece], count: int) -> Iterator[Piece]:
    for place, piece in enumerate(pieces):
        if place >= count:
            return
        yield piece


def _forever(pieces: Iterable[Piece], count: int, data: bytes) -> Iterator[Piece]:
    yield from _first(pieces, count)
    while True:
        yield Piece(data)


def _malformed(pieces: Iterable[Piece], count: int) -> Iterator[Piece]:
    for place, piece in enumerate(pieces):
        if place == count:
            yield Piece(b'data: {"simulated": tru\n\n')
        yield piece


def spoiled(plan: Plan, behaviour: Behaviour) -> Plan:
    """The plan with the faults that do not depend on the dialect."""
    fault, after, replace = behaviour.fault, behaviour.after, msgspec.structs.replace
    pieces = plan.pieces
    match fault:
        case Fault.DROP:
            return replace(plan, status=0, pieces=(), ending=Ending.CUT)
        case Fault.HANG:
            return replace(plan, status=0, pieces=(), ending=Ending.STALL)
        case Fault.CUT | Fault.RESET | Fault.STALL:
            if not plan.streamed:  # part of the one document
                pieces = (Piece(piece.data[: len(piece.data) // 2], piece.delay) for piece in pieces)
                after = 1
            return replace(plan, pieces=_first(pieces, after), streamed=True, ending=Ending(fault.value))
        case Fault.MALFORMED:
            if plan.streamed:
                return replace(plan, pieces=_malformed(pieces, after))
            return replace(plan, pieces=tuple(Piece(piece.data[:-2]) for piece in pieces))
        case Fault.CONTENT_TYPE:
            page = b"<html><body>This page is simulated.</body></html>"
            return replace(
                plan, headers=((b"content-type", b"text/html"), SIMULATED), pieces=(Piece(page),), streamed=False
            )
        case Fault.COMMENTS:
            return replace(plan, pieces=_forever(pieces, after, b": simulated\n\n"), streamed=True)
        case Fault.LONG_EVENT:
            return replace(plan, pieces=_forever(pieces, after, b"data: " + b"simulated " * 1_000), streamed=True)
        case Fault.BOMB:
            return replace(plan, headers=(*plan.headers, (b"content-encoding", b"gzip")), pieces=(Piece(_bomb()),))
        case _:
            return plan


def _bomb() -> bytes:
    """Sixteen megabytes of nothing, as they are when compressed."""
    return zlib.compress(bytes(16 * 1024 * 1024), 9, wbits=31)
