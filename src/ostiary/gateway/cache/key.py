"""What a kept answer is an answer to. Nothing that could change the answer may be missing from a key."""

import hashlib
from collections.abc import Iterable, Mapping
from typing import Final

import msgspec

from ostiary.core.call import DialectName, Operation

_SHAPING: Final = (b"anthropic-version", b"anthropic-beta", b"openai-beta", b"content-type", b"accept")
"""The headers of a request that can shape its answer, besides ours."""


class CacheKey(msgspec.Struct, frozen=True, order=False):
    """Who may be given the answer, under which rules, from where, and to what: equal in all of it or not at all.

    `scope` names those who share answers within the tenant (everybody, a team or a key); `policy` the snapshot whose
    rules let the call through; `targets` what the model stood for; `fingerprint` the whole request, as `fingerprint`
    makes it.
    """

    tenant: str
    scope: str
    policy: str
    targets: tuple[str, ...]
    operation: Operation
    dialect: DialectName
    label: str
    fingerprint: bytes


def fingerprint(
    body_digest: str,
    headers: Mapping[bytes, bytes],
    *,
    addressed: Iterable[bytes],
    terms: Iterable[str],
) -> bytes:
    """SHA-256 over a request: the digest of its body (every field of it: tools, formats, seeds, users), what its path
    and query say, its shaping headers, and the terms on which it is put to a target. Each part stands with its length,
    so that no two requests run together."""
    whole = hashlib.sha256()
    parts = [body_digest.encode("ascii"), *addressed, *(term.encode() for term in terms)]
    parts += [headers.get(name, b"\0") for name in _SHAPING]
    for part in parts:
        whole.update(len(part).to_bytes(8, "big"))
        whole.update(part)
    return whole.digest()
