"""Weighted rendezvous hashing: each subject has one order of the targets, shares follow the weights, and a target that
comes, goes or gets another weight moves only the subjects it wins or loses. Pure."""

import hashlib
import math

from ostiary.snapshot.index import Target


def by_subject(targets: tuple[Target, ...], subject: str) -> tuple[Target, ...]:
    """The targets as they stand for a subject. Those of weight 0 come last."""

    def score(target: Target) -> float:
        digest = hashlib.blake2b(f"{subject}\0{target.name}".encode(), digest_size=8).digest()
        share = (int.from_bytes(digest, "big") + 1) / (2**64 + 2)
        return -target.weight / math.log(share) if target.weight > 0 else 0.0

    return tuple(sorted(targets, key=score, reverse=True))
