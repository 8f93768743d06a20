"""A key and its secrets."""

from enum import StrEnum

import msgspec

from ostiary.core.principal import Deployment, EnvironmentName, KeyId, TeamId, TenantId
from ostiary.core.secret import Secret


class KeyState(StrEnum):
    """Whether a key is accepted, and if not, why."""

    ACTIVE = "active"
    EXPIRED = "expired"
    REVOKED = "revoked"


class KeySecret(msgspec.Struct, frozen=True):
    """One secret of a key: the first characters, by which a person recognises it, and when it ends (0: never)."""

    hint: str
    created_ns: int
    expires_ns: int = 0


class Key(msgspec.Struct, frozen=True):
    """A credential of a team. `id` stays when the secret is rotated. `models` None: whatever the team may use.

    `expires_ns` and `revoked_ns` are wall-clock nanoseconds, 0 for never.
    """

    id: KeyId
    tenant: TenantId
    team: TeamId
    environment: EnvironmentName
    name: str
    models: tuple[str, ...] | None = None
    deployment: Deployment = Deployment()
    created_ns: int = 0
    expires_ns: int = 0
    revoked_ns: int = 0
    secrets: tuple[KeySecret, ...] = ()
    project: str = ""

    def state(self, now_ns: int) -> KeyState:
        """Whether the key is accepted at `now_ns`."""
        if self.revoked_ns:
            return KeyState.REVOKED
        live = any(not secret.expires_ns or secret.expires_ns > now_ns for secret in self.secrets)
        if not live or (self.expires_ns and self.expires_ns <= now_ns):
            return KeyState.EXPIRED
        return KeyState.ACTIVE


class Minted(msgspec.Struct, frozen=True):
    """A key with the secret just made, which is nowhere else and cannot be had again."""

    key: Key
    secret: Secret
