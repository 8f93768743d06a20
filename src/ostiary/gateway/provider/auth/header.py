"""Credentials that are one header: bearer (RFC 6750), x-api-key, any other by its name, or none."""

from ostiary.core.error import Code, OperatorError
from ostiary.core.http import Header
from ostiary.core.secret import Secret


def credential_headers(scheme: str, secret: Secret | None, name: str = "") -> tuple[Header, ...]:
    """The headers of a scheme; `name` is that of the scheme `header`, such as `api-key` (Azure). Raises OperatorError config.invalid for an unknown scheme or a missing secret."""
    if scheme == "none":
        return ()
    if secret is None:
        raise OperatorError(Code.CONFIG_INVALID, "the provider's secret is not there")
    value = secret.reveal().encode("utf-8")
    if scheme == "bearer":
        return ((b"authorization", b"Bearer " + value),)
    if scheme == "x-api-key":
        return ((b"x-api-key", value),)
    if scheme == "header" and name:
        return ((name.lower().encode("ascii"), value),)
    raise OperatorError(Code.CONFIG_INVALID, f"the authentication scheme {scheme!r} is not known")
