"""One pass of the projector: from records of the journal to rows of the view."""

import datetime as dt
from collections.abc import Iterable
from functools import lru_cache
from itertools import islice
from typing import Final

import msgspec

from ostiary.core.error import OstiaryError
from ostiary.core.event import BudgetAlert, Gap, Kind, Opened, Outcome, Recovered, Unauthenticated
from ostiary.core.limit import PROJECTOR_BATCH_RECORDS
from ostiary.core.usage import Usage
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


class _Cost(msgspec.Struct, frozen=True):
    nano: int
    currency: str = "USD"
    estimated: bool = False


class _Times(msgspec.Struct, frozen=True):
    total_ms: float = 0.0
    first_content_ms: float = 0.0


class _Closing(msgspec.Struct, frozen=True):
    """What the view keeps of a closing record; the names are `core.event.Closed`'s. Reading no more than this costs a
    third less, and this is done for every call."""

    request_id: str
    at_ns: int
    opened: int
    outcome: Outcome
    tenant: str = ""
    environment: str = ""
    team: str = ""
    key_id: str = ""
    original_model: str = ""
    request_model: str = ""
    provider: str = ""
    operation: str = ""
    status: int = 0
    error: str = ""
    stream: bool = False
    usage: Usage = Usage()
    usage_estimated: bool = False
    cost: _Cost | None = None
    timings: _Times = _Times()


_CLOSING: Final = msgspec.json.Decoder(_Closing)
_CLOSINGS: Final = (Kind.CLOSED, Kind.DENIED)


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
        if entry.sequence < 0:
            continue
        if entry.kind == Kind.OPENED:
            opening[entry.sequence] = entry
            continue
        try:
            if entry.kind in _CLOSINGS:
                closed = _CLOSING.decode(entry.payload)
                if opening.pop(closed.opened, None) is None and closed.opened >= 0:
                    batch.closed.append(closed.opened)
                batch.calls.append(_call_row(origin, entry.sequence, closed))
                continue
            value = record.decode(entry.kind, entry.payload)
        except (ValueError, msgspec.DecodeError):
            batch.unreadable.append((entry.sequence, entry.kind))
            continue
        if isinstance(value, Unauthenticated):
            batch.refusals.append(value)
        elif isinstance(value, Gap):
            batch.gaps.append((entry.sequence, value))
        elif isinstance(value, Recovered):
            batch.recoveries.append((entry.sequence, value))
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


def _call_row(origin: str, sequence: int, closed: _Closing) -> CallRow:
    usage, cost = closed.usage, closed.cost
    return CallRow(
        origin=origin,
        sequence=sequence,
        at_ns=closed.at_ns,
        day=day_of(closed.at_ns),
        tenant=closed.tenant,
        environment=closed.environment,
        team=closed.team,
        key_id=closed.key_id,
        asked=closed.original_model,
        served=closed.request_model,
        provider=closed.provider,
        operation=closed.operation,
        outcome=closed.outcome,
        status=closed.status,
        error=closed.error,
        stream=closed.stream,
        input_tokens=_bounded(usage.input_tokens, _TOKENS_MAX),
        output_tokens=_bounded(usage.output_tokens, _TOKENS_MAX),
        cached_tokens=_bounded(usage.cached_tokens, _TOKENS_MAX),
        cache_write_tokens=_bounded(usage.cache_write_tokens, _TOKENS_MAX),
        reasoning_tokens=_bounded(usage.reasoning_tokens, _TOKENS_MAX),
        estimated=closed.usage_estimated or (cost is not None and cost.estimated),
        cost_nano=0 if cost is None else _bounded(cost.nano, _NANO_MAX),
        currency="" if cost is None else cost.currency,
        total_ms=closed.timings.total_ms,
        first_content_ms=closed.timings.first_content_ms,
        request_id=closed.request_id,
        cache_write_1h_tokens=_bounded(usage.cache_write_1h_tokens, _TOKENS_MAX),
        input_audio_tokens=_bounded(usage.input_audio_tokens, _TOKENS_MAX),
        output_audio_tokens=_bounded(usage.output_audio_tokens, _TOKENS_MAX),
        input_image_tokens=_bounded(usage.input_image_tokens, _TOKENS_MAX),
        output_image_tokens=_bounded(usage.output_image_tokens, _TOKENS_MAX),
        images=_bounded(usage.images, _TOKENS_MAX),
        audio_milliseconds=_bounded(usage.audio_milliseconds, _TOKENS_MAX),
        characters=_bounded(usage.characters, _TOKENS_MAX),
        search_units=_bounded(usage.search_units, _TOKENS_MAX),
        whole=True,
    )


def day_of(at_ns: int) -> str:
    """The UTC day of a wall-clock time, YYYY-MM-DD."""
    return _day(at_ns // (86_400 * 1_000_000_000))


@lru_cache(maxsize=64)
def _day(days: int) -> str:
    return (dt.date(1970, 1, 1) + dt.timedelta(days=days)).isoformat()


def _bounded(value: int, most: int) -> int:
    return value if 0 <= value <= most else min(max(value, 0), most)
