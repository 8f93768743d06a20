"""A request as the exchange gets it: authenticated, its head taken, its body on the way."""

from collections.abc import Mapping
from typing import Final

import msgspec

from ostiary.core.call import DialectName, Operation
from ostiary.core.principal import Principal
from ostiary.gateway.admit.bounds import Options
from ostiary.gateway.dialect import Addressed

SESSION_HEADER: Final = b"x-ostiary-session"
"""Which conversation a call belongs to, in the caller's own words."""


class Arrival(msgspec.Struct, frozen=True):
    """Who asks, for what, in which dialect. `rest` is what the path holds behind the route's own part, as it was sent;
    `started_at` the monotonic time of the first byte. `key_digest` is what the KeyRing knows the head's key by."""

    request_id: str
    principal: Principal
    operation: Operation
    dialect: DialectName
    addressed: Addressed
    headers: Mapping[bytes, bytes]
    options: Options
    started_at: float
    method: str
    rest: bytes
    query: bytes
    key_digest: bytes = b""

    def again(self, request_id: str, principal: Principal, headers: Mapping[bytes, bytes], at: float) -> "Arrival":
        """The next request with the same head but for its content-length."""
        return Arrival(
            request_id,
            principal,
            self.operation,
            self.dialect,
            self.addressed,
            headers,
            self.options,
            at,
            self.method,
            self.rest,
            self.query,
            self.key_digest,
        )
