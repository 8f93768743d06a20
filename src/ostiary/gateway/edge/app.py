"""The gateway as an application: decides on a request's head, then hands the call to the exchange.

Authentication happens on the head, so that nobody without a key can make the gateway hold a body.
"""

from typing import Final, Protocol
from urllib.parse import unquote_to_bytes

import msgspec

from ostiary.core.call import DialectName
from ostiary.core.error import CallerError, Code, GatewayError, OstiaryError
from ostiary.core.http import Accepted, Answer, Header, RequestHead
from ostiary.core.limit import EXCHANGES_MAX, MODEL_NAME_BYTES_MAX
from ostiary.core.principal import Principal
from ostiary.gateway.admit.bounds import Options, options
from ostiary.gateway.dialect import ListedModel
from ostiary.gateway.edge.route import Endpoint, Route, dialect_of, find, methods
from ostiary.gateway.exchange import Arrival, Exchange
from ostiary.gateway.identity.credential import resolve
from ostiary.gateway.policy.access import may_use
from ostiary.gateway.ports import KeyRing, Sink
from ostiary.gateway.world import World

_JSON: Final[Header] = (b"content-type", b"application/json")
_TEXT: Final[Header] = (b"content-type", b"text/plain; charset=utf-8")
_UNAUTHENTICATED: Final = frozenset({Code.AUTH_MISSING, Code.AUTH_INVALID, Code.AUTH_AMBIGUOUS, Code.AUTH_IN_QUERY})


class Health(Protocol):
    """Whether this process can do its work."""

    def ready(self) -> str:
        """Empty where it can, otherwise why not, in a few words without secrets."""
        ...


class RefusalLog(Protocol):
    """Counts refused credentials."""

    def refused(self, peer: str, code: Code) -> None: ...


class Context(msgspec.Struct, frozen=True):
    """What `accept` learnt of a request, for `serve`."""

    route: Route
    request_id: str
    principal: Principal | None
    head: RequestHead
    options: Options


class Gateway:
    """The application of the public listener."""

    def __init__(self, world: World, keys: KeyRing, health: Health, refusals: RefusalLog) -> None:
        self._world = world
        self._keys = keys
        self._health = health
        self._refusals = refusals

    def accept(self, head: RequestHead) -> Accepted | Answer:
        """Route, authenticate and read the caller's options, on the head alone."""
        request_id = self._world.ids.new()
        try:
            return self._accept(head, request_id)
        except OstiaryError as error:
            if error.code in _UNAUTHENTICATED:
                self._refusals.refused(head.peer, error.code)
            return self._error(error, _dialect(head), request_id)

    def _accept(self, head: RequestHead, request_id: str) -> Accepted | Answer:
        route = find(head.method, head.path)
        if route is None:
            return self._no_route(head, request_id)
        if route.endpoint is Endpoint.LIVE:
            return Answer(200, (_TEXT,), b"alive\n")
        if route.endpoint is Endpoint.READY:
            reason = self._health.ready()
            return Answer(503, (_TEXT,), reason.encode() + b"\n") if reason else Answer(200, (_TEXT,), b"ready\n")
        principal = resolve(head.headers, head.query, self._keys)
        if route.endpoint is Endpoint.CALL:
            _check_media_type(head.headers.get(b"content-type", b""))
            if self._world.open_calls >= EXCHANGES_MAX:
                raise GatewayError(Code.GATEWAY_OVERLOADED, "Too many calls are open.", retry_after_seconds=1.0)
        context = Context(route, request_id, principal, head, options(head.headers))
        if route.endpoint is Endpoint.CALL:
            return Accepted(route.body_bytes_max, context)
        return self._models(context, principal)

    async def serve(self, accepted: Accepted, body: bytes, sink: Sink) -> None:
        """Run the call. Never raises but for a cancellation."""
        context = accepted.context
        assert isinstance(context, Context)
        operation, principal = context.route.operation, context.principal
        assert operation is not None
        assert principal is not None
        arrival = Arrival(
            request_id=context.request_id,
            principal=principal,
            operation=operation,
            dialect=context.route.dialect,
            headers=context.head.headers,
            body=body,
            options=context.options,
            started_at=context.head.at,
        )
        await Exchange(self._world, arrival, sink).run()

    def refuse(self, error: OstiaryError, path: bytes) -> Answer:
        """The wire form of a fault found by the server."""
        return self._error(error, dialect_of(path), self._world.ids.new())

    def _no_route(self, head: RequestHead, request_id: str) -> Answer:
        allowed = methods(head.path)
        if not allowed:
            shown = head.path[:100].decode("ascii", "replace")
            raise CallerError(Code.ROUTE_NOT_FOUND, f"There is nothing at {shown}; check the base URL.")
        answer = self._error(
            CallerError(Code.REQUEST_METHOD, f"This path takes {' and '.join(allowed)}."), _dialect(head), request_id
        )
        return Answer(answer.status, (*answer.headers, (b"allow", ", ".join(allowed).encode())), answer.body)

    def _error(self, error: OstiaryError, dialect: DialectName, request_id: str) -> Answer:
        answer = self._world.dialects[dialect].encode_error(error, request_id)
        extra: tuple[Header, ...] = ()
        if all(name != b"x-request-id" for name, _ in answer.headers):
            extra = ((b"x-request-id", request_id.encode("ascii")),)
        return Answer(answer.status, (*answer.headers, *extra), answer.body)

    def _models(self, context: Context, principal: Principal) -> Answer:
        """The models this key may use: all of them, or one by its name."""
        dialect = self._world.dialects[_dialect(context.head)]
        index = self._world.index
        team = index.teams.get((principal.tenant, principal.team))
        offered = () if team is None else team.models
        ident = context.request_id.encode("ascii")
        head: tuple[Header, ...] = (_JSON, (b"x-request-id", ident))
        if dialect.name is DialectName.ANTHROPIC:
            head = (*head, (b"request-id", ident))

        def usable(name: str) -> bool:
            row = index.model(name)  # None for a wildcard entry: it is a rule, not a model
            return (
                row is not None
                and (not row.environments or principal.environment in row.environments)
                and may_use(principal, offered, name)
            )

        if context.route.endpoint is Endpoint.MODEL:
            raw = context.head.path[len(context.route.path) :]
            name = unquote_to_bytes(raw).decode("utf-8", "replace")
            row = index.model(name) if len(raw) <= 3 * MODEL_NAME_BYTES_MAX and usable(name) else None
            if row is None:
                raise CallerError(Code.MODEL_NOT_FOUND, f"The model `{name[:80]}` does not exist here.", param="model")
            return Answer(200, head, dialect.encode_model(ListedModel(row.name, row.created)))
        listed = [ListedModel(row.name, row.created) for row in index.snapshot.models if usable(row.name)]
        return Answer(200, head, dialect.encode_models(listed))


def _dialect(head: RequestHead) -> DialectName:
    """The dialect of an answer: the path's, and Anthropic's where its version header is sent to a shared path."""
    return DialectName.ANTHROPIC if b"anthropic-version" in head.headers else dialect_of(head.path)


def _check_media_type(value: bytes) -> None:
    if value == b"application/json":
        return
    kind, _, parameters = value.partition(b";")
    if kind.strip().lower() != b"application/json":
        raise CallerError(Code.REQUEST_MEDIA_TYPE, "Send the body as `content-type: application/json`.")
    charset = parameters.strip().lower().replace(b" ", b"")
    if charset.startswith(b"charset=") and charset.strip(b'"') not in (b"charset=utf-8", b'charset="utf-8'):
        raise CallerError(Code.REQUEST_MEDIA_TYPE, "Send the body in UTF-8.")
