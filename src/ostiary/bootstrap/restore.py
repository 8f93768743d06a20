"""Putting a backup back: onto an empty data folder and an empty database, or not at all.

Everything is unpacked and checked in a folder of its own inside the data folder before anything takes its place. While that
folder is there, nothing starts on the data folder.
"""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec

from ostiary.bootstrap.backup import DATABASE_DIR, KeysFile
from ostiary.bootstrap.lock import lock
from ostiary.bootstrap.offline import (
    DIGEST_FILE,
    JOURNAL_DIR,
    PEPPER_FILE,
    RESTORING_DIR,
    REVIEW_DIR,
    make_data_dir,
    opened,
)
from ostiary.bootstrap.storage import check_place, load_storage, storage_kind
from ostiary.bootstrap.system import SystemClock
from ostiary.core.digest import key_name
from ostiary.core.error import Code, OperatorError
from ostiary.govern.usage.model import Place
from ostiary.projector.step import CONSUMER
from ostiary.settings import Loaded
from ostiary.store.archive.manifest import FORMAT, Manifest
from ostiary.store.archive.reader import unpack
from ostiary.store.journal.verify import OriginReport, verify

_KEY_FILES: Final = (PEPPER_FILE, DIGEST_FILE)
_MAY_BE_THERE: Final = frozenset({*_KEY_FILES, "lock", "lost+found"})
_FOLDERS: Final = frozenset({JOURNAL_DIR, DATABASE_DIR, "published", "replay", REVIEW_DIR})
_NS: Final = 1_000_000_000


class Restored(msgspec.Struct, frozen=True):
    """What was restored: `point_ns` is the recovery point, up to which everything is there, and `age_seconds` how long
    before this command that was; `seconds` is the recovery time, until the journal was verified and projected."""

    replica: str
    database: str
    schema: int
    point_ns: int
    age_seconds: float
    seconds: float
    records: int
    projected: int
    origins: tuple[str, ...]


def restore(
    loaded: Loaded,
    archive: Path,
    keys_file: Path | None,
    *,
    newer: Path | None = None,
    journal_only: bool = False,
    told: Callable[[str], None] = lambda _: None,
) -> Restored:
    """Restore `archive` into the data folder and the database that the configuration names.

    `newer` is a later backup of the same replica, with or without a database: its journal takes the place of the first
    one's, and what it has more is projected. `journal_only` leaves the database alone, which was restored with another replica's backup. Raises OperatorError
    config.invalid, having changed nothing, where anything in the archive is not what was written, the folder or the
    database holds something, or keys or versions do not fit; store.unavailable; journal.corrupt.
    """
    clock = SystemClock()
    began, began_ns = clock.monotonic(), clock.now_ns()
    data_dir = loaded.data_dir
    make_data_dir(data_dir)
    _check_empty(data_dir)
    descriptor = lock(data_dir)
    try:
        _check_empty(data_dir)
        work = data_dir / RESTORING_DIR
        work.mkdir(mode=0o700)
        made: list[Path] = []
        try:
            told("checking the backup")
            manifest = _unpacked(archive, newer, work)
            keys = _keys(manifest, data_dir, keys_file)
            reports = _proved(manifest, work)
            _put_keys(keys, data_dir, made)
            if journal_only:
                _check_place(loaded, manifest)
            else:
                _check_database(loaded, manifest)
                told("restoring the database")
                load_storage(loaded, clock, work / DATABASE_DIR, manifest)
        except BaseException:
            for path in made:
                path.unlink()
            shutil.rmtree(work, ignore_errors=True)
            raise
        _take_place(work, data_dir)
        told("projecting what the journal has more")
        with opened(loaded) as offline:
            projected = offline.projector.run_once()
            for error in offline.projector.faults.values():
                raise error
    finally:
        os.close(descriptor)
    return Restored(
        replica=manifest.replica,
        database=manifest.database,
        schema=manifest.schema,
        point_ns=manifest.at_ns,
        age_seconds=(began_ns - manifest.at_ns) / _NS,
        seconds=clock.monotonic() - began,
        records=sum(report.records for report in reports),
        projected=projected,
        origins=tuple(sorted(manifest.origins)),
    )


def _check_empty(data_dir: Path) -> None:
    there = {path.name for path in data_dir.iterdir()} - _MAY_BE_THERE
    if any(name.startswith(RESTORING_DIR) for name in there):
        raise OperatorError(
            Code.CONFIG_INVALID,
            f"A restore into {data_dir} was interrupted: empty it, and the database it was for, and restore again.",
        )
    if there:
        raise OperatorError(
            Code.CONFIG_INVALID,
            f"{data_dir} is not empty ({', '.join(sorted(there)[:3])}): a backup is restored into an empty folder.",
        )


def _unpacked(archive: Path, newer: Path | None, work: Path) -> Manifest:
    """The backup in `work`, with everything but the database from the newer one, if there is one; what holds for both."""
    manifest = unpack(archive, work)
    _check_names(archive, work)
    if newer is None:
        return manifest
    beside = work.with_name(f"{work.name}-newer")
    try:
        beside.mkdir(mode=0o700)
        later = unpack(newer, beside)
        _check_names(newer, beside)
        of_one = (later.pepper_id, later.digest_key_id) == (manifest.pepper_id, manifest.digest_key_id)
        behind = [name for name, one in manifest.origins.items() if later.origins.get(name, one).records < one.records]
        if not of_one or later.at_ns < manifest.at_ns or behind or not manifest.origins.keys() <= later.origins.keys():
            raise OperatorError(
                Code.CONFIG_INVALID, f"{newer} is not a later backup of the replica that {archive} is of."
            )
        shutil.rmtree(beside / DATABASE_DIR, ignore_errors=True)
        for path in sorted(beside.iterdir()):
            if (work / path.name).is_dir():
                shutil.rmtree(work / path.name)
            path.replace(work / path.name)
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return msgspec.structs.replace(manifest, at_ns=later.at_ns, origins=later.origins)


def _check_names(archive: Path, work: Path) -> None:
    """Every file is in a folder that a backup has, or is the name of the counters."""
    for path in work.iterdir():
        if path.name not in _FOLDERS and path.name != "counters.id":
            raise OperatorError(Code.CONFIG_INVALID, f"The backup {archive} is not used: it holds {path.name!r}.")


def _keys(manifest: Manifest, data_dir: Path, keys_file: Path | None) -> dict[str, bytes]:
    """The keys that the backup was made with: from the file given, or those that stand in the data folder already."""
    if keys_file is None:
        found = {name: _read(data_dir / name) for name in _KEY_FILES}
    else:
        try:
            value = msgspec.json.decode(keys_file.read_bytes(), type=KeysFile)
            found = {PEPPER_FILE: bytes.fromhex(value.pepper), DIGEST_FILE: bytes.fromhex(value.digest_key)}
        except (OSError, ValueError, msgspec.MsgspecError):
            # Nothing of the file is repeated: it holds secrets.
            raise OperatorError(Code.CONFIG_INVALID, f"{keys_file} is no file of keys, or cannot be read.") from None
        if value.format > FORMAT:
            raise OperatorError(Code.CONFIG_INVALID, f"{keys_file} has format {value.format}: use a newer version.")
    wanted = {PEPPER_FILE: ("pepper", manifest.pepper_id), DIGEST_FILE: ("digest", manifest.digest_key_id)}
    for name, (word, expected) in wanted.items():
        given = key_name(word, found[name])
        if given != expected:
            raise OperatorError(
                Code.CONFIG_INVALID,
                f"The backup was made with {name} {expected}; the one given is {given}. Give the keys that were written "
                "with it, or of any later backup of the same installation.",
            )
        there = data_dir / name
        if there.exists() and _read(there) != found[name]:
            raise OperatorError(Code.CONFIG_INVALID, f"{there} is another key than the backup's.")
    return found


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise OperatorError(
            Code.CONFIG_INVALID, f"The keys are kept apart: give their file with --keys ({path} is not there)."
        ) from error


def _proved(manifest: Manifest, work: Path) -> list[OriginReport]:
    """The journal of the backup, verified before it is anyone's."""
    reports = verify(work / JOURNAL_DIR)
    for report in reports:
        covered = manifest.origins.get(report.origin)
        ends = None if report.anchor is None else (report.anchor.segment, report.anchor.offset, report.anchor.link)
        if report.problems or covered is None or ends != (covered.segment, covered.offset, covered.link):
            why = report.problems[0].reason if report.problems else "it does not end where the manifest says"
            raise OperatorError(
                Code.JOURNAL_CORRUPT, f"The journal {report.origin} of the backup does not hold: {why}."
            )
    if {report.origin for report in reports} != set(manifest.origins):
        raise OperatorError(Code.JOURNAL_CORRUPT, "The backup lacks a journal that its manifest names.")
    return reports


def _check_database(loaded: Loaded, manifest: Manifest) -> None:
    kind = storage_kind(loaded)
    if not manifest.database:
        raise OperatorError(
            Code.CONFIG_INVALID,
            "The backup holds no database: give it as --newer of one that does, or with --journal-only where the database "
            "is there already.",
        )
    if kind != manifest.database:
        raise OperatorError(
            Code.CONFIG_INVALID,
            f"The backup is of {manifest.database}, storage.url names {kind}: one is not turned into the other.",
        )
    check_place(loaded, manifest)


def _check_place(loaded: Loaded, manifest: Manifest) -> None:
    """The database must not have consumed more of a journal than the backup has: what is recorded from there on would
    stand below the place it has reached, and never be counted."""
    with opened(loaded, restoring=True) as offline:
        for origin, covered in manifest.origins.items():
            place = offline.usage_store.place(CONSUMER, origin)
            if place > Place(covered.segment, covered.offset, covered.records):
                raise OperatorError(
                    Code.CONFIG_INVALID,
                    f"The database has more of the journal {origin} than this backup: it may not be gone on with. Declare "
                    "it lost (`ostiary audit retire-origin`) and start this replica anew under another name.",
                )


def _put_keys(keys: dict[str, bytes], data_dir: Path, made: list[Path]) -> None:
    """Those that are not there yet; which ones is noted in `made`."""
    for name, data in keys.items():
        path = data_dir / name
        if not path.exists():
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            made.append(path)
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())


def _take_place(work: Path, data_dir: Path) -> None:
    """From the folder of the restore into the data folder; the folder itself goes last, and is what says that it is done."""
    shutil.rmtree(work / DATABASE_DIR, ignore_errors=True)
    for path in sorted(work.iterdir()):
        path.rename(data_dir / path.name)
    work.rmdir()
    descriptor = os.open(data_dir, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
