"""Taking a backup of an installation that runs.

The order is what makes it whole: the database first, then the journal up to what is on the device. The database of a backup
is therefore never ahead of its journal, and what the journal has more is projected after a restore. Keys go into a file of
their own: whoever holds the other one alone can verify the journal and read usage, and use no key and open no answer.
"""

import contextlib
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec

from ostiary import __version__
from ostiary.bootstrap.counters import IDENTITY_FILE as COUNTERS_FILE
from ostiary.bootstrap.offline import DIGEST_FILE, JOURNAL_DIR, PEPPER_FILE, REVIEW_DIR, read_keys
from ostiary.bootstrap.publication import PUBLISHED_DIR
from ostiary.bootstrap.replica import IDENTITY_FILE, NAME_FILE
from ostiary.bootstrap.storage import Copied, copy_storage
from ostiary.bootstrap.system import SystemClock, UuidIds
from ostiary.control.publisher import write_atomically
from ostiary.core.error import Code, OperatorError
from ostiary.settings import Loaded
from ostiary.store.archive.manifest import FORMAT, Covered, Manifest
from ostiary.store.archive.writer import ArchiveWriter, written
from ostiary.store.journal.prefix import Prefix, prefixes, settle

REPLAY_DIR: Final = "replay"
DATABASE_DIR: Final = "database"
SQLITE_MEMBER: Final = f"{DATABASE_DIR}/ostiary.db"
_PUBLISHED: Final = ("keys", "keys.delta", "snapshot")


class KeysFile(msgspec.Struct, frozen=True):
    """What is kept apart: the installation's secrets in hex, and the names under which the backup knows them."""

    format: int
    pepper_id: str
    pepper: str
    digest_key_id: str
    digest_key: str

    def __repr__(self) -> str:
        return f"KeysFile({self.pepper_id}, {self.digest_key_id})"


class Backup(msgspec.Struct, frozen=True):
    """What was written. Every call that was answered before `covers_until_ns` is in it."""

    file: str
    keys_file: str
    bytes: int
    seconds: float
    covers_until_ns: int
    database: str
    schema: int
    records: int


def back_up(
    loaded: Loaded,
    target: Path,
    keys_file: Path,
    *,
    journal_only: bool = False,
    told: Callable[[str], None] = lambda _: None,
) -> Backup:
    """Write `target` and, apart from it, `keys_file`; each takes the place of an older one only once it is whole. With
    `journal_only` the database is left out: what brings an older backup, or a copy of the database, up to now.

    The installation may run, or not. Raises OperatorError: config.invalid (no installation here, a file that cannot be
    written, keys that would stand beside the rest under one name), store.unavailable, journal.corrupt.
    """
    clock, ids = SystemClock(), UuidIds()
    began = clock.monotonic()
    data_dir = loaded.data_dir
    if not (data_dir / PEPPER_FILE).exists():
        raise OperatorError(Code.CONFIG_INVALID, f"{data_dir} holds no installation: there is nothing to back up.")
    if target.resolve() == keys_file.resolve():
        raise OperatorError(Code.CONFIG_INVALID, "The keys must be kept apart: give them a file of their own.")
    keys = read_keys(data_dir)
    # Beside the target, where there is room for the backup itself.
    work = target.with_name(f"{target.name}.work")
    shutil.rmtree(work, ignore_errors=True)
    try:
        work.mkdir(mode=0o700, parents=True)
    except OSError as error:
        raise OperatorError(Code.CONFIG_INVALID, f"{work} cannot be made: {error.strerror or error}.") from error
    try:
        with written(target) as archive:
            _add_reviews(archive, data_dir)
            copied = Copied("", 0)
            if not journal_only:
                told("copying the database")
                copied = copy_storage(loaded, clock, work)
            for path in sorted(work.iterdir()):
                archive.add_file(f"{DATABASE_DIR}/{path.name}", path)
            told("copying the journal")
            at_ns = clock.now_ns()
            settle(data_dir / JOURNAL_DIR, clock, time.sleep)
            found = prefixes(data_dir / JOURNAL_DIR)
            _add_journal(archive, found)
            _add_rest(archive, data_dir)
            archive.seal(
                Manifest(
                    format=FORMAT,
                    id=ids.new(),
                    at_ns=at_ns,
                    version=__version__,
                    replica=os.environ.get("OSTIARY_REPLICA", "r0"),
                    database=copied.kind,
                    schema=copied.schema,
                    pepper_id=keys.pepper_id,
                    digest_key_id=keys.digest_key_id,
                    origins={one.origin: _covered(one) for one in found},
                    tables=copied.tables,
                    days=copied.days,
                    members=tuple(archive.members),
                )
            )
        _write_keys(keys_file, data_dir)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return Backup(
        file=str(target),
        keys_file=str(keys_file),
        bytes=target.stat().st_size,
        seconds=clock.monotonic() - began,
        covers_until_ns=at_ns,
        database=copied.kind,
        schema=copied.schema,
        records=sum(one.mark.sequence for one in found),
    )


def _covered(one: Prefix) -> Covered:
    return Covered(one.mark.segment, one.mark.offset, one.mark.sequence, one.mark.link.hex())


def _add_journal(archive: ArchiveWriter, found: list[Prefix]) -> None:
    for one in found:
        for part in one.parts:
            archive.add_file(f"{JOURNAL_DIR}/{part.name}", part.path, part.size)
        archive.add_bytes(f"{JOURNAL_DIR}/{one.mark_name}", one.mark_bytes)


def _add_reviews(archive: ArchiveWriter, data_dir: Path) -> None:
    """Calls that wait for a person, before the database is copied: what is said to be there then is in that copy."""
    for path in sorted((data_dir / REVIEW_DIR).glob("*/[!.]*")):
        with contextlib.suppress(FileNotFoundError):
            archive.add_file(path.relative_to(data_dir).as_posix(), path)


def _add_rest(archive: ArchiveWriter, data_dir: Path) -> None:
    """What is there of the rest. Each of these files is replaced as a whole, or only grows, and stands for itself: one
    that goes while this runs is one that is not needed."""
    small = [Path(JOURNAL_DIR, IDENTITY_FILE), Path(JOURNAL_DIR, NAME_FILE), Path(COUNTERS_FILE)]
    small += [Path(PUBLISHED_DIR, name) for name in _PUBLISHED]
    replays = data_dir / REPLAY_DIR
    if replays.is_dir():
        small += [Path(REPLAY_DIR, path.name) for path in sorted(replays.iterdir()) if not path.name.startswith(".")]
    for name in small:
        with contextlib.suppress(FileNotFoundError):
            archive.add_file(name.as_posix(), data_dir / name)


def _write_keys(target: Path, data_dir: Path) -> None:
    keys = read_keys(data_dir)
    value = KeysFile(
        format=FORMAT,
        pepper_id=keys.pepper_id,
        pepper=(data_dir / PEPPER_FILE).read_bytes().hex(),
        digest_key_id=keys.digest_key_id,
        digest_key=(data_dir / DIGEST_FILE).read_bytes().hex(),
    )
    try:
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_atomically(target, msgspec.json.format(msgspec.json.encode(value), indent=1) + b"\n")
    except OSError as error:
        raise OperatorError(
            Code.CONFIG_INVALID, f"The keys cannot be written to {target}: {error.strerror or error}."
        ) from error
