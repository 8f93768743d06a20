"""One pass of the projector: from records of the journal to rows of the view."""

import datetime as dt
from collections.abc import Iterable
from functools import lru_cache
from itertools import islice
from typing import Annotated, Final

import msgspec

from ostiary.core.error import OstiaryError
from ostiary.core.event import BudgetAlert, Closed, Gap, Kind, Opened, Outcome, Recovered, Unauthenticated
from ostiary.core.limit import PROJECTOR_BATCH_RECORDS
from ostiary.core.usage import Nano, Usage
from ostiary.gateway.audit import record
from ostiary.govern.usage.model import Batch, CallRow, OpenCall, Place
from ostiary.govern.usage.ports import UsageView
from ostiary.projector.ports import JournalSource
from ostiary.store.journal.layout import Position
from ostiary.store.journal.reader import Entry

CONSUMER: Final = "usage"

# What a hostile provider reports must not overflow the sums of a day: a number no honest call reaches.
_TOKENS_MAX: Final = 2**40
_NANO_MAX: Final = 2**53

_Count = Annotated[int, msgspec.Meta(ge=0, le=_TOKENS_MAX)]
_Money = Annotated[int, msgspec.Meta(ge=0, le=_NANO_MAX)]


class _Cost(msgspec.Struct, frozen=True):
    nano: _Money
    currency: str = "USD"
    estimated: bool = False


class _Times(msgspec.Struct, frozen=True):
    first_content_ms: float = 0.0
    total_ms: float = 0.0


class _Kinds(msgspec.Struct, frozen=True):
    input_tokens: _Count = 0
    output_tokens: _Count = 0
    cached_tokens: _Count = 0
    cache_write_tokens: _Count = 0
    cache_write_1h_tokens: _Count = 0
    reasoning_tokens: _Count = 0
    input_audio_tokens: _Count = 0
    output_audio_tokens: _Count = 0
    input_image_tokens: _Count = 0
    images: _Count = 0
    audio_milliseconds: _Count = 0
    characters: _Count = 0
    search_units: _Count = 0
    output_image_tokens: _Count = 0


class _Closing(msgspec.Struct, frozen=True):
    """What the view keeps of a closing record, each number within its bound; the names are `core.event.Closed`'s, in the
    order they are written in. Reading no more than this costs half, and this is done for every call."""

    request_id: str
    at_ns: int
    opened: int
    outcome: Outcome
    tenant: str = ""
    team: str = ""
    environment: str = ""
    key_id: str = ""
    operation: str = ""
    stream: bool = False
    end_user: str = ""
    feature: str = ""
    original_model: str = ""
    request_model: str = ""
    provider: str = ""
    status: int = 0
    error: str = ""
    timings: _Times = _Times()
    usage: _Kinds = _Kinds()
    usage_estimated: bool = False
    cost: _Cost | None = None
    project: str = ""


_CLOSING: Final = msgspec.json.Decoder(_Closing)
# Plain numbers: an enumeration's name is looked up for every record.
_OPENED: Final = int(Kind.OPENED)
_CLOSINGS: Final = (int(Kind.CLOSED), int(Kind.DENIED))


def project_origin(source: JournalSource, view: UsageView, origin: str) -> int:
    """Bring the view up to the end of one origin; the number of records consumed.

    Raises OperatorError: journal.corrupt where a record cannot be read (what came before it is projected),
    store.unavailable. Returns early, having lost nothing, where another projector moved the same consumer.
    """
    consumed = 0
    place = view.place(CONSUMER, origin)
    entries = source.read(origin, Position(place.segment, place.offset, place.sequence))
    while True:
        read: list[Entry] = []
        failure: OstiaryError | None = None
        try:
            # Extended one by one: what was read before a damaged record is projected before the damage is told.
            read.extend(islice(entries, PROJECTOR_BATCH_RECORDS))
        except OstiaryError as error:
            failure = error
        if read:
            end = read[-1].after
            after = Place(end.segment, end.offset, end.sequence)
            if not view.apply(CONSUMER, origin, place, after, fold(origin, read)):
                return consumed
            consumed += len(read)
            place = after
        if failure is not None:
            raise failure
        if not read:
            return consumed


def fold(origin: str, entries: Iterable[Entry]) -> Batch:
    """What these records add to the view. Pure. Unknown kinds add nothing."""
    batch = Batch([], {}, [], [], [], [], [])
    # Most calls open and close within one stretch: their opening records need not be decoded at all.
    opening: dict[int, Entry] = {}
    for entry in entries:
        sequence, kind = entry.sequence, entry.kind
        if sequence < 0:
            continue
        if kind == _OPENED:
            opening[sequence] = entry
            continue
        try:
            if kind in _CLOSINGS:
                closed = _closing(entry.payload)
                if opening.pop(closed.opened, None) is None and closed.opened >= 0:
                    batch.closed.append(closed.opened)
                batch.calls.append(_call_row(origin, sequence, closed))
                continue
            value = record.decode(kind, entry.payload)
        except (ValueError, msgspec.DecodeError):
            batch.unreadable.append((sequence, kind))
            continue
        if isinstance(value, Unauthenticated):
            batch.refusals.append(value)
        elif isinstance(value, Gap):
            batch.gaps.append((sequence, value))
        elif isinstance(value, Recovered):
            batch.recoveries.append((sequence, value))
        elif isinstance(value, BudgetAlert):
            batch.alerts.append(value)
    for sequence, entry in opening.items():
        try:
            value = record.decode(entry.kind, entry.payload)
        except ValueError:
            batch.unreadable.append((sequence, entry.kind))
            continue
        assert isinstance(value, Opened)
        batch.opened[sequence] = _open_call(sequence, value)
    return batch


def _open_call(sequence: int, opened: Opened) -> OpenCall:
    return OpenCall(
        sequence=sequence,
        at_ns=opened.at_ns,
        tenant=opened.tenant,
        team=opened.team,
        key_id=opened.key_id,
        asked=opened.original_model,
        request_id=opened.request_id,
    )


def _closing(payload: bytes) -> _Closing:
    """Raises ValueError or DecodeError where it is no closing record."""
    try:
        return _CLOSING.decode(payload)
    except msgspec.ValidationError:
        closed = record.decode(Kind.CLOSED, payload)
        assert isinstance(closed, Closed)
        return _CLOSING.decode(record.encode(_bounded(closed)))


def _bounded(closed: Closed) -> Closed:
    usage = Usage(*(min(max(count, 0), _TOKENS_MAX) for count in msgspec.structs.astuple(closed.usage)))
    cost = closed.cost
    if cost is not None:
        cost = msgspec.structs.replace(cost, nano=Nano(min(max(cost.nano, 0), _NANO_MAX)))
    return msgspec.structs.replace(closed, usage=usage, cost=cost)


def _call_row(origin: str, sequence: int, closed: _Closing) -> CallRow:
    usage, cost, timings = closed.usage, closed.cost, closed.timings
    # By their places: to be told each value's name costs more than all the rest.
    return CallRow(
        origin,
        sequence,
        closed.at_ns,
        day_of(closed.at_ns),
        closed.tenant,
        closed.environment,
        closed.team,
        closed.key_id,
        closed.original_model,
        closed.request_model,
        closed.provider,
        closed.operation,
        str(closed.outcome),
        closed.status,
        closed.error,
        int(closed.stream),
        usage.input_tokens,
        usage.output_tokens,
        usage.cached_tokens,
        usage.cache_write_tokens,
        usage.reasoning_tokens,
        int(closed.usage_estimated or (cost is not None and cost.estimated)),
        0 if cost is None else cost.nano,
        "" if cost is None else cost.currency,
        timings.total_ms,
        timings.first_content_ms,
        closed.request_id,
        usage.cache_write_1h_tokens,
        usage.input_audio_tokens,
        usage.output_audio_tokens,
        usage.input_image_tokens,
        usage.output_image_tokens,
        usage.images,
        usage.audio_milliseconds,
        usage.characters,
        usage.search_units,
        1,
        closed.project,
        closed.feature,
        closed.end_user,
    )


def day_of(at_ns: int) -> str:
    """The UTC day of a wall-clock time, YYYY-MM-DD."""
    return _day(at_ns // (86_400 * 1_000_000_000))


@lru_cache(maxsize=64)
def _day(days: int) -> str:
    return (dt.date(1970, 1, 1) + dt.timedelta(days=days)).isoformat()
