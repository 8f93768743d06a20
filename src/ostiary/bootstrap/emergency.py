"""Where an installation is whose configuration file is not valid: for commands that must work in an incident, when nobody
has the time to mend a file first.

They need the data folder and the database, no more. Both are taken from the file as far as it has those two sections, and
they are sound; else the folder is the usual one, and the database the one of the last start. Nothing is made: what is found
must be an installation that is there.
"""

from pathlib import Path
from typing import Final

import msgspec

from ostiary.bootstrap.offline import PEPPER_FILE
from ostiary.bootstrap.storage import DATABASE_FILE, database_file
from ostiary.control.publisher import write_atomically
from ostiary.core.error import Code, OperatorError
from ostiary.settings import Loaded, StorageSettings
from ostiary.settings.rescue import place_in

_LAST_START: Final = "storage-in-use"
_SAY_WHERE: Final = (
    "Write `data_dir` and, unless it is SQLite in there, `storage` into a file of their own and give it with --config."
)


class Rescued(msgspec.Struct, frozen=True):
    """The installation, and where what is known of it comes from, in words for the person who waits."""

    loaded: Loaded
    told: str


def remember_storage(secrets_dir: Path, url: str) -> None:
    """Keep, for the owner only, which database this start uses: as `handed_on` gives it, without a secret."""
    secrets_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_atomically(secrets_dir / _LAST_START, url.encode("utf-8"))


def rescue(file: Path, secrets_dir: str) -> Rescued:
    """The installation of a file that is not valid. `secrets_dir` is the folder's name in the data folder.

    Raises OperatorError config.invalid where none can be found for certain, and says what to do.
    """
    place = place_in(file)
    folder = place.loaded(file, StorageSettings()).data_dir
    storage, said = place.storage, "the `storage` of the file"
    if storage is None:
        storage, said = _of_last_start(folder / secrets_dir), "the database of the last start"
    if storage is None and (folder / DATABASE_FILE).is_file():
        storage, said = StorageSettings(), "the database in it"
    if storage is None:
        raise OperatorError(
            Code.CONFIG_INVALID,
            f"Which database the installation in {folder} uses is said neither by the file nor by the last start. "
            f"{_SAY_WHERE}",
        )
    loaded = place.loaded(file, storage)
    if not (folder / PEPPER_FILE).is_file():
        raise OperatorError(Code.CONFIG_INVALID, f"There is no installation in {folder}. {_SAY_WHERE}")
    database = database_file(loaded)
    if database is not None and not database.is_file():
        raise OperatorError(Code.CONFIG_INVALID, f"There is no database {database}. {_SAY_WHERE}")
    return Rescued(loaded, f"the data folder {folder} and {said}")


def _of_last_start(secrets_dir: Path) -> StorageSettings | None:
    try:
        return StorageSettings(url=(secrets_dir / _LAST_START).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError):
        return None
