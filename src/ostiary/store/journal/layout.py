"""Where things stand in an origin's directory, and the mark of what is known to be on the device.

The mark (`synced`) is rewritten in place after each sync and is itself synced only when a journal is opened: it
may be older than the truth after a power failure, never newer. It is 82 bytes in one sector, with its own CRC.
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


def encode_mark(mark: Mark) -> bytes:
    """The bytes of the `synced` file."""
    body = _MARK.pack(_MAGIC, mark.epoch, mark.segment, mark.offset, mark.sequence, mark.link)
    return body + _MARK_CRC.pack(google_crc32c.value(body))


def decode_mark(data: bytes) -> Mark | None:
    """The mark in `data`, or None where it holds none."""
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

    A writer may be rewriting the mark at this moment, so a reading that does not check is repeated. Raises
    OperatorError journal.corrupt where the file is there and stays unreadable.
    """
    path = directory / MARK_NAME
    for _ in range(100):
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            return None
        if not data.strip(b"\x00"):
            return None
        mark = decode_mark(data)
        if mark is not None:
            return mark
    raise OperatorError(Code.JOURNAL_CORRUPT, f"{path} is damaged: the end of the journal cannot be known.")


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
