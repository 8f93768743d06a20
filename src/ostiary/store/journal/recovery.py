"""Finding, in what a crash left, where the sound chain ends and which calls are open. Changes nothing on disk.

Three endings are told apart:

- The data ends, or ends in one unfinished record: the tail of a write that was never acknowledged. It is left out.
- A damaged record with sound ones after it, above the mark, and the machine was restarted since: writes that were
  not yet synced reached the device out of order before power was lost. Everything from the damage on is left out;
  none of it was known to be on the device.
- Any other damage: journal.corrupt. Nothing is appended to such a chain.
"""

import re
from pathlib import Path
from typing import Final

import msgspec

from ostiary.core.error import Code, OperatorError
from ostiary.core.event import Kind, Opened
from ostiary.gateway.audit import record
from ostiary.gateway.audit.frame import End, Frame, Walk
from ostiary.store.journal.layout import Mark, load_mark, segment_numbers, segment_path
from ostiary.store.journal.reader import header

_NOT_ZERO: Final = re.compile(rb"[^\x00]")


class Found(msgspec.Struct, frozen=True):
    """Where the sound chain ends (`end.epoch` is the last one used), what is left out, and the calls left open by
    their number. `surplus` are files after the sound end that hold something, `unused` those that hold nothing."""

    end: Mark
    bytes_cut: int
    open_calls: dict[int, Opened]
    surplus: tuple[Path, ...] = ()
    unused: tuple[Path, ...] = ()


class _Segment(msgspec.Struct, frozen=True):
    number: int
    started: record.SegmentStarted


def recover(directory: Path, origin: str, boot: str) -> Found:
    """What stands in `directory`. Raises OperatorError journal.corrupt naming the file and the byte at fault."""
    numbers = segment_numbers(directory)
    mark = load_mark(directory)
    begun = _begun(directory, origin, numbers)
    later = [segment_path(directory, number) for number in numbers[len(begun) :]]
    if mark is None and len(begun) > 1:
        raise OperatorError(Code.JOURNAL_CORRUPT, f"{directory} holds records but not the mark of its end.")
    if mark is not None and (not begun or begun[-1].number < mark.segment):
        raise OperatorError(
            Code.JOURNAL_CORRUPT,
            f"{segment_path(directory, mark.segment)} is missing or has lost its first record.",
        )
    if not begun:
        return Found(Mark(), sum(_used_bytes(path) for path in later), {}, unused=tuple(later))
    scan = _Scan(directory, mark or Mark(), begun, boot)
    end = scan.run()
    tail = segment_path(directory, end.segment)
    surplus = [segment_path(directory, segment.number) for segment in begun if segment.number > end.segment]
    surplus += [path for path in later if _used_bytes(path)]
    unused = [path for path in later if not _used_bytes(path)]
    cut = max(0, _used_bytes(tail) - end.offset) + sum(_used_bytes(path) for path in surplus)
    return Found(end, cut, scan.open_calls, tuple(surplus), tuple(unused))


def _begun(directory: Path, origin: str, numbers: list[int]) -> list[_Segment]:
    """The segments with a first record, up to the first without one."""
    begun: list[_Segment] = []
    for number in numbers:
        found = header(directory, number)
        if found is None:
            break
        started = found[0]
        if started.origin != origin or started.segment != number:
            raise OperatorError(
                Code.JOURNAL_CORRUPT,
                f"{segment_path(directory, number)} belongs to {started.origin}, file {started.segment}.",
            )
        if started.format != record.SEGMENT_FORMAT:
            raise OperatorError(
                Code.JOURNAL_CORRUPT,
                f"{segment_path(directory, number)} has format {started.format}; this version reads "
                f"{record.SEGMENT_FORMAT}.",
            )
        begun.append(_Segment(number, started))
    return begun


def _used_bytes(path: Path) -> int:
    """The size of a file without the zeros at its end."""
    return len(path.read_bytes().rstrip(b"\x00"))


class _Scan:
    """One pass over the segments that can hold an open call or lie at or above the mark."""

    def __init__(self, directory: Path, mark: Mark, begun: list[_Segment], boot: str) -> None:
        self.open_calls: dict[int, Opened] = {}
        self._directory = directory
        self._mark = mark
        self._mark_met = mark.segment < 0
        self._restarted = boot != begun[-1].started.boot
        floor = begun[-1].started.open_floor
        first = 0
        for index, segment in enumerate(begun):
            if segment.started.first_sequence <= floor and segment.number <= max(mark.segment, 0):
                first = index
        self._segments = begun[first:]

    def run(self) -> Mark:
        """The sound end."""
        end = Mark()
        for index, segment in enumerate(self._segments):
            following = self._segments[index + 1] if index + 1 < len(self._segments) else None
            started = segment.started
            if index and (started.previous_link != end.link.hex() or started.first_sequence != end.sequence):
                # Only the first record of this file disagrees, which carries its own CRC: no accident explains it.
                raise self._corrupt(segment.number, 0, "the file does not continue the one before it")
            end, whole = self._segment(segment, following)
            if not whole:
                break
        if end.position < self._mark.position:
            raise self._corrupt(end.segment, end.offset, "the chain ends before what was known to be on the device")
        if not self._mark_met:
            raise self._corrupt(self._mark.segment, self._mark.offset, "no record ends where the mark says one does")
        return end

    def _segment(self, segment: _Segment, following: _Segment | None) -> tuple[Mark, bool]:
        """The end of the sound part of one file, and whether the next file goes on from there."""
        data = segment_path(self._directory, segment.number).read_bytes()
        limit = None if following is None else following.started.previous_bytes
        walk = Walk(data, 0, bytes.fromhex(segment.started.previous_link), limit)
        sequence = segment.started.first_sequence
        for frame in walk:
            sequence += self._take(frame, sequence)
            if segment.number == self._mark.segment and frame.end == self._mark.offset:
                self._check_mark(segment.number, frame, sequence)
        assert walk.previous is not None
        end = Mark(segment.started.epoch, segment.number, walk.offset, sequence, walk.previous)
        whole = following is not None and walk.offset == limit
        if whole or (following is None and walk.end is End.CLEAN):
            return end, whole
        reason = walk.reason or "the records end before the next file goes on"
        if end.position < self._mark.position:
            raise self._corrupt(segment.number, walk.offset, reason)
        torn = following is None and walk.end is End.TORN
        if not torn and not self._restarted:
            raise self._corrupt(segment.number, walk.offset, reason)
        return end, False

    def _take(self, frame: Frame, sequence: int) -> int:
        if frame.kind == Kind.SEGMENT:
            return 0
        if frame.kind == Kind.OPENED:
            opened = record.decode(frame.kind, frame.payload)
            assert isinstance(opened, Opened)
            self.open_calls[sequence] = opened
        elif frame.kind in (Kind.CLOSED, Kind.DENIED):
            self.open_calls.pop(record.closes(frame.payload), None)
        return 1

    def _check_mark(self, number: int, frame: Frame, sequence: int) -> None:
        if frame.link != self._mark.link or sequence != self._mark.sequence:
            raise self._corrupt(number, frame.offset, "the record is not the one known to be on the device")
        self._mark_met = True

    def _corrupt(self, number: int, offset: int, reason: str) -> OperatorError:
        path = segment_path(self._directory, number)
        return OperatorError(
            Code.JOURNAL_CORRUPT,
            f"{path}, byte {offset}: {reason}. Keep the files; `ostiary audit verify` shows more, and "
            f"`ostiary audit set-aside {self._directory.name}` starts a new chain beside this one.",
        )
