"""Which credential a request carries, and whose it is.

Keys arrive as each dialect sends them: `Authorization: Bearer`, `x-api-key`, `x-goog-api-key`, and from browsers, which
can set no header of a WebSocket, among the subprotocols it offers. Two that differ are refused, and so is a key in the query string, where logs along the way would keep it.
"""

from collections.abc import Mapping
from typing import Final

from ostiary.core.error import CallerError, Code
from ostiary.core.limit import CREDENTIAL_BYTES_MAX
from ostiary.core.principal import Principal
from ostiary.gateway.ports import KeyRing

_QUERY_NAMES: Final = frozenset({b"key", b"api_key", b"api-key", b"apikey", b"access_token", b"token", b"x-api-key"})
_KEY_PROTOCOL: Final = b"openai-insecure-api-key."
_HEADER_NAMES: Final = (b"x-api-key", b"x-goog-api-key")


def whose(digest: bytes, keys: KeyRing) -> Principal:
    """The principal a credential stands for, by its digest in `keys`.

    Raises CallerError auth.invalid. Never returns an empty principal, and never says whether a key was unknown, revoked
    or expired.
    """
    principal = keys.find(digest)
    if principal is None:
        raise invalid()
    return principal


def invalid() -> CallerError:
    """What is said of a key that stands for nobody."""
    return CallerError(Code.AUTH_INVALID, "The key is not valid here: it is unknown, revoked or expired.")


def of_session(headers: Mapping[bytes, bytes]) -> Mapping[bytes, bytes]:
    """The headers of a request for a session with the key among its subprotocols put where keys stand. Raises CallerError
    auth.ambiguous for two keys."""
    offered = headers.get(b"sec-websocket-protocol", b"")
    keys = {one.strip()[len(_KEY_PROTOCOL) :] for one in offered.split(b",") if one.strip().startswith(_KEY_PROTOCOL)}
    if not keys:
        return headers
    if len(keys) > 1 or b"authorization" in headers:
        raise CallerError(Code.AUTH_AMBIGUOUS, "Two keys were sent; send one.")
    return {**headers, b"authorization": b"Bearer " + keys.pop()}


def extract(headers: Mapping[bytes, bytes], query: bytes) -> bytes:
    """The one credential of a request, in its headers.

    Raises CallerError: auth.missing, auth.invalid, auth.ambiguous, or auth.in_query where the query has one.
    """
    if query:
        refuse_query(query)
    found = b""
    authorization = headers.get(b"authorization")
    if authorization is not None:
        scheme, _, token = authorization.partition(b" ")
        if scheme.lower() != b"bearer":
            raise CallerError(Code.AUTH_INVALID, "The authorization header must be `Bearer <key>`.")
        found = token.strip()
        if not found:
            raise CallerError(Code.AUTH_MISSING, "The authorization header holds no key.")
    for name in _HEADER_NAMES:
        value = headers.get(name)
        if value is None:
            continue
        value = value.strip()
        if found and value != found:
            raise CallerError(Code.AUTH_AMBIGUOUS, "Two different keys were sent; send one.")
        found = value
    if not found:
        raise CallerError(
            Code.AUTH_MISSING, "No key was sent; send it as `Authorization: Bearer <key>` or `x-api-key`."
        )
    if len(found) > CREDENTIAL_BYTES_MAX or not found.isascii():
        raise invalid()
    return found


def refuse_query(query: bytes) -> None:
    """Raise auth.in_query where a parameter has a credential's name."""
    for pair in query.split(b"&"):
        if pair.partition(b"=")[0].lower() in _QUERY_NAMES:
            raise CallerError(
                Code.AUTH_IN_QUERY, "A key in the query string ends up in logs; send it as a header and rotate it."
            )
