"""What the journal does to a disk, as a port, so that every failure of it can be produced in a test.

Every method raises OSError where the operating system does. `testing.disk.FaultDisk` is the shipped fake.
"""

import contextlib
import errno
import fcntl
import os
from pathlib import Path
from typing import Protocol


class Disk(Protocol):
    """Files by descriptor, names by path."""

    def boot(self) -> str:
        """Names the present run of the operating system; "" where it has no name."""
        ...

    def make_dir(self, path: Path) -> None:
        """Create a directory (0700) with its parents; nothing where it exists."""
        ...

    def lock(self, path: Path) -> int:
        """A descriptor holding the exclusive lock of `path`, created if missing. BlockingIOError if another has it."""
        ...

    def open(self, path: Path, *, fresh: bool) -> int:
        """A descriptor to read and write (0600). `fresh`: created or emptied; else it must exist."""
        ...

    def allocate(self, fd: int, size: int) -> None:
        """Make the file `size` zeros that later writes will not fail for want of space."""
        ...

    def pwrite(self, fd: int, data: bytes, offset: int) -> int: ...
    def fdatasync(self, fd: int) -> None: ...
    def truncate(self, fd: int, size: int) -> None: ...
    def close(self, fd: int) -> None: ...
    def rename(self, source: Path, target: Path) -> None: ...
    def unlink(self, path: Path) -> None: ...
    def sync_dir(self, path: Path) -> None: ...


class OsDisk:
    """The disk there is."""

    def boot(self) -> str:
        try:
            return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        except OSError:
            return ""

    def make_dir(self, path: Path) -> None:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)

    def lock(self, path: Path) -> int:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(fd)
            raise
        return fd

    def open(self, path: Path, *, fresh: bool) -> int:
        flags = os.O_RDWR | os.O_CLOEXEC | (os.O_CREAT | os.O_TRUNC if fresh else 0)
        return os.open(path, flags, 0o600)

    def allocate(self, fd: int, size: int) -> None:
        try:
            os.posix_fallocate(fd, 0, size)
        except OSError as error:
            if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL):
                raise
            # A file system without allocation: the size is set, and want of space is met when writing.
            os.ftruncate(fd, size)

    def pwrite(self, fd: int, data: bytes, offset: int) -> int:
        return os.pwrite(fd, data, offset)

    def fdatasync(self, fd: int) -> None:
        os.fdatasync(fd)

    def truncate(self, fd: int, size: int) -> None:
        os.ftruncate(fd, size)

    def close(self, fd: int) -> None:
        os.close(fd)

    def rename(self, source: Path, target: Path) -> None:
        source.rename(target)

    def unlink(self, path: Path) -> None:
        with contextlib.suppress(FileNotFoundError):
            path.unlink()

    def sync_dir(self, path: Path) -> None:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)
