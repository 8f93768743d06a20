"""Appending to one chain. Synchronous and without threads or timers: `syncer.Syncer` drives `sync`, `repair` and
`prepare` from a thread of its own, a test drives them by hand.

State, under one lock that is never held during a sync:

    open     records go to `_segment` at `_end`; what is between `_synced` and `_end` is kept in `_pending` too
    failed   a write or a sync failed: appends are refused; `repair` writes `_pending` into a new file
    closed   for ever

A write that fails may have reached the file in part, in whole or not at all, and a sync that fails may have thrown
pages away, so neither is tried again on that file. `repair` builds the next file aside: its first record says that
the failed one ends at `_synced`, then come the pending records with their numbers unchanged; it is synced and only
then renamed into place. Whoever looks, at any moment, finds every acknowledged record exactly once.

In `process` durability `append` copies into the page cache of space allocated before, on the calling thread. The
kernel may make even that wait, while it throttles writers to a slow device; the bounds on unsynced bytes and on the
age of the oldest of them refuse appends long before a healthy machine gets there.
"""

import contextlib
import errno
import threading
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import msgspec

from ostiary.core.error import Code, GatewayError
from ostiary.core.event import SCHEMA_VERSION, Gap, Kind
from ostiary.core.limit import (
    EXCHANGES_MAX,
    JOURNAL_RECORD_BYTES_MAX,
    JOURNAL_SEGMENT_BYTES,
    JOURNAL_STALL_SECONDS_MAX,
    JOURNAL_UNSYNCED_BYTES_MAX,
)
from ostiary.core.port import Clock
from ostiary.gateway.audit import frame, record
from ostiary.gateway.ports import Receipt
from ostiary.store.journal.disk import Disk
from ostiary.store.journal.layout import (
    MARK_NAME,
    MARK_SLOT_BYTES,
    MARK_SLOTS,
    NEXT_NAME,
    Mark,
    Position,
    encode_mark,
    segment_path,
)

_OPENED: Final = Kind.OPENED
_CLOSING: Final = frozenset((Kind.CLOSED, Kind.DENIED))
_RETRY_SECONDS: Final = 1.0
_NEVER: Final = float("inf")


class Record(msgspec.Struct, frozen=True):
    """A record before it has a place."""

    kind: int
    payload: bytes


class _Segment(msgspec.Struct, frozen=True):
    number: int
    fd: int
    size: int


class Plan(msgspec.Struct, frozen=True):
    """What a writer starts from: its origin and directory, the sound end found there, whether anything stands beyond
    that end, the records recovery adds, and the bounds."""

    origin: str
    directory: Path
    end: Mark
    abandoned: bool
    records: tuple[Record, ...]
    durability: str = "process"
    segment_bytes: int = JOURNAL_SEGMENT_BYTES
    unsynced_bytes_max: int = JOURNAL_UNSYNCED_BYTES_MAX
    stall_seconds_max: float = JOURNAL_STALL_SECONDS_MAX


class Writer:
    """One chain being written. `append` belongs to one thread, `sync`, `repair` and `prepare` to another.

    Constructing it writes the first file of a new epoch and syncs it: OSError where that fails, and nothing of it
    is then in the chain. `wake` is called when the other thread has something to do, `on_synced` by that thread
    when the mark has moved.
    """

    def __init__(self, plan: Plan, disk: Disk, clock: Clock, wake: Callable[[], None] = lambda: None) -> None:
        self.origin = plan.origin
        self.durability = plan.durability
        self.on_synced: Callable[[], None] = lambda: None
        self._wake = wake
        self._plan = plan
        self._disk = disk
        self._clock = clock
        self._directory = plan.directory
        self._epoch = plan.end.epoch + 1
        self._boot = disk.boot()
        self._lock = threading.Lock()
        self._refusal = ""
        self._failed = False
        self._closed = False
        self._armed = False
        self._stalled_at = _NEVER  # when the oldest unsynced record will have waited for too long
        self._pending: deque[Record] = deque()
        self._open_calls: dict[int, None] = {}
        self._deferred: deque[Record] = deque()
        self._retired: _Segment | None = None
        self._spare: _Segment | None = None
        self._unsynced_bytes = 0
        self._slowest_sync = 0.0
        self.last_sync_seconds = 0.0
        self._torn: tuple[int, int] | None = None
        self._synced = plan.end
        self._segment, end = self._build(plan.end, plan.records, abandoned=plan.abandoned)
        self._offset, self._sequence, self._link = end.offset, end.sequence, end.link
        self._synced = end
        self._mark_due = True
        self._mark_slot = 0
        try:
            path = self._directory / MARK_NAME
            self._mark_fd = disk.open(path, fresh=not path.exists())
            for _ in range(MARK_SLOTS):
                self._write_mark()
            disk.fdatasync(self._mark_fd)
            disk.sync_dir(self._directory)
            self._check_mark_written()
        except OSError:
            self._close(self._segment.fd)
            raise

    # --- the appending thread

    def append(self, kind: Kind, payload: bytes, closes: int | None = None) -> Receipt:
        """Port `Journal.append`; see there for the promise."""
        with self._lock:
            now = self._clock.monotonic()
            if self._refusal or now > self._stalled_at or self._unsynced_bytes > self._plan.unsynced_bytes_max:
                raise self._unavailable()
            data, link = frame.encode(self._link, kind, SCHEMA_VERSION, payload)
            segment, offset, size = self._segment, self._offset, len(data)
            if offset + size > segment.size:
                self._rotate()
                data, link = frame.encode(self._link, kind, SCHEMA_VERSION, payload)
                segment, offset = self._segment, self._offset
            try:
                written: int | OSError = self._disk.pwrite(segment.fd, data, offset)
            except OSError as error:
                written = error
            if written != size:
                raise self._unwritten(written, segment.fd, offset, size)
            self._offset = offset + size
            sequence = self._sequence
            self._sequence = sequence + 1
            self._link = link
            self._unsynced_bytes += size
            self._pending.append(Record(kind, payload))
            if kind == _OPENED:
                self._open_calls[sequence] = None
            elif closes is not None:
                self._open_calls.pop(closes, None)
            elif kind in _CLOSING:
                self._open_calls.pop(record.closes(payload), None)
            armed = self._armed
            if not armed:  # where nothing waits for the device, nothing is armed either
                self._armed = True
                if self._stalled_at == _NEVER:
                    self._stalled_at = now + self._plan.stall_seconds_max
        if not armed:
            self._wake()
        return Receipt(self.origin, sequence)

    def defer(self, kind: Kind, payload: bytes) -> None:
        """Append now, or as soon as the journal can be written again; for the closing record of an open call.

        Until it is written it is held in memory: if the process dies first, recovery closes the call as aborted.
        Raises GatewayError audit.unavailable where as many are waiting as calls may be open at once.
        """
        if not self._deferred:
            with contextlib.suppress(GatewayError):
                self.append(kind, payload)
                return
        if len(self._deferred) >= EXCHANGES_MAX:
            raise GatewayError(Code.AUDIT_UNAVAILABLE, "Too many closing records wait for the audit journal.")
        self._deferred.append(Record(kind, payload))
        self._wake()

    def gap(self, from_ns: int, to_ns: int, calls: int, reason: str) -> Receipt:
        """Record that `calls` calls went on without records between two wall-clock times. Raises as `append`."""
        return self.append(Kind.GAP, record.encode(Gap(from_ns, to_ns, calls, reason)))

    def healthy(self) -> bool:
        """Port `Journal.healthy`."""
        if self._refusal or self._behind():
            return False
        return self._spare is not None or self._offset + JOURNAL_RECORD_BYTES_MAX <= self._segment.size

    def _behind(self) -> str:
        if self._clock.monotonic() > self._stalled_at:
            return "the device has not confirmed writes for too long"
        if self._unsynced_bytes > self._plan.unsynced_bytes_max:
            return "too many bytes wait for the device"
        return ""

    def _unavailable(self) -> GatewayError:
        reason = self._refusal or self._behind()
        return GatewayError(Code.AUDIT_UNAVAILABLE, f"The audit journal cannot be written: {reason}.")

    def _unwritten(self, written: int | OSError, fd: int, offset: int, size: int) -> GatewayError:
        """Give up a file of whose `size` bytes only so many were `written`, or none; what to raise."""
        self._fail(f"a write failed ({written.strerror})" if isinstance(written, OSError) else "a write was cut short")
        if fd == self._segment.fd:
            self._torn = (offset, size)
        self._wake()
        return self._unavailable()

    def _fail(self, reason: str) -> None:
        self._refusal = reason
        self._failed = True

    def _rotate(self) -> None:
        """Go on in the file prepared. The one before is synced by the other thread, before the mark moves on."""
        spare = self._spare
        if spare is None:
            self._wake()
            raise GatewayError(Code.AUDIT_UNAVAILABLE, "The audit journal has no space allocated to go on.")
        started = self._started(spare.number, self._here(), abandoned=False)
        data, link = frame.encode(self._link, Kind.SEGMENT, SCHEMA_VERSION, record.encode(started))
        try:
            written: int | OSError = self._disk.pwrite(spare.fd, data, 0)
        except OSError as error:
            written = error
        if written != len(data):
            raise self._unwritten(written, spare.fd, 0, len(data))
        self._retired, self._segment, self._spare = self._segment, spare, None
        self._offset, self._link = len(data), link

    def place(self) -> Position:
        """Where the next record will stand."""
        return Position(self._segment.number, self._offset, self._sequence)

    def lag(self) -> tuple[int, float]:
        """Bytes not yet known to be on the device, and the longest the device took for a sync since this was last
        asked, in seconds."""
        slowest, self._slowest_sync = self._slowest_sync, 0.0
        return self._unsynced_bytes, slowest

    # --- the other thread

    def due(self) -> bool:
        """Whether `work` has something to do."""
        unsynced = self._unsynced_bytes > 0
        return self._failed or self._spare is None or unsynced or self._mark_due or bool(self._deferred)

    def work(self) -> float | None:
        """Do what is due. Seconds after which to try again what failed, or None where nothing did."""
        done = (not self._failed and self.sync()) or self.repair()
        done = self.prepare() and done
        return None if done else _RETRY_SECONDS

    def sync(self) -> bool:
        """Bring everything appended so far onto the device; False where that failed."""
        with self._lock:
            self._armed = False
            mark, retired, bytes_ = self._here(), self._retired, self._unsynced_bytes
            segment = self._segment
            started = self._clock.monotonic()
        if mark != self._synced:
            try:
                if retired is not None:
                    self._disk.fdatasync(retired.fd)
                self._disk.fdatasync(segment.fd)
            except OSError as error:
                with self._lock:
                    self._fail(f"a sync failed ({error.strerror})")
                return False
            self.last_sync_seconds = self._clock.monotonic() - started
            self._slowest_sync = max(self._slowest_sync, self.last_sync_seconds)
            with self._lock:
                for _ in range(mark.sequence - self._synced.sequence):
                    self._pending.popleft()
                self._synced = mark
                self._unsynced_bytes -= bytes_
                since = started if self._unsynced_bytes else _NEVER
                self._stalled_at = since + self._plan.stall_seconds_max
                if retired is not None:
                    self._retired = None
            self._mark_due = True
            if retired is not None:
                self._close(retired.fd)
        if self._mark_due:
            self._write_mark()
            self.on_synced()
        self._append_deferred()
        return True

    def prepare(self) -> bool:
        """Have the next file allocated; False where that failed. Waits until the file before this one is synced, so
        that never more than two files hold unsynced records."""
        if self._spare is not None or self._retired is not None or self._failed or self._closed:
            return True
        number = self._segment.number + 1
        try:
            fd = self._create(self._plan.segment_bytes)
            try:
                self._disk.fdatasync(fd)
                self._disk.rename(self._directory / NEXT_NAME, segment_path(self._directory, number))
                self._disk.sync_dir(self._directory)
            except OSError:
                self._close(fd)
                raise
        except OSError:
            return False
        with self._lock:
            self._spare = _Segment(number, fd, self._plan.segment_bytes)
        return True

    def repair(self) -> bool:
        """After a failure: write what is not known to be on the device into a new file and go on there.

        False where the disk still fails; the journal then goes on refusing and repair may be called again.
        """
        if not self._failed or self._closed:
            return True
        base, failed, spare = self._synced, (self._segment, self._retired), self._spare
        if self._torn is not None:
            # So that a crash now leaves no whole record that was refused. The file is given up either way.
            offset, size = self._torn
            with contextlib.suppress(OSError):
                self._disk.pwrite(self._segment.fd, bytes(size), offset)
            self._torn = None
        try:
            if spare is not None and spare.number > base.segment + 1:
                self._disk.unlink(segment_path(self._directory, spare.number))
            segment, end = self._build(base, tuple(self._pending), abandoned=True)
        except OSError:
            return False
        with self._lock:
            self._segment, self._retired, self._spare = segment, None, None
            self._offset, self._sequence, self._link = end.offset, end.sequence, end.link
            self._synced = end
            self._unsynced_bytes = 0
            self._pending.clear()
            self._stalled_at, self._armed = _NEVER, False
            self._mark_due = True
            self._failed = False
            self._refusal = ""
        for old in (*failed, spare):
            if old is not None:
                self._close(old.fd)
        self._write_mark()
        self.on_synced()
        self._append_deferred()
        return True

    def synced(self, sequence: int) -> bool:
        """Whether record `sequence` is on the device."""
        return sequence < self._synced.sequence

    @property
    def open_calls(self) -> int:
        """How many opening records have no closing one yet."""
        return len(self._open_calls)

    def close(self) -> bool:
        """Sync, give back unused space and the descriptors, refuse from now on. False where not all is synced."""
        done = self.sync() if not self._failed else self.repair()
        with self._lock:
            self._refusal, self._closed = "it is closed", True
        if done:
            with contextlib.suppress(OSError):
                self._disk.truncate(self._segment.fd, self._offset)
                if self._spare is not None:
                    self._disk.unlink(segment_path(self._directory, self._spare.number))
                self._disk.fdatasync(self._mark_fd)
        for held in (self._segment, self._retired, self._spare):
            if held is not None:
                self._close(held.fd)
        self._close(self._mark_fd)
        return done

    # --- files

    def _here(self) -> Mark:
        return Mark(self._epoch, self._segment.number, self._offset, self._sequence, self._link)

    def _started(self, number: int, before: Mark, *, abandoned: bool) -> record.SegmentStarted:
        return record.SegmentStarted(
            format=record.SEGMENT_FORMAT,
            origin=self.origin,
            epoch=self._epoch,
            segment=number,
            first_sequence=before.sequence,
            previous_link=before.link.hex(),
            previous_bytes=before.offset,
            at_ns=self._clock.now_ns(),
            open_floor=min(next(iter(self._open_calls), before.sequence), before.sequence),
            boot=self._boot,
            abandoned=abandoned,
        )

    def _build(self, before: Mark, records: Sequence[Record], *, abandoned: bool) -> tuple[_Segment, Mark]:
        """A file that continues `before` with `records`, synced and in place; on OSError the chain is as it was."""
        number = before.segment + 1
        started = self._started(number, before, abandoned=abandoned)
        data, link = frame.encode(before.link, Kind.SEGMENT, SCHEMA_VERSION, record.encode(started))
        frames = [data]
        for item in records:
            data, link = frame.encode(link, item.kind, SCHEMA_VERSION, item.payload)
            frames.append(data)
        content = b"".join(frames)
        size = max(self._plan.segment_bytes, len(content) + self._plan.segment_bytes // 2)
        fd = self._create(size)
        try:
            self._put_whole(fd, content)
            self._disk.fdatasync(fd)
            self._disk.rename(self._directory / NEXT_NAME, segment_path(self._directory, number))
            self._disk.sync_dir(self._directory)
        except OSError:
            self._close(fd)
            raise
        end = Mark(self._epoch, number, len(content), before.sequence + len(records), link)
        return _Segment(number, fd, size), end

    def _put_whole(self, fd: int, content: bytes) -> None:
        if self._disk.pwrite(fd, content, 0) != len(content):
            raise OSError(errno.EIO, "a write was cut short")

    def _create(self, size: int) -> int:
        fd = self._disk.open(self._directory / NEXT_NAME, fresh=True)
        try:
            self._disk.allocate(fd, size)
        except OSError:
            self._close(fd)
            # Half an allocation would keep the disk full.
            with contextlib.suppress(OSError):
                self._disk.unlink(self._directory / NEXT_NAME)
            raise
        return fd

    def _write_mark(self) -> None:
        """A mark that cannot be written holds readers back and is tried again; no record is at risk."""
        data = encode_mark(self._synced)
        with contextlib.suppress(OSError):
            if self._disk.pwrite(self._mark_fd, data, self._mark_slot * MARK_SLOT_BYTES) == len(data):
                self._mark_slot = (self._mark_slot + 1) % MARK_SLOTS
                self._mark_due = False

    def _check_mark_written(self) -> None:
        if self._mark_due:
            raise OSError(errno.EIO, "the mark could not be written")

    def _append_deferred(self) -> None:
        while self._deferred:
            first = self._deferred[0]
            try:
                self.append(Kind(first.kind), first.payload)
            except GatewayError:
                return
            self._deferred.popleft()

    def _close(self, fd: int) -> None:
        with contextlib.suppress(OSError):
            self._disk.close(fd)
