"""One attempt at one target: what is sent, with which credential, and what becomes of it."""

from typing import Final, Protocol

from ostiary.core.call import DialectName
from ostiary.core.error import Code, OstiaryError
from ostiary.core.http import Header
from ostiary.core.limit import UPSTREAM_ERROR_BYTES_MAX
from ostiary.gateway.arrival import Arrival
from ostiary.gateway.audit.draft import Draft
from ostiary.gateway.dialect import ClientDialect, Encoded, ProviderDialect
from ostiary.gateway.parts import Parts
from ostiary.gateway.ports import PhaseTimeouts, UpstreamReply, UpstreamRequest
from ostiary.gateway.route import quota
from ostiary.gateway.route.keys import Keys, ProviderKey
from ostiary.gateway.task import Task, Terms
from ostiary.gateway.world import World
from ostiary.snapshot.index import Target

_FORWARDED: Final = {DialectName.ANTHROPIC: (b"anthropic-version", b"anthropic-beta")}
"""The headers of a dialect in which a caller chooses versions and features."""

_PROMPT_KEY_CHARS: Final = 32

_OF_THE_SECRET: Final = (401, 403, 429)


class Call(Protocol):
    """What an attempt needs of its call; `deadline` is the monotonic time at which the call ends."""

    world: World
    arrival: Arrival
    client: ClientDialect
    draft: Draft
    task: Task
    cap: int | None
    attempts: int
    deadline: float


class Sending:
    """One attempt. Once begun it is ended exactly once: by `succeeded`, `failed` or `left`. Times are monotonic seconds;
    `first_byte_at` is 0.0 until the head of the answer is there. `tried` are the provider's secrets that the call was sent
    with before, to which this one's is added; `again` says that it failed at the target before; `dropped` are fields that were left out of the request."""

    reply: UpstreamReply | None = None
    first_byte_at: float = 0.0
    key: ProviderKey | None = None
    credential: str = ""
    """The name of the secret, where the provider has several."""

    _keys: Keys | None = None
    _tried: list[ProviderKey]

    def __init__(
        self,
        world: World,
        target: Target,
        provider: ProviderDialect,
        request: UpstreamRequest,
        *,
        tried: list[ProviderKey],
        first: bool,
        again: bool = False,
        dropped: tuple[str, ...] = (),
        rest: tuple[UpstreamRequest, ...] = (),
    ) -> None:
        """Begins. Raises UpstreamError where every secret of the provider rests: upstream.credential or
        upstream.rate_limited."""
        self.target = target
        self.provider = provider
        self.dropped = dropped
        self.began = now = world.clock.monotonic()
        self._world = world
        self._request = request
        self._rest = rest
        self._again = again
        self._health = health = world.health.of(target.name, now)
        keys = world.keys.get(target.provider.name) if world.keys else None
        if keys is not None:
            self._keys, self._tried = keys, tried
            self.key = key = keys.pick(now, tried)
            if key is None:
                raise keys.exhausted(now)
            self.credential = key.name
            tried.append(key)
            keys.began(key)
        health.began(now, first=first)

    async def reach(self, *, raw: bool = False) -> UpstreamReply:
        """The head of the answer: with status 200, or of any where that is to pass as it comes (`raw`), unless it
        speaks of the secret alone and another is there. Raises as
        ports.Upstream.send, upstream.credential, and what an answer with another status says."""
        world = self._world
        row = self.target.provider if self.key is None else self.key.row
        request = world.proven_at_once(row, self._request) or await world.fetched(row, self._request)
        reply = self.reply = await world.upstream.send(request)
        self.first_byte_at = now = world.clock.monotonic()
        if quota.told(reply.headers):
            self._spare(quota.used_up_seconds(reply.headers, world.clock.now_ns() // 1_000_000_000), now)
        if reply.status != 200 and (not raw or self._another(reply.status, now)):
            body = await reply.read(UPSTREAM_ERROR_BYTES_MAX)
            raise self.provider.decode_error(reply.status, reply.headers, body)
        if self._rest:
            self.reply = reply = Parts(reply, self._request, self._rest, self._part)
        return reply

    def _spare(self, scarce: float, now: float) -> None:
        """Its quota is used up for so many seconds."""
        if scarce and self.key is not None:
            self.key.scarce_until = now + scarce
        elif scarce:
            self._world.health.scarce(self.target.name, now, scarce)

    async def _part(self, request: UpstreamRequest) -> UpstreamReply:
        """The head of the answer to a further part, with status 200. Raises as `reach`."""
        world = self._world
        row = self.target.provider if self.key is None else self.key.row
        reply = await world.upstream.send(world.proven_at_once(row, request) or await world.fetched(row, request))
        if reply.status == 200:
            return reply
        try:
            body = await reply.read(UPSTREAM_ERROR_BYTES_MAX)
        finally:
            reply.close()
        raise self.provider.decode_error(reply.status, reply.headers, body)

    def _another(self, status: int, now: float) -> bool:
        """Whether an answer that would pass as it came is rather asked for again, with another secret."""
        keys = self._keys
        return keys is not None and status in _OF_THE_SECRET and keys.pick(now, self._tried) is not None

    def succeeded(self) -> None:
        """It was answered."""
        self._close()
        self._health.succeeded(self._world.clock.monotonic(), self.first_byte_at - self.began)

    def failed(self, error: OstiaryError, *, final: bool = False) -> OstiaryError | None:
        """It failed. None where only its secret did and another of the provider may take the call, unless that is `final`;
        otherwise the failure as it counts against the target."""
        self._close()
        world, key, keys = self._world, self.key, self._keys
        now = world.clock.monotonic()
        if error.code is Code.UPSTREAM_CREDENTIAL:
            world.observer.credential_refused(self.target.provider.name, self.credential)
        if key is not None and keys is not None and key.failed(now, error):
            if keys.pick(now) is not None:
                self._health.left()
                return error if final or keys.pick(now, self._tried) is None else None
            error = keys.exhausted(now, error)
        world.health.failed(self.target.name, now, error, again=self._again)
        return error

    def ended(self, error: OstiaryError) -> OstiaryError:
        """It failed, and no other secret is to be tried: the failure as it counts against the target."""
        failure = self.failed(error, final=True)
        assert failure is not None
        return failure

    def left(self) -> None:
        """It ended without saying anything of the target."""
        self._close()
        self._health.left()

    def _close(self) -> None:
        if self.reply is not None:
            self.reply.close()
        if self.key is not None:
            self.key.left()


def attempt(call: Call, target: Target, tried: list[ProviderKey]) -> Sending:
    """An attempt at a target, begun, from the client's original call; `tried` are the secrets it was made with before.
    Raises CallerError request.unsupported, and as Sending."""
    world, arrival, model = call.world, call.arrival, target.model
    provider, common = world.address_to(target.provider, call.client.name)
    key = _prompt_key(world, call.draft, target) if model.prompt_cache else ""
    drop = arrival.options.drop_unsupported or model.drop_unsupported
    encoded = call.task.encode(target, provider, Terms(call.cap, drop, key))
    request = _outgoing(call, target, provider, common, encoded)
    rest = tuple([_outgoing(call, target, provider, common, one) for one in encoded.rest]) if encoded.rest else ()
    first = call.attempts == 1
    return Sending(
        world,
        target,
        provider,
        request,
        tried=tried,
        first=first,
        again=not first and any(one.target == target.name for one in call.draft.attempts),
        dropped=encoded.dropped,
        rest=rest,
    )


def _prompt_key(world: World, draft: Draft, target: Target) -> str:
    """Under which key a provider may find prompts of this team and model again; says nothing of either."""
    principal = draft.principal
    return world.digests.person(principal.tenant, f"prompt cache\0{principal.team}\0{target.model.name}")[
        :_PROMPT_KEY_CHARS
    ]


def _outgoing(
    call: Call, target: Target, provider: ProviderDialect, common: tuple[Header, ...], encoded: Encoded
) -> UpstreamRequest:
    """The request, complete but for the credential; `common` are the headers of every request to the provider."""
    row, timeouts = target.provider, target.model.timeouts
    headers = encoded.headers if encoded.media_type is None else (encoded.media_type, *encoded.headers)
    if provider.name in _FORWARDED and call.client.name is provider.name:
        headers = _chosen(call.arrival, provider.name, headers)
    return UpstreamRequest(
        row.origin,
        encoded.method,
        target.address(encoded.path),
        common + headers,
        encoded.body,
        PhaseTimeouts(timeouts.connect_seconds, timeouts.first_token_seconds, timeouts.idle_seconds, call.deadline),
        row.tls,
        row.proxy,
    )


def _chosen(arrival: Arrival, dialect: DialectName, headers: tuple[Header, ...]) -> tuple[Header, ...]:
    """The dialect's own headers with the caller's choice of version and features."""
    sent = tuple((name, arrival.headers[name]) for name in _FORWARDED[dialect] if name in arrival.headers)
    named = {name for name, _ in sent}
    return (*sent, *(pair for pair in headers if pair[0] not in named))
