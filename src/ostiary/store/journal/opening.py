"""Opening an origin: lock it, recover what a crash left, start a new epoch."""

import threading
from pathlib import Path
from typing import Final

import msgspec

from ostiary.core.error import Code, OperatorError
from ostiary.core.event import Kind, Recovered
from ostiary.core.limit import JOURNAL_SEGMENT_BYTES
from ostiary.core.port import Clock
from ostiary.gateway.audit import record
from ostiary.store.journal.disk import Disk
from ostiary.store.journal.layout import LOCK_NAME, Mark, load_mark, origin_name, origins, set_aside
from ostiary.store.journal.recovery import recover
from ostiary.store.journal.syncer import SyncedJournal
from ostiary.store.journal.writer import Plan, Record, Writer

_SLOTS_MAX: Final = 1_000
_LINEAGES_MAX: Final = 10


class Opened(msgspec.Struct, frozen=True):
    """An open journal and what recovery found: its writer, bytes left out at the tail, calls closed as aborted."""

    journal: SyncedJournal
    writer: Writer
    origin: str
    bytes_cut: int
    aborted: int


def open_journal(
    root: Path,
    replica: str,
    *,
    disk: Disk,
    clock: Clock,
    durability: str = "process",
    slot: int | None = None,
    segment_bytes: int = JOURNAL_SEGMENT_BYTES,
) -> Opened:
    """Open origin `<replica>.<slot>` under `root` (slot None: the first one nobody holds) for writing.

    Reads and syncs files: call it before the loop runs. The journal's thread is not started yet. What a crash left
    open is closed as aborted in the same atomic step that starts the new epoch, so a crash here changes nothing.
    Raises OperatorError journal.corrupt where the chain is damaged beyond what recovery may leave out,
    store.unavailable where the slot is held by another process or the disk fails.
    """
    try:
        disk.make_dir(root)
        origin, lock_fd = _acquire(root, replica, slot, disk)
        try:
            return _open(
                root / origin,
                lock_fd,
                disk=disk,
                clock=clock,
                durability=durability,
                segment_bytes=segment_bytes,
            )
        except BaseException:
            disk.close(lock_fd)
            raise
    except OSError as error:
        raise OperatorError(
            Code.STORE_UNAVAILABLE, f"The journal under {root} cannot be opened: {error.strerror or error}."
        ) from error


def recover_idle(root: Path, *, disk: Disk, clock: Clock) -> list[Opened]:
    """Open and close every origin under `root` that nobody holds and that was left by a crash, so that the calls
    open in it get their closing records even if no worker takes the slot again, and so that its last records, sound
    but not yet below the mark, come before readers at all. Raises as `open_journal`."""
    done: list[Opened] = []
    for origin in origins(root):
        replica, _, slot = origin.rpartition(".")
        if set_aside(root / origin):
            continue
        try:
            lock_fd = disk.lock(root / origin / LOCK_NAME)
        except BlockingIOError:
            continue
        try:
            found = recover(root / origin, origin, disk.boot())
            unread = (load_mark(root / origin) or Mark()).position < found.end.position
        finally:
            disk.close(lock_fd)
        if found.open_calls or found.bytes_cut or unread:
            opened = open_journal(root, replica, disk=disk, clock=clock, slot=int(slot), segment_bytes=64 * 1024)
            opened.journal.close()
            done.append(opened)
    return done


def _acquire(root: Path, replica: str, slot: int | None, disk: Disk) -> tuple[str, int]:
    """Lock an origin that is not set aside. A given slot whose origin was set aside goes on under a name of its own
    (slot + 1000, + 2000, …), the same at every start."""
    candidates = range(_SLOTS_MAX) if slot is None else range(slot, _LINEAGES_MAX * _SLOTS_MAX, _SLOTS_MAX)
    for candidate in candidates:
        origin = origin_name(replica, candidate)
        directory = root / origin
        if set_aside(directory):
            continue
        disk.make_dir(directory)
        disk.sync_dir(root)
        try:
            return origin, disk.lock(directory / LOCK_NAME)
        except BlockingIOError:
            if slot is not None:
                raise OperatorError(
                    Code.STORE_UNAVAILABLE, f"Another process writes the journal {directory}."
                ) from None
    raise OperatorError(Code.STORE_UNAVAILABLE, f"No free journal slot under {root}.")


def _open(directory: Path, lock_fd: int, *, disk: Disk, clock: Clock, durability: str, segment_bytes: int) -> Opened:
    origin = directory.name
    found = recover(directory, origin, disk.boot())
    for path in found.unused:
        disk.unlink(path)
    for path in reversed(found.surplus):
        # Kept as evidence under a name that no reader takes for a part of the chain. Last first, so that a crash
        # in between leaves no hole.
        disk.rename(path, path.with_name(f"{path.name}.cut-{found.end.epoch}"))
    now = clock.now_ns()
    records = [
        Record(Kind.CLOSED, record.encode(record.aborted(opened, sequence, now)))
        for sequence, opened in found.open_calls.items()
    ]
    if records or found.bytes_cut:
        records.append(Record(Kind.RECOVERED, record.encode(Recovered(now, found.bytes_cut, len(found.open_calls)))))
    wake = threading.Event()
    plan = Plan(
        origin=origin,
        directory=directory,
        end=found.end,
        abandoned=found.bytes_cut > 0,
        records=tuple(records),
        durability=durability,
        segment_bytes=segment_bytes,
    )
    writer = Writer(plan, disk, clock, wake.set)
    journal = SyncedJournal(writer, wake, lock_fd, disk)
    return Opened(journal, writer, origin, found.bytes_cut, len(found.open_calls))
