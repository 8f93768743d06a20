"""Credentials that must be fetched: what a source of them is made of. Pure.

A source is a generator: it yields what it wants done (`Ask` over HTTP, `ReadFile`), is sent what came of it, and
returns a `Grant`. Whoever drives it does the I/O; a source never waits and holds no clock: `now` is seconds since 1970,
handed in when it is begun. Raises OperatorError config.invalid for settings that cannot work, UpstreamError
upstream.credential, in words without secrets, where an endpoint refuses.
"""

import re
from collections.abc import Callable, Generator, Sequence
from datetime import datetime
from typing import Final
from urllib.parse import urlencode, urlsplit

import msgspec

from ostiary.core.error import Code, OperatorError, UpstreamError
from ostiary.core.http import Header, Origin
from ostiary.core.limit import CREDENTIAL_LIFETIME_SECONDS_MAX
from ostiary.core.secret import Secret
from ostiary.gateway.provider.auth.sigv4 import AwsKeys
from ostiary.gateway.wire.json import parse_value


class Ask(msgspec.Struct, frozen=True):
    """One HTTP request to an endpoint of credentials. `metadata`: to the machine's own metadata, which nothing else may
    reach."""

    method: bytes
    origin: Origin
    target: bytes
    headers: tuple[Header, ...] = ()
    body: bytes = b""
    metadata: bool = False


class ReadFile(msgspec.Struct, frozen=True):
    """A file to read, anew each time: whoever wrote it replaces it."""

    path: str


class Came(msgspec.Struct, frozen=True):
    """What came of a step: an answer's status and body, or a file's bytes with status 200."""

    status: int
    body: bytes


class Grant(msgspec.Struct, frozen=True):
    """A credential that ends: a bearer token or AWS keys, and when, in seconds since 1970 (None: it does not)."""

    value: Secret | AwsKeys
    expires_at: float | None


Steps = Generator[Ask | ReadFile, Came, Grant]
Source = Callable[[float], Steps]
"""Begins the steps at a time."""

FORM: Final[Header] = (b"content-type", b"application/x-www-form-urlencoded")
_LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})
_METADATA: Final = frozenset(
    {"metadata.google.internal", "169.254.169.254", "169.254.170.2", "169.254.170.23", "fd00:ec2::254", "fd00:ec2::23"}
)
"""The clouds' own addresses for a machine's metadata, which speak plain HTTP on a link of the machine's own."""
_ERROR_WORD: Final = re.compile(r"[A-Za-z_.]{1,64}")


def ask(method: bytes, url: str, *, headers: Sequence[Header] = (), body: bytes = b"") -> Ask:
    """A request to `url`. Raises OperatorError config.invalid for one that is not https, but on this machine or at one
    of the clouds' metadata addresses: what is sent there is a credential."""
    try:
        parts = urlsplit(url)
        port = parts.port or (443 if parts.scheme == "https" else 80)
    except ValueError:
        raise OperatorError(Code.CONFIG_INVALID, "a token endpoint's URL cannot be read") from None
    host = parts.hostname or ""
    if parts.scheme != "https" and not (parts.scheme == "http" and (host in _LOOPBACK or host in _METADATA)):
        raise OperatorError(Code.CONFIG_INVALID, "a token endpoint must be https, or on this machine")
    if not host or parts.username or parts.password or not url.isascii() or any(char <= " " for char in url):
        raise OperatorError(Code.CONFIG_INVALID, "a token endpoint's URL cannot be read")
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Ask(method, Origin(parts.scheme, host, port), target.encode(), tuple(headers), body, host in _METADATA)


def post_form(url: str, fields: dict[str, str], *, headers: Sequence[Header] = ()) -> Ask:
    """A POST of form fields."""
    return ask(b"POST", url, headers=(FORM, *headers), body=urlencode(fields).encode())


def members(came: Came, what: str) -> dict[str, object]:
    """The JSON object of a successful answer from `what`. Raises UpstreamError upstream.credential for any other."""
    try:
        value = parse_value(came.body)
    except ValueError:
        value = None
    if came.status != 200:
        word = value.get("error") if type(value) is dict else None
        if type(word) is dict:
            word = word.get("status")
        said = f" ({word})" if type(word) is str and _ERROR_WORD.fullmatch(word) else ""
        raise refused(f"{what} answered {came.status}{said}")
    if type(value) is not dict:
        raise refused(f"{what} gave no JSON object")
    return value


def refused(reason: str) -> UpstreamError:
    """The error for an endpoint that gives no credential."""
    return UpstreamError(Code.UPSTREAM_CREDENTIAL, f"No credential could be had: {reason}.")


def text_member(tree: dict[str, object], name: str, what: str) -> str:
    """A member that must be text, such as a header can hold."""
    value = tree.get(name)
    if type(value) is not str or not value:
        raise refused(f"{what} gave no {name}")
    if not value.isascii() or not value.isprintable():
        raise refused(f"{what} gave a {name} that no header can hold")
    return value


def bearer(tree: dict[str, object], now: float, what: str) -> Grant:
    """The grant in an OAuth 2.0 token response (RFC 6749, section 5.1). Some endpoints give numbers as text, and
    `expires_on` in seconds since 1970 in place of `expires_in`."""
    token = Secret(text_member(tree, "access_token", what))
    for name, start in (("expires_in", now), ("expires_on", 0.0)):
        value = tree.get(name)
        if type(value) is str and value.isdigit():
            value = int(value)
        if type(value) in (int, float):
            return Grant(token, bounded(start + float(str(value)), now))
    raise refused(f"{what} does not say when its token ends")


def bounded(expires_at: float, now: float) -> float:
    """An end within the bound: whatever an endpoint says, a credential is fetched anew now and then."""
    return min(expires_at, now + CREDENTIAL_LIFETIME_SECONDS_MAX)


def moment(text: str, what: str) -> float:
    """Seconds since 1970 of a time such as 2030-01-02T03:04:05Z (RFC 3339)."""
    try:
        return datetime.fromisoformat(text).timestamp()
    except ValueError:
        raise refused(f"{what} gave a time that cannot be read") from None
