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
from collections.abc import Mapping
from typing import Final

import msgspec

from ostiary.core.call import ChatCall, DialectName, EmbeddingsCall, Operation
from ostiary.core.decision import Deny
from ostiary.core.error import CallerError, Code, GatewayError, OstiaryError, UpstreamError
from ostiary.core.event import Attempt, Gap, Kind, Outcome
from ostiary.core.http import JSON_TYPE, Header
from ostiary.core.label import Sensitivity
from ostiary.core.limit import (
    ATTEMPTS_MAX,
    COMMIT_AFTER_SECONDS,
    UPSTREAM_BODY_BYTES_MAX,
    UPSTREAM_ERROR_BYTES_MAX,
)
from ostiary.core.principal import Principal
from ostiary.core.usage import Nano, Usage
from ostiary.gateway.admit.bounds import Options
from ostiary.gateway.audit import record
from ostiary.gateway.audit.draft import Draft, milliseconds
from ostiary.gateway.cache.recall import Recall, recall
from ostiary.gateway.dialect import ChatPeek, Dialect, EmbeddingsPeek, Encoded, StreamEncoder
from ostiary.gateway.guard.screen import screen_request, screen_stream
from ostiary.gateway.heading import EVENT_STREAM, told
from ostiary.gateway.meter import estimate, price
from ostiary.gateway.meter.hold import Hold
from ostiary.gateway.policy.access import Ask, decide
from ostiary.gateway.ports import (
    PhaseTimeouts,
    Receipt,
    Sink,
    UpstreamReply,
    UpstreamRequest,
)
from ostiary.gateway.relay import KEEPALIVE, Relay
from ostiary.gateway.route.plan import Plan, Step, plan
from ostiary.gateway.wire import json
from ostiary.gateway.world import World
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
        Code.REQUEST_UNSUPPORTED,
    }
)
"""Failures after which another target may do better. A refusal of the request itself is not among them."""

_HOLD_OUTPUT_TOKENS: Final = 4_096
_FORWARDED: Final = (b"anthropic-version", b"anthropic-beta")


class Arrival(msgspec.Struct, frozen=True):
    """An authenticated request with its body, and what it asks for."""

    request_id: str
    principal: Principal
    operation: Operation
    dialect: DialectName
    headers: Mapping[bytes, bytes]
    body: bytes
    options: Options
    started_at: float


class Exchange:
    """One call. `run` never raises but for a cancellation that the caller of the gateway itself caused."""

    def __init__(self, world: World, arrival: Arrival, sink: Sink) -> None:
        self.world = world
        self.arrival = arrival
        self.sink = sink
        self.index = world.index
        self.client = world.dialects[arrival.dialect]
        self.draft = Draft(arrival.request_id, arrival.principal, arrival.operation, arrival.dialect, self.index.id)
        self.draft.digest_key = world.digests.name
        self.hold: Hold | None = None
        self.receipt: Receipt | None = None
        self.recall: Recall | None = None
        self.recorded = False
        self.step: Step | None = None
        self.attempts = 0
        self.deadline = 0.0
        self.canonical: ChatCall | EmbeddingsCall | None = None
        self.produced_bytes = 0
        self.max_tokens: int | None = None

    # --- the story ----------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Answer the call through the sink and record it, whatever happens."""
        self.world.open_calls += 1
        try:
            self._admit()
            model, fallback = self._decide()
            route = self._plan(model, fallback)
            self.recall = recall()
            self._reserve(route)
            await self._open(route)
            await self._attempt(route)
        except OstiaryError as error:
            await self._fail(error)
        except asyncio.CancelledError:
            await self._cancelled()
        except Exception as error:  # noqa: BLE001 - the last resort: a fault of ours must still be answered and recorded
            self.draft.error_class = type(error).__name__
            await self._fail(
                GatewayError(Code.GATEWAY_INTERNAL, "The gateway failed; the request id helps to find out why.")
            )
        finally:
            self._settle(Nano(0))
            self.world.open_calls -= 1

    def _admit(self) -> None:
        """Parse the body once, strictly, and read what the stages need."""
        arrival, draft = self.arrival, self.draft
        draft.started_at = arrival.started_at
        draft.received_at = self.world.clock.monotonic()
        metadata = arrival.options.metadata
        draft.feature, draft.prompt_id, draft.prompt_version = (
            metadata.feature,
            metadata.prompt_id,
            metadata.prompt_version,
        )
        if metadata.deployment is not None:
            draft.deployment = metadata.deployment
        draft.label = arrival.options.label
        self.document = json.parse(arrival.body)
        peek: ChatPeek | EmbeddingsPeek
        if arrival.operation is Operation.EMBEDDINGS:
            peek = self.client.peek_embeddings(self.document)
        else:
            peek = self.client.peek_chat(self.document)
            draft.stream = peek.stream and arrival.operation is Operation.CHAT
        self.peek = peek
        draft.original_model = peek.model
        draft.prompt_digest = self.world.digests.content(arrival.body)
        if peek.end_user:
            draft.end_user = self.world.digests.person(arrival.principal.tenant, peek.end_user)

    def _decide(self) -> tuple[ModelRow, ModelRow | None]:
        """Policy, guards, and policy again if they raised the label. Gives the model and its allowed fallback."""
        model = self._allowed(self.peek.model)
        label = screen_request(self.draft.label)
        if label is not self.draft.label:
            self.draft.label = label
            model = self._allowed(self.peek.model)
        for name in model.fallbacks[:1]:
            verdict = decide(self.index, self.arrival.principal, self._ask(name))
            if not isinstance(verdict, Deny):
                return model, self.index.model(name)
        return model, None

    def _allowed(self, name: str) -> ModelRow:
        verdict = decide(self.index, self.arrival.principal, self._ask(name))
        if isinstance(verdict, Deny):
            raise CallerError(verdict.code, verdict.message, param=verdict.param)
        peek = self.peek
        if isinstance(peek, ChatPeek) and peek.max_tokens is None:
            self.max_tokens = verdict.max_tokens_cap
        model = self.index.model(name)
        assert model is not None
        return model

    def _ask(self, name: str) -> Ask:
        peek = self.peek
        if isinstance(peek, ChatPeek):
            return Ask(model=name, label=self.draft.label, max_tokens=peek.max_tokens, tool_depth=peek.tool_depth)
        return Ask(model=name, label=self.draft.label)

    def _plan(self, model: ModelRow, fallback: ModelRow | None) -> Plan:
        world = self.world
        route = plan(
            self.index,
            model,
            fallback,
            operation=self.arrival.operation,
            label=self.draft.label,
            strategies=world.strategies,
            draw=world.random,
        )
        if not route.steps:
            raise CallerError(
                Code.MODEL_UNSUITABLE, f"No target of this model offers {self.arrival.operation}.", param="model"
            )
        self.deadline = self.draft.started_at + model.timeouts.total_seconds
        return route

    def _reserve(self, route: Plan) -> None:
        """Hold an upper bound of the cost for the dearest target, and refuse what may not go out unpriced."""
        peek = self.peek
        output = 0
        messages = 1
        if isinstance(peek, ChatPeek):
            output = (peek.max_tokens or self.max_tokens or _HOLD_OUTPUT_TOKENS) * peek.choices
            messages = peek.messages
        bound = Usage(input_tokens=estimate.input_tokens(peek.prompt_bytes, messages), output_tokens=output)
        pricing = self.index.snapshot.pricing
        seconds = self._seconds()
        dearest = 0
        for step in route.steps:
            row = self.index.price(step.provider, step.request_model, seconds)
            if row is None and price.refuses_unknown(pricing) and self.arrival.operation is not Operation.COUNT_TOKENS:
                raise CallerError(Code.PRICE_UNKNOWN, f"No price is known for {step.target}.", param="model")
            dearest = max(dearest, price.upper_bound(pricing if row is None else row, bound))
        self.hold = self.world.holds.reserve(Nano(dearest))

    async def _open(self, route: Plan) -> None:
        """The opening record. Nothing has gone upstream yet, and nothing will unless this succeeds."""
        opened = self.draft.opened(self.world.clock.now_ns(), route.steps[0].target)
        self.receipt = self._append(Kind.OPENED, record.encode(opened))
        await self._synced(self.receipt)

    async def _attempt(self, route: Plan) -> None:
        """Try the steps in order until one answers. Each starts from the client's original call."""
        first_error: OstiaryError | None = None
        for step in route.steps[:ATTEMPTS_MAX]:
            self.step = step
            self.attempts += 1
            if first_error is not None and step.fallback:
                self.draft.fallback = first_error.code
            began = self.world.clock.monotonic()
            try:
                await self._try(step)
            except OstiaryError as error:
                self._note_attempt(step, began, error)
                first_error = first_error or error
                if self.sink.begun or self.recorded or error.code not in _TRY_NEXT:
                    raise
                if self.world.clock.monotonic() >= self.deadline:
                    raise
                continue
            return
        assert first_error is not None
        raise first_error

    async def _try(self, step: Step) -> None:
        draft = self.draft
        draft.provider, draft.request_model = step.provider.name, step.request_model
        draft.told_by("", "")
        self.produced_bytes = 0
        provider = self.world.provider_dialect(step.provider)
        if self.arrival.operation is Operation.COUNT_TOKENS and not step.provider.count_tokens:
            await self._deliver_estimate()
            return
        encoded = self._encode(step, provider)
        draft.left_out(encoded.dropped)
        timeouts = step.model.timeouts
        draft.sent_at = self.world.clock.monotonic()
        began = draft.sent_at
        reply = await self.world.upstream.send(
            UpstreamRequest(
                origin=step.provider.origin,
                method=b"POST",
                target=step.provider.path.encode("ascii") + encoded.path,
                headers=self.world.provider_headers(step.provider) + self._dialect_headers(step, encoded),
                body=encoded.body,
                timeouts=PhaseTimeouts(
                    connect_seconds=timeouts.connect_seconds,
                    first_byte_seconds=timeouts.first_token_seconds,
                    idle_seconds=timeouts.idle_seconds,
                    deadline=self.deadline,
                ),
                tls=step.provider.tls,
                proxy=step.provider.proxy,
            )
        )
        try:
            draft.first_byte_at = self.world.clock.monotonic()
            if reply.status != 200:
                body = await reply.read(UPSTREAM_ERROR_BYTES_MAX)
                raise provider.decode_error(reply.status, reply.headers, body)
            if draft.stream:
                await self._deliver_stream(step, provider, reply, began)
            else:
                await self._deliver_plain(step, provider, reply, began)
        finally:
            reply.close()

    # --- towards the provider -----------------------------------------------------------------------------

    def _encode(self, step: Step, provider: Dialect) -> Encoded:
        operation = self.arrival.operation
        same = provider.name is self.client.name
        model = step.request_model
        if same:
            if operation is Operation.EMBEDDINGS:
                return provider.forward_embeddings(self.document, model=model)
            if operation is Operation.COUNT_TOKENS:
                return provider.forward_count_tokens(self.document, model=model)
            return provider.forward_chat(
                self.document,
                model=model,
                report_usage=self.draft.stream and step.provider.stream_usage,
                max_tokens=self.max_tokens,
            )
        drop = self.arrival.options.drop_unsupported or step.model.drop_unsupported
        call = self._canonical()
        if isinstance(call, EmbeddingsCall):
            return provider.encode_embeddings(call, model=model, drop=drop)
        if operation is Operation.COUNT_TOKENS:
            return provider.encode_count_tokens(call, model=model, drop=drop)
        # A dialect that must have a bound gets the entry's default where neither caller nor cap gave one.
        cap = self.max_tokens if self.max_tokens is not None else step.model.default_max_tokens
        return provider.encode_chat(call, model=model, max_tokens=cap, drop=drop)

    def _canonical(self) -> ChatCall | EmbeddingsCall:
        """The canonical call, built when first asked for."""
        if self.canonical is None:
            if self.arrival.operation is Operation.EMBEDDINGS:
                self.canonical = self.client.decode_embeddings(self.document)
            else:
                self.canonical = self.client.decode_chat(self.document)
        return self.canonical

    def _dialect_headers(self, step: Step, encoded: Encoded) -> tuple[Header, ...]:
        """The dialect's own headers; within one dialect the caller's choice of version and features goes along."""
        headers = encoded.headers
        if step.provider.dialect is DialectName.ANTHROPIC and self.client.name is DialectName.ANTHROPIC:
            sent = tuple((name, self.arrival.headers[name]) for name in _FORWARDED if name in self.arrival.headers)
            named = {name for name, _ in sent}
            headers = (*sent, *(pair for pair in headers if pair[0] not in named))
        return headers

    # --- towards the client -------------------------------------------------------------------------------

    async def _deliver_plain(self, step: Step, provider: Dialect, reply: UpstreamReply, began: float) -> None:
        body = await reply.read(UPSTREAM_BODY_BYTES_MAX)
        draft = self.draft
        same = provider.name is self.client.name
        if self.arrival.operation is Operation.CHAT:
            if same:
                tap = provider.tap_chat_reply(body)
                usage, out = tap.usage, body
                draft.told_by(tap.response_model, tap.finish_reason)
                if usage is None:
                    self.produced_bytes = _produced_bytes(provider, body)
            else:
                chat = provider.decode_chat_reply(body)
                usage = chat.usage
                draft.told_by(chat.response_model, str(chat.choices[0].finish_reason or "") if chat.choices else "")
                self.produced_bytes = 0 if usage is not None else chat.produced_bytes()
                out = self.client.encode_chat_reply(chat, created=self._seconds())
        elif self.arrival.operation is Operation.EMBEDDINGS:
            vectors = provider.decode_embeddings_reply(body)
            usage = vectors.usage
            draft.told_by(vectors.response_model, "")
            out = body if same else self.client.encode_embeddings_reply(vectors)
        else:
            counted = provider.decode_token_count(body)
            usage = Usage()
            out = body if same else self.client.encode_token_count(counted)
        draft.first_content_at = self.world.clock.monotonic()
        self._meter(step, usage)
        self._note_attempt(step, began, None)
        draft.answer_digest = self.world.digests.content(out)
        await self._succeed()
        self.sink.answer(200, (JSON_TYPE, *self._headers()), out)

    async def _deliver_estimate(self) -> None:
        """A token count where the provider has no endpoint for it: our own, marked as estimated."""
        peek = self.peek
        assert isinstance(peek, ChatPeek)
        out = self.client.encode_token_count(estimate.input_tokens(peek.prompt_bytes, peek.messages))
        self.draft.usage_estimated = True
        await self._succeed()
        self.sink.answer(200, (JSON_TYPE, *self._headers(), (b"x-ostiary-estimated", b"true")), out)

    async def _deliver_stream(self, step: Step, provider: Dialect, reply: UpstreamReply, began: float) -> None:
        """Relay a stream. Nothing is sent before the first content, so that a failure until then can be retried; but
        a client is not left without a word for longer than COMMIT_AFTER_SECONDS, even where the provider is silent."""
        draft, sink = self.draft, self.sink
        relay = self._relay(provider)
        waiting: list[bytes] | None = []
        commit = asyncio.get_running_loop().call_later(COMMIT_AFTER_SECONDS, self._begin_stream)
        self.world.open_streams += 1
        try:
            while True:
                piece = relay.feed(await reply.chunk())
                data = piece.data
                if waiting is not None:
                    waiting.append(data)
                    if not (piece.content or piece.ended or sink.begun):
                        continue
                    data, waiting = b"".join(waiting), None
                    draft.first_content_at = self.world.clock.monotonic()
                    draft.told_by(relay.response_model, relay.finish_reason)
                if piece.ended:
                    self._learn(relay)
                    self._meter(step, relay.usage)
                    self._note_attempt(step, began, None)
                    await self._succeed()
                self._begin_stream()
                await sink.write(data)
                if piece.ended:
                    sink.end()
                    return
        except BaseException as error:
            # What was produced is charged for. A target that failed before producing anything is not.
            self._learn(relay)
            if relay.usage is not None or relay.produced_bytes or isinstance(error, asyncio.CancelledError):
                self._meter(step, relay.usage)
            raise
        finally:
            commit.cancel()
            self.world.open_streams -= 1

    def _begin_stream(self) -> None:
        """Send the head of a stream, once; from here on the client also gets a comment whenever nothing else comes."""
        if not self.sink.begun:
            self.sink.begin(200, (*EVENT_STREAM, *self._headers()), keepalive=KEEPALIVE)

    def _relay(self, provider: Dialect) -> Relay:
        include_usage = isinstance(self.peek, ChatPeek) and self.peek.include_usage
        encoder: StreamEncoder | None = None
        if provider.name is not self.client.name:
            encoder = self.client.stream_encoder(include_usage=include_usage, created=self._seconds())
        return Relay(
            provider.stream_decoder(events=encoder is not None),
            encoder,
            screen_stream(),
            include_usage=include_usage,
            digest=self.world.digests.running(),
        )

    def _learn(self, relay: Relay) -> None:
        draft = self.draft
        draft.told_by(relay.response_model, relay.finish_reason)
        draft.answer_digest = relay.digest()
        self.produced_bytes = relay.produced_bytes

    def _headers(self) -> tuple[Header, ...]:
        target = self.step.target if self.step is not None and self.index.snapshot.server.show_target else ""
        return told(self.draft, self.recall, attempts=self.attempts, receipt=self.receipt, target=target)

    # --- how it ends --------------------------------------------------------------------------------------

    def _meter(self, step: Step, usage: Usage | None) -> None:
        """Usage as reported, or counted by us where the provider gave none; and its cost."""
        draft = self.draft
        if self.arrival.operation is Operation.COUNT_TOKENS:
            return
        estimated = usage is None
        if usage is None:
            messages = self.peek.messages if isinstance(self.peek, ChatPeek) else 1
            usage = Usage(
                input_tokens=estimate.input_tokens(self.peek.prompt_bytes, messages),
                output_tokens=estimate.output_tokens(self.produced_bytes)
                if self.arrival.operation is Operation.CHAT
                else 0,
            )
        draft.usage, draft.usage_estimated = usage, estimated
        row = self.index.price(step.provider, step.request_model, self._seconds())
        pricing = self.index.snapshot.pricing
        draft.cost = price.ceiling_cost(pricing, usage) if row is None else price.cost(row, usage, estimated=estimated)

    def _note_attempt(self, step: Step, began: float, error: OstiaryError | None) -> None:
        draft = self.draft
        draft.attempts.append(
            Attempt(
                target=step.target,
                status=200 if error is None else error.status,
                reason="" if error is None else error.code,
                first_byte_ms=milliseconds(draft.first_byte_at - began) if draft.first_byte_at > began else 0.0,
                total_ms=milliseconds(self.world.clock.monotonic() - began),
            )
        )

    async def _succeed(self) -> None:
        """Settle and write the closing record; the answer leaves after this."""
        self.draft.status = 200
        await self._synced(self._close(Outcome.SUCCEEDED))

    async def _fail(self, error: OstiaryError) -> None:
        """Record a failure, then tell the client in its own dialect: as an answer, or inside a stream it has begun."""
        draft = self.draft
        draft.error, draft.status = error.code, error.status
        if not self.recorded:
            try:
                await self._synced(self._close(Outcome.FAILED if self.receipt or self.step else Outcome.DENIED))
            except OstiaryError as unrecorded:
                # What cannot be recorded is not told either: the client learns that the journal is down.
                error = unrecorded
        if self.sink.begun:
            encoder = self.client.stream_encoder(include_usage=False)
            await self.sink.write(encoder.error(error, draft.request_id))
            self.sink.end()
            return
        answer = self.client.encode_error(error, draft.request_id)
        self.sink.answer(answer.status, (*answer.headers, *self._failure_headers(answer.headers)), answer.body)

    def _failure_headers(self, present: tuple[Header, ...]) -> tuple[Header, ...]:
        names = {name for name, _ in present}
        return tuple(pair for pair in self._headers() if pair[0] not in names)

    async def _cancelled(self) -> None:
        """The client went away, or this gateway is shutting down and its grace is over."""
        if not self.sink.gone:
            await self._fail(GatewayError(Code.GATEWAY_DRAINING, "This gateway is shutting down; retry."))
            return
        self.draft.error, self.draft.status = Code.CLIENT_GONE, 499
        if not self.recorded:
            if self.step is not None and self.draft.cost is None and self.draft.sent_at:
                self._meter(self.step, None)
            try:
                self._close(Outcome.CANCELLED)
            except OstiaryError:
                return  # recovery will close it as aborted; nobody is left to tell

    def _close(self, outcome: Outcome) -> Receipt | None:
        """Settle the hold and write the one closing record."""
        draft = self.draft
        self._settle(Nano(0) if draft.cost is None else draft.cost.nano)
        opened = -1 if self.receipt is None else self.receipt.sequence
        clock = self.world.clock
        closed = draft.closed(outcome, opened, clock.now_ns(), clock.monotonic())
        kind = Kind.DENIED if outcome is Outcome.DENIED else Kind.CLOSED
        self.recorded = True
        payload = record.encode(closed)
        try:
            receipt = self._append(kind, payload)
        except Exception:
            if opened >= 0:
                self.world.journal.defer(kind, payload)
            raise
        self.world.observer.closed(closed)
        return receipt

    def _settle(self, nano: Nano) -> None:
        hold, self.hold = self.hold, None
        if hold is not None:
            self.world.holds.settle(hold, nano)

    def _append(self, kind: Kind, payload: bytes) -> Receipt | None:
        """Append a record; where the operator chose `continue`, a call of unregulated data may go on without."""
        world = self.world
        try:
            if world.gap_calls and world.journal.healthy():
                gap = Gap(world.gap_from_ns, world.clock.now_ns(), world.gap_calls, Code.AUDIT_UNAVAILABLE)
                world.journal.append(Kind.GAP, record.encode(gap))
                world.gap_calls = 0
            return world.journal.append(kind, payload)
        except GatewayError:
            if not self._goes_on_unrecorded():
                raise
            return None

    def _goes_on_unrecorded(self) -> bool:
        """Whether the call may go on though a record is missing, which is then counted for the gap's own record."""
        world = self.world
        if self.index.snapshot.journal.on_failure != "continue" or self.draft.label is Sensitivity.REGULATED:
            return False
        if world.gap_calls == 0:
            world.gap_from_ns = world.clock.now_ns()
        world.gap_calls += 1
        return True

    def _seconds(self) -> int:
        return self.world.clock.now_ns() // 1_000_000_000

    async def _synced(self, receipt: Receipt | None) -> None:
        if receipt is not None and self.world.journal.durability == "disk":
            try:
                await self.world.journal.synced(receipt)
            except GatewayError:
                if not self._goes_on_unrecorded():
                    raise


def _produced_bytes(provider: Dialect, body: bytes) -> int:
    """How much a model said in an answer that passes through: all of it where its form is not wholly known."""
    try:
        return provider.decode_chat_reply(body).produced_bytes()
    except UpstreamError:
        return len(body)
