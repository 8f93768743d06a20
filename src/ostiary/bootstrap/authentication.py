"""A provider's `auth` section into its row: which fields a scheme needs, which it may have, and what they are when left
out. What a scheme has no use for is refused, so that nothing is believed to work that does not."""

import os
import re
from collections.abc import Callable
from typing import Final

import msgspec

from ostiary.core.error import OperatorError
from ostiary.core.http import Origin
from ostiary.gateway.provider.auth.token import ask
from ostiary.settings import AuthSettings, KeySecretSettings
from ostiary.snapshot.tables import AuthRow, KeyRow, SecretRef

# By scheme: the fields it must have, and those it may have.
_FIELDS: Final[dict[str, tuple[frozenset[str], frozenset[str]]]] = {
    "bearer": (frozenset({"secret"}), frozenset({"secrets"})),
    "x-api-key": (frozenset({"secret"}), frozenset({"secrets"})),
    "header": (frozenset({"secret", "header"}), frozenset({"secrets"})),
    "none": (frozenset(), frozenset({"secret"})),
    "aws-sigv4": (frozenset({"secret", "key_id"}), frozenset({"session_token", "region", "service", "role_arn"})),
    "aws-profile": (frozenset(), frozenset({"profile", "file", "region", "service", "role_arn"})),
    "aws-web-identity": (frozenset(), frozenset({"role_arn", "token_file", "region", "service"})),
    "aws-container": (frozenset(), frozenset({"endpoint", "token_file", "region", "service", "role_arn"})),
    "aws-instance": (frozenset(), frozenset({"region", "service", "role_arn"})),
    "google-service-account": (frozenset({"secret"}), frozenset({"scopes"})),
    "google-workload-identity": (frozenset({"secret"}), frozenset({"scopes"})),
    "google-metadata": (frozenset(), frozenset({"scopes"})),
    "azure-entra": (frozenset({"secret", "tenant", "client_id"}), frozenset({"scopes"})),
    "azure-workload-identity": (frozenset(), frozenset({"tenant", "client_id", "token_file", "scopes"})),
    "azure-managed-identity": (frozenset(), frozenset({"client_id", "scopes"})),
}
_AWS_HOST: Final = re.compile(r"^bedrock-runtime(?:-fips)?\.([a-z0-9-]+)\.amazonaws\.com(?:\.cn)?$")
# What a cluster or a container tells its workloads, by scheme and field.
_VARIABLES: Final = {
    ("aws-web-identity", "role_arn"): "AWS_ROLE_ARN",
    ("aws-web-identity", "token_file"): "AWS_WEB_IDENTITY_TOKEN_FILE",
    ("aws-container", "endpoint"): "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    ("aws-container", "token_file"): "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
    ("aws-profile", "profile"): "AWS_PROFILE",
    ("aws-profile", "file"): "AWS_SHARED_CREDENTIALS_FILE",
    ("azure-workload-identity", "tenant"): "AZURE_TENANT_ID",
    ("azure-workload-identity", "client_id"): "AZURE_CLIENT_ID",
    ("azure-workload-identity", "token_file"): "AZURE_FEDERATED_TOKEN_FILE",
}
_WANTED: Final = {
    "aws-web-identity": ("role_arn", "token_file"),
    "aws-container": ("endpoint",),
    "azure-workload-identity": ("tenant", "client_id", "token_file"),
}
_CONTAINER: Final = "http://169.254.170.2"

Refuse = Callable[[str, str], OperatorError]
"""An error about a field of the section."""
Refer = Callable[[str, str], SecretRef]
"""A field's text as a reference to a secret."""


def auth_row(settings: AuthSettings, origin: Origin, *, refuse: Refuse, refer: Refer) -> AuthRow:
    """The row. Raises OperatorError config.invalid for a field that is missing or that the scheme has no use for."""
    scheme = settings.scheme
    needed, allowed = _FIELDS[scheme]
    for field in msgspec.structs.fields(AuthSettings):
        name = field.name
        if name == "scheme":
            continue
        given = bool(getattr(settings, name))
        if given and name not in needed and name not in allowed:
            raise refuse(name, f"the scheme `{scheme}` has no use for it")
        if not given and name in needed and not (name == "secret" and settings.secrets):
            raise refuse("", f"`{name}` is missing")
    if settings.secret is not None and settings.secrets:
        raise refuse("secrets", "`secret` is there as well; put it among them, or take it out")
    if scheme == "none":
        return AuthRow()
    texts = {name: _text(settings, name) for name in ("role_arn", "token_file", "endpoint", "profile", "file")}
    tenant, client_id = _text(settings, "tenant"), _text(settings, "client_id")
    found = {**texts, "tenant": tenant, "client_id": client_id}
    for name in _WANTED.get(scheme, ()):
        if not found[name]:
            raise refuse("", f"`{name}` is missing, and {_VARIABLES[scheme, name]} is not set")
    if texts["endpoint"]:
        try:
            ask(b"GET", texts["endpoint"])
        except OperatorError as error:
            raise refuse("endpoint", error.message) from error
    region = ""
    if scheme.startswith("aws-"):
        match = _AWS_HOST.fullmatch(origin.host)
        region = settings.region or (match[1] if match is not None else "")
        if not region:
            raise refuse("", "`region` is missing, and the host does not name one")
    if scheme == "aws-profile":
        texts["profile"] = texts["profile"] or "default"
        texts["file"] = os.path.expanduser(texts["file"] or "~/.aws/credentials")  # noqa: PTH111 - a text in, a text out
    return AuthRow(
        scheme=scheme,
        secret=None if settings.secret is None else refer("secret", settings.secret),
        header=settings.header.lower(),
        region=region,
        service=(settings.service or "bedrock") if region else "",
        key_id=settings.key_id,
        session_token=None if settings.session_token is None else refer("session_token", settings.session_token),
        scopes=tuple(settings.scopes),
        tenant=tenant,
        client_id=client_id,
        keys=_keys(settings, refuse, refer),
        **texts,
    )


def _keys(settings: AuthSettings, refuse: Refuse, refer: Refer) -> tuple[KeyRow, ...]:
    """Several secrets as rows; one without a name is told by its number, from 1."""
    found: list[KeyRow] = []
    for number, one in enumerate(settings.secrets, start=1):
        given = KeySecretSettings(secret=one) if isinstance(one, str) else one
        name = given.name or str(number)
        if any(name == other.name for other in found):
            raise refuse("secrets", f"the name `{name}` is there twice")
        found.append(KeyRow(name, refer(f"secrets.{name}", given.secret), given.weight))
    return tuple(found)


def _text(settings: AuthSettings, name: str) -> str:
    """A field as it is given, or from the variable in which a cluster or container says it."""
    given: str = getattr(settings, name)
    if given:
        return given
    relative = os.environ.get("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "")
    if (settings.scheme, name) == ("aws-container", "endpoint") and relative.startswith("/"):
        return _CONTAINER + relative
    variable = _VARIABLES.get((settings.scheme, name))
    return "" if variable is None else os.environ.get(variable, "")
