"""Removing files of a chain that every consumer has read and that are older than the operator keeps them.

Nothing calls this by itself: the default is to keep everything.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Final

import msgspec

from ostiary.store.journal.disk import Disk
from ostiary.store.journal.layout import NEXT_NAME, Position, load_mark, segment_numbers, segment_path
from ostiary.store.journal.reader import header

KEPT_NAME: Final = "kept-from"


class KeptFrom(msgspec.Struct, frozen=True):
    """The first file kept, so that its predecessors are missing by intent."""

    segment: int
    previous_link: str


def kept_from(directory: Path) -> KeptFrom | None:
    """What retention left a note of, or None where it never removed anything."""
    try:
        return msgspec.json.decode((directory / KEPT_NAME).read_bytes(), type=KeptFrom)
    except (FileNotFoundError, msgspec.MsgspecError):
        return None


def removable(directory: Path, consumers: Iterable[Position], before_ns: int) -> list[int]:
    """The files, oldest first, that ended before `before_ns`, that every consumer is beyond, and in which no open
    call was opened. Never the file being written or the one before it."""
    mark = load_mark(directory)
    if mark is None:
        return []
    last = header(directory, mark.segment)
    bound = min([mark.segment - 1, *(position.segment for position in consumers)])
    found: list[int] = []
    for number in segment_numbers(directory):
        following = header(directory, number + 1)
        if number >= bound or following is None or last is None:
            break
        if following[0].at_ns >= before_ns or following[0].first_sequence > last[0].open_floor:
            break
        found.append(number)
    return found


def remove(directory: Path, numbers: Iterable[int], disk: Disk) -> None:
    """Remove files given by `removable`, noting first what is kept. Raises OSError; then some may be left, and
    calling again removes them."""
    ordered = sorted(numbers)
    if not ordered:
        return
    following = header(directory, ordered[-1] + 1)
    assert following is not None, "the first file kept has no beginning"
    note = msgspec.json.encode(KeptFrom(ordered[-1] + 1, following[0].previous_link))
    temporary = directory / f"{KEPT_NAME}.{NEXT_NAME}"
    fd = disk.open(temporary, fresh=True)
    try:
        disk.pwrite(fd, note, 0)
        disk.fdatasync(fd)
    finally:
        disk.close(fd)
    disk.rename(temporary, directory / KEPT_NAME)
    disk.sync_dir(directory)
    for number in ordered:
        disk.unlink(segment_path(directory, number))
    disk.sync_dir(directory)
