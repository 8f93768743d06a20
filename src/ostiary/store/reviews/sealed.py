"""How what a person is to look at, and what one said, is sealed: AES-256-GCM under a key for each tenant, made of the
installation's digest key. A text opens only as what it was sealed as: of this tenant, this ticket, this purpose. Pure but for
the nonce, which is handed in."""

import hashlib
import hmac
from collections.abc import Callable
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from ostiary.core.error import Code, OperatorError

_NONCE_BYTES: Final = 12
_MAGIC: Final = b"OSV1"


class ReviewSeals:
    """Port `Seals`. Printing it shows nothing of the key."""

    def __init__(self, digest_key: bytes, entropy: Callable[[int], bytes]) -> None:
        self._key = digest_key
        self._entropy = entropy

    def seal(self, tenant: str, ticket: str, purpose: str, data: bytes) -> bytes:
        """The data, sealed."""
        nonce = self._entropy(_NONCE_BYTES)
        return _MAGIC + nonce + self._cipher(tenant).encrypt(nonce, data, _bound(ticket, purpose))

    def open(self, tenant: str, ticket: str, purpose: str, sealed: bytes) -> bytes:
        """What was sealed. Raises OperatorError store.unavailable where this is not it."""
        start = len(_MAGIC) + _NONCE_BYTES
        nonce = sealed[len(_MAGIC) : start].ljust(
            _NONCE_BYTES, b"\x00"
        )  # what is too short for one does not open either
        try:
            plain = self._cipher(tenant).decrypt(nonce, sealed[start:], _bound(ticket, purpose))
        except InvalidTag as error:
            raise OperatorError(
                Code.STORE_UNAVAILABLE,
                f"The {purpose} of {ticket} does not open: it was changed, or sealed under another `digest.key`.",
            ) from error
        return plain

    def _cipher(self, tenant: str) -> AESGCM:
        return AESGCM(hmac.digest(self._key, b"review content\x00" + tenant.encode(), hashlib.sha256))


def _bound(ticket: str, purpose: str) -> bytes:
    return f"{purpose}\x00{ticket}".encode()
