"""From a provider's row to the source of its credential: the list of schemes whose credential must be fetched."""

from collections.abc import Callable
from typing import Final

from ostiary.core.error import Code, OperatorError
from ostiary.core.secret import Secret
from ostiary.gateway.provider.auth import aws, entra, google
from ostiary.gateway.provider.auth.sigv4 import AwsKeys
from ostiary.gateway.provider.auth.token import Source, Steps
from ostiary.snapshot.tables import AuthRow, SecretRef

Find = Callable[[SecretRef], Secret | None]
"""The secret behind a reference."""


def is_fetched(scheme: str) -> bool:
    """Whether a scheme's credential is fetched, rather than one header made of the secret."""
    return scheme in _SOURCES


def source_of(auth: AuthRow, find: Find) -> Source:
    """The source for a row. Its steps raise OperatorError config.invalid where a secret is not there."""
    return lambda now: _SOURCES[auth.scheme](auth, find, now)


def _needed(ref: SecretRef | None, find: Find) -> Secret:
    secret = None if ref is None else find(ref)
    if secret is None:
        raise OperatorError(Code.CONFIG_INVALID, "the provider's secret is not there")
    return secret


def _aws_fixed(auth: AuthRow, find: Find, now: float) -> Steps:
    token = None if auth.session_token is None else _needed(auth.session_token, find)
    own = aws.fixed(AwsKeys(auth.key_id, _needed(auth.secret, find), token), now)
    return _in_role(own, auth, now)


def _aws_profile(auth: AuthRow, _: Find, now: float) -> Steps:
    return _in_role(aws.profile(auth.file, auth.profile, now), auth, now)


def _aws_container(auth: AuthRow, _: Find, now: float) -> Steps:
    return _in_role(aws.container(auth.endpoint, auth.token_file, now), auth, now)


def _aws_instance(auth: AuthRow, _: Find, now: float) -> Steps:
    return _in_role(aws.instance(now), auth, now)


def _aws_web_identity(auth: AuthRow, _: Find, now: float) -> Steps:
    return aws.web_identity(auth.token_file, auth.role_arn, auth.region, now)


def _in_role(own: Steps, auth: AuthRow, now: float) -> Steps:
    return aws.assume_role(own, auth.role_arn, auth.region, now) if auth.role_arn else own


def _google_account(auth: AuthRow, find: Find, now: float) -> Steps:
    return google.service_account(_needed(auth.secret, find), auth.scopes, now)


def _google_foreign(auth: AuthRow, find: Find, now: float) -> Steps:
    return google.workload_identity(_needed(auth.secret, find), auth.scopes, now)


def _google_metadata(auth: AuthRow, _: Find, now: float) -> Steps:
    return google.metadata(auth.scopes, now)


def _azure_secret(auth: AuthRow, find: Find, now: float) -> Steps:
    return entra.client_secret(auth.tenant, auth.client_id, _needed(auth.secret, find), auth.scopes, now)


def _azure_workload(auth: AuthRow, _: Find, now: float) -> Steps:
    return entra.workload_identity(auth.tenant, auth.client_id, auth.token_file, auth.scopes, now)


def _azure_managed(auth: AuthRow, _: Find, now: float) -> Steps:
    return entra.managed_identity(auth.client_id, auth.scopes, now)


_SOURCES: Final[dict[str, Callable[[AuthRow, Find, float], Steps]]] = {
    "aws-sigv4": _aws_fixed,
    "aws-profile": _aws_profile,
    "aws-web-identity": _aws_web_identity,
    "aws-container": _aws_container,
    "aws-instance": _aws_instance,
    "google-service-account": _google_account,
    "google-workload-identity": _google_foreign,
    "google-metadata": _google_metadata,
    "azure-entra": _azure_secret,
    "azure-workload-identity": _azure_workload,
    "azure-managed-identity": _azure_managed,
}
