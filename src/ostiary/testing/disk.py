"""A disk that fails on demand, forgets what was not synced, or dies with the process. Implements store.journal.disk.Disk.

It works on real files through the real disk, and keeps beside them what of each would survive a power failure.
"""

import errno
import random
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import TypeVar

import msgspec

from ostiary.store.journal.disk import Disk, OsDisk

_SECTOR_BYTES = 512
T = TypeVar("T")


class Mode(StrEnum):
    """How a call fails: before it did anything, after it did everything, a write after doing half of it (short: told
    as such), or the process dies before the call, or after it."""

    REFUSED = "refused"
    APPLIED = "applied"
    SHORT = "short"
    KILLED = "killed"
    KILLED_AFTER = "killed-after"


class Killed(BaseException):
    """The process is gone. No `except Exception` catches it, and every later call raises it again."""


class Call(msgspec.Struct, frozen=True):
    """One call to the disk: its number from 0, its method, the path concerned."""

    number: int
    method: str
    path: Path


class _File:
    """One file's content: what is on the device, and the writes since."""

    def __init__(self, synced: bytes = b"") -> None:
        self.synced = bytearray(synced)
        self.writes: list[tuple[int, bytes]] = []

    def apply(self, keep: Callable[[], bool]) -> bytes:
        image = bytearray(self.synced)
        for offset, data in self.writes:
            at = 0
            while at < len(data):
                size = min(len(data) - at, _SECTOR_BYTES - (offset + at) % _SECTOR_BYTES)
                if keep():
                    _put(image, offset + at, data[at : at + size])
                at += size
        return bytes(image)


class FaultDisk:
    """`plan` says for each call whether and how it fails; None or a plan giving None: it works.

    `calls` is the record of every call. Reading the files needs no disk port and sees what a live system sees.
    """

    def __init__(self, root: Path, plan: Callable[[Call], Mode | None] | None = None, boot: str = "boot-1") -> None:
        self.plan = plan
        self.boot_id = boot
        self.calls: list[Call] = []
        self.before: Callable[[Call], None] | None = None
        self.error = errno.EIO
        self._disk: Disk = OsDisk()
        self._root = root
        self._dead = False
        self._paths: dict[int, Path] = {}
        self._files: dict[int, _File] = {}
        self._entries: dict[Path, _File] = {
            path: _File(path.read_bytes()) for path in sorted(root.rglob("*")) if path.is_file()
        }
        self._durable = dict(self._entries)

    # --- the port

    def boot(self) -> str:
        """The boot given."""
        return self.boot_id

    def make_dir(self, path: Path) -> None:
        self._call("make_dir", path, lambda: self._disk.make_dir(path))

    def lock(self, path: Path) -> int:
        fd = self._disk.lock(path)
        self._paths[fd] = path
        return fd

    def open(self, path: Path, *, fresh: bool) -> int:
        def act() -> int:
            fd = self._disk.open(path, fresh=fresh)
            if fresh:
                self._entries[path] = _File()
            self._paths[fd] = path
            self._files[fd] = self._entries[path]
            return fd

        return self._call("open", path, act)

    def allocate(self, fd: int, size: int) -> None:
        def act() -> None:
            self._disk.allocate(fd, size)
            self._files[fd].synced.extend(bytes(max(0, size - len(self._files[fd].synced))))

        self._call("allocate", self._paths[fd], act)

    def pwrite(self, fd: int, data: bytes, offset: int) -> int:
        def act(part: bytes = data) -> int:
            written = self._disk.pwrite(fd, part, offset)
            self._files[fd].writes.append((offset, part))
            return written

        return self._call("pwrite", self._paths[fd], act, lambda: act(data[: len(data) // 2]))

    def fdatasync(self, fd: int) -> None:
        def act() -> None:
            file = self._files[fd]
            file.synced = bytearray(file.apply(lambda: True))
            file.writes.clear()

        self._call("fdatasync", self._paths[fd], act)

    def truncate(self, fd: int, size: int) -> None:
        def act() -> None:
            self._disk.truncate(fd, size)
            file = self._files[fd]
            file.synced = bytearray(file.apply(lambda: True))[:size]
            file.writes.clear()

        self._call("truncate", self._paths[fd], act)

    def close(self, fd: int) -> None:
        self._paths.pop(fd, None)
        self._files.pop(fd, None)
        self._disk.close(fd)

    def rename(self, source: Path, target: Path) -> None:
        def act() -> None:
            self._disk.rename(source, target)
            self._entries[target] = self._entries.pop(source)

        self._call("rename", target, act)

    def unlink(self, path: Path) -> None:
        def act() -> None:
            self._disk.unlink(path)
            self._entries.pop(path, None)

        self._call("unlink", path, act)

    def sync_dir(self, path: Path) -> None:
        def act() -> None:
            kept = {name: file for name, file in self._durable.items() if name.parent != path}
            self._durable = kept | {name: file for name, file in self._entries.items() if name.parent == path}

        self._call("sync_dir", path, act)

    # --- what a test does with it

    def power_loss(self, target: Path, chance: random.Random | None) -> None:
        """Write under `target` the tree as it would be found after a power failure now.

        Without `chance` everything unsynced is lost; with it, sectors and names survive or not as it decides.
        """
        names = self._durable if chance is None or chance.random() < 0.5 else self._entries
        for path, file in names.items():
            image = file.apply(lambda: chance is not None and chance.random() < 0.5)
            copy = target / path.relative_to(self._root)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(image)

    def release(self) -> None:
        """Close every descriptor still open, as the end of a process does."""
        for fd in list(self._paths):
            self.close(fd)

    def _call(self, method: str, path: Path, act: Callable[[], T], short: Callable[[], T] | None = None) -> T:
        call = Call(len(self.calls), method, path)
        self.calls.append(call)
        if self._dead:
            raise Killed
        if self.before is not None:
            self.before(call)
        mode = None if self.plan is None else self.plan(call)
        if mode is None:
            return act()
        if mode is Mode.SHORT and short is not None:
            return short()
        if mode in (Mode.APPLIED, Mode.KILLED_AFTER):
            act()
        if mode in (Mode.KILLED, Mode.KILLED_AFTER):
            self._dead = True
            raise Killed
        raise OSError(self.error, "the disk was told to fail")


def fail_nth(number: int, mode: Mode) -> Callable[[Call], Mode | None]:
    """A plan: the call with this number fails, once."""
    return lambda call: mode if call.number == number else None


def _put(image: bytearray, offset: int, data: bytes) -> None:
    image.extend(bytes(max(0, offset + len(data) - len(image))))
    image[offset : offset + len(data)] = data
