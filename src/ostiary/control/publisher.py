"""Publishes: one snapshot and the keys beside it, replaced as whole files that data workers notice.

The order is keys first, snapshot last, so that a worker that sees a new snapshot finds its keys. Every file is
written beside its place, synced and renamed; a reader sees the old or the new one, never a part. While few keys
change, only the small delta is written; past a bound the base is written anew and the delta emptied.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from ostiary.core.error import OperatorError
from ostiary.core.limit import KEY_DELTA_ENTRIES_MAX
from ostiary.snapshot import codec
from ostiary.snapshot.keys import KeyDelta, KeyEntry, KeyTable, decode_delta, encode_base, encode_delta
from ostiary.snapshot.tables import Snapshot

SNAPSHOT: Final = "snapshot"
KEYS: Final = "keys"
DELTA: Final = "keys.delta"


class Publisher:
    """Writes what workers read, into `directory` (made 0700 if it is not there)."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._directory = directory
        self._base: dict[bytes, KeyEntry] = {}
        self._delta: dict[bytes, KeyEntry | None] = {}
        self._generation = 0
        self._snapshot_id = ""

    def publish(self, snapshot: Snapshot, keys: Mapping[bytes, KeyEntry], now_ns: int) -> bool:
        """Make these what workers go by; whether anything changed. Raises OSError where a file cannot be written."""
        changed = self.publish_keys(keys, now_ns)
        if not self._snapshot_id:
            self._snapshot_id = self._published_snapshot()
        if snapshot.id != self._snapshot_id:
            write_atomically(self._directory / SNAPSHOT, codec.encode(snapshot))
            self._snapshot_id = snapshot.id
            changed = True
        return changed

    def publish_keys(self, keys: Mapping[bytes, KeyEntry], now_ns: int) -> bool:
        """Bring the key files up to date with `keys`."""
        if self._generation == 0 and self._adopt(keys):
            return False
        delta: dict[bytes, KeyEntry | None] = {
            digest: entry for digest, entry in keys.items() if self._base.get(digest) != entry
        }
        delta.update({digest: None for digest in self._base if digest not in keys})
        if self._generation and delta == self._delta:
            return False
        if self._generation == 0 or len(delta) > KEY_DELTA_ENTRIES_MAX:
            # Time makes generations of successive publishers differ; within one they only grow.
            self._generation = max(self._generation + 1, now_ns)
            self._base, delta = dict(keys), {}
            # The delta goes first: with neither the old nor the new base does it agree until both are in place,
            # and a reader that finds them apart keeps what it has.
            write_atomically(self._directory / DELTA, encode_delta(KeyDelta(self._generation, {})))
            write_atomically(self._directory / KEYS, encode_base(self._generation, self._base.items()))
        else:
            write_atomically(self._directory / DELTA, encode_delta(KeyDelta(self._generation, delta)))
        self._delta = delta
        return True

    def _published_snapshot(self) -> str:
        """The id of what an earlier publisher left, if it can be read."""
        try:
            return codec.decode((self._directory / SNAPSHOT).read_bytes()).id
        except (OSError, OperatorError):
            return ""

    def _adopt(self, keys: Mapping[bytes, KeyEntry]) -> bool:
        """Go on from the key files of an earlier publisher where they hold exactly `keys`, so that a restart of the
        control plane changes nothing for the workers. The encoding is a function of generation and keys."""
        try:
            base = (self._directory / KEYS).read_bytes()
            delta = decode_delta((self._directory / DELTA).read_bytes())
            generation = KeyTable(base, {}).generation
        except (OSError, OperatorError):
            return False
        if delta != KeyDelta(generation, {}) or base != encode_base(generation, keys.items()):
            return False
        self._generation, self._base = generation, dict(keys)
        return True


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
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
