"""Port `KeyStore` on SQLite."""

from collections.abc import Sequence
from typing import Final

from ostiary.core.principal import KeyId, TeamId, TenantId
from ostiary.core.row import Row
from ostiary.govern.change import Change
from ostiary.govern.keys.model import Key, KeySecret
from ostiary.govern.keys.rows import entry_of, key_of, key_values, secret_values, secrets_by_key
from ostiary.snapshot.keys import KeyEntry
from ostiary.store.sqlite.database import Database, Tx, unique

_INSERT: Final = (
    "INSERT INTO keys (tenant_id, id, team, environment, name, models, deployment, created_ns, expires_ns, "
    "project) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
_INSERT_DIGEST: Final = (
    "INSERT INTO key_secrets (digest, tenant_id, key_id, hint, created_ns, expires_ns) VALUES (?, ?, ?, ?, ?, ?)"
)
_SELECT: Final = (
    "SELECT tenant_id, id, team, environment, name, models, deployment, created_ns, expires_ns, revoked_ns, "
    "project FROM keys"
)
_FIND: Final = _SELECT + " WHERE tenant_id = ? AND id = ?"
_LIST: Final = _SELECT + " ORDER BY created_ns, id"
_LIST_TENANT: Final = _SELECT + " WHERE tenant_id = ? ORDER BY created_ns, id"
_SELECT_HINTS: Final = "SELECT tenant_id, key_id, hint, created_ns, expires_ns FROM key_secrets"
_HINTS: Final = _SELECT_HINTS + " ORDER BY created_ns, hint"
_HINTS_TENANT: Final = _SELECT_HINTS + " WHERE tenant_id = ? ORDER BY created_ns, hint"
_HINTS_KEY: Final = _SELECT_HINTS + " WHERE tenant_id = ? AND key_id = ? ORDER BY created_ns, hint"
_IN_USE: Final = "SELECT 1 FROM keys WHERE tenant_id = ? AND id = ? AND revoked_ns = 0"
_END_EARLIER: Final = (
    "UPDATE key_secrets SET expires_ns = ?3 "
    "WHERE tenant_id = ?1 AND key_id = ?2 AND (expires_ns = 0 OR expires_ns > ?3)"
)
_REVOKE: Final = "UPDATE keys SET revoked_ns = ? WHERE tenant_id = ? AND id = ? AND revoked_ns = 0"
_ENTRIES: Final = (
    "SELECT s.digest, s.expires_ns, k.id, k.name, k.tenant_id, k.team, k.environment, k.models, k.deployment, "
    "k.expires_ns, k.project FROM key_secrets s JOIN keys k ON k.tenant_id = s.tenant_id AND k.id = s.key_id "
    "WHERE k.revoked_ns = 0 "
    "AND NOT EXISTS (SELECT 1 FROM tenants n WHERE n.id = k.tenant_id AND n.disabled_ns > 0) "
    "AND NOT EXISTS (SELECT 1 FROM teams t WHERE t.tenant_id = k.tenant_id AND t.name = k.team AND t.disabled_ns > 0)"
)

_ENTRIES_OF: Final = _ENTRIES + " AND k.tenant_id = ? AND k.id = ?"
_DIGESTS_OF: Final = "SELECT digest FROM key_secrets WHERE tenant_id = ? AND key_id = ?"
_NAMED: Final = "SELECT 1 FROM keys WHERE tenant_id = ? AND team = ? AND name = ? AND revoked_ns = 0"


class SqliteKeys:
    """See the port for what holds."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def create(self, key: Key, digest: bytes, change: Change) -> None:
        (secret,) = key.secrets
        with self._database.write() as tx:
            with unique(f"There is a key {key.name!r} in team {key.tenant}/{key.team}."):
                tx.run(_INSERT, key_values(key))
            tx.run(_INSERT_DIGEST, secret_values(key.tenant, key.id, digest, secret))
            tx.changed(change)

    def find(self, tenant: TenantId, key_id: KeyId) -> Key | None:
        with self._database.read() as tx:
            row = tx.row(_FIND, (tenant, key_id))
            if row is None:
                return None
            secrets = secrets_by_key(tx.rows(_HINTS_KEY, (tenant, key_id)))
        return key_of(row, secrets)

    def list(self, tenant: TenantId | None = None) -> list[Key]:
        with self._database.read() as tx:
            rows, secrets = _all(tx) if tenant is None else _of(tx, tenant)
        found = secrets_by_key(secrets)
        return [key_of(row, found) for row in rows]

    def rotate(
        self, tenant: TenantId, key_id: KeyId, digest: bytes, secret: KeySecret, *, old_until_ns: int, change: Change
    ) -> bool:
        with self._database.write() as tx:
            if tx.row(_IN_USE, (tenant, key_id)) is None:
                return False
            tx.run(_END_EARLIER, (tenant, key_id, old_until_ns))
            tx.run(_INSERT_DIGEST, secret_values(tenant, key_id, digest, secret))
            tx.changed(change)
            return True

    def revoke(self, tenant: TenantId, key_id: KeyId, at_ns: int, change: Change) -> bool:
        with self._database.write() as tx:
            done = tx.run(_REVOKE, (at_ns, tenant, key_id)) == 1
            if done:
                tx.changed(change)
            return done

    def entries_of(self, tenant: TenantId, key_id: KeyId) -> dict[bytes, KeyEntry | None]:
        with self._database.read() as tx:
            found: dict[bytes, KeyEntry | None] = {}
            for (digest,) in tx.rows(_DIGESTS_OF, (tenant, key_id)):
                assert isinstance(digest, bytes)
                found[digest] = None
            found.update(entry_of(row) for row in tx.rows(_ENTRIES_OF, (tenant, key_id)))
        return found

    def in_use(self, tenant: TenantId, team: TeamId, name: str) -> bool:
        with self._database.read() as tx:
            return tx.row(_NAMED, (tenant, team, name)) is not None

    def entries(self) -> Sequence[tuple[bytes, KeyEntry]]:
        with self._database.read() as tx:
            return [entry_of(row) for row in tx.rows(_ENTRIES)]


def _all(tx: Tx) -> tuple[Sequence[Row], Sequence[Row]]:
    return tx.rows(_LIST), tx.rows(_HINTS)


def _of(tx: Tx, tenant: TenantId) -> tuple[Sequence[Row], Sequence[Row]]:
    return tx.rows(_LIST_TENANT, (tenant,)), tx.rows(_HINTS_TENANT, (tenant,))
