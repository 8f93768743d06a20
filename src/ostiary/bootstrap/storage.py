"""Where the rows are: which backend the configuration names, its stores, its schema.

The drivers of a server are imported only where one is configured; they come with an extra.
"""

import importlib
import os
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final, Protocol, cast
from urllib.parse import quote, urlsplit

from ostiary.bootstrap.system import SystemClock
from ostiary.control.publisher import write_atomically
from ostiary.control.reference import reference, resolve
from ostiary.core.error import Code, OperatorError
from ostiary.core.port import Clock
from ostiary.govern.keys.ports import KeyStore
from ostiary.govern.migration import Migration, Plan
from ostiary.govern.origins.ports import OriginStore
from ostiary.govern.ports import Database, Installation, Outbox
from ostiary.govern.purges.ports import PurgeStore
from ostiary.govern.reviews.ports import ReviewStore
from ostiary.govern.teams.ports import TeamStore
from ostiary.govern.tenants.ports import TenantStore
from ostiary.govern.usage.ports import UsageStore
from ostiary.jobs.alerts.ports import AlertQueue
from ostiary.settings import Loaded
from ostiary.store.archive.manifest import Manifest, Table
from ostiary.store.sqlite import copy as sqlite_copy
from ostiary.store.sqlite import database as sqlite
from ostiary.store.sqlite.alerts import SqliteAlerts
from ostiary.store.sqlite.installation import SqliteInstallation
from ostiary.store.sqlite.keys import SqliteKeys
from ostiary.store.sqlite.origins import SqliteOrigins
from ostiary.store.sqlite.outbox import SqliteOutbox
from ostiary.store.sqlite.purges import SqlitePurges
from ostiary.store.sqlite.reviews import SqliteReviews
from ostiary.store.sqlite.teams import SqliteTeams
from ostiary.store.sqlite.tenants import SqliteTenants
from ostiary.store.sqlite.usage import SqliteUsage

DATABASE_FILE: Final = "ostiary.db"
_LOCAL: Final = ("localhost", "127.0.0.1", "[::1]")
_URL_FILE: Final = "storage-url"
_FILE: Final = "sqlite:///"
_POSTGRESQL: Final = re.compile(r"postgres(ql)?://.+", re.DOTALL)
_POSTGRESQL_MODULE: Final = "ostiary.bootstrap.postgresql"


@dataclass(frozen=True, slots=True)
class Storage:
    """An open database and the stores in it. `shared` says that other installations' processes may use it too."""

    database: Database
    installation: Installation
    outbox: Outbox
    tenants: TenantStore
    teams: TeamStore
    keys: KeyStore
    usage: UsageStore
    origins: OriginStore
    alerts: AlertQueue
    purges: PurgeStore
    reviews: ReviewStore
    shared: bool


@dataclass(frozen=True, slots=True)
class Copied:
    """A copy of a database: what it is of, the version of its schema, and where it is copied by rows its tables and the
    days of which there are calls."""

    kind: str
    schema: int
    tables: tuple[Table, ...] = ()
    days: tuple[str, ...] = ()


class Server(Protocol):
    """What a module for a database server offers."""

    def opened(self, url: str, clock: Clock) -> Storage:
        """The stores, where the schema is one this program can work with."""
        ...

    def planned(self, url: str, clock: Clock, *, contract: bool) -> Plan:
        """What `migrated` would do."""
        ...

    def migrated(self, url: str, clock: Clock, *, contract: bool, told: Callable[[Migration], None]) -> Plan:
        """Take every step of the schema that is due."""
        ...

    def copied(self, url: str, clock: Clock, folder: Path) -> Copied:
        """Copy every table's rows into files."""
        ...

    def check_place(self, url: str, clock: Clock, schema: int) -> None:
        """Return where a backup with this schema could be restored."""
        ...

    def restored(self, url: str, clock: Clock, folder: Path, manifest: Manifest) -> None:
        """Make the tables and fill them, all or nothing."""
        ...


def storage_doubts(loaded: Loaded) -> list[str]:
    """What an operator should know of where rows are kept. Raises OperatorError config.invalid where that is nowhere."""
    storage_url(loaded)
    url = loaded.settings.storage.url
    found: list[str] = []
    if holds_password(url):
        found.append("storage.url: the password stands in the file itself; use ${env:NAME} or ${file:path}")
    if hosts := unverified(url):
        found.append(f"storage.url: the certificate of {hosts} is not verified; add sslmode=verify-full")
    return found


def open_storage(loaded: Loaded, data_dir: Path, clock: Clock) -> Storage:
    """The stores the configuration names: a file is made and migrated, a server must have its schema.

    Raises OperatorError: config.invalid (the URL, a driver that is not installed), store.unavailable.
    """
    url = storage_url(loaded)
    if _POSTGRESQL.fullmatch(url):
        return _server().opened(url, clock)
    database = sqlite.Database.open(_path(loaded, data_dir, url))
    return Storage(
        database=database,
        installation=SqliteInstallation(database),
        outbox=SqliteOutbox(database),
        tenants=SqliteTenants(database),
        teams=SqliteTeams(database),
        keys=SqliteKeys(database),
        usage=SqliteUsage(database),
        origins=SqliteOrigins(database),
        alerts=SqliteAlerts(database),
        purges=SqlitePurges(database),
        reviews=SqliteReviews(database),
        shared=False,
    )


def plan_migration(loaded: Loaded, clock: Clock, *, contract: bool) -> Plan:
    """What `migrate_storage` would do. Changes nothing. Raises OperatorError as `open_storage`."""
    url = storage_url(loaded)
    if _POSTGRESQL.fullmatch(url):
        return _server().planned(url, clock, contract=contract)
    return sqlite.plan(_path(loaded, loaded.data_dir, url))


def migrate_storage(loaded: Loaded, clock: Clock, *, contract: bool, told: Callable[[Migration], None]) -> Plan:
    """Bring the schema to what this program ships, telling of each step that is done; gives what was planned.

    Steps that take something away from earlier programs are taken only with `contract`, or where the database is new.
    Raises OperatorError as `open_storage`.
    """
    url = storage_url(loaded)
    if _POSTGRESQL.fullmatch(url):
        return _server().migrated(url, clock, contract=contract, told=told)
    path = _path(loaded, loaded.data_dir, url)
    planned = sqlite.plan(path)
    sqlite.Database.open(path).close()
    for step in planned.due:
        told(step)
    return planned


def database_file(loaded: Loaded) -> Path | None:
    """The file of a database that is one, None where it is a server's. Raises OperatorError config.invalid."""
    url = storage_url(loaded)
    return None if _POSTGRESQL.fullmatch(url) else _path(loaded, loaded.data_dir, url)


def storage_kind(loaded: Loaded) -> str:
    """sqlite or postgresql. Raises OperatorError config.invalid."""
    return "postgresql" if _POSTGRESQL.fullmatch(storage_url(loaded)) else "sqlite"


def copy_storage(loaded: Loaded, clock: Clock, folder: Path) -> Copied:
    """Copy the database, as it is at one moment, into files in `folder`, which is empty, while others use it.

    Raises OperatorError as `open_storage`."""
    url = storage_url(loaded)
    if _POSTGRESQL.fullmatch(url):
        return _server().copied(url, clock, folder)
    return Copied("sqlite", sqlite_copy.copy(_path(loaded, loaded.data_dir, url), folder / DATABASE_FILE))


def check_place(loaded: Loaded, manifest: Manifest) -> None:
    """Return where the database of a backup could be restored: its schema is known, and nothing is in its place.

    Raises OperatorError: config.invalid where something is or the schema is newer, store.unavailable."""
    url = storage_url(loaded)
    if _POSTGRESQL.fullmatch(url):
        _server().check_place(url, SystemClock(), manifest.schema)
        return
    newest = sqlite.migrations()[-1].version
    if manifest.schema > newest:
        raise _newer(manifest.schema, newest)
    path = _path(loaded, loaded.data_dir, url)
    if path.exists():
        raise OperatorError(Code.CONFIG_INVALID, f"{path} is there already: a backup does not overwrite a database.")


def load_storage(loaded: Loaded, clock: Clock, folder: Path, manifest: Manifest) -> None:
    """Put the files of `copy_storage` back, all or nothing. Raises OperatorError as `check_place`."""
    url = storage_url(loaded)
    if _POSTGRESQL.fullmatch(url):
        _server().restored(url, clock, folder, manifest)
        return
    path = _path(loaded, loaded.data_dir, url)
    beside = path.with_name(f".{path.name}.restoring")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        beside.unlink(missing_ok=True)
        shutil.copyfile(folder / DATABASE_FILE, beside)
        beside.chmod(0o600)
        with beside.open("rb") as file:
            os.fsync(file.fileno())
        os.link(beside, path)  # refuses one that has come there meanwhile
        beside.unlink()
    except OSError as error:
        raise OperatorError(Code.STORE_UNAVAILABLE, f"{path} cannot be made: {error.strerror or error}.") from error


def _newer(schema: int, newest: int) -> OperatorError:
    return OperatorError(
        Code.CONFIG_INVALID,
        f"The backup has schema {schema}, this version of Ostiary knows {newest}: restore it with the newer version.",
    )


def storage_url(loaded: Loaded) -> str:
    """`storage.url` with its references resolved: never to be shown. What a reference puts into a longer URL is
    percent-encoded, so that a password may hold anything. Raises OperatorError config.invalid."""
    text = loaded.settings.storage.url
    put = partial(quote, safe="") if _POSTGRESQL.fullmatch(text) else str
    try:
        url = resolve(text, loaded.base, put)
    except ValueError as error:
        raise loaded.error(("storage", "url"), str(error)) from error
    if url != "sqlite" and not url.startswith(_FILE) and not _POSTGRESQL.fullmatch(url):
        raise loaded.error(("storage", "url"), "must be sqlite, sqlite:///path or postgresql://…")
    return url


def holds_password(text: str) -> bool:
    """Whether a URL as it stands in the file has a password in it, rather than a reference to one."""
    if reference(text) is not None:
        return False
    try:
        parts = urlsplit(re.sub(r"\$\{[^}]+\}", "", text))
    except ValueError:
        return True
    return bool(parts.password) or "password=" in parts.query


def unverified(text: str) -> str:
    """The servers elsewhere to which a URL leads without their certificate being verified, or empty. What a reference
    stands for is not looked at."""
    _, _, rest = text.partition("://")
    place, _, query = rest.partition("?")
    if not _POSTGRESQL.fullmatch(text) or re.search(r"(^|&)sslmode=verify-(ca|full)(&|$)", query):
        return ""
    hosts = [one.rpartition(":")[0] or one for one in place.partition("/")[0].rpartition("@")[2].split(",")]
    return ", ".join(host for host in hosts if host and host not in _LOCAL and "${" not in host)


def handed_on(loaded: Loaded, secrets_dir: Path) -> str:
    """A `storage.url` that names the same database whatever becomes of the file, and that may be seen: one with a
    password in it is put where only the owner reads it, and a reference to that is given."""
    text = loaded.settings.storage.url
    url = storage_url(loaded)
    if not _POSTGRESQL.fullmatch(url):
        return f"{_FILE}{_path(loaded, loaded.data_dir, url)}"
    if not holds_password(text):
        return text
    secrets_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_atomically(secrets_dir / _URL_FILE, url.encode("utf-8"))
    return f"${{file:{secrets_dir / _URL_FILE}}}"


def _path(loaded: Loaded, data_dir: Path, url: str) -> Path:
    """The database file, relative to the configuration file; else the data folder's."""
    if url.startswith(_FILE):
        return (loaded.base / url.removeprefix(_FILE)).resolve()
    return data_dir / DATABASE_FILE


def _server() -> Server:
    try:
        return cast("Server", importlib.import_module(_POSTGRESQL_MODULE))
    except ImportError as error:
        if (error.name or "psycopg").partition(".")[0] != "psycopg":
            raise
        raise OperatorError(
            Code.CONFIG_INVALID,
            f"storage.url names PostgreSQL, whose driver is not installed: pip install 'ostiary[postgresql]' ({error}).",
        ) from error
