"""The digest file of keys: sorted digests that every worker of a host maps into memory, and the small delta beside it.

Layout: magic, format, generation and count; a fan-out of 65,536 + 1 entry numbers by the first two bytes of the
digest; entries of 40 bytes (32 of digest, 8 of offset) in order; then the payloads, each with its length. One
look-up reads two fan-out numbers and searches one bucket, so a million keys cost what ten do.

The delta holds what changed since the base was written: a digest with its new entry, or with none where the key
is gone. It is replaced whole; a reader takes base and delta only where their generations agree.
"""

import struct
from collections.abc import Iterable, Mapping
from typing import Final, Protocol, Self

import msgspec

from ostiary.core.error import Code, OperatorError
from ostiary.core.principal import Deployment, EnvironmentName, KeyId, Principal, Priority, TeamId, TenantId

_MAGIC: Final = b"OSTKEYS1"
_HEAD: Final = struct.Struct(">8sQQ")
_FAN: Final = struct.Struct(">II")
_FAN_ENTRIES: Final = 65_536
_FAN_AT: Final = _HEAD.size
_ENTRIES_AT: Final = _FAN_AT + 4 * (_FAN_ENTRIES + 1)
_ENTRY_BYTES: Final = 40
_OFFSET: Final = struct.Struct(">Q")
_LENGTH: Final = struct.Struct(">I")
DIGEST_BYTES: Final = 32


class KeyEntry(msgspec.Struct, frozen=True, omit_defaults=True, array_like=True):
    """What is known of one key. `expires_ns` is wall-clock nanoseconds, 0 for never."""

    key_id: str
    key_name: str
    tenant: str
    team: str
    environment: str
    models: tuple[str, ...] | None = None
    expires_ns: int = 0
    deployment: Deployment = Deployment()
    priority: Priority | None = None
    project: str = ""

    def principal(self) -> Principal:
        """Who holds this key."""
        return Principal(
            tenant=TenantId(self.tenant),
            team=TeamId(self.team),
            environment=EnvironmentName(self.environment),
            key_id=KeyId(self.key_id),
            key_name=self.key_name,
            models=None if self.models is None else frozenset(self.models),
            deployment=self.deployment,
            priority=self.priority,
            project=self.project,
        )


class KeyDelta(msgspec.Struct, frozen=True):
    """Changes since the base of the same generation.

    For the publisher: `place` is the number of the last change of the database that base and delta hold, and
    `file_keys` are the keys of the configuration file among them.
    """

    generation: int
    entries: dict[bytes, KeyEntry | None]
    place: int = 0
    file_keys: dict[bytes, KeyEntry] = {}


class Buffer(Protocol):
    """What the table needs of its bytes: an mmap or bytes both have it."""

    def find(self, sub: bytes, start: int, end: int, /) -> int: ...
    def __getitem__(self, index: slice, /) -> bytes: ...
    def __len__(self) -> int: ...


_entry_encoder: Final = msgspec.msgpack.Encoder()
_entry_decoder: Final = msgspec.msgpack.Decoder(KeyEntry)
_delta_decoder: Final = msgspec.msgpack.Decoder(KeyDelta)


def encode_base(generation: int, keys: Iterable[tuple[bytes, KeyEntry]]) -> bytes:
    """The digest file of `keys` (digest of 32 bytes, entry)."""
    ordered = sorted(keys, key=lambda pair: pair[0])
    fan = [0] * (_FAN_ENTRIES + 1)
    entries = bytearray()
    payloads = bytearray()
    start = _ENTRIES_AT + _ENTRY_BYTES * len(ordered)
    for digest, entry in ordered:
        fan[int.from_bytes(digest[:2], "big") + 1] += 1
        entries += digest + _OFFSET.pack(start + len(payloads))
        body = _entry_encoder.encode(entry)
        payloads += _LENGTH.pack(len(body)) + body
    for i in range(_FAN_ENTRIES):
        fan[i + 1] += fan[i]
    head = _HEAD.pack(_MAGIC, generation, len(ordered))
    return b"".join((head, struct.pack(f">{len(fan)}I", *fan), entries, payloads))


def encode_delta(delta: KeyDelta) -> bytes:
    """The bytes of a delta."""
    return _entry_encoder.encode(delta)


def decode_delta(data: bytes) -> KeyDelta:
    """The delta in `data`. Raises OperatorError config.invalid where it is damaged."""
    try:
        return _delta_decoder.decode(data)
    except msgspec.MsgspecError as error:
        raise OperatorError(Code.CONFIG_INVALID, f"the key delta cannot be read: {error}") from error


class KeyTable:
    """Look-ups in a mapped digest file with a delta over it."""

    def __init__(self, base: Buffer, delta: Mapping[bytes, KeyEntry | None]) -> None:
        self._base = base
        self._delta = delta
        if len(base) < _ENTRIES_AT:
            raise OperatorError(Code.CONFIG_INVALID, "the key file is damaged")
        magic, self.generation, self.count = _HEAD.unpack(base[: _HEAD.size])
        if magic != _MAGIC or len(base) < _ENTRIES_AT + _ENTRY_BYTES * self.count:
            raise OperatorError(Code.CONFIG_INVALID, "the key file is damaged")

    @classmethod
    def empty(cls) -> Self:
        """A table without keys."""
        return cls(encode_base(0, ()), {})

    def find(self, digest: bytes) -> KeyEntry | None:
        """The entry of `digest`, expired or not, or None."""
        delta = self._delta
        if digest in delta:
            return delta[digest]
        base = self._base
        bucket = _FAN_AT + 4 * int.from_bytes(digest[:2], "big")
        first, last = _FAN.unpack(base[bucket : bucket + 8])
        at = start = _ENTRIES_AT + _ENTRY_BYTES * first
        end = _ENTRIES_AT + _ENTRY_BYTES * last
        while True:
            at = base.find(digest, at, end)
            if at < 0:
                return None
            if (at - start) % _ENTRY_BYTES == 0:
                break
            at += 1
        (offset,) = _OFFSET.unpack(base[at + DIGEST_BYTES : at + _ENTRY_BYTES])
        (length,) = _LENGTH.unpack(base[offset : offset + 4])
        return _entry_decoder.decode(base[offset + 4 : offset + 4 + length])
