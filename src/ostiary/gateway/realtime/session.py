"""The life of a realtime session, told from top to bottom: read `Session.run`.

    identify → admit → decide → limit → plan → record → connect → upgrade → relay → record

Everything up to the upgrade fails as an ordinary HTTP error; from there on as an `error` event and a close code. What
the session's answers cost is theirs (`turn.py`): the session's own two records hold none of it. What holds, each proven in
tests/exchange/test_realtime.py:

* no provider is contacted before identity, policy, limits and the opening record have said yes;
* every opening record, the session's and each answer's, gets exactly one closing one, on every way out;
* a client that goes away closes the provider's channel at once, and the other way round;
* a key that is revoked, a process that is to end, and silence end the session within a bound.
"""

import asyncio
import contextlib
from typing import Final

from ostiary.core.decision import Allow, Deny
from ostiary.core.error import CallerError, Code, GatewayError, OstiaryError, UpstreamError, provider_code
from ostiary.core.event import Attempt, Outcome
from ostiary.core.http import Answer, Header
from ostiary.core.limit import REALTIME_IDLE_SECONDS_MAX, REALTIME_SESSION_SECONDS_MAX, REALTIME_WATCH_SECONDS
from ostiary.core.usage import Usage
from ostiary.gateway.account import Account
from ostiary.gateway.admit.gate import SHORT_OF_MEMORY
from ostiary.gateway.audit.draft import Draft, milliseconds
from ostiary.gateway.guard.screen import screen_request
from ostiary.gateway.heading import told
from ostiary.gateway.policy.access import Ask, Grant
from ostiary.gateway.ports import SHED, Channel, PhaseTimeouts, Sink, UpstreamRequest
from ostiary.gateway.realtime import event
from ostiary.gateway.realtime.dialogue import Dialogue
from ostiary.gateway.realtime.opening import Opening, address, forwarded, protocols
from ostiary.gateway.realtime.turn import opening
from ostiary.gateway.route.keys import ProviderKey
from ostiary.gateway.route.plan import Plan
from ostiary.gateway.routing import routed
from ostiary.gateway.sending import Sending
from ostiary.gateway.world import World
from ostiary.snapshot.index import Target
from ostiary.snapshot.tables import ModelRow

_TRY_NEXT: Final = frozenset(
    {
        Code.UPSTREAM_UNREACHABLE,
        Code.UPSTREAM_TLS,
        Code.UPSTREAM_TIMEOUT,
        Code.UPSTREAM_PROTOCOL,
        Code.UPSTREAM_CUT,
        Code.UPSTREAM_CREDENTIAL,
        Code.UPSTREAM_RATE_LIMITED,
        Code.UPSTREAM_OVERLOADED,
        Code.UPSTREAM_ERROR,
    }
)
"""Failures of opening a provider's channel after which another target may do better."""

_CLOSE_CODES: Final = {
    Code.AUTH_INVALID: 1008,
    Code.GATEWAY_DRAINING: 1012,
    Code.GATEWAY_OVERLOADED: 1013,
    Code.REQUEST_TIMEOUT: 1001,
    Code.REQUEST_LIMIT: 1001,
    Code.AUDIT_UNAVAILABLE: 1013,
}
"""What a session is closed with (RFC 6455 section 7.4.1 and its registry), besides 1014 for the provider's failures."""

_NO_CODE: Final = 1005
_LOST: Final = 1006
_GOOD: Final = (1000, 1001, _NO_CODE)


class Session:
    """One session. `run` never raises."""

    dialogue: Dialogue | None = None
    client: Channel | None = None
    provider: Channel | None = None
    target: Target | None = None
    counted: bool = False
    attempts: int = 0
    deadline: float = 0.0
    offered: tuple[bytes, ...] = ()
    grant: Grant

    def __init__(self, world: World, asked: Opening, sink: Sink) -> None:
        self.world = world
        self.arrival = asked.arrival
        self.valid = asked.valid
        self.sink = sink
        self.index = world.grants.index
        self.grants = world.grants
        arrival = asked.arrival
        self.draft = Draft(arrival.request_id, arrival.principal, arrival.operation, arrival.dialect, self.index.id)
        self.draft.digest_key = world.digests.name
        self.account = Account(world, self.index, self.draft)

    # --- the story ----------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Open the session, relay it to its end, and record it, whatever happens."""
        self.world.open_calls += 1
        try:
            self._admit()
            model, fallbacks = self._decide()
            waits = self.account.limit(self.grant, Usage(), opening)
            if waits is not None:
                await waits
            route = self._plan(model, fallbacks)
            waits = self.account.open(route.targets[0].name)
            if waits is not None:
                await waits
            await self._connect(route)
            await self._relay()
        except OstiaryError as error:
            await self._end(error)
        except asyncio.CancelledError as cancelled:
            draining = GatewayError(Code.GATEWAY_DRAINING, _DRAINING)
            short = GatewayError(Code.GATEWAY_OVERLOADED, SHORT_OF_MEMORY)
            shed = cancelled.args == (SHED,)
            await self._end(_left() if self._alone() else short if shed else draining)
        except Exception as error:  # noqa: BLE001 - the last resort: a fault of ours must still be told and recorded
            self.draft.error_class = type(error).__name__
            await self._end(
                GatewayError(Code.GATEWAY_INTERNAL, "The gateway failed; the request id helps to find out why.")
            )
        finally:
            self._release()
            self.world.open_calls -= 1

    def _admit(self) -> None:
        """What the head of the request says."""
        arrival, draft, world = self.arrival, self.draft, self.world
        draft.started_at = arrival.started_at
        draft.received_at = world.clock.monotonic()
        draft.stream = True
        options = arrival.options
        draft.label = options.label
        metadata = options.metadata
        draft.feature = metadata.feature
        draft.prompt_id, draft.prompt_version = metadata.prompt_id, metadata.prompt_version
        if metadata.deployment is not None:
            draft.deployment = metadata.deployment
        draft.original_model = event.query_model(arrival.query)
        self.offered = protocols(arrival.headers.get(b"sec-websocket-protocol", b""))

    def _decide(self) -> tuple[ModelRow, list[tuple[ModelRow, tuple[Code, ...]]]]:
        """Policy, guards, and the fallbacks that policy allows too."""
        self.draft.label = screen_request(self.draft.label)
        principal, label = self.arrival.principal, self.draft.label
        grant = self.grants.find(principal, self.draft.original_model)
        verdict = grant.decide(Ask(self.draft.original_model, label)) if isinstance(grant, Grant) else grant
        if isinstance(verdict, Deny):
            raise CallerError(verdict.code, verdict.message, param=verdict.param)
        assert isinstance(grant, Grant)
        self.grant = grant
        fallbacks: list[tuple[ModelRow, tuple[Code, ...]]] = []
        for row in grant.model.fallbacks:
            other = self.grants.find(principal, row.model)
            if isinstance(other, Grant) and isinstance(other.decide(Ask(row.model, label)), Allow):
                fallbacks.append((other.model, row.on))
        return grant.model, fallbacks

    def _plan(self, model: ModelRow, fallbacks: list[tuple[ModelRow, tuple[Code, ...]]]) -> Plan:
        draft = self.draft
        route = routed(
            self.world, self.index, self.arrival, draft, grant=self.grant, fallbacks=fallbacks, bound=Usage()
        )
        self.deadline = draft.started_at + model.timeouts.total_seconds
        return route

    async def _connect(self, route: Plan) -> None:
        """Open a channel to the first target that takes one."""
        first: OstiaryError | None = None
        for place, target in enumerate(route.targets):
            if first is not None and place >= route.fallback_from:
                if first.code not in route.after[place - route.fallback_from]:
                    continue
                self.draft.fallback = first.code
            elif first is not None and first.code not in _TRY_NEXT:
                continue
            if first is not None and self.world.clock.monotonic() >= self.deadline:
                break
            try:
                self.provider = await self._try(target)
            except OstiaryError as error:
                first = first or error
            else:
                return
        assert first is not None
        raise first

    async def _try(self, target: Target) -> Channel:
        world, draft, row = self.world, self.draft, target.provider
        self.target = target
        self.attempts += 1
        draft.sent_at = world.clock.monotonic()
        draft.provider, draft.request_model = row.name, target.request_model
        dialect = world.provider_dialect(row, self.arrival.dialect)
        request = self._request(target)
        tried: list[ProviderKey] = []
        while True:
            sending = Sending(world, target, dialect, request, tried=tried, first=self.attempts == 1)
            try:
                channel = await self._dialled(sending, request)
            except OstiaryError as error:
                failure = sending.failed(error)
                self._note(sending, error)
                if failure is not None:
                    raise failure from None
                self.attempts += 1
            except BaseException:
                sending.left()
                raise
            else:
                draft.first_byte_at = sending.first_byte_at = world.clock.monotonic()
                sending.succeeded()
                self._note(sending, None)
                return channel

    def _request(self, target: Target) -> UpstreamRequest:
        world, row = self.world, target.provider
        timeouts = target.model.timeouts
        return UpstreamRequest(
            row.origin,
            b"GET",
            address(target),
            world.provider_headers(row) + forwarded(self.arrival, self.offered),
            b"",
            PhaseTimeouts(timeouts.connect_seconds, timeouts.first_token_seconds, timeouts.idle_seconds, self.deadline),
            row.tls,
            row.proxy,
        )

    async def _dialled(self, sending: Sending, request: UpstreamRequest) -> Channel:
        world = self.world
        row = sending.target.provider if sending.key is None else sending.key.row
        channel = await world.upstream.connect(await world.proven(row, request), ())
        if isinstance(channel, Answer):
            if channel.status < 300:
                raise UpstreamError(Code.UPSTREAM_PROTOCOL, "The provider did not switch to WebSocket.")
            raise sending.provider.decode_error(channel.status, channel.headers, channel.body)
        return channel

    async def _relay(self) -> None:
        """Take the client's offer, and pass events until one side has ended. Always raises: how it ended."""
        assert self.provider is not None
        assert self.target is not None
        chosen = ((b"sec-websocket-protocol", self.offered[0]),) if self.offered else ()
        self.client = client = self.sink.upgrade(chosen + self._headers())
        if client is None:
            raise _left()
        self.draft.first_content_at = self.world.clock.monotonic()
        self.world.open_streams += 1
        self.counted = True
        dialogue = Dialogue(self.world, self.arrival, self.target, self.draft, client=client, provider=self.provider)
        self.dialogue = dialogue
        loop = asyncio.get_running_loop()
        tasks = [loop.create_task(one) for one in (dialogue.up(), dialogue.down(), self._watch(dialogue))]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            ended = [task for task in tasks if task.done()]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        for task in ended:
            task.result()  # a failure of one of them says more than that the other side has ended
        raise self._client_end() if tasks[0] in ended else self._provider_end()

    async def _watch(self, dialogue: Dialogue) -> None:
        """End what may not go on: looked at a few times a second."""
        clock, client = self.world.clock, self.client
        assert client is not None
        began = clock.monotonic()
        while True:
            await asyncio.sleep(REALTIME_WATCH_SECONDS)
            now = clock.monotonic()
            if not self.valid():
                raise CallerError(Code.AUTH_INVALID, "The key is not valid here any more.")
            if client.draining and not dialogue.answering:
                raise GatewayError(Code.GATEWAY_DRAINING, _DRAINING)
            if now - dialogue.touched_at >= REALTIME_IDLE_SECONDS_MAX:
                raise CallerError(
                    Code.REQUEST_TIMEOUT, f"Nothing was said for {REALTIME_IDLE_SECONDS_MAX:.0f} seconds."
                )
            if now - began >= REALTIME_SESSION_SECONDS_MAX:
                raise CallerError(
                    Code.REQUEST_LIMIT, f"A session lasts {REALTIME_SESSION_SECONDS_MAX:.0f} seconds at most."
                )

    # --- how it ends --------------------------------------------------------------------------------------

    def _client_end(self) -> "_EndedError":
        """How the client ended it: in good order, by breaking a rule, or by going away."""
        client = self.client
        assert client is not None
        if client.stalled:
            return _EndedError(CallerError(Code.CLIENT_SLOW, "The client read too slowly."), Outcome.CANCELLED, 1000)
        if client.breached:
            fault = CallerError(Code.REQUEST_MALFORMED, f"The client broke the WebSocket protocol: {client.reason}.")
            return _EndedError(fault, Outcome.FAILED, 1000)
        if client.code in _GOOD:
            return _EndedError(_left(), Outcome.SUCCEEDED, 1000)
        return _EndedError(_left(), Outcome.CANCELLED, 1000)

    def _provider_end(self) -> "_EndedError":
        """How the provider ended it. Its code goes on to the client where it is one that may be sent."""
        provider = self.provider
        assert provider is not None
        if provider.code in _GOOD and not provider.breached:
            cut = UpstreamError(Code.UPSTREAM_CUT, "The provider ended the session.")
            return _EndedError(cut, Outcome.SUCCEEDED, 1000 if provider.code == _NO_CODE else provider.code)
        if provider.breached:
            fault = UpstreamError(
                Code.UPSTREAM_PROTOCOL, f"The provider broke the WebSocket protocol: {provider.reason}."
            )
            return _EndedError(fault, Outcome.FAILED, 1014)
        cut = UpstreamError(Code.UPSTREAM_CUT, "The provider's connection ended early.")
        return _EndedError(cut, Outcome.FAILED, 1014 if provider.code == _LOST else provider.code)

    async def _end(self, error: OstiaryError) -> None:
        """Record how it ended, then tell the client: as an answer, or as an event and a close code."""
        draft = self.draft
        ended = error if isinstance(error, _EndedError) else None
        cause = error if ended is None else ended.cause
        if self.provider is not None:
            self.provider.close(1000)
        try:
            if self.dialogue is not None:
                await self.dialogue.end(cause)
        except OstiaryError as unrecorded:
            ended, cause = None, unrecorded
        outcome = Outcome.DENIED
        if ended is not None:
            outcome = ended.outcome
        elif cause.code is Code.CLIENT_GONE:
            outcome = Outcome.CANCELLED
        elif self.account.receipt is not None or self.target is not None:
            outcome = Outcome.FAILED
        good = outcome is Outcome.SUCCEEDED
        draft.error, draft.status = ("", 101) if good else (cause.code, cause.status)
        try:
            if not self.account.recorded:
                await self.account.synced(self.account.close(outcome))
        except OstiaryError as unrecorded:
            ended, cause, good = None, unrecorded, False
        if self.client is None:
            if not self.sink.gone:
                answer = self.world.clients[self.arrival.dialect].encode_error(cause, draft.request_id)
                names = {name for name, _ in answer.headers}
                headers = tuple(pair for pair in self._headers() if pair[0] not in names)
                self.sink.answer(answer.status, (*answer.headers, *headers), answer.body)
            return
        await self._part(self.client, cause, ended, good=good)

    async def _part(self, client: Channel, cause: OstiaryError, ended: "_EndedError | None", *, good: bool) -> None:
        """The last words to a client: an event, unless it ended the session itself or the end is a good one."""
        if cause.code in (Code.CLIENT_GONE, Code.CLIENT_SLOW):
            client.close(1000)
            return
        with contextlib.suppress(asyncio.CancelledError, TimeoutError):
            if not good and self.dialogue is not None:
                async with asyncio.timeout(REALTIME_WATCH_SECONDS):  # one that does not read is not waited for
                    await self.dialogue.tell(cause, "")
        default = 1014 if isinstance(cause, UpstreamError) else 1011
        client.close(_CLOSE_CODES.get(cause.code, default) if ended is None else ended.close_code, cause.code)

    def _release(self) -> None:
        self.account.drop()
        if self.counted:
            self.counted = False
            self.world.open_streams -= 1
        if self.provider is not None:
            self.provider.close(1000)

    def _alone(self) -> bool:
        """Whether the client is gone."""
        return self.sink.gone if self.client is None else self.client.gone

    def _headers(self) -> tuple[Header, ...]:
        target = self.target.name if self.target is not None and self.index.snapshot.server.show_target else ""
        return told(self.draft, None, attempts=self.attempts, receipt=self.account.receipt, target=target)

    def _note(self, sending: Sending, error: OstiaryError | None) -> None:
        draft, target = self.draft, sending.target
        total = milliseconds(self.world.clock.monotonic() - sending.began)
        status, reason, theirs = (101, "", "") if error is None else (error.status, error.code, provider_code(error))
        attempt = Attempt(target.name, status, reason, 0.0, total, total, theirs, sending.credential)
        draft.attempts = (*draft.attempts, attempt)


class _EndedError(OstiaryError):
    """A session ended by one of its sides: why, how that counts, and the code for the other."""

    def __init__(self, cause: OstiaryError, outcome: Outcome, code: int) -> None:
        super().__init__(cause.code, cause.message)
        self.cause = cause
        self.outcome = outcome
        self.close_code = code


_DRAINING: Final = "This gateway is shutting down; connect again."


def _left() -> CallerError:
    return CallerError(Code.CLIENT_GONE, "The client ended the session.")
