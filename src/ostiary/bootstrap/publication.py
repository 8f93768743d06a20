"""From the operator's file and the database to what data workers read; done at start, and again at every change."""

from collections.abc import Mapping
from typing import Final

from ostiary.bootstrap.compile import Declared, compile_file, snapshot_of, write_literals
from ostiary.bootstrap.discover import Found, discover
from ostiary.bootstrap.offline import Offline, overlay_of
from ostiary.control.publisher import Publisher
from ostiary.core.credential import stored_digest
from ostiary.core.digest import KeyedDigest
from ostiary.core.error import Code, OperatorError
from ostiary.govern.overlay import Overlay, check_overlay
from ostiary.settings import Loaded, load
from ostiary.snapshot.keys import KeyEntry
from ostiary.snapshot.tables import TeamRow

PUBLISHED_DIR: Final = "published"
SECRETS_DIR: Final = "secrets"


class Publication:
    """Publishes for one installation. `own_ports` are the gateway's, which discovery leaves alone."""

    def __init__(self, offline: Offline, own_ports: frozenset[int]) -> None:
        self._offline = offline
        self._own_ports = own_ports
        self._publisher = Publisher(offline.data_dir / PUBLISHED_DIR)
        self._secrets_dir = offline.data_dir / SECRETS_DIR
        self._declared: Declared | None = None
        self._overlay = Overlay()
        self.found: tuple[Found, ...] = ()

    @property
    def taken(self) -> bool:
        """Whether a file, or the lack of one, was published by this process."""
        return self._declared is not None

    @property
    def warnings(self) -> tuple[str, ...]:
        """What an operator should know of the file in use."""
        return () if self._declared is None else self._declared.warnings

    @property
    def overlay(self) -> Overlay:
        """The file's own tenants, teams and keys."""
        return self._overlay

    def take_file(self, loaded: Loaded) -> None:
        """Compile a file and publish it with the rows there are. Raises OperatorError and leaves all as it was."""
        if loaded.file is None:
            loaded, found = discover(loaded, self._own_ports)
        else:
            found = ()
        declared = compile_file(loaded, self._secrets_dir)
        overlay = overlay_of(loaded)
        self._publish(declared, overlay)
        self._declared, self._overlay, self.found = declared, overlay, found

    def reload(self, loaded: Loaded) -> Loaded:
        """Read the file again and publish it; gives what was read.

        A running installation never wants an empty file: that is one which is just being written."""
        fresh = load(loaded.file)
        if fresh.file is not None and not fresh.lines:
            raise OperatorError(Code.CONFIG_INVALID, f"{fresh.file}: is empty")
        self.take_file(fresh)
        return fresh

    def refresh_rows(self) -> bool:
        """Publish the rows as they are now; whether anything changed."""
        assert self._declared is not None
        return self._publish(self._declared, self._overlay)

    def _publish(self, declared: Declared, overlay: Overlay) -> bool:
        tenants = self._offline.tenant_store.list()
        teams = self._offline.team_store.list()
        check_overlay(
            overlay,
            [tenant.id for tenant in tenants if not tenant.disabled_ns],
            [(team.tenant, team.name) for team in teams if not team.disabled_ns],
            [(key.tenant, key.team, key.name) for key in self._offline.key_store.list() if not key.revoked_ns],
        )
        gone = {tenant.id for tenant in tenants if tenant.disabled_ns}
        rows = [
            TeamRow(
                tenant=team.tenant,
                name=team.name,
                environment=team.environment,
                models=team.models,
                max_tokens=team.max_tokens,
                tool_depth=team.tool_depth,
                managed_by="api",
            )
            for team in teams
            if not team.disabled_ns and team.tenant not in gone
        ]
        write_literals(declared)
        now = self._offline.clock.now_ns()
        try:
            return self._publisher.publish(snapshot_of(declared, rows, now), self._key_entries(declared), now)
        except OSError as error:
            raise OperatorError(Code.STORE_UNAVAILABLE, f"publishing failed: {error.strerror or error}") from error

    def _key_entries(self, declared: Declared) -> Mapping[bytes, KeyEntry]:
        entries = dict(self._offline.key_store.entries())
        pepper = KeyedDigest(self._offline.installation_keys.pepper)
        entries.update((stored_digest(pepper, text.encode("ascii")), entry) for text, entry in declared.keys)
        return entries
