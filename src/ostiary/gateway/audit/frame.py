"""The frame of one journal record, and the chain the frames form.

A frame is, with integers big-endian:

    length   u32   bytes of the payload
    crc      u32   CRC-32C of everything after this field, continued from `length` as its start value
    kind     u8    `core.event.Kind`; a reader hashes and skips kinds it does not know
    version  u16   schema version of the payload
    link     32    the chain up to and including this record
    payload

    leaf = SHA-256(0x00 ‖ kind ‖ version ‖ payload)     a leaf as RFC 6962 hashes it, so that a tree can be built
    link = SHA-256(previous link ‖ leaf)                 over what is already there; the first previous link is 32 zeros

The CRC finds accidents, and tells an unfinished write from a finished one; the links find edits, deletions,
insertions and reordering by anyone who cannot rewrite everything after them. Rewriting everything is found by
comparing with a checkpoint kept elsewhere.

A run of zeros is never a frame (the CRC-32C of zeros is not zero), so space allocated ahead reads as the end.
"""

import hashlib
import re
from collections.abc import Iterator
from enum import StrEnum
from struct import Struct as Layout
from typing import Final

import google_crc32c
import msgspec

from ostiary.core.limit import JOURNAL_RECORD_BYTES_MAX

FIRST_LINK: Final = bytes(32)
"""What the first record of a chain is linked to."""

HEADER_BYTES: Final = 43

_head: Final = Layout(">II").pack
_about: Final = Layout(">BH").pack
_LEAF: Final = Layout(">BBH")
_HEADER: Final = Layout(">IIBH32s")
_NOT_ZERO: Final = re.compile(rb"[^\x00]")
_crc = google_crc32c.extend
_sha256 = hashlib.sha256


def leaf_hash(kind: int, version: int, payload: bytes) -> bytes:
    """The RFC 6962 leaf of a record."""
    return _sha256(_LEAF.pack(0, kind, version) + payload).digest()


def link_hash(previous: bytes, leaf: bytes) -> bytes:
    """The chain after the record with this leaf."""
    return _sha256(previous + leaf).digest()


def encode(previous: bytes, kind: int, version: int, payload: bytes) -> tuple[bytes, bytes]:
    """The frame of a record that follows `previous`, and its link.

    Pure: a caller that could not write the frame simply goes on from `previous`. Raises ValueError for a payload
    beyond JOURNAL_RECORD_BYTES_MAX.
    """
    length = len(payload)
    if length > JOURNAL_RECORD_BYTES_MAX:
        raise ValueError(f"a journal record may have {JOURNAL_RECORD_BYTES_MAX} bytes, this one has {length}")
    about = _about(kind, version)
    link = _sha256(previous + _sha256(b"\0" + about + payload).digest()).digest()
    body = about + link + payload
    return _head(length, _crc(length, body)) + body, link


class Encoder:
    """A chain being written: holds the previous link and moves on only when told that a frame was stored."""

    __slots__ = ("link",)

    def __init__(self, link: bytes = FIRST_LINK) -> None:
        self.link = link

    def encode(self, kind: int, version: int, payload: bytes) -> tuple[bytes, bytes]:
        """The next frame and its link; the chain stays where it is."""
        return encode(self.link, kind, version, payload)

    def advance(self, link: bytes) -> None:
        """The frame with this link was stored."""
        self.link = link


class Frame(msgspec.Struct, frozen=True):
    """A record as it stands in a file, from byte `offset` up to, not including, byte `end`."""

    offset: int
    end: int
    kind: int
    version: int
    link: bytes
    payload: bytes


class Fault(StrEnum):
    """Why no frame could be read at an offset."""

    END = "end"
    SHORT = "short"
    LENGTH = "length"
    CRC = "crc"


class End(StrEnum):
    """How a walk ended: at the end of the data or at zeros; at a last frame that was never finished; at a damaged
    frame with whole frames after it or at a frame that does not continue the chain."""

    CLEAN = "clean"
    TORN = "torn"
    CORRUPT = "corrupt"


def decode(data: bytes, offset: int, end: int | None = None) -> Frame | Fault:
    """The frame at `offset` of `data`, looking no further than `end`, or why there is none.

    Checks the CRC, not the chain. END: nothing but zeros where the header would stand, or no bytes at all.
    """
    stop = len(data) if end is None else min(end, len(data))
    if stop - offset < HEADER_BYTES:
        return Fault.SHORT if _NOT_ZERO.search(data, offset, stop) else Fault.END
    length, crc, kind, version, link = _HEADER.unpack_from(data, offset)
    if length > JOURNAL_RECORD_BYTES_MAX:
        return Fault.LENGTH
    after = offset + HEADER_BYTES + length
    if after > stop:
        return Fault.SHORT
    body = data[offset + 8 : after]
    if _crc(length, body) != crc:
        zeros = not length and not crc and not any(body)
        return Fault.END if zeros else Fault.CRC
    return Frame(offset, after, kind, version, link, body[HEADER_BYTES - 8 :])


def find_frame(data: bytes, offset: int, end: int | None = None) -> int | None:
    """Where the next whole frame begins at or after `offset`, whatever lies between; None if there is none."""
    stop = len(data) if end is None else min(end, len(data))
    while offset < stop:
        if data[offset : offset + HEADER_BYTES].count(0) == HEADER_BYTES:
            found = _NOT_ZERO.search(data, offset, stop)
            if found is None:
                return None
            # A frame may begin with the zeros of its length field, which the run of zeros before it swallowed.
            offset = max(offset + 1, found.start() - HEADER_BYTES)
        if isinstance(decode(data, offset, stop), Frame):
            return offset
        offset += 1
    return None


class Walk:
    """The good frames of `data` from `offset` up to `limit`, in order; afterwards `end`, `offset` and `reason` say
    how and where it ended.

    With `previous` the chain is checked too: the link that the first frame continues. `previous` is kept up to
    date and is the link to go on from.
    """

    def __init__(self, data: bytes, offset: int = 0, previous: bytes | None = None, limit: int | None = None) -> None:
        self._data = data
        self._limit = len(data) if limit is None else min(limit, len(data))
        self.offset = offset
        self.previous = previous
        self.end = End.CLEAN
        self.reason = ""

    def __iter__(self) -> Iterator[Frame]:
        while True:
            found = decode(self._data, self.offset, self._limit)
            if isinstance(found, Fault):
                self._finish(found)
                return
            if self.previous is not None:
                link = link_hash(self.previous, leaf_hash(found.kind, found.version, found.payload))
                if link != found.link:
                    self.end, self.reason = End.CORRUPT, "the record does not continue the chain"
                    return
                self.previous = link
            self.offset = found.end
            yield found

    def _finish(self, fault: Fault) -> None:
        following = find_frame(self._data, self.offset, self._limit)
        if following is not None:
            self.end = End.CORRUPT
            self.reason = f"no valid record ({fault}), yet a whole one follows at byte {following}"
        elif _NOT_ZERO.search(self._data, self.offset, self._limit):
            self.end = End.TORN
            self.reason = f"an unfinished record ({fault}) and nothing whole after it"
