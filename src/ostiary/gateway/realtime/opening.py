"""What opens a session: from a request's query and headers to a provider's channel."""

from collections.abc import Callable
from typing import Final
from urllib.parse import quote

import msgspec

from ostiary.core.error import CallerError, Code
from ostiary.core.http import Header
from ostiary.core.limit import REALTIME_PROTOCOLS_MAX
from ostiary.gateway.arrival import Arrival
from ostiary.snapshot.index import Target

PROTOCOL: Final = b"realtime"
_BETA_PROTOCOL: Final = b"openai-beta.realtime-v1"
_DEPLOYMENTS: Final = "/deployments/{model}"


class Opening(msgspec.Struct, frozen=True):
    """A request that asks for a session: authenticated, its head taken. `valid` says whether its key still is."""

    arrival: Arrival
    valid: Callable[[], bool]


def protocols(offered: bytes) -> tuple[bytes, ...]:
    """The subprotocols of a client's offer that are known here, in its order; never its key. Raises CallerError for an
    offer without any of them, to which no answer could agree."""
    names = [one.strip() for one in offered.split(b",") if one.strip()]
    if len(names) > REALTIME_PROTOCOLS_MAX:
        raise CallerError(Code.REQUEST_LIMIT, f"More than {REALTIME_PROTOCOLS_MAX} subprotocols are offered.")
    found = tuple(dict.fromkeys(one for one in names if one in (PROTOCOL, _BETA_PROTOCOL)))
    if names and not found:
        raise CallerError(Code.REQUEST_INVALID, "The subprotocol spoken here is `realtime`; offer it.")
    return found


def forwarded(arrival: Arrival, offered: tuple[bytes, ...]) -> tuple[Header, ...]:
    """The headers of a caller that go along: its choice of the API's generation, and nothing else."""
    beta = arrival.headers.get(b"openai-beta")
    if beta is None and _BETA_PROTOCOL in offered:
        beta = b"realtime=v1"
    return () if beta is None else ((b"openai-beta", beta),)


def address(target: Target) -> bytes:
    """Where a target's realtime endpoint stands, with the model's name in the query: `/realtime?model=` below the base
    URL; for Azure's deployments `/realtime?deployment=` beside them (its GA form has the first)."""
    name = quote(target.request_model, safe="").encode("ascii")
    before, placed, _ = target.provider.path.partition(_DEPLOYMENTS)
    if placed:
        path = before.encode("ascii") + b"/realtime?deployment=" + name
        return path + b"&" + target.query if target.query else path
    return target.address(b"/realtime?model=" + name)
