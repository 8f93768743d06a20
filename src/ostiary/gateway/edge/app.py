"""The gateway as an application: decides on a request's head, then hands the call to the exchange.

Authentication happens on the head, so that nobody without a key can make the gateway hold a body.
"""

from typing import Final, Protocol
from urllib.parse import unquote_to_bytes

from ostiary.core.call import DialectName
from ostiary.core.error import CallerError, Code, GatewayError, OstiaryError
from ostiary.core.http import Accepted, Answer, Header, RequestHead
from ostiary.core.limit import EXCHANGES_MAX, MODEL_NAME_BYTES_MAX
from ostiary.core.principal import Principal
from ostiary.gateway.admit.bounds import options
from ostiary.gateway.admit.gate import Queued
from ostiary.gateway.arrival import Arrival
from ostiary.gateway.dialect import ListedModel
from ostiary.gateway.edge.review import Poll, answer_poll
from ostiary.gateway.edge.route import Endpoint, MediaType, Route, addressed, argument, dialect_of, find, methods
from ostiary.gateway.embedder import ModelEmbedders
from ostiary.gateway.exchange import Exchange
from ostiary.gateway.identity.credential import extract, invalid, of_session, whose
from ostiary.gateway.policy.access import may_use
from ostiary.gateway.ports import KeyRing, Sink
from ostiary.gateway.realtime.opening import Opening
from ostiary.gateway.realtime.session import Session
from ostiary.gateway.repeat import KEY_HEADER
from ostiary.gateway.shadow import Shadows
from ostiary.gateway.tape import Tape
from ostiary.gateway.world import World

_JSON: Final[Header] = (b"content-type", b"application/json")
_TEXT: Final[Header] = (b"content-type", b"text/plain; charset=utf-8")
_UPGRADE: Final[tuple[Header, ...]] = ((b"upgrade", b"websocket"), (b"sec-websocket-version", b"13"))
_UNAUTHENTICATED: Final = frozenset({Code.AUTH_MISSING, Code.AUTH_INVALID, Code.AUTH_AMBIGUOUS, Code.AUTH_IN_QUERY})


class Health(Protocol):
    """Whether this process can do its work."""

    def ready(self) -> str:
        """Empty where it can, otherwise why not, in a few words without secrets."""
        ...

    def degraded(self) -> str:
        """What does not work as it should while the rest does, or empty."""
        ...


class RefusalLog(Protocol):
    """Counts refused credentials."""

    def refused(self, peer: str, code: Code) -> None: ...


class Gateway:
    """The application of the public listener."""

    def __init__(self, world: World, keys: KeyRing, health: Health, refusals: RefusalLog) -> None:
        self._world = world
        self._keys = keys
        self._health = health
        self._refusals = refusals
        self.shadows = Shadows(world)
        world.embedders = ModelEmbedders(world)

    def accept(self, head: RequestHead) -> Accepted | Answer:
        """Route, authenticate and read the caller's options, on the head alone."""
        request_id = self._world.ids.new()
        before = head.before
        try:
            if before is not None and isinstance(arrival := before.context, Arrival):
                # Only what may be otherwise since is looked at anew: whose the key is, and whether there is room.
                principal = self._keys.find(arrival.key_digest)
                if principal is None:
                    raise invalid()
                self._check_room(principal)
                return Accepted(before.body_bytes_max, arrival.again(request_id, principal, head.headers, head.at))
            return self._accept(head, request_id)
        except OstiaryError as error:
            if error.code in _UNAUTHENTICATED:
                self._refusals.refused(head.peer, error.code)
            return self._error(error, dialect_of(head.path, head.headers), request_id)

    def _accept(self, head: RequestHead, request_id: str) -> Accepted | Answer:
        route = find(head.method, head.path)
        if route is None:
            return self._no_route(head, request_id)
        if route.endpoint is Endpoint.LIVE:
            return Answer(200, (_TEXT,), b"alive\n")
        if route.endpoint is Endpoint.READY:
            reason = self._health.ready()
            if reason:
                return Answer(503, (_TEXT,), reason.encode() + b"\n")
            degraded = self._health.degraded()
            return Answer(200, (_TEXT,), f"ready; {degraded}\n".encode() if degraded else b"ready\n")
        session = route.endpoint is Endpoint.SESSION
        headers = of_session(head.headers) if session else head.headers
        digest = self._keys.digest(extract(headers, head.query))
        principal = whose(digest, self._keys)
        if session and b"upgrade" not in head.headers:
            raise CallerError(Code.REQUEST_UPGRADE, "This path is a WebSocket; connect to it with a client for these.")
        if route.operation is not None:
            _check_media_type(route.media_type, head.headers.get(b"content-type", b""))
            self._check_room(principal)
        if route.endpoint is Endpoint.REVIEW:
            ticket = argument(route, head.path).decode("ascii", "replace")
            return Accepted(0, Poll(request_id, principal, ticket, dialect_of(head.path, head.headers)))
        if route.operation is None:
            return self._models(route, head, principal, request_id)
        arrival = Arrival(
            request_id,
            principal,
            route.operation,
            route.dialect,
            addressed(route, head.path, head.query),
            head.headers,
            options(head.headers),
            head.at,
            head.method,
            argument(route, head.path),
            head.query,
            digest,
        )
        if session:
            return Accepted(0, Opening(arrival, lambda: self._keys.find(digest) == principal))
        return Accepted(route.body_bytes_max, arrival)

    def _check_room(self, principal: Principal) -> None:
        world = self._world
        if world.open_calls >= EXCHANGES_MAX:
            raise GatewayError(Code.GATEWAY_OVERLOADED, "Too many calls are open.", retry_after_seconds=1.0)
        if world.gates.tight:
            world.gates.check(Queued(world.index, principal))

    async def serve(self, accepted: Accepted, body: bytes, sink: Sink) -> None:
        """Run the call. Never raises but for a cancellation."""
        arrival = accepted.context
        if isinstance(arrival, Arrival):
            if KEY_HEADER in arrival.headers:
                tape = Tape()
                await self._world.detached.run(self._run(Exchange(self._world, arrival, body, tape)), tape, sink)
            else:
                call = Exchange(self._world, arrival, body, sink)
                await call.run()
                self.shadows.offer(call)
        elif isinstance(arrival, Opening):
            await Session(self._world, arrival, sink).run()
        else:
            assert isinstance(arrival, Poll)
            await answer_poll(self._world, arrival, sink)

    async def _run(self, call: Exchange) -> None:
        await call.run()
        self.shadows.offer(call)

    def refuse(self, error: OstiaryError, path: bytes) -> Answer:
        """The wire form of a fault found by the server."""
        return self._error(error, dialect_of(path), self._world.ids.new())

    def _no_route(self, head: RequestHead, request_id: str) -> Answer:
        allowed = methods(head.path)
        if not allowed:
            shown = head.path[:100].decode("ascii", "replace")
            raise CallerError(Code.ROUTE_NOT_FOUND, f"There is nothing at {shown}; check the base URL.")
        answer = self._error(
            CallerError(Code.REQUEST_METHOD, f"This path takes {' and '.join(allowed)}."),
            dialect_of(head.path, head.headers),
            request_id,
        )
        return Answer(answer.status, (*answer.headers, (b"allow", ", ".join(allowed).encode())), answer.body)

    def _error(self, error: OstiaryError, dialect: DialectName, request_id: str) -> Answer:
        answer = self._world.clients[dialect].encode_error(error, request_id)
        extra = _UPGRADE if error.code is Code.REQUEST_UPGRADE else ()
        if all(name != b"x-request-id" for name, _ in answer.headers):
            extra = (
                *extra,
                (b"x-request-id", request_id.encode("ascii")),
            )
        return Answer(answer.status, (*answer.headers, *extra), answer.body)

    def _models(self, route: Route, head: RequestHead, principal: Principal, request_id: str) -> Answer:
        """The models this key may use: all of them, or one by its name."""
        dialect = self._world.clients[dialect_of(head.path, head.headers)]
        index = self._world.index
        team = index.teams.get((principal.tenant, principal.team))
        offered = () if team is None else team.models
        ident = request_id.encode("ascii")
        headers: tuple[Header, ...] = (_JSON, (b"x-request-id", ident))
        if dialect.name is DialectName.ANTHROPIC:
            headers = (*headers, (b"request-id", ident))

        def usable(name: str) -> bool:
            row = index.model(name)  # None for a wildcard entry: it is a rule, not a model
            return (
                row is not None
                and (not row.environments or principal.environment in row.environments)
                and may_use(principal, offered, name)
            )

        if route.endpoint is Endpoint.MODEL:
            raw = argument(route, head.path)
            name = unquote_to_bytes(raw).decode("utf-8", "replace")
            row = index.model(name) if len(raw) <= 3 * MODEL_NAME_BYTES_MAX and usable(name) else None
            if row is None:
                raise CallerError(Code.MODEL_NOT_FOUND, f"The model `{name[:80]}` does not exist here.", param="model")
            return Answer(200, headers, dialect.encode_model(ListedModel(row.name, row.created)))
        listed = [ListedModel(row.name, row.created) for row in index.snapshot.models if usable(row.name)]
        return Answer(200, headers, dialect.encode_models(listed, head.query))


def _check_media_type(wanted: MediaType, value: bytes) -> None:
    if wanted is MediaType.ANY or (wanted is MediaType.JSON and value == b"application/json"):
        return
    kind, _, parameters = value.partition(b";")
    if kind.strip().lower() != wanted.encode():
        raise CallerError(Code.REQUEST_MEDIA_TYPE, f"Send the body as `content-type: {wanted}`.")
    if wanted is not MediaType.JSON:
        return  # a form's parameters are read with it
    charset = parameters.strip().lower().replace(b" ", b"")
    if charset.startswith(b"charset=") and charset.strip(b'"') not in (b"charset=utf-8", b'charset="utf-8'):
        raise CallerError(Code.REQUEST_MEDIA_TYPE, "Send the body in UTF-8.")
