"""The table of all routes of the gateway's public listener: the single source of what exists and what it needs.

Every field of a route is required, so that none can be forgotten; tests enumerate the table. Paths are matched
byte for byte against the raw path of the request: no decoding, no normalising, no trailing slash.
"""

from enum import StrEnum
from typing import Final

import msgspec

from ostiary.core.call import DialectName, Operation
from ostiary.core.limit import BODY_BYTES_MAX


class Audit(StrEnum):
    """What the journal keeps of a request: two records of a call, or nothing but counters."""

    CALL = "call"
    COUNTED = "counted"


class Permission(StrEnum):
    """What a key needs."""

    NONE = "none"
    CALL_MODELS = "gateway:models:call"
    LIST_MODELS = "gateway:models:list"


class RateClass(StrEnum):
    """Which limits count a request."""

    NONE = "none"
    CALL = "call"
    READ = "read"


class Endpoint(StrEnum):
    """What answers."""

    CALL = "call"
    MODELS = "models"
    MODEL = "model"
    LIVE = "live"
    READY = "ready"


class Route(msgspec.Struct, frozen=True):
    """One route. `path` ends in "/" where the rest of the path is an argument. `operation` is set for calls."""

    method: str
    path: bytes
    endpoint: Endpoint
    dialect: DialectName
    operation: Operation | None
    permission: Permission
    audit: Audit
    rate: RateClass
    body_bytes_max: int


def _call(path: bytes, dialect: DialectName, operation: Operation) -> Route:
    return Route(
        method="POST",
        path=path,
        endpoint=Endpoint.CALL,
        dialect=dialect,
        operation=operation,
        permission=Permission.CALL_MODELS,
        audit=Audit.CALL,
        rate=RateClass.CALL,
        body_bytes_max=BODY_BYTES_MAX,
    )


def _read(path: bytes, endpoint: Endpoint, permission: Permission) -> Route:
    return Route(
        method="GET",
        path=path,
        endpoint=endpoint,
        dialect=DialectName.OPENAI,
        operation=None,
        permission=permission,
        audit=Audit.COUNTED,
        rate=RateClass.NONE if permission is Permission.NONE else RateClass.READ,
        body_bytes_max=0,
    )


ROUTES: Final = (
    _call(b"/v1/chat/completions", DialectName.OPENAI, Operation.CHAT),
    _call(b"/v1/embeddings", DialectName.OPENAI, Operation.EMBEDDINGS),
    _call(b"/v1/messages", DialectName.ANTHROPIC, Operation.CHAT),
    _call(b"/v1/messages/count_tokens", DialectName.ANTHROPIC, Operation.COUNT_TOKENS),
    _read(b"/v1/models", Endpoint.MODELS, Permission.LIST_MODELS),
    _read(b"/v1/models/", Endpoint.MODEL, Permission.LIST_MODELS),
    _read(b"/livez", Endpoint.LIVE, Permission.NONE),
    _read(b"/readyz", Endpoint.READY, Permission.NONE),
)

_EXACT: Final = {(route.method, route.path): route for route in ROUTES if not route.path.endswith(b"/")}
_PREFIX: Final = tuple(route for route in ROUTES if route.path.endswith(b"/"))


def find(method: str, path: bytes) -> Route | None:
    """The route of a method and raw path."""
    route = _EXACT.get((method, path))
    if route is None:
        for candidate in _PREFIX:
            if candidate.method == method and path.startswith(candidate.path) and len(path) > len(candidate.path):
                return candidate
    return route


def methods(path: bytes) -> tuple[str, ...]:
    """The methods a path exists with; empty where there is no such path."""
    return tuple(sorted({method for method in ("GET", "POST") if find(method, path) is not None}))


def dialect_of(path: bytes) -> DialectName:
    """The dialect in which a fault on this path is told, route or not."""
    return DialectName.ANTHROPIC if path.startswith(b"/v1/messages") else DialectName.OPENAI
