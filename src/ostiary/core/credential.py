"""Ostiary's own keys: their form, their checksum and the digest under which they are stored.

Form: `osk_<id>_<secret>`, where the id is 12 characters of a-z0-9 and the secret 32 random characters of
A-Za-z0-9 followed by 6 of checksum (CRC-32 of everything before it, base 62). A scanner recognises the form by
`KEY_PATTERN` and rules out chance hits by the checksum. A key supplied by an operator may have any other form.
"""

import hashlib
import re
import zlib
from typing import Final

from ostiary.core.digest import KeyedDigest

KEY_PATTERN: Final = r"osk_[a-z0-9]{12}_[A-Za-z0-9]{38}"

_FORM: Final = re.compile(KEY_PATTERN)
_BASE62: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_BASE36: Final = "0123456789abcdefghijklmnopqrstuvwxyz"
_CHECKSUM_CHARS: Final = 6


def _encode(number: int, alphabet: str, length: int) -> str:
    text = ""
    for _ in range(length):
        number, digit = divmod(number, len(alphabet))
        text = alphabet[digit] + text
    return text


def mint(entropy: bytes) -> tuple[str, str]:
    """A new key and its id from 40 fresh random bytes (8 for the id, 32 for the secret)."""
    if len(entropy) != 40:
        raise ValueError("a key is minted from 40 random bytes")
    key_id = _encode(int.from_bytes(entropy[:8], "big"), _BASE36, 12)
    body = f"osk_{key_id}_{_encode(int.from_bytes(entropy[8:], 'big'), _BASE62, 32)}"
    return body + _checksum(body), key_id


def _checksum(body: str) -> str:
    return _encode(zlib.crc32(body.encode("ascii")), _BASE62, _CHECKSUM_CHARS)


def has_our_form(key: str) -> bool:
    """Whether `key` has the form of a minted key, checksum included."""
    return _FORM.fullmatch(key) is not None and _checksum(key[:-_CHECKSUM_CHARS]) == key[-_CHECKSUM_CHARS:]


def stored_digest(pepper: KeyedDigest, key: bytes) -> bytes:
    """The 32 bytes under which a key is stored and looked up: HMAC-SHA-256(pepper, SHA-256(key))."""
    return pepper.digest(hashlib.sha256(key).digest())
