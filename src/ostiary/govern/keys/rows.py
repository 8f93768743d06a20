"""Keys as rows of any store that keeps them in these columns, and back."""

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from ostiary.core.principal import Deployment, EnvironmentName, KeyId, TeamId, TenantId
from ostiary.core.row import Row
from ostiary.govern.keys.model import Key, KeySecret
from ostiary.snapshot.keys import KeyEntry

_models_decoder: Final = msgspec.json.Decoder(tuple[str, ...])
_deployment_decoder: Final = msgspec.json.Decoder(Deployment)


def key_values(key: Key) -> Row:
    """tenant_id, id, team, environment, name, models, deployment, created_ns, expires_ns, project."""
    return (
        key.tenant,
        key.id,
        key.team,
        key.environment,
        key.name,
        None if key.models is None else msgspec.json.encode(key.models).decode(),
        msgspec.json.encode(key.deployment).decode(),
        key.created_ns,
        key.expires_ns,
        key.project,
    )


def secret_values(tenant: TenantId, key_id: KeyId, digest: bytes, secret: KeySecret) -> Row:
    """digest, tenant_id, key_id, hint, created_ns, expires_ns."""
    return (digest, tenant, key_id, secret.hint, secret.created_ns, secret.expires_ns)


def secrets_by_key(rows: Sequence[Row]) -> dict[tuple[str, str], tuple[KeySecret, ...]]:
    """From tenant_id, key_id, hint, created_ns, expires_ns: the secrets of each key, by tenant and id."""
    found: dict[tuple[str, str], tuple[KeySecret, ...]] = {}
    for tenant, key_id, hint, created_ns, expires_ns in rows:
        name = (str(tenant), str(key_id))
        secret = KeySecret(str(hint), int(created_ns or 0), int(expires_ns or 0))
        found[name] = (*found.get(name, ()), secret)
    return found


def _models(value: object) -> tuple[str, ...] | None:
    return None if value is None else _models_decoder.decode(str(value))


def key_of(row: Row, secrets: Mapping[tuple[str, str], tuple[KeySecret, ...]]) -> Key:
    """From the columns of `key_values`, with revoked_ns before the last."""
    tenant, key_id, team, environment, name, models, deployment, created_ns, expires_ns, revoked_ns, project = row
    return Key(
        id=KeyId(str(key_id)),
        tenant=TenantId(str(tenant)),
        team=TeamId(str(team)),
        environment=EnvironmentName(str(environment)),
        name=str(name),
        models=_models(models),
        deployment=_deployment_decoder.decode(str(deployment)),
        created_ns=int(created_ns or 0),
        expires_ns=int(expires_ns or 0),
        revoked_ns=int(revoked_ns or 0),
        secrets=secrets.get((str(tenant), str(key_id)), ()),
        project=str(project),
    )


def entry_of(row: Row) -> tuple[bytes, KeyEntry]:
    """From digest, expires_ns of the secret, id, name, tenant_id, team, environment, models, deployment, expires_ns, project."""
    digest, secret_ns, key_id, name, tenant, team, environment, models, deployment, key_ns, project = row
    assert isinstance(digest, bytes)
    ends = [int(end) for end in (secret_ns, key_ns) if end]
    return digest, KeyEntry(
        key_id=str(key_id),
        key_name=str(name),
        tenant=str(tenant),
        team=str(team),
        environment=str(environment),
        models=_models(models),
        expires_ns=min(ends, default=0),
        deployment=_deployment_decoder.decode(str(deployment)),
        project=str(project),
    )
