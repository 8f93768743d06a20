"""Notices new published files and reads them. A file that cannot be read leaves what is in use and says why."""

import mmap
from pathlib import Path
from typing import Final

from ostiary.core.error import Code, OperatorError
from ostiary.snapshot import codec
from ostiary.snapshot.index import Index
from ostiary.snapshot.keys import KeyTable, decode_delta
from ostiary.snapshot.purges import Purges, decode_purges

_Stamp = tuple[int, int, int]
_NONE: Final[_Stamp] = (0, 0, 0)


class PublishedReader:
    """Watches one directory by looking at its files' times; a look costs a few microseconds and blocks on nothing.

    Reading a changed file does block; call `read_*` off the loop.
    """

    def __init__(self, directory: Path) -> None:
        self._snapshot = directory / "snapshot"
        self._keys = directory / "keys"
        self._delta = directory / "keys.delta"
        self._purges = directory / "purges"
        self._seen_snapshot = _NONE
        self._seen_purges = _NONE
        self._seen_keys = (_NONE, _NONE)

    def snapshot_changed(self) -> bool:
        """Whether the snapshot file is another than the one last read."""
        return _stamp(self._snapshot) != self._seen_snapshot

    def keys_changed(self) -> bool:
        """Whether a key file is another than those last read."""
        return (_stamp(self._keys), _stamp(self._delta)) != self._seen_keys

    def purges_changed(self) -> bool:
        """Whether the file of purges is another than the one last read."""
        return _stamp(self._purges) != self._seen_purges

    def read_purges(self) -> Purges:
        """The purges now published; none where there is no file. Raises OperatorError; what changed is then looked at
        again the next time, so that no purge is passed over."""
        stamp = _stamp(self._purges)
        try:
            purges = decode_purges(self._purges.read_bytes()) if stamp != _NONE else Purges()
        except OSError as error:
            raise OperatorError(Code.CONFIG_INVALID, f"the purges cannot be read: {error}") from error
        self._seen_purges = stamp
        return purges

    def read_snapshot(self) -> Index:
        """The snapshot now published. Raises OperatorError; what changed is not looked at again until it changes."""
        self._seen_snapshot = _stamp(self._snapshot)
        try:
            return Index(codec.decode(self._snapshot.read_bytes()))
        except OSError as error:
            raise OperatorError(Code.CONFIG_INVALID, f"the snapshot cannot be read: {error}") from error

    def read_keys(self) -> KeyTable | None:
        """The keys now published; None while base and delta are of different generations (a moment of a rewrite)."""
        stamps = (_stamp(self._keys), _stamp(self._delta))
        try:
            delta = decode_delta(self._delta.read_bytes())
            with self._keys.open("rb") as file:
                base = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except (OSError, ValueError) as error:
            raise OperatorError(Code.CONFIG_INVALID, f"the keys cannot be read: {error}") from error
        table = KeyTable(base, delta.entries)
        if table.generation != delta.generation:
            return None
        self._seen_keys = stamps
        return table


def _stamp(path: Path) -> _Stamp:
    try:
        stat = path.stat()
    except OSError:
        return _NONE
    return stat.st_mtime_ns, stat.st_ino, stat.st_size
