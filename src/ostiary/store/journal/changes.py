"""The ops process's own chain: operators' changes, each recorded once.

Who delivers changes may die after a record was written and before that is known elsewhere, and then gives the same ones
again. The chain itself is what tells: where a change's number is not beyond all that stand in it, the chain is looked
through for its id, and what it holds is not written a second time.
"""

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, final

import msgspec

from ostiary.core.error import Code, GatewayError, OstiaryError
from ostiary.core.event import Changed, Kind
from ostiary.core.limit import JOURNAL_CHANGES_SEGMENT_BYTES, JOURNAL_RECORD_BYTES_MAX
from ostiary.core.port import Clock
from ostiary.gateway.audit import record
from ostiary.store.journal.disk import Disk
from ostiary.store.journal.layout import OPS_SLOT, START, origins
from ostiary.store.journal.opening import Opened, open_journal
from ostiary.store.journal.reader import read

_LEFT_OUT: Final = {"left_out": "longer than a record may be; the outbox of changes has it"}
_SLOTS: Final = 1_000


class _Named(msgspec.Struct, frozen=True):
    """What tells one change from another; the names are `core.event.Changed`'s."""

    id: str
    number: int


_NAMED: Final = msgspec.json.Decoder(_Named)


@final
class ChangeJournal:
    """The chain `<replica>.999` under `root`, opened when it is first needed. For one thread at a time, never a loop's."""

    def __init__(self, root: Path, replica: str, disk: Disk, clock: Clock) -> None:
        self._root = root
        self._replica = replica
        self._disk = disk
        self._clock = clock
        self._opened: Opened | None = None
        self._highest = 0
        self._latest: frozenset[str] = frozenset()

    def open(self) -> None:
        """Have the chain open, and know how far it goes. Raises OperatorError: journal.corrupt, store.unavailable."""
        if self._opened is not None:
            return
        opened = open_journal(
            self._root,
            self._replica,
            disk=self._disk,
            clock=self._clock,
            durability="disk",
            slot=OPS_SLOT,
            segment_bytes=JOURNAL_CHANGES_SEGMENT_BYTES,
        )
        try:
            self._highest = max((one.number for one in self._recorded(opened.origin)), default=0)
        except BaseException:
            opened.journal.close()
            raise
        self._opened = opened

    def write(self, changes: Sequence[Changed]) -> None:
        """Record those that are not recorded yet, in this order; on return all are on the device.

        Raises GatewayError audit.unavailable, OperatorError as `open`: some may be recorded then, and are not again once
        the chain was closed and opened.
        """
        self.open()
        assert self._opened is not None
        writer = self._opened.writer
        known = self._known(changes, self._opened.origin)
        last = -1
        for change in changes:
            if change.id in known:
                continue
            payload = _payload(change)
            try:
                receipt = writer.append(Kind.CHANGE, payload)
            except GatewayError:
                # The file is full, or failed before: once it is synced or repaired, and the next one is there, again.
                writer.work()
                receipt = writer.append(Kind.CHANGE, payload)
            last = receipt.sequence
        while last >= 0 and not writer.synced(last):
            if writer.work() is not None:
                raise GatewayError(Code.AUDIT_UNAVAILABLE, "The audit journal was not confirmed by its device.")
        self._latest = frozenset(change.id for change in changes)
        self._highest = max(self._highest, *(change.number for change in changes), 0)

    def close(self) -> None:
        """Let go of the chain; the next `write` opens it again."""
        opened, self._opened = self._opened, None
        self._latest = frozenset()
        if opened is not None:
            opened.journal.close()

    def _known(self, changes: Sequence[Changed], own: str) -> frozenset[str]:
        """Which of these the chain holds."""
        if all(change.number > self._highest for change in changes):
            return frozenset()
        asked = frozenset(change.id for change in changes)
        # The latest are not looked for on disk: a mark that could not be written holds readers back.
        return (asked & self._latest) | {one.id for one in self._recorded(own) if one.id in asked}

    def _recorded(self, own: str) -> Iterator[_Named]:
        """The changes in this replica's chain, and in those set aside before it as far as they can be read."""
        for origin in origins(self._root):
            replica, _, slot = origin.rpartition(".")
            if replica != self._replica or int(slot) % _SLOTS != OPS_SLOT:
                continue
            with contextlib.nullcontext() if origin == own else contextlib.suppress(OstiaryError, OSError):
                for entry in read(self._root / origin, START):
                    if entry.kind == Kind.CHANGE:
                        yield _NAMED.decode(entry.payload)


def _payload(change: Changed) -> bytes:
    payload = record.encode(change)
    if len(payload) <= JOURNAL_RECORD_BYTES_MAX:
        return payload
    return record.encode(msgspec.structs.replace(change, detail=dict(_LEFT_OUT)))
