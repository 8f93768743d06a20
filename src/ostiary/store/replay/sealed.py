"""The format of a kept answer: a salt, then frames that nobody can read or rearrange without the seal. Pure.

    file  = "OSR1" salt(32) frame*
    frame = length(4, big-endian) AES-256-GCM(key, nonce = number of the frame, msgpack of its content)

The key of a file is HMAC-SHA-256(seal, salt), so that no key ever meets the same nonce twice. A last frame says that
the answer is whole; a file without it belongs to a call that goes on, or to a process that died.
"""

import hmac
from typing import Final

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from ostiary.core.limit import REPLAY_BYTES_MAX

MAGIC: Final = b"OSR1"
SALT_BYTES: Final = 32
PREAMBLE_BYTES: Final = len(MAGIC) + SALT_BYTES
_LENGTH_BYTES: Final = 4
_TAG_BYTES: Final = 16


class Claimed(msgspec.Struct, frozen=True, tag="claimed", array_like=True):
    """Which request the place belongs to, and since when (seconds since 1970)."""

    fingerprint: str
    at: int


class Head(msgspec.Struct, frozen=True, tag="head", array_like=True):
    """The head of the answer."""

    status: int
    headers: tuple[tuple[bytes, bytes], ...]
    streamed: bool
    keepalive: bytes


class Piece(msgspec.Struct, frozen=True, tag="piece", array_like=True):
    """A part of its body."""

    data: bytes


class End(msgspec.Struct, frozen=True, tag="end", array_like=True):
    """The answer is whole; or, where not `kept`, was given and must not or could not be kept."""

    kept: bool


Content = Claimed | Head | Piece | End

_encoder: Final = msgspec.msgpack.Encoder()
_decoder: Final = msgspec.msgpack.Decoder(Content)


class SealError(ValueError):
    """A file that was not written under this seal, or was changed."""


class Sealer:
    """Writes the frames of one file, in order."""

    def __init__(self, seal: bytes, salt: bytes) -> None:
        self.preamble = MAGIC + salt
        self._cipher = _cipher(seal, salt)
        self._number = 0

    def frame(self, content: Content) -> bytes:
        """The next frame."""
        sealed = self._cipher.encrypt(self._number.to_bytes(12, "big"), _encoder.encode(content), MAGIC)
        self._number += 1
        return len(sealed).to_bytes(_LENGTH_BYTES, "big") + sealed


class Opener:
    """Reads the frames of one file, in whatever parts its bytes come."""

    def __init__(self, seal: bytes) -> None:
        self._seal = seal
        self._cipher: AESGCM | None = None
        self._number = 0
        self._rest = bytearray()

    def feed(self, data: bytes) -> list[Content]:
        """The frames that are whole now. Raises SealError."""
        rest = self._rest
        rest += data
        if self._cipher is None:
            if len(rest) < PREAMBLE_BYTES:
                return []
            if not rest.startswith(MAGIC):
                raise SealError("not a kept answer")
            self._cipher = _cipher(self._seal, bytes(rest[len(MAGIC) : PREAMBLE_BYTES]))
            del rest[:PREAMBLE_BYTES]
        found: list[Content] = []
        while len(rest) >= _LENGTH_BYTES:
            length = int.from_bytes(rest[:_LENGTH_BYTES], "big")
            if not _TAG_BYTES < length <= REPLAY_BYTES_MAX + 64 * 1024:
                raise SealError("a frame of an impossible length")
            if len(rest) < _LENGTH_BYTES + length:
                break
            sealed = bytes(rest[_LENGTH_BYTES : _LENGTH_BYTES + length])
            del rest[: _LENGTH_BYTES + length]
            try:
                plain = self._cipher.decrypt(self._number.to_bytes(12, "big"), sealed, MAGIC)
                found.append(_decoder.decode(plain))
            except (InvalidTag, msgspec.DecodeError) as error:
                raise SealError("a frame that was not written under this seal") from error
            self._number += 1
        return found


def _cipher(seal: bytes, salt: bytes) -> AESGCM:
    return AESGCM(hmac.digest(seal, salt, "sha256"))
