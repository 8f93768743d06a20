"""Proving a journal offline: every byte of every origin is what was written, in the order in which it was written.

Checked for each origin: the CRC and the link of every record, the numbers and links from file to file, that nothing
but zeros follows a file's end (unless the next file says that the disk failed there), that the chain reaches the
mark of what was known to be on the device, and that closing records close an open call exactly once. What this
cannot see, because nothing inside the directory can show it, is a chain cut back together with its mark, or written
anew as a whole: that takes a checkpoint kept elsewhere (`checkpoint.py`).

Verification reads only, takes no lock and may run beside the writer: records that are not on the device yet are
checked too, and an unfinished one at the very end is counted, not blamed.
"""

import datetime as dt
import re
from pathlib import Path
from typing import Final

import msgspec

from ostiary.core.error import OperatorError
from ostiary.core.event import Kind, Retired
from ostiary.gateway.audit import record
from ostiary.gateway.audit.frame import FIRST_LINK, End, Frame, Walk
from ostiary.store.journal.layout import (
    MARK_NAME,
    Mark,
    Position,
    load_mark,
    mark_is_whole,
    origins,
    segment_numbers,
    segment_path,
    set_aside,
)
from ostiary.store.journal.reader import header
from ostiary.store.journal.retention import kept_from

_NOT_ZERO: Final = re.compile(rb"[^\x00]")


class Problem(msgspec.Struct, frozen=True):
    """What does not hold, and where."""

    file: str
    offset: int
    reason: str


class Anchor(msgspec.Struct, frozen=True):
    """A place in a chain and the link up to it: what a checkpoint holds of an origin."""

    segment: int
    offset: int
    records: int
    link: str


class OriginReport(msgspec.Struct, frozen=True):
    """What was found in one origin. `anchor` is the place of the mark, for a checkpoint; `open_calls` have no closing
    record (calls in flight, or left by a crash until the next start); `unfinished_bytes` stand after the last whole
    record; `notes` are worth knowing and no fault; `retired` are the origins that it says were declared lost."""

    origin: str
    records: int
    segments: int
    open_calls: int
    unfinished_bytes: int
    anchor: Anchor | None
    problems: tuple[Problem, ...]
    notes: tuple[str, ...]
    retired: tuple[Retired, ...] = ()


def verify(root: Path, anchors: dict[str, Anchor] | None = None) -> list[OriginReport]:
    """Every origin under `root`; with `anchors`, each must contain its anchor and none may be missing, unless a sound
    journal here holds an operator's word that it was lost: then that is reported, and is no problem."""
    wanted = anchors or {}
    reports = [verify_origin(root / origin, wanted.get(origin)) for origin in origins(root)]
    there = {report.origin for report in reports}
    retired = {one.origin: (report.origin, one) for report in reports if not report.problems for one in report.retired}
    for origin in sorted((set(wanted) | set(retired)) - there):
        if origin in retired:
            notes: tuple[str, ...] = (_declared(*retired[origin]),)
            reports.append(OriginReport(origin, 0, 0, 0, 0, None, (), notes))
        else:
            problem = Problem(str(root / origin), 0, "the checkpoint knows this origin, and it is gone")
            reports.append(OriginReport(origin, 0, 0, 0, 0, None, (problem,), ()))
    return reports


def _declared(by_origin: str, one: Retired) -> str:
    when = dt.datetime.fromtimestamp(one.at_ns // 1_000_000_000, dt.UTC).strftime("%Y-%m-%d %H:%M:%SZ")
    return (
        f"declared lost on {when} by {one.by}: {one.reason}. Its records from {one.records} on are not in the store, "
        f"{one.aborted} calls were closed as aborted (recorded in {by_origin})"
    )


def verify_origin(directory: Path, anchor: Anchor | None = None) -> OriginReport:
    """One origin. Problems are in the report; raises OSError where files cannot be read."""
    return _Verification(directory, anchor).run()


class _Verification:
    def __init__(self, directory: Path, anchor: Anchor | None) -> None:
        self._directory = directory
        self._anchor = anchor
        self._anchor_met = anchor is None
        self._mark: Mark | None = None
        self._mark_met = False
        self._problems: list[Problem] = []
        self._notes: list[str] = []
        self._retired: list[Retired] = []
        self._open_calls: dict[int, int] = {}
        self._unfinished = 0
        # Where the chain stands: the link and number to go on from; None after a problem lost them.
        self._link: bytes | None = FIRST_LINK
        self._sequence: int | None = 0
        self._end = Position()
        self._epoch = 0

    def run(self) -> OriginReport:
        numbers: list[int] = []
        try:
            self._mark = load_mark(self._directory)
            if self._mark is not None and not mark_is_whole(self._directory):
                self._problem(self._directory / MARK_NAME, 0, "the mark of the journal's end is damaged")
            numbers = segment_numbers(self._directory)
        except OperatorError as error:
            self._problem(self._directory, 0, error.message)
        begun = [(number, found[0]) for number in numbers if (found := header(self._directory, number)) is not None]
        self._list(numbers, begun)
        for index, (number, started) in enumerate(begun):
            following = begun[index + 1][1] if index + 1 < len(begun) else None
            self._segment(number, started, following)
        self._conclude(len(begun))
        mark = self._mark
        reached = mark is not None and not self._problems
        return OriginReport(
            origin=self._directory.name,
            records=self._sequence or 0,
            segments=len(begun),
            open_calls=len(self._open_calls),
            unfinished_bytes=self._unfinished,
            anchor=Anchor(mark.segment, mark.offset, mark.sequence, mark.link.hex()) if mark and reached else None,
            problems=tuple(self._problems),
            notes=tuple(self._notes),
            retired=tuple(self._retired),
        )

    def _list(self, numbers: list[int], begun: list[tuple[int, record.SegmentStarted]]) -> None:
        """Files that should be there, and files that hold no beginning."""
        if set_aside(self._directory):
            self._notes.append("an operator set this origin aside")
        self._notes += [f"left out by recovery: {path.name}" for path in sorted(self._directory.glob("*.seg.cut-*"))]
        first = begun[0][0] if begun else 0
        if first:
            kept = kept_from(self._directory)
            if kept is None or kept.segment != first:
                self._problem(segment_path(self._directory, 0), 0, f"the files before {first:08d}.seg are gone")
            self._notes.append(f"retention removed the files before {first:08d}.seg")
            self._link = self._sequence = None
        names = {number for number, _ in begun}
        for number in numbers:
            path = segment_path(self._directory, number)
            if number in names:
                continue
            found = _NOT_ZERO.search(path.read_bytes())
            in_chain = self._mark is not None and number <= self._mark.segment
            if (found and begun and number < begun[-1][0]) or in_chain:
                self._problem(path, 0, "the first record of this file is damaged")
            elif found:
                self._unfinished += path.stat().st_size

    def _segment(self, number: int, started: record.SegmentStarted, following: record.SegmentStarted | None) -> None:
        path = segment_path(self._directory, number)
        self._check_start(path, number, started)
        data = path.read_bytes()
        limit = None if following is None or following.segment != number + 1 else following.previous_bytes
        if limit is not None and limit > len(data):
            self._problem(path, len(data), f"the file ends before byte {limit}, where the next one goes on")
        walk = Walk(data, 0, bytes.fromhex(started.previous_link), limit)
        sequence = started.first_sequence
        for frame in walk:
            sequence += self._take(path, frame, sequence)
            self._landmarks(path, number, frame, sequence)
        self._link, self._sequence = walk.previous, sequence
        self._end = Position(number, walk.offset, sequence)
        if limit is None:
            self._check_tail(path, number, walk, data)
        else:
            self._check_seam(path, walk, data, limit, abandoned=following is not None and following.abandoned)

    def _check_start(self, path: Path, number: int, started: record.SegmentStarted) -> None:
        if started.segment != number or started.origin != self._directory.name:
            self._problem(path, 0, f"this is file {started.segment} of {started.origin}")
        if started.epoch < self._epoch:
            self._problem(path, 0, f"epoch {started.epoch} follows epoch {self._epoch}")
        self._epoch = started.epoch
        if self._link is not None and started.previous_link != self._link.hex():
            self._problem(path, 0, "the file does not continue the chain of the one before it")
        if self._sequence is not None and started.first_sequence != self._sequence:
            self._problem(
                path, 0, f"the file begins with record {started.first_sequence}, record {self._sequence} was due"
            )

    def _check_seam(self, path: Path, walk: Walk, data: bytes, limit: int, *, abandoned: bool) -> None:
        if walk.offset != limit:
            reason = walk.reason or f"the records end here, the next file goes on from byte {limit}"
            self._lost(path, walk.offset, reason)
            return
        rest = _NOT_ZERO.search(data, limit)
        if rest is not None:
            if abandoned:
                self._notes.append(f"{path.name}: what stands from byte {limit} on was given up and is not read")
            else:
                self._problem(path, rest.start(), "bytes stand after the last record of the file")

    def _check_tail(self, path: Path, number: int, walk: Walk, data: bytes) -> None:
        if walk.end is End.CLEAN:
            return
        below = self._mark is not None and (number, walk.offset) < (self._mark.segment, self._mark.offset)
        if walk.end is End.TORN and not below:
            self._unfinished += len(data.rstrip(b"\x00")) - walk.offset
            return
        self._lost(path, walk.offset, walk.reason)

    def _take(self, path: Path, frame: Frame, sequence: int) -> int:
        if frame.kind == Kind.SEGMENT:
            if frame.offset:
                self._problem(path, frame.offset, "a first record stands in the middle of a file")
            return 0
        if frame.kind == Kind.OPENED:
            self._open_calls[sequence] = frame.offset
        elif frame.kind in (Kind.CLOSED, Kind.DENIED):
            opened = record.closes(frame.payload)
            whole = self._link is not None and not self._problems
            if opened >= 0 and self._open_calls.pop(opened, None) is None and whole:
                self._problem(path, frame.offset, f"record {sequence} closes call {opened}, which is not open")
        elif frame.kind == Kind.RETIRED:
            retired = record.decode(frame.kind, frame.payload)
            assert isinstance(retired, Retired)
            self._retired.append(retired)
        return 1

    def _landmarks(self, path: Path, number: int, frame: Frame, sequence: int) -> None:
        mark, anchor = self._mark, self._anchor
        if mark is not None and (number, frame.end) == (mark.segment, mark.offset):
            self._mark_met = True
            if mark.link != frame.link or mark.sequence != sequence:
                self._problem(path, frame.offset, "this is not the record known to be on the device")
        if anchor is not None and (number, frame.end) == (anchor.segment, anchor.offset):
            self._anchor_met = True
            if anchor.link != frame.link.hex() or anchor.records != sequence:
                self._problem(path, frame.offset, "the chain up to here is not the one the checkpoint knows")

    def _conclude(self, segments: int) -> None:
        mark = self._mark
        path = segment_path(self._directory, max(self._end.segment, 0))
        if mark is None and segments:
            self._problem(self._directory, 0, "the mark of the journal's end is missing")
        if mark is not None and not self._mark_met and not self._problems:
            self._problem(path, self._end.offset, "the chain ends before what was known to be on the device")
        if not self._anchor_met and self._anchor is not None:
            self._problem(
                path,
                self._end.offset,
                f"the checkpoint knows {self._anchor.records} records, up to byte {self._anchor.offset} of file "
                f"{self._anchor.segment}; no record ends there",
            )

    def _lost(self, path: Path, offset: int, reason: str) -> None:
        """A problem after which the place in the chain is unknown."""
        self._problem(path, offset, reason)
        self._link = self._sequence = None

    def _problem(self, path: Path, offset: int, reason: str) -> None:
        self._problems.append(Problem(str(path), offset, reason))
