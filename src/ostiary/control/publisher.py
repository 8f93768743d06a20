"""Publishes: one snapshot and the keys beside it, replaced as whole files that data workers notice.

The order is keys first, snapshot last, so that a worker that sees a new snapshot finds its keys. Every file is
written beside its place, synced and renamed; a reader sees the old or the new one, never a part. While few keys
change, only the small delta is written; past a bound the base is written anew behind it and the delta emptied.
"""

import mmap
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

import msgspec

from ostiary.core.error import OperatorError
from ostiary.core.limit import KEY_CHANGES_COUNT_MAX, KEY_DELTA_ENTRIES_MAX
from ostiary.snapshot import codec
from ostiary.snapshot.keys import KeyDelta, KeyEntry, KeyTable, decode_delta, encode_base, encode_delta
from ostiary.snapshot.purges import Purges, decode_purges, encode_purges
from ostiary.snapshot.tables import Snapshot

SNAPSHOT: Final = "snapshot"
KEYS: Final = "keys"
DELTA: Final = "keys.delta"
PURGES: Final = "purges"
_FRESH: Final = "keys.next"


class Fresh(msgspec.Struct, frozen=True):
    """All keys, written but not in use; `base` is what a delta without changes would say of them."""

    base: KeyDelta


class Publisher:
    """Writes what workers read, into `directory` (made 0700 if it is not there). Goes on from what an earlier one
    left, so that a restart of the control plane rewrites nothing and changes nothing for the workers."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._directory = directory
        self._snapshot_id = self._published_snapshot()
        self._delta = self._published_delta()
        self._purges = self._published_purges()

    @property
    def keys(self) -> KeyDelta | None:
        """What was published of keys besides the base; None where nothing usable was."""
        return self._delta

    @property
    def full(self) -> bool:
        """Whether the delta has grown beyond its bound, so that all keys are to be written anew. What stands in it is
        known to workers all the same: a revocation does not wait for that."""
        return self._delta is not None and len(self._delta.entries) > KEY_DELTA_ENTRIES_MAX

    def publish_snapshot(self, snapshot: Snapshot) -> bool:
        """Make this the snapshot workers go by; whether it is another one. OSError where it cannot be written."""
        if snapshot.id == self._snapshot_id:
            return False
        write_atomically(self._directory / SNAPSHOT, codec.encode(snapshot))
        self._snapshot_id = snapshot.id
        return True

    def publish_purges(self, purges: Purges) -> bool:
        """Make these the purges workers go by; whether they are others. OSError where they cannot be written."""
        if purges == self._purges:
            return False
        write_atomically(self._directory / PURGES, encode_purges(purges))
        self._purges = purges
        return True

    def publish_keys(
        self, keys: Iterable[tuple[bytes, KeyEntry]], file_keys: Mapping[bytes, KeyEntry], place: int, now_ns: int
    ) -> None:
        """Write all keys anew: those of the database as of change number `place`, and those of the file."""
        self.publish_fresh(self.prepare(keys, file_keys, place, now_ns), {}, file_keys, place)

    def prepare(
        self, keys: Iterable[tuple[bytes, KeyEntry]], file_keys: Mapping[bytes, KeyEntry], place: int, now_ns: int
    ) -> Fresh:
        """Write all keys anew beside those in use, for `publish_fresh`; any thread may, one at a time."""
        # Time makes generations of successive publishers differ; within one they only grow.
        generation = max((0 if self._delta is None else self._delta.generation) + 1, now_ns)
        write_atomically(self._directory / _FRESH, encode_base(generation, (*keys, *file_keys.items())))
        return Fresh(KeyDelta(generation, {}, place, dict(file_keys)))

    def publish_fresh(
        self,
        fresh: Fresh,
        changes: Mapping[bytes, KeyEntry | None],
        file_keys: Mapping[bytes, KeyEntry],
        place: int,
    ) -> None:
        """Put in place what was prepared, with what changed since, up to change number `place`."""
        delta = KeyDelta(fresh.base.generation, dict(changes), place, dict(file_keys))
        # The delta goes first: with neither the old nor the new base does it agree until both are in place, and a
        # reader that finds them apart keeps what it has.
        write_atomically(self._directory / DELTA, encode_delta(delta))
        (self._directory / _FRESH).replace(self._directory / KEYS)
        _sync(self._directory)
        self._delta = delta

    def publish_changes(
        self, changes: Mapping[bytes, KeyEntry | None], file_keys: Mapping[bytes, KeyEntry], place: int
    ) -> bool:
        """Add changes of single keys (None: gone) up to change number `place`. False, and nothing written, where there
        is no base yet or the delta would grow beyond KEY_CHANGES_COUNT_MAX: then all keys are to be written anew."""
        before = self._delta
        if before is None or len(before.entries) + len(changes) > KEY_CHANGES_COUNT_MAX:
            return False
        delta = KeyDelta(before.generation, {**before.entries, **changes}, place, dict(file_keys))
        if delta != before:
            write_atomically(self._directory / DELTA, encode_delta(delta))
            self._delta = delta
        return True

    def _published_snapshot(self) -> str:
        try:
            return codec.decode((self._directory / SNAPSHOT).read_bytes()).id
        except (OSError, OperatorError):
            return ""

    def _published_purges(self) -> Purges | None:
        try:
            return decode_purges((self._directory / PURGES).read_bytes())
        except (OSError, OperatorError):
            return None

    def _published_delta(self) -> KeyDelta | None:
        try:
            delta = decode_delta((self._directory / DELTA).read_bytes())
            with (
                (self._directory / KEYS).open("rb") as file,
                mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as base,
            ):
                generation = KeyTable(base, {}).generation
        except (OSError, ValueError, OperatorError):
            return None
        return delta if delta.generation == generation else None


def write_atomically(path: Path, data: bytes, mode: int = 0o600) -> None:
    """Replace a file as a whole, durably."""
    temporary = path.with_name(path.name + ".new")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    _sync(path.parent)


def _sync(directory: Path) -> None:
    folder = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
