"""AWS Signature Version 4. Pure: the time is handed in.

Every header that is sent is signed but those a client or a proxy on the way may change. The path is encoded once more
than it stands on the wire, as every service but S3 wants it. Source: IAM User Guide, "Create a signed AWS API request".
"""

import hashlib
import hmac
from datetime import UTC, datetime
from typing import Final
from urllib.parse import quote

import msgspec

from ostiary.core.http import Header, Origin
from ostiary.core.secret import Secret
from ostiary.gateway.ports import UpstreamRequest

_ALGORITHM: Final = "AWS4-HMAC-SHA256"
# What the vendor's own clients leave out: others on the way may change it, or it is part of the signature.
_UNSIGNED: Final = frozenset(
    {b"authorization", b"connection", b"expect", b"keep-alive", b"proxy-authenticate", b"proxy-authorization", b"te",
     b"trailer", b"transfer-encoding", b"upgrade", b"user-agent", b"x-amzn-trace-id"}
)  # fmt: skip
_SIGNED_LATER: Final = frozenset({b"host", b"x-amz-date", b"x-amz-security-token"})
_DEFAULT_PORTS: Final = {"https": 443, "http": 80}


class AwsKeys(msgspec.Struct, frozen=True):
    """An access key with its secret, and the session token of temporary ones."""

    access_key_id: str
    secret_access_key: Secret
    session_token: Secret | None = None


class Signer:
    """Signs requests to one service of one region with one set of keys. The key derived for a day is kept."""

    def __init__(self, keys: AwsKeys, region: str, service: str) -> None:
        self._keys: Final = keys
        self._region: Final = region
        self._service: Final = service
        self._day = ""
        self._key = b""

    def headers(self, request: UpstreamRequest, now_ns: int) -> tuple[Header, ...]:
        """The headers to add to a request: `x-amz-date`, `x-amz-security-token` for temporary keys, `authorization`."""
        moment = datetime.fromtimestamp(now_ns // 1_000_000_000, UTC).strftime("%Y%m%dT%H%M%SZ")
        added: list[Header] = [(b"x-amz-date", moment.encode())]
        if self._keys.session_token is not None:
            added.append((b"x-amz-security-token", self._keys.session_token.reveal().encode()))
        listed = [pair for pair in request.headers if pair[0] not in _UNSIGNED and pair[0] not in _SIGNED_LATER]
        names, canonical = _canonical_headers([*listed, *added, (b"host", host_of(request.origin))])
        path, _, query = request.target.partition(b"?")
        canonical_request = b"\n".join(
            (
                request.method,
                quote(path or b"/", safe="/-_.~").encode(),
                _canonical_query(query),
                canonical,
                names,
                hashlib.sha256(request.body).hexdigest().encode(),
            )
        )
        day = moment[:8]
        scope = f"{day}/{self._region}/{self._service}/aws4_request"
        text = f"{_ALGORITHM}\n{moment}\n{scope}\n{hashlib.sha256(canonical_request).hexdigest()}"
        signature = hmac.new(self._signing_key(day), text.encode(), hashlib.sha256).hexdigest()
        credential = f"{self._keys.access_key_id}/{scope}"
        value = f"{_ALGORITHM} Credential={credential}, SignedHeaders={names.decode()}, Signature={signature}"
        return (*added, (b"authorization", value.encode()))

    def _signing_key(self, day: str) -> bytes:
        if day != self._day:
            key = b"AWS4" + self._keys.secret_access_key.reveal().encode()
            for text in (day, self._region, self._service, "aws4_request"):
                key = hmac.new(key, text.encode(), hashlib.sha256).digest()
            self._day, self._key = day, key
        return self._key


def host_of(origin: Origin) -> bytes:
    """The host header a client sends for an origin: without the port that goes without saying."""
    host = f"[{origin.host}]" if ":" in origin.host else origin.host
    port = "" if origin.port == _DEFAULT_PORTS.get(origin.scheme) else f":{origin.port}"
    return f"{host}{port}".encode()


def _canonical_headers(headers: list[Header]) -> tuple[bytes, bytes]:
    """The names signed, and each header on a line: values of one name joined, blanks made one."""
    values: dict[bytes, list[bytes]] = {}
    for name, value in headers:
        values.setdefault(name, []).append(b" ".join(value.split()))
    names = sorted(values)
    return b";".join(names), b"".join(name + b":" + b",".join(values[name]) + b"\n" for name in names)


def _canonical_query(query: bytes) -> bytes:
    """The query's pairs in order, as they are encoded on the wire."""
    pairs = [pair.partition(b"=") for pair in query.split(b"&") if pair]
    return b"&".join(name + b"=" + value for name, _, value in sorted((name, sep, value) for name, sep, value in pairs))
