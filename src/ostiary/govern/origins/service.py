"""Declaring lost a journal whose machine or disk will not return, and what that closes."""

import datetime as dt
from typing import Final

import msgspec

from ostiary.core.error import CallerError, Code
from ostiary.core.event import Outcome
from ostiary.core.limit import ORIGIN_SILENCE_SECONDS
from ostiary.core.port import Clock, Ids
from ostiary.govern.actor import Actor, Permission
from ostiary.govern.change import Change
from ostiary.govern.origins.model import Origin, Retirement
from ostiary.govern.origins.ports import OriginStore
from ostiary.govern.usage.model import Batch, CallRow, OpenCall, Place
from ostiary.govern.usage.ports import UsageView

REASON_CHARS_MAX: Final = 500
LOST_SEGMENT: Final = 2**31 - 1
"""A file number that no journal reaches: where the consumer of a lost origin stands."""

_TRIES: Final = 10
_NS: Final = 1_000_000_000


class Retired(msgspec.Struct, frozen=True):
    """What was retired, how many open calls that closed as aborted, and whether it had been retired before."""

    origin: Origin
    aborted: int
    again: bool


class OriginService:
    """Origins are the installation's, not a tenant's. `consumer` is the projector's name in the view."""

    def __init__(self, store: OriginStore, view: UsageView, clock: Clock, ids: Ids, consumer: str) -> None:
        self._store = store
        self._view = view
        self._clock = clock
        self._ids = ids
        self._consumer = consumer

    def list(self, actor: Actor) -> list[Origin]:
        """Every origin the database has heard of. Raises CallerError auth.forbidden."""
        actor.require(Permission.AUDIT_READ)
        return self._store.list()

    def retire(self, actor: Actor, name: str, reason: str, present: frozenset[str]) -> Retired:
        """Declare an origin lost for good: what it recorded and did not project will never come.

        Its calls that are open in the database are closed there as aborted, without usage or cost: nobody knows it.
        Interrupted, it is to be called again; the first retirement and its reason stay.

        Raises CallerError: object.invalid (no reason; the journal is one of `present`, those on this machine; its
        replica was seen within ORIGIN_SILENCE_SECONDS), object.not_found, auth.forbidden.
        """
        actor.require(Permission.AUDIT_WRITE)
        text = " ".join(reason.split())
        if not 0 < len(text) <= REASON_CHARS_MAX:
            raise CallerError(
                Code.OBJECT_INVALID, f"Say why, in at most {REASON_CHARS_MAX} characters.", param="reason"
            )
        if name in present:
            raise CallerError(
                Code.OBJECT_INVALID,
                f"The journal {name} is on this machine: start Ostiary, which projects it. `ostiary audit set-aside` "
                "takes a damaged one out of use.",
            )
        before = self._find(name)
        now = self._clock.now_ns()
        silent_since = now - int(ORIGIN_SILENCE_SECONDS * _NS)
        change = Change(
            id=self._ids.new(),
            at_ns=now,
            actor=actor.name,
            action="origin.retire",
            tenant="",
            object_id=name,
            detail={"reason": text, "records": before.records},
        )
        retired = self._store.retire(name, Retirement(now, actor.name, text), silent_since, change)
        if retired is None:
            seen = max((now - self._find(name).seen_ns) / _NS, 0.0)
            raise CallerError(
                Code.OBJECT_INVALID,
                f"The replica of {name} was seen {seen:.0f} s ago: it runs. Only one that is gone, and was not seen for "
                f"{ORIGIN_SILENCE_SECONDS:.0f} s, can be declared lost.",
            )
        return Retired(retired, self._close(name, now), again=before.retirement is not None)

    def _find(self, name: str) -> Origin:
        for origin in self._store.list():
            if origin.name == name:
                return origin
        raise CallerError(Code.OBJECT_NOT_FOUND, f"The database knows no journal {name!r}.")

    def _close(self, name: str, at_ns: int) -> int:
        """The open calls become aborted ones and the consumer's place goes beyond any journal's end, in one step; how
        many calls. A replica that comes back after all then finds that its place was taken, and projects nothing that
        was already closed here."""
        for _ in range(_TRIES):
            place = self._view.place(self._consumer, name)
            calls = self._store.open_calls(name)
            if place.segment == LOST_SEGMENT:
                return 0
            beyond = Place(LOST_SEGMENT, 0, place.sequence)
            rows = [_aborted(name, call, at_ns) for call in calls]
            batch = Batch(rows, {}, [call.sequence for call in calls], [], [], [], [])
            if self._view.apply(self._consumer, name, place, beyond, batch):
                return len(calls)
        raise CallerError(Code.OBJECT_INVALID, f"Somebody projects {name} at this moment: its replica runs. Stop it.")


def _aborted(name: str, call: OpenCall, at_ns: int) -> CallRow:
    """Under its opening record's number, which no closing record has."""
    return CallRow(
        origin=name,
        sequence=call.sequence,
        at_ns=at_ns,
        day=dt.datetime.fromtimestamp(at_ns // _NS, dt.UTC).strftime("%Y-%m-%d"),
        tenant=call.tenant,
        environment="",
        team=call.team,
        key_id=call.key_id,
        asked=call.asked,
        served="",
        provider="",
        operation="",
        outcome=Outcome.ABORTED,
        error=Code.CALL_ABORTED,
        request_id=call.request_id,
        whole=True,
    )
