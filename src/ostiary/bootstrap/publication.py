"""From the operator's file and the database to what data workers read; done at start, and again at every change."""

from functools import partial
from typing import Final

from ostiary.bootstrap.compile import Declared, compile_file, snapshot_of, write_literals
from ostiary.bootstrap.discover import Found, discover
from ostiary.bootstrap.offline import Offline, overlay_of
from ostiary.bootstrap.rewriting import Rewriting
from ostiary.bootstrap.storage import open_storage
from ostiary.control.publisher import Publisher
from ostiary.core.credential import stored_digest
from ostiary.core.digest import KeyedDigest
from ostiary.core.error import Code, OperatorError
from ostiary.core.limit import KEY_CHANGES_COUNT_MAX, PURGES_MAX
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
    "review.read",
    "review.answered",
    "review.declined",
}
"""Changes after which every key but those they name is what it was. Any other makes all keys be read anew; those of a team
or tenant that was disabled are without effect from the next snapshot on all the same, for it has no such team."""

PUBLISHED_DIR: Final = "published"
SECRETS_DIR: Final = "secrets"


class Publication:
    """Publishes for one installation. `own_ports` are the gateway's, which discovery leaves alone. With `aside`, all keys
    are written anew beside those in use where that is due, and what they say is published by the first `refresh_rows` after
    `due` says so; otherwise at once."""

    def __init__(self, offline: Offline, own_ports: frozenset[int], *, aside: bool = False) -> None:
        self._offline = offline
        self._own_ports = own_ports
        self._publisher = Publisher(offline.data_dir / PUBLISHED_DIR)
        self._rewriting: Rewriting | None = None
        if aside:
            stores = partial(open_storage, offline.loaded, offline.data_dir, offline.clock)
            self._rewriting = Rewriting(self._publisher, stores, offline.clock)
        self._secrets_dir = offline.data_dir / SECRETS_DIR
        self._declared: Declared | None = None
        self._overlay = Overlay()
        self.found: tuple[Found, ...] = ()

    @property
    def taken(self) -> bool:
        """Whether a file, or the lack of one, was published by this process."""
        return self._declared is not None

    @property
    def due(self) -> bool:
        """Whether something was written that only waits to be put in use."""
        return self._rewriting is not None and self._rewriting.ended

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
        """Publish the rows as they are now; whether anything changed.

        Where no file was taken, because it is not valid since this process was started: the keys and the purges, beside
        the file's as they were published last. A revoked key must not go on working for want of a file."""
        if self._declared is not None:
            return self._publish(self._declared, self._overlay)
        before = self._publisher.keys
        if before is None:
            return False
        now = self._offline.clock.now_ns()
        try:
            self._publish_keys(before.file_keys, now)
            purged = self._publisher.publish_purges(self._purges(now))
        except OSError as error:
            raise OperatorError(Code.STORE_UNAVAILABLE, f"publishing failed: {error.strerror or error}") from error
        return purged or self._publisher.keys is not before

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
        """Keys first, so that a worker that sees a new snapshot finds them. What single changes did is published as
        such: with a million keys, reading them all would take longer than a revoked key may go on working. Where more
        may have changed, that follows when all keys are written anew, and is still due for whoever starts before."""
        offline, publisher, rewriting = self._offline, self._publisher, self._rewriting
        last = offline.outbox.last()
        fresh = None if rewriting is None else rewriting.taken()
        if fresh is not None and fresh.base.place <= last:
            changes, whole = self._key_changes(fresh.base, file_keys, last)
            if whole:
                publisher.publish_fresh(fresh, changes, file_keys, last)
        before = publisher.keys
        known = before is not None and before.place <= last
        if before is not None and known:
            changes, whole = self._key_changes(before, file_keys, last)
            known = publisher.publish_changes(changes, file_keys, last if whole else before.place)
            if known and whole and not publisher.full:  # else behind the changes, which workers have by then
                return
        if known and rewriting is not None:
            rewriting.begin(file_keys)
        else:
            if rewriting is not None:
                rewriting.dropped()
            publisher.publish_keys(offline.key_store.entries(), file_keys, last, now_ns)

    def _key_changes(
        self, before: KeyDelta, file_keys: dict[bytes, KeyEntry], last: int
    ) -> tuple[dict[bytes, KeyEntry | None], bool]:
        """What changed for single keys since `before`, and whether that is all that changed."""
        offline = self._offline
        made = offline.outbox.since(before.place, KEY_CHANGES_COUNT_MAX)
        whole = len(made) >= last - before.place and all(change.action in _LEAVES_OTHER_KEYS for _, change in made)
        changes: dict[bytes, KeyEntry | None] = dict.fromkeys(before.file_keys.keys() - file_keys.keys())
        changes.update((digest, entry) for digest, entry in file_keys.items() if before.file_keys.get(digest) != entry)
        for tenant, key_id in {(change.tenant, change.object_id) for _, change in made if change.action in _OF_A_KEY}:
            changes.update(offline.key_store.entries_of(TenantId(tenant), KeyId(key_id)))
        return changes, whole
