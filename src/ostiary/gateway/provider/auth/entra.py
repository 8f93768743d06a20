"""Microsoft Entra's access tokens for Azure: with a client's secret, with a workload's own token, or the machine's.

Sources: Microsoft identity platform, "OAuth 2.0 client credentials flow"; Azure, "How to use managed identities on an
Azure VM to acquire an access token" (instance metadata service).
"""

from typing import Final
from urllib.parse import quote, urlencode

from ostiary.core.secret import Secret
from ostiary.gateway.provider.auth.token import ReadFile, Steps, ask, bearer, members, post_form, refused

COGNITIVE_SERVICES: Final = "https://cognitiveservices.azure.com/.default"
_METADATA: Final = "http://169.254.169.254/metadata/identity/oauth2/token"
_ASSERTION: Final = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
_WHAT: Final = "Microsoft Entra"


def client_secret(tenant: str, client_id: str, secret: Secret, scopes: tuple[str, ...], now: float) -> Steps:
    """A token for an application, by its secret."""
    return _client(tenant, client_id, {"client_secret": secret.reveal()}, scopes, now)


def workload_identity(tenant: str, client_id: str, token_file: str, scopes: tuple[str, ...], now: float) -> Steps:
    """A token for an application, by the token a cluster puts into a file."""
    came = yield ReadFile(token_file)
    token = came.body.decode("utf-8", "replace").strip()
    if came.status != 200 or not token:
        raise refused("the workload's token file holds no token")
    fields = {"client_assertion_type": _ASSERTION, "client_assertion": token}
    return (yield from _client(tenant, client_id, fields, scopes, now))


def managed_identity(client_id: str, scopes: tuple[str, ...], now: float) -> Steps:
    """A token for the identity of the machine this runs on, or for that of `client_id` among several."""
    resource = (scopes[0] if scopes else COGNITIVE_SERVICES).removesuffix("/.default")
    fields = {"api-version": "2018-02-01", "resource": resource}
    if client_id:
        fields["client_id"] = client_id
    came = yield ask(b"GET", f"{_METADATA}?{urlencode(fields)}", headers=[(b"metadata", b"true")])
    what = "Azure's instance metadata service"
    return bearer(members(came, what), now, what)


def _client(tenant: str, client_id: str, proof: dict[str, str], scopes: tuple[str, ...], now: float) -> Steps:
    came = yield post_form(
        f"https://login.microsoftonline.com/{quote(tenant, safe='')}/oauth2/v2.0/token",
        {
            "grant_type": "client_credentials",
            "client_id": client_id,
            "scope": " ".join(scopes or (COGNITIVE_SERVICES,)),
            **proof,
        },
    )
    return bearer(members(came, _WHAT), now, _WHAT)
