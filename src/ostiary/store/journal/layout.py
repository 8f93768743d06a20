"""Where things stand in an origin's directory, and the mark of what is known to be on the device.

The mark (`synced`) is rewritten in place after each sync and is itself synced only when a journal is opened: it
may be older than the truth after a power failure, never newer. It is written to two slots in turn, each in a sector
of its own with its own CRC, so that a write cut short leaves the mark before it.
"""

import itertools
import re
from pathlib import Path
from struct import Struct as Layout
from typing import Final

import google_crc32c
import msgspec

from ostiary.core.error import Code, OperatorError
from ostiary.gateway.audit.frame import FIRST_LINK

MARK_NAME: Final = "synced"
LOCK_NAME: Final = "lock"
NEXT_NAME: Final = "next.tmp"
SET_ASIDE_NAME: Final = "set-aside"
KEPT_NOTES: Final = (SET_ASIDE_NAME, "kept-from", "*.seg.cut-*")
"""What else stands in an origin's directory for good: an operator's word, retention's note, evidence of recovery."""

MARK_SLOTS: Final = 2
MARK_SLOT_BYTES: Final = 512

_MARK: Final = Layout(">8sQQQQ32s")
_MARK_CRC: Final = Layout(">I")
_MAGIC: Final = b"OSTMARK1"
_SEGMENT: Final = re.compile(r"(\d{8})\.seg")
_REPLICA: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
_ORIGIN: Final = re.compile(r"([a-z0-9][a-z0-9-]{0,62})\.(\d{1,4})")


class Position(msgspec.Struct, frozen=True, order=True):
    """A place between two records: the file, the byte in it, and the number of the next numbered record."""

    segment: int = 0
    offset: int = 0
    sequence: int = 0


START: Final = Position()


class Mark(msgspec.Struct, frozen=True):
    """A place in a chain with the link up to it and the epoch that wrote it. `segment` is -1 before the first file."""

    epoch: int = 0
    segment: int = -1
    offset: int = 0
    sequence: int = 0
    link: bytes = FIRST_LINK

    @property
    def position(self) -> Position:
        """The place alone."""
        return Position(self.segment, self.offset, self.sequence)


def mark_time(directory: Path) -> int:
    """When the mark of an origin last moved, in nanoseconds of its file's time; 0 where there is none."""
    try:
        return (directory / MARK_NAME).stat().st_mtime_ns
    except OSError:
        return 0


def encode_mark(mark: Mark) -> bytes:
    """The bytes of one slot of the `synced` file."""
    body = _MARK.pack(_MAGIC, mark.epoch, mark.segment, mark.offset, mark.sequence, mark.link)
    return body + _MARK_CRC.pack(google_crc32c.value(body))


def decode_mark(data: bytes) -> Mark | None:
    """The mark in a slot, or None where it holds none."""
    if len(data) < _MARK.size + _MARK_CRC.size:
        return None
    body = data[: _MARK.size]
    magic, epoch, segment, offset, sequence, link = _MARK.unpack(body)
    (crc,) = _MARK_CRC.unpack_from(data, _MARK.size)
    if magic != _MAGIC or crc != google_crc32c.value(body):
        return None
    return Mark(epoch, segment, offset, sequence, link)


def load_mark(directory: Path) -> Mark | None:
    """How far `directory` is known to be on the device; None before the first open is complete.

    Raises OperatorError journal.corrupt where the file holds something and no mark.
    """
    data = _read_mark(directory)
    marks = [mark for slot in range(MARK_SLOTS) if (mark := decode_mark(_slot(data, slot))) is not None]
    if marks:
        return max(marks, key=lambda mark: (mark.epoch, mark.segment, mark.offset))
    if data.strip(b"\x00"):
        path = directory / MARK_NAME
        raise OperatorError(Code.JOURNAL_CORRUPT, f"{path} is damaged: the end of the journal cannot be known.")
    return None


def mark_is_whole(directory: Path) -> bool:
    """Whether every slot of the mark checks and nothing else stands in the file. A writer may be at it at this
    moment, so a reading that does not check is repeated."""
    for _ in range(100):
        data = _read_mark(directory)
        marks = [decode_mark(_slot(data, slot)) for slot in range(MARK_SLOTS)]
        image = b"".join((b"" if mark is None else encode_mark(mark)).ljust(MARK_SLOT_BYTES, b"\x00") for mark in marks)
        if all(marks) and image.rstrip(b"\x00") == data.rstrip(b"\x00"):
            return True
    return False


def _read_mark(directory: Path) -> bytes:
    try:
        return (directory / MARK_NAME).read_bytes()
    except FileNotFoundError:
        return b""


def _slot(data: bytes, slot: int) -> bytes:
    return data[slot * MARK_SLOT_BYTES : (slot + 1) * MARK_SLOT_BYTES]


def segment_path(directory: Path, number: int) -> Path:
    """The file of segment `number`."""
    return directory / f"{number:08d}.seg"


def segment_numbers(directory: Path) -> list[int]:
    """The segments there are, in order. Raises OperatorError journal.corrupt where one is missing in between."""
    found = sorted(int(match[1]) for name in _names(directory) if (match := _SEGMENT.fullmatch(name)))
    for before, after in itertools.pairwise(found):
        if after != before + 1:
            missing = segment_path(directory, before + 1)
            raise OperatorError(Code.JOURNAL_CORRUPT, f"{missing} is missing, and later files are there.")
    return found


def _names(directory: Path) -> list[str]:
    try:
        return [entry.name for entry in directory.iterdir()]
    except FileNotFoundError:
        return []


OPS_SLOT: Final = 999
"""The slot of the ops process's own chain: beyond those of workers, whose number is bounded far below it."""


def origin_name(replica: str, slot: int) -> str:
    """The name of an origin. Raises OperatorError config.invalid for a replica id that is no lower-case host label."""
    if not _REPLICA.fullmatch(replica):
        raise OperatorError(
            Code.CONFIG_INVALID, f"the replica id {replica!r} must be lower-case letters, digits and dashes"
        )
    return f"{replica}.{slot}"


def origins(root: Path) -> list[str]:
    """The origins under `root`, in order of name."""
    return sorted(name for name in _names(root) if _ORIGIN.fullmatch(name))


def set_aside(directory: Path) -> bool:
    """Whether an operator took this origin out of use."""
    return (directory / SET_ASIDE_NAME).exists()
