"""From the operator's file and the database to what data workers read; done at start, and again at every change."""

from typing import Final

from ostiary.bootstrap.compile import Declared, compile_file, snapshot_of, write_literals
from ostiary.bootstrap.discover import Found, discover
from ostiary.bootstrap.offline import Offline, overlay_of
from ostiary.control.publisher import Publisher
from ostiary.core.credential import stored_digest
from ostiary.core.digest import KeyedDigest
from ostiary.core.error import Code, OperatorError
from ostiary.core.limit import KEY_DELTA_ENTRIES_MAX, PURGES_MAX
from ostiary.core.principal import KeyId, TeamId, TenantId
from ostiary.govern.overlay import Overlay, check_overlay
from ostiary.govern.purges.service import LIFE_NS
from ostiary.settings import Loaded, load
from ostiary.snapshot.keys import KeyDelta, KeyEntry
from ostiary.snapshot.purges import Purges
from ostiary.snapshot.tables import TeamRow

_OF_A_KEY: Final = frozenset({"key.create", "key.rotate", "key.revoke"})
_LEAVES_OTHER_KEYS: Final = _OF_A_KEY | {
    "team.create",
    "team.allow_models",
    "tenant.create",
    "origin.retire",
    "cache.purge",
}
"""Changes after which every key but those they name is what it was. Any other makes all keys be read anew."""

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
        offline = self._offline
        tenants = offline.tenant_store.list()
        teams = offline.team_store.list()
        check_overlay(
            overlay,
            [tenant.id for tenant in tenants if not tenant.disabled_ns],
            [(team.tenant, team.name) for team in teams if not team.disabled_ns],
            [
                (tenant, team, name)
                for (tenant, team), row in overlay.teams.items()
                for name in row.key_names
                if offline.key_store.in_use(TenantId(tenant), TeamId(team), name)
            ],
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
        pepper = KeyedDigest(offline.installation_keys.pepper)
        file_keys = {stored_digest(pepper, text.encode("ascii")): entry for text, entry in declared.keys}
        now = offline.clock.now_ns()
        try:
            self._publish_keys(file_keys, now)
            self._publisher.publish_purges(self._purges(now))
            return self._publisher.publish_snapshot(snapshot_of(declared, rows, now))
        except OSError as error:
            raise OperatorError(Code.STORE_UNAVAILABLE, f"publishing failed: {error.strerror or error}") from error

    def _purges(self, now_ns: int) -> Purges:
        """Those in force. Of more than PURGES_MAX the oldest are taken for purges of everything."""
        found = self._offline.purge_store.list(now_ns - LIFE_NS, PURGES_MAX + 1)
        return Purges(
            found[0].number if found else 0,
            tuple((one.tenant, one.tag, one.number) for one in found[:PURGES_MAX]),
            found[-1].number if len(found) > PURGES_MAX else 0,
        )

    def _publish_keys(self, file_keys: dict[bytes, KeyEntry], now_ns: int) -> None:
        """Keys first, so that a worker that sees a new snapshot finds them. What a few changes did is published as
        such: with a million keys, reading them all would take longer than a revoked key may go on working."""
        offline, before = self._offline, self._publisher.keys
        last = offline.outbox.last()
        changes = None if before is None or before.place > last else self._key_changes(before, file_keys, last)
        if changes is None or not self._publisher.publish_changes(changes, file_keys, last):
            self._publisher.publish_keys(offline.key_store.entries(), file_keys, last, now_ns)

    def _key_changes(
        self, before: KeyDelta, file_keys: dict[bytes, KeyEntry], last: int
    ) -> dict[bytes, KeyEntry | None] | None:
        """What changed for single keys since they were last published; None where more may have changed."""
        offline = self._offline
        made = offline.outbox.since(before.place, KEY_DELTA_ENTRIES_MAX)
        if len(made) < last - before.place or not all(change.action in _LEAVES_OTHER_KEYS for _, change in made):
            return None
        changes: dict[bytes, KeyEntry | None] = dict.fromkeys(before.file_keys.keys() - file_keys.keys())
        changes.update((digest, entry) for digest, entry in file_keys.items() if before.file_keys.get(digest) != entry)
        for tenant, key_id in {(change.tenant, change.object_id) for _, change in made if change.action in _OF_A_KEY}:
            changes.update(offline.key_store.entries_of(TenantId(tenant), KeyId(key_id)))
        return changes
