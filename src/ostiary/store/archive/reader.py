"""Reading an archive back. Nothing in it is trusted before all of it is known to be what was written."""

import gzip
import hashlib
import os
import re
import tarfile
import zlib
from pathlib import Path
from typing import IO, Final

import msgspec

from ostiary.core.error import Code, OperatorError
from ostiary.core.limit import ARCHIVE_ENTRIES_MAX
from ostiary.store.archive.manifest import FORMAT, MANIFEST_NAME, Manifest, Member

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}(/[A-Za-z0-9][A-Za-z0-9._-]{0,127}){0,3}")
_MANIFEST_BYTES_MAX: Final = 256 * 1024 * 1024
_PADDING_BYTES_MAX: Final = 1024 * 1024
_READ_BYTES: Final = 1024 * 1024


class _Format(msgspec.Struct):
    format: int


def unpack(archive: Path, folder: Path) -> Manifest:
    """Put every member into `folder`, which is empty, and give the manifest that all of them agree with.

    Names are paths of at most four plain parts: none begins with a dot or a slash, so none leads out of the folder;
    links, devices and names that come twice are refused. Raises OperatorError config.invalid for an archive that is
    damaged, cut off, not one of ours, or of a newer format; what was put into the folder until then is worth nothing.
    """
    found: dict[str, Member] = {}
    try:
        # The library's own reading of gzip does not look at its checksum.
        with gzip.open(archive, "rb") as data, tarfile.open(fileobj=data, mode="r|") as tar:
            for info in tar:
                if MANIFEST_NAME in found or len(found) >= ARCHIVE_ENTRIES_MAX:
                    raise _refused(archive, "something stands after its end")
                if not info.isreg() or info.name in found or not _NAME.fullmatch(info.name):
                    raise _refused(archive, f"it holds {info.name[:200]!r}, which no backup does")
                source = tar.extractfile(info)
                assert source is not None
                found[info.name] = _put(source, folder, info)
            if data.read(_PADDING_BYTES_MAX + 1).strip(b"\0"):
                raise _refused(archive, "something stands after its end")
    except (tarfile.TarError, zlib.error, EOFError, UnicodeError) as error:
        raise _refused(archive, f"it is damaged or cut off ({error})") from error
    except OSError as error:
        # The library raises OSError for a damaged gzip as well.
        raise _refused(archive, str(error.strerror or error)) from error
    return _agreed(archive, folder, found)


def _put(source: IO[bytes], folder: Path, info: tarfile.TarInfo) -> Member:
    *parents, last = info.name.split("/")
    for parent in parents:
        folder /= parent
        folder.mkdir(mode=0o700, exist_ok=True)
    path = folder / last
    sha256 = hashlib.sha256()
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        while data := source.read(_READ_BYTES):
            sha256.update(data)
            file.write(data)
        file.flush()
        os.fsync(file.fileno())
    if info.mtime:
        os.utime(path, (info.mtime, info.mtime))
    return Member(info.name, info.size, sha256.hexdigest())


def _agreed(archive: Path, folder: Path, found: dict[str, Member]) -> Manifest:
    last = found.pop(MANIFEST_NAME, None)
    if last is None:
        raise _refused(archive, "it has no manifest: it was cut off, or is no backup of Ostiary")
    if last.size > _MANIFEST_BYTES_MAX:
        raise _refused(archive, "its manifest is too large")
    path = folder / MANIFEST_NAME
    data = path.read_bytes()
    path.unlink()
    try:
        said = msgspec.json.decode(data, type=_Format)
        if said.format > FORMAT:
            raise _refused(archive, f"it has format {said.format}, this version reads {FORMAT}: use a newer one")
        manifest = msgspec.json.decode(data, type=Manifest)
    except msgspec.MsgspecError as error:
        raise _refused(archive, f"its manifest is not one of ours ({error})") from error
    if {one.name: one for one in manifest.members} != found:
        raise _refused(archive, "what it holds is not what its manifest says")
    return manifest


def _refused(archive: Path, why: str) -> OperatorError:
    return OperatorError(Code.CONFIG_INVALID, f"The backup {archive} is not used: {why}.")
