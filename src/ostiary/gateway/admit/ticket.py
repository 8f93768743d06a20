"""Tickets of calls that were handed over to a person. A ticket tells of itself that we made it, for whom and until when, so
that whoever polls is known as its owner, or not, before anything is looked up, on every worker and replica that has the digest
key. Pure."""

import hmac
import re
from typing import Final

import msgspec

from ostiary.core.digest import KeyedDigest
from ostiary.core.principal import Principal
from ostiary.core.review import ReviewDesk

PATH: Final = "/v1/reviews/"
"""Below which a ticket is asked for."""

_FORM: Final = re.compile(r"ticket-([A-Za-z0-9-]{1,64})-(\d{1,12})-([0-9a-f]{32})")


class Ticket(msgspec.Struct, frozen=True):
    """What a ticket says of itself: whose request, when it ends (seconds since 1970), and the proof that we made it."""

    request_id: str
    until: int
    proof: str


def read(ticket: str) -> Ticket | None:
    """What a ticket says; None for what has not the form of one. Proves nothing."""
    found = _FORM.fullmatch(ticket)
    return None if found is None else Ticket(found[1], int(found[2]), found[3])


class Tickets:
    """Makes tickets under the installation's digest key and knows them again. A key that gets a new secret keeps its
    tickets. `desk` is where what they stand for is left."""

    def __init__(self, key: bytes, desk: ReviewDesk) -> None:
        self._proofs = KeyedDigest(key, b"review ticket\x00")
        self.desk = desk

    def issue(self, principal: Principal, request_id: str, end: int) -> str:
        """The ticket of a call, for whoever made it."""
        return f"ticket-{request_id}-{end}-{self._proof(principal, request_id, end)}"

    def owned(self, ticket: str, principal: Principal) -> Ticket | None:
        """A ticket of this very tenant and key; None for all others, which look alike."""
        found = read(ticket)
        if found is None:
            return None
        proof = self._proof(principal, found.request_id, found.until)
        return found if hmac.compare_digest(proof.encode(), found.proof.encode()) else None

    def _proof(self, principal: Principal, request_id: str, end: int) -> str:
        whose = f"{principal.tenant}\x00{principal.key_id}\x00{request_id}\x00{end}"
        return self._proofs.hexdigest(whose.encode())[:32]
