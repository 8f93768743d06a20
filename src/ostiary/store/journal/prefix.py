"""A chain up to what is on the device now, as files that a copy of the chain consists of.

The mark is read first and files are copied up to it: the copy is a sound chain that ends there, and a journal opened on it
goes on as after a stop. Files need not be locked: what is below the mark never changes.
"""

import fcntl
from collections.abc import Callable
from pathlib import Path

import msgspec

from ostiary.core.error import Code, OperatorError
from ostiary.core.limit import JOURNAL_STALL_SECONDS_MAX, JOURNAL_SYNC_SECONDS, JOURNAL_UNSYNCED_BYTES_MAX
from ostiary.core.port import Clock
from ostiary.gateway.audit.frame import Walk
from ostiary.store.journal.layout import (
    KEPT_NOTES,
    LOCK_NAME,
    MARK_NAME,
    MARK_SLOT_BYTES,
    MARK_SLOTS,
    Mark,
    Position,
    encode_mark,
    load_mark,
    origins,
    segment_numbers,
    segment_path,
)


class Part(msgspec.Struct, frozen=True):
    """A file of the copy: its name under the journal's root, where its bytes are, and how many of them (None: all)."""

    name: str
    path: Path
    size: int | None


class Prefix(msgspec.Struct, frozen=True):
    """An origin: where it ends, its files, and the bytes of its mark's file."""

    origin: str
    mark: Mark
    parts: tuple[Part, ...]
    mark_bytes: bytes

    @property
    def mark_name(self) -> str:
        """The name of the mark's file under the journal's root."""
        return f"{self.origin}/{MARK_NAME}"


def settle(root: Path, clock: Clock, pause: Callable[[float], None]) -> None:
    """Return once what stands in the files now is on the device, as their writers confirm it: with durability `process`
    that is milliseconds after a call was answered. An origin that nobody writes is not waited for.

    Raises OperatorError: store.unavailable where a device takes longer than JOURNAL_STALL_SECONDS_MAX, journal.corrupt.
    """
    waited = {origin: end for origin in origins(root) if (end := _end(root / origin)) is not None}
    until = clock.monotonic() + JOURNAL_STALL_SECONDS_MAX
    for origin, end in waited.items():
        while (load_mark(root / origin) or Mark()).position < end and _is_written(root / origin):
            if clock.monotonic() > until:
                raise OperatorError(
                    Code.STORE_UNAVAILABLE, f"The device of the journal {root / origin} does not confirm its records."
                )
            pause(JOURNAL_SYNC_SECONDS)


def _end(directory: Path) -> Position | None:
    """The place after the last whole record that can be seen in the file of the mark."""
    mark = load_mark(directory)
    if mark is None or mark.segment < 0:
        return None
    with segment_path(directory, mark.segment).open("rb") as file:
        file.seek(mark.offset)
        walk = Walk(file.read(JOURNAL_UNSYNCED_BYTES_MAX), 0, mark.link)
    count = sum(1 for _ in walk)
    return Position(mark.segment, mark.offset + walk.offset, mark.sequence + count)


def _is_written(directory: Path) -> bool:
    """Whether a worker holds the origin."""
    with (directory / LOCK_NAME).open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def prefixes(root: Path) -> list[Prefix]:
    """Every origin under `root` that holds something on the device. Raises OperatorError journal.corrupt."""
    found: list[Prefix] = []
    for origin in origins(root):
        directory = root / origin
        mark = load_mark(directory)
        if mark is None or mark.segment < 0:
            continue
        parts = [
            Part(f"{origin}/{path.name}", path, mark.offset if number == mark.segment else None)
            for number in segment_numbers(directory)
            if number <= mark.segment
            for path in (segment_path(directory, number),)
        ]
        evidence = sorted(path for note in KEPT_NOTES for path in directory.glob(note))
        parts += [Part(f"{origin}/{path.name}", path, None) for path in evidence]
        slots = encode_mark(mark).ljust(MARK_SLOT_BYTES, b"\x00") * MARK_SLOTS
        found.append(Prefix(origin, mark, tuple(parts), slots))
    return found
