"""The digests that stand in records in place of texts and people.

They are keyed: without the installation's digest key nobody can test a guessed prompt against the journal.
"""

from collections.abc import Callable
from typing import Final

from ostiary.core.digest import KeyedDigest, RunningDigest, key_name
from ostiary.core.principal import TenantId


class Digests:
    """HMAC-SHA-256 digests under the installation's digest key. `name` is the key's public name."""

    def __init__(self, key: bytes) -> None:
        self.name = key_name("digest", key)
        self._content = KeyedDigest(key, b"content\x00")
        self._person = KeyedDigest(key, b"person\x00")
        self.content: Final[Callable[[bytes], str]] = self._content.hexdigest
        """Of a prompt or an answer, in hex. Equal contents are recognised, unknown ones not guessed."""

    def running(self) -> RunningDigest:
        """The same of an answer that comes in pieces."""
        return self._content.start()

    def person(self, tenant: TenantId, person: str) -> str:
        """What stands in place of a person's id, in hex: the same within a tenant, unrelated across tenants."""
        return self._person.hexdigest(tenant.encode() + b"\x00" + person.encode())
