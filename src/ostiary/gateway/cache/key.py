"""What a kept answer is an answer to. Nothing that could change the answer may be missing from a key."""

import hashlib
from collections.abc import Iterable, Mapping
from typing import Final

_SHAPING: Final = (b"anthropic-version", b"anthropic-beta", b"openai-beta", b"content-type", b"accept")
"""The headers of a request that can shape its answer, besides ours."""


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
    parts = [body_digest.encode("ascii"), *addressed, *(term.encode() for term in terms)]
    parts += [headers.get(name, b"\0") for name in _SHAPING]
    # One piece to hash: a call of the hash for each of twenty small parts would cost more than all of the rest.
    return hashlib.sha256(b"".join([b"%d:%b" % (len(part), part) for part in parts])).digest()
