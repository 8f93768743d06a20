"""Snapshot to bytes and back. The format number stands before the body, so that a reader can refuse what it does not
know and keep the snapshot it has. This version reads and writes format 1 (a later one will read N and N-1).
"""

import hashlib
from typing import Final

import msgspec

from ostiary.core.error import Code, OperatorError
from ostiary.snapshot.tables import Snapshot

FORMAT: Final = 1
_MAGIC: Final = b"OSTIARY-SNAPSHOT "
_encoder: Final = msgspec.msgpack.Encoder()
_decoder: Final = msgspec.msgpack.Decoder(Snapshot)


def seal(snapshot: Snapshot) -> Snapshot:
    """The same snapshot with its id set: a digest of everything but the id and the time of compilation."""
    blank = msgspec.structs.replace(snapshot, id="", created_ns=0, format=FORMAT)
    digest = hashlib.sha256(_encoder.encode(blank)).hexdigest()[:16]
    return msgspec.structs.replace(snapshot, id=digest, format=FORMAT)


def encode(snapshot: Snapshot) -> bytes:
    """The bytes of a sealed snapshot, with their own checksum."""
    body = _encoder.encode(snapshot)
    return _MAGIC + b"%d %s\n" % (FORMAT, hashlib.sha256(body).hexdigest().encode("ascii")) + body


def decode(data: bytes) -> Snapshot:
    """The snapshot in `data`. Raises OperatorError config.invalid for an unknown format or damaged bytes."""
    head, newline, body = data.partition(b"\n")
    if not newline or not head.startswith(_MAGIC):
        raise OperatorError(Code.CONFIG_INVALID, "this file is not a snapshot")
    number, _, checksum = head[len(_MAGIC) :].partition(b" ")
    if number != b"%d" % FORMAT:
        raise OperatorError(
            Code.CONFIG_INVALID, f"snapshot format {number.decode('ascii', 'replace')[:8]} is not known to this version"
        )
    if hashlib.sha256(body).hexdigest().encode("ascii") != checksum:
        raise OperatorError(Code.CONFIG_INVALID, "the snapshot is damaged: its checksum does not match")
    try:
        return _decoder.decode(body)
    except msgspec.MsgspecError as error:
        raise OperatorError(Code.CONFIG_INVALID, f"the snapshot cannot be read: {error}") from error
