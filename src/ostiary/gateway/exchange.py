"""The life of one call, told from top to bottom: read `Exchange.run`.

    identify → admit → decide → screen → plan → recall → hold → attempt → screen → settle → record

Identification happens on the request's head, before any body is read (`gateway/edge/app.py`); everything else here.
What this file guarantees, each proven in tests/exchange:

* nothing goes upstream before the opening record is written, and every opening record gets exactly one closing one;
* a hold is settled or released exactly once;
* each attempt encodes the client's original call anew; nothing is retried once the client has seen a byte;
* a plain answer leaves after its closing record, a stream's terminal event after it too;
* a client that goes away cancels the upstream call at once and is charged for what was produced.
"""

import asyncio
import functools
from collections.abc import Awaitable
from typing import Final

from ostiary.core.decision import Allow, Deny
from ostiary.core.digest import RunningDigest
from ostiary.core.error import CallerError, Code, GatewayError, OstiaryError
from ostiary.core.event import Outcome
from ostiary.core.http import Header
from ostiary.core.limit import (
    ATTEMPTS_MAX,
    COMMIT_AFTER_SECONDS,
    FLIGHT_WAIT_SECONDS_MAX,
    UPSTREAM_BODY_BYTES_MAX,
)
from ostiary.core.usage import Cost, Nano, Usage
from ostiary.gateway import charging
from ostiary.gateway.account import Account
from ostiary.gateway.admit.bounds import DEFAULT
from ostiary.gateway.admit.gate import SHORT_OF_MEMORY, Queued
from ostiary.gateway.affording import afforded
from ostiary.gateway.arrival import Arrival
from ostiary.gateway.audit.draft import Draft
from ostiary.gateway.cache.recall import SEMANTIC, Recall, Recollection
from ostiary.gateway.degrade import ready_answer
from ostiary.gateway.dialect import ProviderDialect
from ostiary.gateway.flow import Flow
from ostiary.gateway.guard.screen import screen_request
from ostiary.gateway.handover import ACCEPTED
from ostiary.gateway.heading import joined, limits, similar, told
from ostiary.gateway.hedge import Race, races
from ostiary.gateway.judging import check_answer, check_silence
from ostiary.gateway.memory import left, recollection
from ostiary.gateway.parts import Parts, whole
from ostiary.gateway.policy.access import Grant
from ostiary.gateway.ports import SHED, Kept, Recording, Sink, UpstreamReply
from ostiary.gateway.relay import Carrier
from ostiary.gateway.repeat import KEY_HEADER, REPLAYED, Again, claim, was_done
from ostiary.gateway.route.keys import ProviderKey
from ostiary.gateway.route.plan import TRY_NEXT, Plan, instead
from ostiary.gateway.routing import check_places, free_place, may_go_on, pause, routed
from ostiary.gateway.sending import Sending, attempt
from ostiary.gateway.tape import Tape
from ostiary.gateway.task import Task, Told
from ostiary.gateway.task.table import TASKS
from ostiary.gateway.world import World
from ostiary.snapshot.index import Target
from ostiary.snapshot.tables import DegradedRow, ModelRow

_NOTHING: Final = Usage()


class Exchange:
    """One call. `run` never raises but for a cancellation that the caller of the gateway itself caused."""

    task: Task
    recollection: Recollection | None = None
    recording: Recording | None = None
    degraded: DegradedRow | None = None
    carrier: Carrier | None = None
    target: Target | None = None
    kept_target: str = ""
    attempts: int = 0
    raced: int = -1
    began: float = 0.0
    credential: str = ""
    deadline: float = 0.0
    produced_bytes: int = 0
    cap: int | None = None
    entered: bool = False
    grant: Grant

    def __init__(self, world: World, arrival: Arrival, body: bytes, sink: Sink) -> None:
        self.world = world
        self.arrival = arrival
        self.body = body
        self.sink = sink
        self.grants = world.grants
        self.index = world.grants.index
        self.client = world.clients[arrival.dialect]
        self.draft = Draft(arrival.request_id, arrival.principal, arrival.operation, arrival.dialect, self.index.id)
        self.draft.digest_key = world.digests.name
        self.account = Account(world, self.index, self.draft)

    # --- the story ----------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Answer the call through the sink and record it, whatever happens."""
        world, account = self.world, self.account
        world.open_calls += 1
        try:
            self._admit()
            model, fallbacks = self._decide()
            self.degraded = model.degraded
            await self._enter(model)
            if KEY_HEADER in self.arrival.headers:
                self.recording, again = await claim(world, self.arrival, self.draft)
                if again is not None:
                    await self._repeat(again)
                    return
                assert isinstance(self.sink, Tape)
                self.sink.recording = self.recording
            waits = account.limit(self.grant, self.task.bound(self.cap))
            if waits is not None:
                await waits
            if model.cache is not None:
                self.recollection = recollection(self)
            bound, need = account.bound, self.task.need
            route = routed(
                world,
                self.index,
                self.arrival,
                self.draft,
                grant=self.grant,
                fallbacks=fallbacks,
                bound=bound,
                need=need,
            )
            if self.recollection is not None and await self._recalled(self.recollection):
                return
            if fallbacks:
                route = await afforded(self, route, fallbacks)
            elif (waits := account.reserve(self.grant, route)) is not None:
                await waits
            if (waits := account.open(route.targets[0].name)) is not None:
                await waits
            await self._attempt(route)
        except OstiaryError as error:
            await self._fail(error)
        except asyncio.CancelledError as cancelled:
            await self._cancelled(shed=cancelled.args == (SHED,))
        except Exception as error:  # noqa: BLE001 - the last resort: a fault of ours must still be answered and recorded
            self.draft.error_class = type(error).__name__
            await self._fail(
                GatewayError(Code.GATEWAY_INTERNAL, "The gateway failed; the request id helps to find out why.")
            )
        finally:
            if self.recollection is not None:
                left(self)
            if self.recording is not None:
                done = was_done(self.draft, account.receipt)
                self.recording.finish() if done else self.recording.drop()
            account.drop()
            world.open_calls -= 1
            if self.entered:
                world.gates.worker.leave()

    async def _enter(self, model: ModelRow) -> None:
        """Take a place of the worker, or wait for one. Raises GatewayError gateway.overloaded or model.busy."""
        gates = self.world.gates
        self.deadline = self.draft.started_at + model.timeouts.total_seconds
        if gates.targets and self.index.gated(model) and KEY_HEADER not in self.arrival.headers:
            check_places(self.world, self.index, self.arrival, model)
        if not gates.worker.room.take(self.draft.received_at):
            await gates.worker.enter(self._standing(), self.deadline)
        self.entered = True

    def _standing(self) -> Queued:
        """Who the caller is where calls wait for each other."""
        return Queued(self.index, self.arrival.principal)

    def _admit(self) -> None:
        """Parse the body once, strictly, and read what the stages need."""
        arrival, draft, world = self.arrival, self.draft, self.world
        draft.started_at = arrival.started_at
        draft.received_at = world.clock.monotonic()
        options = arrival.options
        if options is not DEFAULT:
            metadata = options.metadata
            draft.label = options.label
            draft.feature = metadata.feature
            draft.prompt_id, draft.prompt_version = metadata.prompt_id, metadata.prompt_version
            if metadata.deployment is not None:
                draft.deployment = metadata.deployment
        self.task = task = TASKS[arrival.operation](self.client, arrival, self.body)
        draft.stream = task.stream
        draft.original_model = task.model
        draft.prompt_digest = world.digests.content(self.body)
        if task.end_user:
            draft.end_user = world.digests.person(arrival.principal.tenant, task.end_user)

    def _decide(self) -> tuple[ModelRow, list[tuple[ModelRow, tuple[Code, ...]]]]:
        """Policy, guards, and policy again if they raised the label. Gives the model and its allowed fallbacks, each
        with the failures after which it is tried."""
        model = self._allowed()
        label = screen_request(self.draft.label)
        if label is not self.draft.label:
            self.draft.label = label
            model = self._allowed()
        fallbacks: list[tuple[ModelRow, tuple[Code, ...]]] = []
        for row in model.fallbacks:
            grant = self.grants.find(self.arrival.principal, row.model)
            if isinstance(grant, Grant) and isinstance(grant.decide(self.task.ask(row.model, label)), Allow):
                fallbacks.append((grant.model, row.on))
        return model, fallbacks

    def _allowed(self) -> ModelRow:
        task = self.task
        grant = task.grant(self.grants, self.arrival.principal)
        verdict = grant if isinstance(grant, Deny) else grant.decide(task.ask(task.model, self.draft.label))
        if isinstance(verdict, Deny):
            raise CallerError(verdict.code, verdict.message, param=verdict.param)
        assert isinstance(grant, Grant)
        self.grant, self.cap = grant, grant.cap
        return grant.model

    async def _attempt(self, route: Plan) -> None:
        """Try the targets in order until one answers; where all failed, again after a pause, as often as the model
        allows. Each attempt starts from the client's original call, and none is more load on a provider that has trouble
        than its retry budget pays for."""
        targets = route.targets
        world = self.world
        first_error: OstiaryError | None = None
        place = turns = 0
        while True:
            if targets[place].gate:
                place = free_place(world, self.draft, route, place)
            self.target = target = targets[place]
            if place >= route.fallback_from:
                self.draft.fallback = instead(route) if first_error is None else first_error.code
            gate = world.gates.of(target) if target.gate else None
            before = self.attempts
            hedge = None if target.model.hedge is None else races(self, route, place)
            try:
                if gate is not None and not gate.take():
                    await gate.enter(self._standing(), self.deadline)
                try:
                    self.attempts += 1
                    await (self._try(target) if hedge is None else Race(self, route, place, hedge).run())
                finally:
                    if gate is not None:
                        gate.leave()
            except OstiaryError as error:
                if self.attempts > before and hedge is None:
                    self._note_attempt(target, error)
                first_error = first_error or error
                following = route.following(max(place, self.raced), error.code)
                if self.sink.begun or self.account.recorded or (error.code not in TRY_NEXT and following < 0):
                    raise
                now = world.clock.monotonic()
                place = following
                attempts = targets[0].model.attempts
                turns += 0 if self.attempts == before else 1 + (hedge is not None and self.raced >= 0)
                if turns >= min(attempts or len(targets), ATTEMPTS_MAX) or now >= self.deadline:
                    raise first_error from None
                if not may_go_on(world, target, None if place < 0 else targets[place], error, now):
                    raise first_error from None
                if place < 0 and attempts is not None:
                    place = await pause(world, targets, error, attempts=self.attempts, deadline=self.deadline)
                if place < 0:
                    raise first_error from None
                continue
            return

    async def _try(self, target: Target) -> None:
        """One attempt at a target: with another secret of its provider where only the first was at fault."""
        self.began, self.credential, self.produced_bytes = self.world.clock.monotonic(), "", 0
        self.draft.provider, self.draft.request_model = target.provider.name, target.request_model
        if self.attempts > 1:
            self.draft.told_by("", "")
        here = self.task.here(target)
        if here is not None:
            self.draft.usage_estimated = True
            await self._deliver(target, here)
            return
        tried: list[ProviderKey] = []
        while True:
            sending = attempt(self, target, tried)
            self._sent(sending)
            try:
                await self.deliver(sending, await sending.reach(raw=self.task.raw))
            except OstiaryError as error:
                self.draft.first_byte_at = sending.first_byte_at
                if failure := sending.failed(error, final=self.sink.begun or self.account.recorded):
                    raise failure from None
                self._note_attempt(target, error)
                self.attempts += 1
            except BaseException:
                sending.left()
                raise
            else:
                sending.succeeded()
                return

    def follow(self, sending: Sending) -> None:
        """Keep on record where this attempt goes, and what is so of it."""
        draft, self.target = self.draft, sending.target
        draft.provider, draft.request_model = sending.target.provider.name, sending.target.request_model
        self._sent(sending)

    def _sent(self, sending: Sending) -> None:
        draft = self.draft
        if sending.dropped or draft.dropped_fields:
            draft.left_out(sending.dropped)
        self.began = draft.sent_at = sending.began
        self.credential, self.produced_bytes = sending.credential, 0

    async def deliver(self, sending: Sending, reply: UpstreamReply) -> None:
        """Give the client the answer of an attempt, to its end."""
        task, target, provider = self.task, sending.target, sending.provider
        self.draft.first_byte_at = sending.first_byte_at
        if self.draft.stream or task.raw:
            await self._deliver_stream(target, provider, reply)
            return
        if isinstance(reply, Parts):
            body = await whole(self, target, provider, reply)
        else:
            body = await reply.read(UPSTREAM_BODY_BYTES_MAX)
        await self._deliver(target, task.told(target, provider, reply.headers, body, self._seconds()))

    def commit(self, target: Target, relay: Carrier) -> None:
        """Begin a stream of which nothing has come yet."""
        self.target, self.carrier = target, relay
        self._begin_stream(relay)

    # --- towards the client -------------------------------------------------------------------------------

    async def _deliver(self, target: Target, told: Told) -> None:
        """A plain answer: it leaves after its closing record."""
        draft = self.draft
        draft.told_by(told.response_model, told.finish_reason)
        self.produced_bytes = told.produced_bytes
        draft.first_content_at = self.world.clock.monotonic()
        self.charge(target, told.usage, told.produced_bytes)
        if self.grant.model.checks is not None:
            await check_answer(self, self.grant.model.checks, target, told)
        self._note_attempt(target, None)
        draft.answer_digest = self.world.digests.content(told.body)
        if (waits := self._succeed()) is not None:
            await waits
        if self.recollection is not None:
            self.recollection.restart()
            self.recollection.collect(told.body)
            await self._keep(self.recollection, told.headers, b"")
        self.sink.answer(200, told.headers + self._headers(), told.body)

    async def _recalled(self, recollection: Recollection) -> bool:
        """Give a kept answer, if there is one."""
        patience = max(min(self.deadline - self.world.clock.monotonic(), FLIGHT_WAIT_SECONDS_MAX), 0.0)
        kept = await recollection.find(self._seconds(), patience)
        if kept is not None:
            await self._replay(kept)
        return kept is not None

    async def _replay(self, kept: Kept) -> None:
        """Give a kept answer: recorded like any other, at no cost."""
        assert self.recollection is not None
        self.draft.cache = self.recollection.said if self.recollection.similarity is None else SEMANTIC
        self.kept_target = kept.target
        await self._give(kept, (b"age", b"%d" % max(self._seconds() - kept.at, 0)), *similar(kept.similarity))

    async def _give(self, kept: Kept, *extra: Header) -> None:
        """Give an answer that no provider was asked for."""
        draft, sink = self.draft, self.sink
        draft.told_by(kept.response_model, kept.finish_reason)
        if draft.cost is None:
            draft.consumed(_NOTHING, Cost(Nano(0)), estimated=False)
        draft.answer_digest = self.world.digests.content(b"".join(kept.pieces))
        status = ACCEPTED if draft.ticket else 200
        if (waits := self._succeed(status)) is not None:
            await waits
        headers = (*kept.headers, *self._headers(), *extra)
        if not kept.streamed:
            sink.answer(status, headers, b"".join(kept.pieces))
            return
        sink.begin(200, headers, keepalive=kept.keepalive)
        for piece in kept.pieces:
            if (waits := sink.write(piece)) is not None:
                await waits
        sink.end()

    async def _repeat(self, again: Again) -> None:
        """Give the first answer to a repetition: recorded like any other, at no cost."""
        draft, sink = self.draft, self.sink
        draft.cache = REPLAYED
        draft.consumed(_NOTHING, Cost(Nano(0)), estimated=False)
        headers = (*again.headers, *self._headers())
        try:
            if not again.streamed:
                body = b"".join([piece async for piece in again.pieces()])
                if (waits := self._succeed(again.status)) is not None:
                    await waits
                sink.answer(again.status, headers, body)
                return
            sink.begin(again.status, headers, keepalive=again.keepalive)
            async for piece in again.pieces():
                if (waits := sink.write(piece)) is not None:
                    await waits
            if (waits := self._succeed(again.status)) is not None:
                await waits
            sink.end()
        finally:
            again.close()

    async def _keep(self, recollection: Recollection, headers: tuple[Header, ...], keepalive: bytes) -> None:
        """Keep the answer that just ended well. A fallback's is not what the model's own targets would have said."""
        draft = self.draft
        if draft.fallback or draft.dropped_fields or self.target is None:
            return
        await recollection.keep(
            headers,
            streamed=draft.stream,
            keepalive=keepalive,
            target=self.target.name,
            response_model=draft.response_model,
            finish_reason=draft.finish_reason,
            now_seconds=self._seconds(),
        )

    async def _deliver_stream(self, target: Target, provider: ProviderDialect, reply: UpstreamReply) -> None:
        """Relay a stream. Nothing is sent before the first content, so that a failure until then can be retried; but
        a client is not left without a word for longer than COMMIT_AFTER_SECONDS, even where the provider is silent."""
        draft, sink, recollection = self.draft, self.sink, self.recollection
        if recollection is not None:
            recollection.restart()
        self.carrier = relay = self.task.relay(target, provider, self._seconds(), reply.status, reply.headers)
        digest = self.world.digests.running()
        flow = Flow(relay, sink, digest, recollection)
        begin = functools.partial(self._begin_stream, relay)
        silent = self.world.clock.monotonic() - draft.first_byte_at
        commit = asyncio.get_running_loop().call_later(max(COMMIT_AFTER_SECONDS - silent, 0.0), begin)
        self.world.open_streams += 1
        try:
            ended = False
            while not ended:
                ended = await flow.run(reply)
                if not flow.open:
                    if not (flow.content or sink.begun) and self.grant.model.checks is not None:
                        check_silence(self, self.grant.model.checks)
                    draft.first_content_at = self.world.clock.monotonic()
                    draft.told_by(relay.response_model, relay.finish_reason)
                if ended:
                    self._learn(relay, digest)
                    self.charge(target, relay.usage, self.produced_bytes)
                    self._note_attempt(target, None)
                    if (waits := self._succeed(relay.status)) is not None:
                        await waits
                    if recollection is not None:
                        await self._keep(recollection, relay.headers, relay.keepalive)
                if not sink.begun:
                    begin()
                await flow.let_out()
            sink.end()
        except BaseException as error:
            # What was produced is charged for. A target that failed before producing anything is not.
            self._learn(relay, digest)
            if relay.usage is not None or relay.produced_bytes or isinstance(error, asyncio.CancelledError):
                self.charge(target, relay.usage, self.produced_bytes, whole=False)
            raise
        finally:
            commit.cancel()
            self.world.open_streams -= 1

    def _begin_stream(self, relay: Carrier) -> None:
        """Send the head of a stream, once; from here on the client also gets a comment whenever nothing else comes."""
        if not self.sink.begun:
            self.sink.begin(relay.status, relay.headers + self._headers(), keepalive=relay.keepalive)

    def _learn(self, relay: Carrier, digest: RunningDigest) -> None:
        draft = self.draft
        draft.told_by(relay.response_model, relay.finish_reason)
        draft.answer_digest = digest.hexdigest()
        self.produced_bytes = relay.produced_bytes

    def _headers(self) -> tuple[Header, ...]:
        target = ""
        if self.index.snapshot.server.show_target:
            target = self.kept_target or ("" if self.target is None else self.target.name)
        said = Recall.BYPASS if self.recollection is None else self.recollection.said
        headers = told(self.draft, said, attempts=self.attempts, receipt=self.account.receipt, target=target)
        taken = self.account.limited
        if taken is None:
            return headers
        world, now = self.world, self.world.clock.monotonic()
        standing = world.limits.standing(taken.requests, now), world.limits.standing(taken.tokens, now)
        return headers + limits(self.client.name, *standing, self._seconds())

    # --- how it ends --------------------------------------------------------------------------------------

    def charge(self, target: Target, usage: Usage | None, produced_bytes: int, *, whole: bool = True) -> None:
        """See charging."""
        charging.charge(self, target, usage, produced_bytes, self._seconds(), whole=whole)

    def note(self, sending: Sending, error: OstiaryError | None) -> None:
        """Record an attempt that does not answer."""
        at = sending.began, sending.first_byte_at, self.world.clock.monotonic()
        self.draft.attempted(sending.target.name, *at, error=error, credential=sending.credential)

    def _note_attempt(self, target: Target, error: OstiaryError | None) -> None:
        draft, now = self.draft, self.world.clock.monotonic()
        draft.attempted(target.name, self.began, draft.first_byte_at, now, error=error, credential=self.credential)

    def _succeed(self, status: int = 200) -> Awaitable[None] | None:
        """Settle and write the closing record; the answer leaves after this, and after what is to be awaited. An error that
        passes as it came is told here alone."""
        self.draft.status = status
        if status >= 400:
            self.draft.error = Code.UPSTREAM_ERROR if status >= 500 else Code.UPSTREAM_REFUSED
        receipt = self.account.close(Outcome.SUCCEEDED if status < 400 else Outcome.FAILED)
        return self.account.synced(receipt) if self.world.synced_first else None

    async def _fail(self, error: OstiaryError) -> None:
        """Record a failure, then tell the client in its own dialect: as an answer, or inside a stream it has begun."""
        draft = self.draft
        if not (self.sink.begun or self.account.recorded) and await self._instead(error):
            return
        draft.error, draft.status = error.code, error.status
        if not self.account.recorded:
            try:
                await self.account.synced(
                    self.account.close(Outcome.FAILED if self.account.receipt or self.target else Outcome.DENIED)
                )
            except OstiaryError as unrecorded:
                # What cannot be recorded is not told either: the client learns that the journal is down.
                error = unrecorded
        if self.sink.begun:
            told = None if self.carrier is None else self.carrier.error(error, draft.request_id)
            if told is None:
                self.sink.abort()  # ended in good order, half of it would pass for the whole
                return
            if (waits := self.sink.write(told)) is not None:
                await waits
            self.sink.end()
            return
        answer = self.client.encode_error(error, draft.request_id)
        self.sink.answer(answer.status, joined(answer.headers, self._headers()), answer.body)

    async def _instead(self, error: OstiaryError) -> bool:
        """Give something better than a failure, where there is anything."""
        try:
            kept = await ready_answer(self, error)
            if kept is not None and self.draft.degraded:
                self.target = None
                await self._give(kept)
            elif kept is not None:
                await self._replay(kept)
        except asyncio.CancelledError:
            await self._cancelled()
            return True
        except OstiaryError as unrecorded:
            if not self.account.recorded:
                return False  # what stands ready cannot be used for this call
            await self._fail(unrecorded)  # what cannot be recorded is not given either
            return True
        return kept is not None

    async def _cancelled(self, *, shed: bool = False) -> None:
        """The client went away, or this gateway is shutting down and its grace is over, or short of memory (`shed`)."""
        if shed:
            await self._fail(GatewayError(Code.GATEWAY_OVERLOADED, SHORT_OF_MEMORY, retry_after_seconds=1.0))
            return
        if not self.sink.gone:
            await self._fail(GatewayError(Code.GATEWAY_DRAINING, "This gateway is shutting down; retry."))
            return
        self.draft.error, self.draft.status = Code.CLIENT_GONE, 499
        if not self.account.recorded:
            if self.target is not None and self.draft.cost is None and self.draft.sent_at:
                self.charge(self.target, None, self.produced_bytes)
            try:
                self.account.close(Outcome.CANCELLED)
            except OstiaryError:
                return  # recovery will close it as aborted; nobody is left to tell

    def _seconds(self) -> int:
        return self.world.clock.now_ns() // 1_000_000_000
