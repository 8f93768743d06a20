"""What keys need of a store."""

from collections.abc import Sequence
from typing import Protocol

from ostiary.core.principal import KeyId, TeamId, TenantId
from ostiary.govern.change import Change
from ostiary.govern.keys.model import Key, KeySecret
from ostiary.snapshot.keys import KeyEntry


class KeyStore(Protocol):
    """Rows of keys and the digests of their secrets. A write is durable on return, together with its change;
    OperatorError store.unavailable where the store cannot be used, and then nothing was written."""

    def create(self, key: Key, digest: bytes, change: Change) -> None:
        """Store a key with its one secret. Raises CallerError object.exists where the team has an unrevoked key of
        this name."""
        ...

    def find(self, tenant: TenantId, key_id: KeyId) -> Key | None: ...

    def list(self, tenant: TenantId | None = None) -> list[Key]:
        """Oldest first, revoked ones included, secrets oldest first."""
        ...

    def rotate(
        self, tenant: TenantId, key_id: KeyId, digest: bytes, secret: KeySecret, *, old_until_ns: int, change: Change
    ) -> bool:
        """Add a secret and let every earlier one end at `old_until_ns` unless it ends before; False where there is
        no unrevoked key."""
        ...

    def revoke(self, tenant: TenantId, key_id: KeyId, at_ns: int, change: Change) -> bool:
        """False where there is no unrevoked key, and then nothing is written."""
        ...

    def entries(self) -> Sequence[tuple[bytes, KeyEntry]]:
        """For the publisher: digest and entry of every secret of every key that is not revoked and whose team and
        tenant are not disabled. What has expired is included; the reader of the entries compares `expires_ns` with
        its clock."""
        ...

    def entries_of(self, tenant: TenantId, key_id: KeyId) -> dict[bytes, KeyEntry | None]:
        """The same of one key: every digest it ever had, with None for those that `entries` would not give."""
        ...

    def in_use(self, tenant: TenantId, team: TeamId, name: str) -> bool:
        """Whether a team has an unrevoked key of this name."""
        ...
