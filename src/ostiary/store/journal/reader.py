"""Reading a chain beside its live writer: only what is known to be on the device.

A reader takes no lock. It stops at the mark, so it never meets a record that a power failure could still take back
and a consumer is never ahead of its journal. It checks each record's CRC; the chain is checked by `verify`.
"""

import os
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Final, final

import msgspec

from ostiary.core.error import Code, OperatorError
from ostiary.core.event import Kind
from ostiary.core.limit import JOURNAL_RECORD_BYTES_MAX
from ostiary.gateway.audit import record
from ostiary.gateway.audit.frame import HEADER_BYTES, Fault, Frame, decode
from ostiary.store.journal.layout import Mark, Position, load_mark, mark_time, origins, segment_numbers, segment_path

# A plain number: an enumeration's name is looked up for every record.
_SEGMENT: Final = int(Kind.SEGMENT)
_CHUNK_BYTES: Final = 1024 * 1024 + HEADER_BYTES + JOURNAL_RECORD_BYTES_MAX


class Entry(msgspec.Struct, frozen=True):
    """One record: its number (-1 for SEGMENT), what it holds, and the place after it as numbers (`after` as one)."""

    sequence: int
    kind: int
    version: int
    payload: bytes
    segment: int
    end: int
    next_sequence: int

    @property
    def after(self) -> Position:
        """Where reading goes on."""
        return Position(self.segment, self.end, self.next_sequence)


@final
class JournalFiles:
    """Every origin under one root, for consumers."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def origins(self) -> list[str]:
        """Their names, in order."""
        return origins(self._root)

    def stamp(self) -> object:
        """The origins and when the mark of each last moved; what a consumer has not read changes it."""
        return tuple((origin, mark_time(self._root / origin)) for origin in origins(self._root))

    def read(self, origin: str, start: Position) -> Iterator[Entry]:
        """See `read`."""
        return read(self._root / origin, start)

    def unread(self, origin: str, start: Position) -> int:
        """See `unread`."""
        return unread(self._root / origin, start)


def read(directory: Path, start: Position) -> Iterator[Entry]:
    """The records of an origin from `start` up to the mark as it stands now, then the iterator ends.

    Give the last entry's `after` to go on later. START begins at the oldest file kept. Raises OperatorError
    journal.corrupt where a record below the mark cannot be read or `start` is not in the files any more.
    """
    mark = load_mark(directory)
    if mark is None or start >= mark.position:
        return
    position = start
    if not segment_path(directory, start.segment).exists():
        kept = segment_numbers(directory)
        if start.offset or not kept or kept[0] < start.segment:
            raise OperatorError(
                Code.JOURNAL_CORRUPT, f"{segment_path(directory, start.segment)} is gone and was not read to its end."
            )
        position = Position(kept[0], 0, 0)
    while position.segment <= mark.segment:
        sequence = yield from _segment(directory, position, _limit(directory, position.segment, mark))
        position = Position(position.segment + 1, 0, sequence)


def unread(directory: Path, start: Position) -> int:
    """How many bytes `read` would give from `start` on: what is on the device and a consumer at `start` has not seen.

    Reads the mark and, for each file in between, its first record. Raises OperatorError journal.corrupt where that
    cannot be told.
    """
    mark = load_mark(directory)
    if mark is None or start >= mark.position:
        return 0
    if start.segment == mark.segment:
        return mark.offset - start.offset
    kept = [number for number in segment_numbers(directory) if start.segment <= number <= mark.segment]
    return sum(_limit(directory, number, mark) for number in kept) - start.offset


def header(directory: Path, number: int) -> tuple[record.SegmentStarted, Frame] | None:
    """The first record of a segment and its frame; None where the file is missing or was not begun."""
    try:
        with segment_path(directory, number).open("rb") as file:
            data = file.read(64 * 1024)
    except FileNotFoundError:
        return None
    frame = decode(data, 0)
    if isinstance(frame, Fault) or frame.kind != Kind.SEGMENT:
        return None
    try:
        started = record.decode(frame.kind, frame.payload)
    except ValueError:
        return None
    return (started, frame) if isinstance(started, record.SegmentStarted) else None


def _limit(directory: Path, number: int, mark: Mark) -> int:
    if number == mark.segment:
        return mark.offset
    following = header(directory, number + 1)
    if following is None:
        raise OperatorError(
            Code.JOURNAL_CORRUPT, f"{segment_path(directory, number + 1)} does not begin with its first record."
        )
    return following[0].previous_bytes


def _segment(directory: Path, position: Position, limit: int) -> Generator[Entry, None, int]:
    """The records of one file; gives the number of the first that follows it."""
    segment, at, sequence = position.segment, position.offset, position.sequence
    path = segment_path(directory, segment)
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        while at < limit:
            data = os.pread(fd, min(_CHUNK_BYTES, limit - at), at)
            used = 0
            while isinstance(frame := decode(data, used), Frame):
                used, kind = frame.end, frame.kind
                if kind == _SEGMENT:
                    sequence = _first_sequence(path, frame, sequence)
                    yield Entry(-1, kind, frame.version, frame.payload, segment, at + used, sequence)
                else:
                    number = sequence
                    sequence += 1
                    yield Entry(number, kind, frame.version, frame.payload, segment, at + used, sequence)
            if used == 0:
                raise OperatorError(Code.JOURNAL_CORRUPT, f"{path}, byte {at}: no valid record ({frame}).")
            at += used
        return sequence
    finally:
        os.close(fd)


def _first_sequence(path: Path, frame: Frame, expected: int) -> int:
    started = record.decode(frame.kind, frame.payload)
    assert isinstance(started, record.SegmentStarted)
    if expected not in (0, started.first_sequence):
        raise OperatorError(
            Code.JOURNAL_CORRUPT, f"{path} begins at record {started.first_sequence}, record {expected} was due."
        )
    return started.first_sequence
