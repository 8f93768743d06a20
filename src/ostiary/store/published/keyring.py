"""Whose a credential is: look-ups in the mapped key files, the same cost for ten keys and for a million."""

from typing import Final

from ostiary.core.credential import stored_digest
from ostiary.core.digest import KeyedDigest
from ostiary.core.port import Clock
from ostiary.core.principal import Principal
from ostiary.snapshot.keys import KeyEntry, KeyTable

_KEPT_MAX: Final = 8_192


class PublishedKeys:
    """Implements the port `KeyRing` over a `KeyTable` that is replaced whole when keys change.

    Decoded entries are kept for a bounded number of digests; they go when the table does, so a revoked key is gone
    with the first look-up after the swap. The digest is keyed and computed in full for every credential, known or
    not, so that the time taken says nothing about a key; the key of the digests never changes.
    """

    def __init__(self, pepper: bytes, clock: Clock) -> None:
        self._pepper = KeyedDigest(pepper)
        self._clock = clock
        self._table = KeyTable.empty()
        self._kept: dict[bytes, tuple[KeyEntry, Principal]] = {}

    def swap(self, table: KeyTable) -> None:
        """Take a new table."""
        self._table = table
        self._kept = {}

    @property
    def count(self) -> int:
        """How many keys the base holds."""
        return int(self._table.count)

    def digest(self, credential: bytes) -> bytes:
        """As the port says."""
        return stored_digest(self._pepper, credential)

    def find(self, digest: bytes) -> Principal | None:
        """As the port says."""
        found = self._kept.get(digest)
        if found is None:
            entry = self._table.find(digest)
            if entry is None:
                return None  # unknown digests are not kept: a flood of them must not push out real ones
            found = (entry, entry.principal())
            if len(self._kept) >= _KEPT_MAX:
                self._kept.clear()
            self._kept[digest] = found
        entry, principal = found
        if entry.expires_ns and self._clock.now_ns() >= entry.expires_ns:
            return None
        return principal
