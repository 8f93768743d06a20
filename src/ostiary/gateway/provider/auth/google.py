"""Google's access tokens: from a service account's key, from a foreign identity, or from the machine's own.

Sources: "Using OAuth 2.0 for Server to Server Applications"; "Workload identity federation" and google.aip.dev/auth/4117
(external account credentials); "Authenticate workloads using service accounts" of Compute Engine (metadata server).
"""

from typing import Final

import msgspec

from ostiary.core.error import Code, OperatorError
from ostiary.core.secret import Secret
from ostiary.gateway.provider.auth.rs256 import signed
from ostiary.gateway.provider.auth.token import (
    Ask,
    Came,
    Grant,
    ReadFile,
    Steps,
    ask,
    bearer,
    bounded,
    members,
    moment,
    post_form,
    refused,
    text_member,
)
from ostiary.gateway.wire.json import encode, parse_value

CLOUD_PLATFORM: Final = "https://www.googleapis.com/auth/cloud-platform"
_TOKEN_URI: Final = "https://oauth2.googleapis.com/token"  # noqa: S105 - an address
_STS_URI: Final = "https://sts.googleapis.com/v1/token"
_METADATA: Final = "http://metadata.google.internal/computeMetadata/v1/instance/service-accounts/default/token"
_ASSERTION_SECONDS: Final = 3600
_IMPERSONATION_SECONDS: Final = 3600
_OAUTH: Final = "Google's token endpoint"


class _Format(msgspec.Struct, frozen=True):
    type: str = "text"
    subject_token_field_name: str = ""


class _CredentialSource(msgspec.Struct, frozen=True):
    file: str = ""
    url: str = ""
    headers: dict[str, str] = {}
    format: _Format = _Format()


class _ExternalAccount(msgspec.Struct, frozen=True):
    type: str
    audience: str
    subject_token_type: str
    credential_source: _CredentialSource
    token_url: str = _STS_URI
    service_account_impersonation_url: str = ""


class _ServiceAccount(msgspec.Struct, frozen=True):
    type: str
    client_email: str
    private_key: str
    private_key_id: str = ""
    token_uri: str = _TOKEN_URI


def service_account(secret: Secret, scopes: tuple[str, ...], now: float) -> Steps:
    """A token for a service account, whose key file's JSON is the secret."""
    try:
        account = msgspec.json.decode(secret.reveal(), type=_ServiceAccount)
    except msgspec.DecodeError:
        raise OperatorError(Code.CONFIG_INVALID, "the secret is no service account's key file") from None
    if account.type != "service_account":
        raise OperatorError(Code.CONFIG_INVALID, "the secret is no service account's key file")
    issued = int(now)
    claims: dict[str, object] = {
        "iss": account.client_email,
        "scope": " ".join(scopes or (CLOUD_PLATFORM,)),
        "aud": account.token_uri,
        "iat": issued,
        "exp": issued + _ASSERTION_SECONDS,
    }
    assertion = signed(claims, Secret(account.private_key or " "), account.private_key_id)
    came = yield post_form(
        account.token_uri, {"grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer", "assertion": assertion}
    )
    return bearer(members(came, _OAUTH), now, _OAUTH)


def workload_identity(secret: Secret, scopes: tuple[str, ...], now: float) -> Steps:
    """A token for a foreign identity: its own token from a file or an address, exchanged at Google's security token
    service, and where the configuration says so exchanged once more for a service account's. The secret is the JSON
    of an external account's configuration."""
    try:
        account = msgspec.json.decode(secret.reveal(), type=_ExternalAccount)
    except msgspec.DecodeError:
        raise OperatorError(Code.CONFIG_INVALID, "the secret is no external account's configuration") from None
    source = account.credential_source
    if account.type != "external_account" or bool(source.file) == bool(source.url):
        raise OperatorError(Code.CONFIG_INVALID, "the external account's token must come from a file or from a URL")
    came = yield _subject_step(source)
    subject = _subject_token(came, source.format)
    impersonated = account.service_account_impersonation_url
    wanted = scopes or (CLOUD_PLATFORM,)
    what = "Google's security token service"
    came = yield post_form(
        account.token_url,
        {
            "grant_type": "urn:ietf:params:oauth:grant-type:token-exchange",
            "audience": account.audience,
            "scope": CLOUD_PLATFORM if impersonated else " ".join(wanted),
            "requested_token_type": "urn:ietf:params:oauth:token-type:access_token",
            "subject_token": subject,
            "subject_token_type": account.subject_token_type,
        },
    )
    grant = bearer(members(came, what), now, what)
    return (yield from _impersonate(impersonated, grant, wanted, now)) if impersonated else grant


def metadata(scopes: tuple[str, ...], now: float) -> Steps:
    """A token for the service account of the machine this runs on."""
    query = f"?scopes={','.join(scopes)}" if scopes else ""
    came = yield ask(b"GET", _METADATA + query, headers=[(b"metadata-flavor", b"Google")])
    what = "Google's metadata server"
    return bearer(members(came, what), now, what)


def _subject_step(source: _CredentialSource) -> Ask | ReadFile:
    if source.file:
        return ReadFile(source.file)
    headers = [(name.lower().encode(), value.encode()) for name, value in source.headers.items()]
    return ask(b"GET", source.url, headers=headers)


def _subject_token(came: Came, form: _Format) -> str:
    if came.status != 200:
        raise refused(f"the external account's token source answered {came.status}")
    if form.type == "json":
        try:
            value = parse_value(came.body)
        except ValueError:
            value = None
        token = value.get(form.subject_token_field_name) if type(value) is dict else None
    else:
        token = came.body.decode("utf-8", "replace").strip()
    if type(token) is not str or not token:
        raise refused("the external account's token source gave no token")
    return token


def _impersonate(url: str, grant: Grant, scopes: tuple[str, ...], now: float) -> Steps:
    assert isinstance(grant.value, Secret)
    what = "Google's service account credentials"
    came = yield ask(
        b"POST",
        url,
        headers=[
            (b"content-type", b"application/json"),
            (b"authorization", b"Bearer " + grant.value.reveal().encode()),
        ],
        body=encode({"scope": scopes, "lifetime": f"{_IMPERSONATION_SECONDS}s"}),
    )
    tree = members(came, what)
    token = Secret(text_member(tree, "accessToken", what))
    return Grant(token, bounded(moment(text_member(tree, "expireTime", what), what), now))
