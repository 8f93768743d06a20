"""Creating, listing, rotating and revoking keys."""

from collections.abc import Callable, Iterable
from typing import Final

from ostiary.core.credential import mint, stored_digest
from ostiary.core.digest import KeyedDigest
from ostiary.core.error import CallerError, Code
from ostiary.core.limit import KEY_OVERLAP_SECONDS_MAX
from ostiary.core.port import Clock, Ids
from ostiary.core.principal import Deployment, EnvironmentName, KeyId, TeamId, TenantId
from ostiary.core.secret import Secret
from ostiary.govern.actor import Actor, Permission
from ostiary.govern.change import Change
from ostiary.govern.keys.model import Key, KeySecret, Minted
from ostiary.govern.keys.ports import KeyStore
from ostiary.govern.name import check_name
from ostiary.govern.overlay import Overlay
from ostiary.govern.teams.ports import TeamStore

_ENTROPY_BYTES: Final = 40
_HINT_CHARS: Final = 16
_NANOS: Final = 1_000_000_000
_EVERY_MODEL: Final = "*"
_NO_DEPLOYMENT: Final = Deployment()


class KeyService:
    """Keys of the database, for teams of the file and of the database alike.

    `entropy(n)` gives n fresh bytes from the system's source of secrets.
    """

    def __init__(
        self,
        store: KeyStore,
        teams: TeamStore,
        overlay: Overlay,
        *,
        pepper: bytes,
        entropy: Callable[[int], bytes],
        clock: Clock,
        ids: Ids,
    ) -> None:
        self._store = store
        self._teams = teams
        self._overlay = overlay
        self._pepper = KeyedDigest(pepper)
        self._entropy = entropy
        self._clock = clock
        self._ids = ids

    def create(
        self,
        actor: Actor,
        tenant: str,
        team: str,
        name: str,
        *,
        models: Iterable[str] | None = None,
        lifetime_seconds: int | None = None,
        deployment: Deployment = _NO_DEPLOYMENT,
        project: str = "",
    ) -> Minted:
        """A new key of a team; its secret is in the answer and nowhere else.

        Raises CallerError: object.invalid (name, project, lifetime, a model the team may not use), object.exists,
        object.file_owned (a key of this name stands in the file), object.not_found (the team), auth.forbidden.
        """
        actor.require(Permission.KEYS_WRITE, tenant)
        check_name("name", name)
        if project:
            check_name("project", project)
        environment, team_models = self._team(tenant, team, name)
        wanted = None if models is None else tuple(dict.fromkeys(models))
        _check_models(wanted, team_models, team)
        if lifetime_seconds is not None and lifetime_seconds <= 0:
            raise CallerError(Code.OBJECT_INVALID, "A key's lifetime must be positive.", param="expires")
        now = self._clock.now_ns()
        text, _ = mint(self._entropy(_ENTROPY_BYTES))
        key = Key(
            id=KeyId(self._ids.new()),
            tenant=TenantId(tenant),
            team=TeamId(team),
            environment=environment,
            name=name,
            models=wanted,
            deployment=deployment,
            created_ns=now,
            expires_ns=0 if lifetime_seconds is None else now + lifetime_seconds * _NANOS,
            secrets=(KeySecret(text[:_HINT_CHARS], now),),
            project=project,
        )
        self._store.create(key, self._digest(text), self._change(actor, "key.create", key, now))
        return Minted(key, Secret(text))

    def list(self, actor: Actor, tenant: str | None = None, team: str | None = None) -> list[Key]:
        """Keys the actor may see, oldest first, without their secrets."""
        wanted = tenant if tenant is not None else actor.tenant
        actor.require(Permission.KEYS_READ, wanted)
        keys = self._store.list(None if wanted is None else TenantId(wanted))
        return [key for key in keys if team in (None, key.team)]

    def rotate(self, actor: Actor, tenant: str, key_id: str, *, overlap_seconds: int = 0) -> Minted:
        """A new secret for a key; earlier ones are accepted for `overlap_seconds` more.

        The key's own expiry stays. Raises CallerError: object.invalid, object.not_found (also where it is revoked
        or has expired), auth.forbidden.
        """
        actor.require(Permission.KEYS_WRITE, tenant)
        if not 0 <= overlap_seconds <= KEY_OVERLAP_SECONDS_MAX:
            raise CallerError(
                Code.OBJECT_INVALID,
                f"The overlap must be from 0 to {KEY_OVERLAP_SECONDS_MAX} seconds.",
                param="overlap",
            )
        now = self._clock.now_ns()
        key = self._store.find(TenantId(tenant), KeyId(key_id))
        if key is None or key.revoked_ns or 0 < key.expires_ns <= now:
            raise _not_found(key_id)
        text, _ = mint(self._entropy(_ENTROPY_BYTES))
        secret = KeySecret(text[:_HINT_CHARS], now)
        change = self._change(actor, "key.rotate", key, now)
        until = now + overlap_seconds * _NANOS
        if not self._store.rotate(key.tenant, key.id, self._digest(text), secret, old_until_ns=until, change=change):
            raise _not_found(key_id)
        rotated = self._store.find(key.tenant, key.id)
        assert rotated is not None
        return Minted(rotated, Secret(text))

    def revoke(self, actor: Actor, tenant: str, key_id: str) -> None:
        """Never accept the key again, with all its secrets. Raises CallerError object.not_found, auth.forbidden."""
        actor.require(Permission.KEYS_WRITE, tenant)
        key = self._store.find(TenantId(tenant), KeyId(key_id))
        now = self._clock.now_ns()
        if key is None or not self._store.revoke(key.tenant, key.id, now, self._change(actor, "key.revoke", key, now)):
            raise _not_found(key_id)

    def _digest(self, text: str) -> bytes:
        return stored_digest(self._pepper, text.encode("ascii"))

    def _team(self, tenant: str, team: str, key_name: str) -> tuple[EnvironmentName, tuple[str, ...]]:
        of_file = self._overlay.teams.get((tenant, team))
        if of_file is not None:
            if key_name in of_file.key_names:
                raise self._overlay.refuse(f"The key {tenant}/{team}/{key_name}")
            return EnvironmentName(of_file.environment), of_file.models
        found = self._teams.find(TenantId(tenant), TeamId(team))
        if found is None or found.disabled_ns:
            raise CallerError(Code.OBJECT_NOT_FOUND, f"There is no team {team!r} in tenant {tenant!r}.", param="team")
        return found.environment, found.models

    def _change(self, actor: Actor, action: str, key: Key, at_ns: int) -> Change:
        detail: dict[str, str | int | list[str] | None] = {
            "name": key.name,
            "team": key.team,
            "models": None if key.models is None else list(key.models),
            "expires_ns": key.expires_ns,
        }
        return Change(self._ids.new(), at_ns, actor.name, action, key.tenant, key.id, detail)


def _check_models(wanted: tuple[str, ...] | None, allowed: tuple[str, ...], team: str) -> None:
    if wanted is None or _EVERY_MODEL in allowed:
        return
    beyond = [model for model in wanted if model not in allowed]
    if beyond:
        raise CallerError(Code.OBJECT_INVALID, f"The team {team} may not use: {', '.join(beyond)}.", param="models")


def _not_found(key_id: str) -> CallerError:
    return CallerError(Code.OBJECT_NOT_FOUND, f"There is no key {key_id!r} in use.")
