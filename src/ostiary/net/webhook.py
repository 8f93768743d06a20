"""Messages to webhooks, signed as the Standard Webhooks specification says.

https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md: the headers `webhook-id`,
`webhook-timestamp` and `webhook-signature`; what is signed is id, time and body joined by dots, with HMAC-SHA-256 under the
bytes that the secret `whsec_<base64>` holds. Any 2xx takes the message, 410 says never again; a redirect is a failure.
"""

import base64
import binascii
import hashlib
import hmac
from typing import Final, Protocol, final

from ostiary.core.error import OstiaryError
from ostiary.core.http import Header, Origin
from ostiary.core.port import Clock
from ostiary.core.secret import Secret
from ostiary.gateway.ports import PhaseTimeouts, Upstream, UpstreamRequest
from ostiary.jobs.alerts.ports import DeliveryFailed

_PREFIX: Final = "whsec_"
SECRET_BYTES_MIN: Final = 24
SECRET_BYTES_MAX: Final = 64
CONNECT_SECONDS: Final = 5.0
ANSWER_SECONDS: Final = 15.0
"""Within which a receiver must have answered."""

_GONE: Final = 410


def check_secret(text: str) -> bytes:
    """The key inside `whsec_<base64>`. Raises ValueError, told in words, where it is not one of 24 to 64 bytes."""
    try:
        found = base64.b64decode(text.removeprefix(_PREFIX), validate=True)
    except (ValueError, binascii.Error):
        found = b""
    if not text.startswith(_PREFIX) or not SECRET_BYTES_MIN <= len(found) <= SECRET_BYTES_MAX:
        raise ValueError(
            f"a webhook's secret is `{_PREFIX}` and {SECRET_BYTES_MIN} to {SECRET_BYTES_MAX} random bytes in base64; "
            f"make one with: echo {_PREFIX}$(openssl rand -base64 32)"
        )
    return found


def signature(secret: Secret, message_id: str, timestamp: int, body: bytes) -> str:
    """The value of `webhook-signature`."""
    signed = f"{message_id}.{timestamp}.".encode() + body
    digest = hmac.new(check_secret(secret.reveal()), signed, hashlib.sha256).digest()
    return "v1," + base64.b64encode(digest).decode()


class Telling(Protocol):
    """What is sent. `id` is the same at every attempt."""

    @property
    def id(self) -> str: ...

    def body(self) -> bytes:
        """As JSON."""
        ...


@final
class Webhook:
    """Implements Sender for one URL."""

    def __init__(self, upstream: Upstream, clock: Clock, origin: Origin, target: bytes, secret: Secret) -> None:
        self._upstream = upstream
        self._clock = clock
        self._origin = origin
        self._target = target
        self._secret = secret

    async def send(self, message: Telling, now_seconds: int) -> None:
        """See Sender."""
        body = message.body()
        headers: tuple[Header, ...] = (
            (b"content-type", b"application/json"),
            (b"user-agent", b"ostiary"),
            (b"webhook-id", message.id.encode()),
            (b"webhook-timestamp", str(now_seconds).encode()),
            (b"webhook-signature", signature(self._secret, message.id, now_seconds, body).encode()),
        )
        timeouts = PhaseTimeouts(
            CONNECT_SECONDS, ANSWER_SECONDS, ANSWER_SECONDS, self._clock.monotonic() + CONNECT_SECONDS + ANSWER_SECONDS
        )
        request = UpstreamRequest(self._origin, b"POST", self._target, headers, body, timeouts)
        try:
            reply = await self._upstream.send(request)
        except OstiaryError as error:
            raise DeliveryFailed(error.message) from error
        reply.close()  # nothing in its body matters
        if not 200 <= reply.status < 300:
            raise DeliveryFailed(f"it answered {reply.status}", final=reply.status == _GONE)
