"""An installation opened without serving: what commands work on, and what the ops process shares with them.

The installation's keys are files of 32 random bytes beside the database, made once (0600):

    pepper.key   under which stored keys are digested; without it every stored key is void
    digest.key   under which contents and people stand in the journal

Both belong in the backup, together with the database. The database remembers which pepper it was made with: a file
that is missing or another one refuses to start, because every stored key would silently be unknown.
"""

import contextlib
import os
import pwd
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

import msgspec

from ostiary.bootstrap.replica import claim
from ostiary.bootstrap.storage import open_storage
from ostiary.bootstrap.system import SystemClock, UuidIds
from ostiary.core.digest import key_name
from ostiary.core.error import Code, OperatorError
from ostiary.govern.actor import Actor, operator
from ostiary.govern.keys.service import KeyService
from ostiary.govern.origins.service import OriginService
from ostiary.govern.overlay import FileTeam, Overlay
from ostiary.govern.ports import Installation
from ostiary.govern.purges.service import PurgeService
from ostiary.govern.reviews.service import ReviewService
from ostiary.govern.teams.service import TeamService
from ostiary.govern.tenants.service import TenantService
from ostiary.govern.usage.service import UsageService
from ostiary.projector.loop import Projector
from ostiary.projector.step import CONSUMER
from ostiary.settings import Loaded
from ostiary.store.journal.reader import JournalFiles
from ostiary.store.reviews.files import ReviewFiles
from ostiary.store.reviews.sealed import ReviewSeals

PEPPER_FILE: Final = "pepper.key"
DIGEST_FILE: Final = "digest.key"
JOURNAL_DIR: Final = "journal"
REVIEW_DIR: Final = "review"
RESTORING_DIR: Final = ".restoring"
_KEY_BYTES: Final = 32


class InstallationKeys(msgspec.Struct, frozen=True):
    """The secrets of the installation, and the public names under which they are told apart."""

    pepper: bytes
    digest_key: bytes
    pepper_id: str
    digest_key_id: str

    def __repr__(self) -> str:
        return f"InstallationKeys({self.pepper_id}, {self.digest_key_id})"


class Offline:
    """The stores and services of one installation. `close` it, or use `opened`."""

    def __init__(self, loaded: Loaded, data_dir: Path | None = None, *, restoring: bool = False) -> None:
        """Opens, creates or migrates what is in the data folder, which is the file's unless given, and the database. Only
        who is restoring a backup may open one whose restore has not come to its end.

        Raises OperatorError: store.unavailable (the database, its schema), config.invalid (the installation's keys, the
        database's URL or driver, a replica's name that is another's).
        """
        self.loaded = loaded
        self.data_dir = loaded.data_dir if data_dir is None else data_dir
        self.journal_root = self.data_dir / JOURNAL_DIR
        self.clock = SystemClock()
        self.ids = UuidIds()
        self.overlay = overlay_of(loaded)
        make_data_dir(self.data_dir)
        if (self.data_dir / RESTORING_DIR).exists() and not restoring:
            raise OperatorError(
                Code.CONFIG_INVALID,
                f"A restore into {self.data_dir} has not come to its end. If none runs, empty the folder, and the database "
                "it was for, and restore again.",
            )
        self.storage = open_storage(loaded, self.data_dir, self.clock)
        self.database = self.storage.database
        try:
            self.installation_keys = ensure_keys(self.data_dir, self.storage.installation)
            self.claim()
        except BaseException:
            self.database.close()
            raise
        self.tenant_store = self.storage.tenants
        self.team_store = self.storage.teams
        self.key_store = self.storage.keys
        self.usage_store = self.storage.usage
        self.purge_store = self.storage.purges
        self.outbox = self.storage.outbox
        self.origin_store = self.storage.origins
        self.alerts = self.storage.alerts
        self.tenants = TenantService(self.tenant_store, self.overlay, self.clock, self.ids)
        self.teams = TeamService(self.team_store, self.tenant_store, self.overlay, self.clock, self.ids)
        self.keys = KeyService(
            self.key_store,
            self.team_store,
            self.overlay,
            pepper=self.installation_keys.pepper,
            entropy=os.urandom,
            clock=self.clock,
            ids=self.ids,
        )
        seals = ReviewSeals(self.installation_keys.digest_key, os.urandom)
        self.review_files = ReviewFiles(self.data_dir / REVIEW_DIR, seals)
        self.review_store = self.storage.reviews
        self.reviews = ReviewService(self.review_store, seals, self.clock, self.ids)
        self.usage = UsageService(self.usage_store)
        self.purges = PurgeService(self.purge_store, self.clock, self.ids)
        self.projector = Projector(JournalFiles(self.journal_root), self.usage_store)
        self.origins = OriginService(self.origin_store, self.usage_store, self.clock, self.ids, CONSUMER)
        self.actor = local_operator()

    def claim(self, *replicas: str) -> None:
        """Make sure, where others use the database too, that the journal's replicas and these are nobody else's.

        Raises OperatorError config.invalid where one is.
        """
        if self.storage.shared:
            claim(self.storage.installation, self.journal_root, self.ids, replicas)

    def lost(self, names: Iterable[str]) -> str:
        """Which of these journals was declared lost, in words for an operator; empty where none was."""
        wanted = frozenset(names)
        for origin in self.origin_store.list():
            if origin.retirement is not None and origin.name in wanted:
                return (
                    f"The journal {origin.name} was declared lost by {origin.retirement.by} ({origin.retirement.reason}): "
                    "what it records is not projected any more. Stop this replica, keep the journal as evidence "
                    "elsewhere, and start anew with a new OSTIARY_REPLICA."
                )
        return ""

    def close(self) -> None:
        """Close the database."""
        self.database.close()


@contextlib.contextmanager
def opened(loaded: Loaded, *, restoring: bool = False) -> Iterator[Offline]:
    """An installation for the length of a block."""
    offline = Offline(loaded, restoring=restoring)
    try:
        yield offline
    finally:
        offline.close()


def local_operator() -> Actor:
    """Whoever runs the command: a shell on the installation may do everything."""
    try:
        name = pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        name = str(os.getuid())
    return operator(f"local:{name}")


def make_data_dir(path: Path) -> None:
    """Make the data folder (0700) if it is not there. Raises OperatorError store.unavailable."""
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise OperatorError(
            Code.STORE_UNAVAILABLE, f"The data folder {path} cannot be made: {error.strerror or error}."
        ) from error


def overlay_of(loaded: Loaded) -> Overlay:
    """What the configuration file defines, as the services need to know it."""
    teams: dict[tuple[str, str], FileTeam] = {}
    for tenant in loaded.settings.tenants:
        for team in tenant.teams:
            teams[tenant.name, team.name] = FileTeam(
                environment=team.environment,
                models=tuple(team.models),
                key_names=frozenset(key.name for key in team.keys),
                max_tokens=team.max_tokens,
                tool_depth=team.tool_depth,
            )
    return Overlay(
        file="" if loaded.file is None else str(loaded.file),
        tenants=frozenset(tenant.name for tenant in loaded.settings.tenants),
        teams=teams,
    )


def ensure_keys(data_dir: Path, installation: Installation) -> InstallationKeys:
    """The installation's keys, made where this is a new installation.

    Two processes that start at once agree on one. Raises OperatorError config.invalid where a file is missing from,
    or does not belong to, the installation of the database.
    """
    known = installation.recall("pepper")
    pepper_path = data_dir / PEPPER_FILE
    if known is not None and not pepper_path.exists():
        raise OperatorError(
            Code.CONFIG_INVALID,
            f"{pepper_path} is missing: the keys stored in the database are void without it. Put it back from the "
            f"backup, or copy it from another replica (its id is {known}).",
        )
    pepper = _key_file(pepper_path)
    digest_key = _key_file(data_dir / DIGEST_FILE)
    pepper_id = key_name("pepper", pepper)
    expected = installation.remember("pepper", pepper_id)
    if expected != pepper_id:
        raise OperatorError(
            Code.CONFIG_INVALID,
            f"{pepper_path} (id {pepper_id}) is not the one the database was made with (id {expected}). Put that one "
            "back from the backup.",
        )
    return InstallationKeys(pepper, digest_key, pepper_id, key_name("digest", digest_key))


def read_keys(data_dir: Path) -> InstallationKeys:
    """The installation's keys, which must be there. Raises OperatorError config.invalid."""
    for name in (PEPPER_FILE, DIGEST_FILE):
        if not (data_dir / name).exists():
            raise OperatorError(Code.CONFIG_INVALID, f"{data_dir / name} is missing.")
    pepper, digest_key = _key_file(data_dir / PEPPER_FILE), _key_file(data_dir / DIGEST_FILE)
    return InstallationKeys(pepper, digest_key, key_name("pepper", pepper), key_name("digest", digest_key))


def _key_file(path: Path) -> bytes:
    """The key in a file, made if it is not there. The link decides between two processes that make it at once."""
    try:
        if not path.exists():
            temporary = path.with_name(f".{path.name}.{os.getpid()}")
            fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            try:
                os.write(fd, os.urandom(_KEY_BYTES))
                os.fsync(fd)
            finally:
                os.close(fd)
            with contextlib.suppress(FileExistsError):
                os.link(temporary, path)
            temporary.unlink()
            _sync_dir(path.parent)
        key = path.read_bytes()
    except OSError as error:
        raise OperatorError(Code.CONFIG_INVALID, f"{path} cannot be used: {error.strerror or error}.") from error
    if len(key) != _KEY_BYTES:
        raise OperatorError(Code.CONFIG_INVALID, f"{path} must hold {_KEY_BYTES} bytes, it holds {len(key)}.")
    return key


def _sync_dir(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
