"""A caller's promise that two requests are one: the header `idempotency-key` (IETF draft-ietf-httpapi-idempotency-key-header,
with the answers that Stripe's API gives). Pure."""

from typing import Final

import msgspec

from ostiary.core.digest import KeyedDigest
from ostiary.core.error import CallerError, Code
from ostiary.core.limit import IDEMPOTENCY_KEY_CHARS_MAX
from ostiary.core.principal import Principal

_DIGITS_MAX: Final = 9


class Idempotency(msgspec.Struct, frozen=True):
    """`name` is where an answer is kept, in hex: whoever holds another key, or asks at another path, has another place.
    `seal` is the secret under which it is kept there: made of what the caller alone knows, so that nobody can read an
    answer without the key that it was asked for with. `fingerprint` tells requests apart; `after` is the last event of
    a stream that the caller has seen (None: it does not ask to go on)."""

    name: str
    seal: bytes
    fingerprint: str
    after: int | None = None


class IdempotencyKeys:
    """Makes them, under the installation's digest key."""

    def __init__(self, key: bytes) -> None:
        self._names = KeyedDigest(key, b"idempotency name\x00")
        self._seals = KeyedDigest(key, b"idempotency seal\x00")

    def read(
        self, value: bytes, principal: Principal, path: bytes, fingerprint: str, last_event_id: bytes | None
    ) -> Idempotency:
        """The key in a header's value, as the caller `principal` means it for `path`. Raises CallerError
        idempotency.invalid, or request.invalid naming the header `last-event-id`."""
        text = value.strip()
        if len(text) >= 2 and text[:1] == text[-1:] == b'"':  # a string in the form of RFC 9651
            text = text[1:-1]
        if not 1 <= len(text) <= IDEMPOTENCY_KEY_CHARS_MAX or any(not 0x20 < byte < 0x7F for byte in text):
            raise CallerError(
                Code.IDEMPOTENCY_INVALID,
                f"idempotency-key must be 1 to {IDEMPOTENCY_KEY_CHARS_MAX} visible ASCII characters.",
                param="idempotency-key",
            )
        whose = b"\x00".join((principal.tenant.encode(), principal.key_id.encode(), path, text))
        return Idempotency(self._names.hexdigest(whose), self._seals.digest(whose), fingerprint, _seen(last_event_id))


def _seen(value: bytes | None) -> int | None:
    if value is None:
        return None
    if not value:
        return 0
    if not value.isdigit() or len(value) > _DIGITS_MAX:
        raise CallerError(
            Code.REQUEST_INVALID, "last-event-id must be the id of an event of this stream.", param="last-event-id"
        )
    return int(value)
