"""Writing an archive. Killed at any moment, it leaves what stood in its place before, and at most a `.part` beside it."""

import contextlib
import hashlib
import io
import os
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Final, final

import msgspec

from ostiary.core.error import Code, OperatorError
from ostiary.store.archive.manifest import MANIFEST_NAME, Manifest, Member

_COMPRESSION: Final = 1
_READ_BYTES: Final = 1024 * 1024


@final
class ArchiveWriter:
    """An archive being written; see `written`."""

    def __init__(self, tar: tarfile.TarFile) -> None:
        self._tar = tar
        self.members: list[Member] = []

    def add_file(self, name: str, path: Path, size: int | None = None) -> None:
        """The file's first `size` bytes, all there are now unless given, and when it was changed last. Raises OSError,
        also where it becomes shorter."""
        with path.open("rb") as file:
            stat = os.fstat(file.fileno())
            self.add(name, file, stat.st_size if size is None else size, stat.st_mtime)

    def add_bytes(self, name: str, data: bytes) -> None:
        """A small file."""
        self.add(name, io.BytesIO(data), len(data))

    def add(self, name: str, source: IO[bytes], size: int, mtime: float = 0.0) -> None:
        """`size` bytes of a stream."""
        info = tarfile.TarInfo(name)
        info.size, info.mode, info.mtime = size, 0o600, int(mtime)
        digested = _Digested(source)
        self._tar.addfile(info, digested)
        self.members.append(Member(name, size, digested.sha256.hexdigest()))

    def seal(self, manifest: Manifest) -> None:
        """The last member."""
        data = msgspec.json.format(msgspec.json.encode(manifest), indent=1)
        info = tarfile.TarInfo(MANIFEST_NAME)
        info.size, info.mode = len(data), 0o600
        self._tar.addfile(info, io.BytesIO(data))


class _Digested(io.RawIOBase):
    """A stream whose bytes are digested as they are read. What is missing is told: the library would pad it."""

    def __init__(self, source: IO[bytes]) -> None:
        self._source = source
        self.sha256 = hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        data = self._source.read(min(size, _READ_BYTES) if size >= 0 else _READ_BYTES)
        while size >= 0 and len(data) < size:
            more = self._source.read(min(size - len(data), _READ_BYTES))
            if not more:
                raise OSError("a file became shorter while it was read")
            data += more
        self.sha256.update(data)
        return data


@contextlib.contextmanager
def written(target: Path) -> Iterator[ArchiveWriter]:
    """An archive in place of `target` (0600), durable at the end of the block; where the block raises, all is as before.

    Raises OperatorError config.invalid where it cannot be written.
    """
    part = target.with_name(f"{target.name}.part")
    try:
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as file:
                with tarfile.open(fileobj=file, mode="w:gz", compresslevel=_COMPRESSION) as tar:
                    yield ArchiveWriter(tar)
                file.flush()
                os.fsync(file.fileno())
            part.replace(target)
        except BaseException:
            part.unlink(missing_ok=True)
            raise
        folder = os.open(target.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        raise OperatorError(
            Code.CONFIG_INVALID, f"The backup {target} cannot be written: {error.strerror or error}."
        ) from error
