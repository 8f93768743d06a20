"""What passes between a client and a provider in an open session, in both directions.

A client's event that is not taken is answered by an `error` event and reaches nobody; the session goes on. A response is
a `Turn`: begun before `response.create` goes out, or, where the provider began by itself (it heard the end of a
sentence), when it says `response.created`. One that may not be is cancelled, and what it says is not passed on.
"""

from collections import deque
from typing import Final

from ostiary.core.call import Operation
from ostiary.core.decision import Allow, Deny
from ostiary.core.error import CallerError, Code, OstiaryError, UpstreamError
from ostiary.core.event import Outcome
from ostiary.core.limit import REALTIME_RESPONSES_OPEN_MAX
from ostiary.core.usage import Usage
from ostiary.gateway.arrival import Arrival
from ostiary.gateway.audit.draft import Draft
from ostiary.gateway.policy.access import Ask, Grant
from ostiary.gateway.ports import Channel
from ostiary.gateway.realtime import event
from ostiary.gateway.realtime.turn import Context, Turn
from ostiary.gateway.wire.json import Document, encode, parse_answer
from ostiary.gateway.world import World
from ostiary.snapshot.index import Target

_HOLD_OUTPUT_TOKENS: Final = 4_096
"""The hold where nobody set a bound: what the vendor's realtime models say at most in one response."""


class Dialogue:
    """One open session between `client` and `provider`. `draft` is the session's own. `up` and `down` are to run beside
    one another, on one loop; each returns when its sender has ended, and raises OstiaryError where the session cannot go
    on. `end` closes what is open."""

    def __init__(
        self, world: World, arrival: Arrival, target: Target, draft: Draft, *, client: Channel, provider: Channel
    ) -> None:
        self._world = world
        self._arrival = arrival
        self._target = target
        self._draft = draft
        self._client = client
        self._provider = provider
        self._context = Context()
        self._pending: deque[Turn] = deque()
        self._open: dict[str, Turn] = {}
        # Turns whose records are being written: a cancellation must find them too.
        self._between: Turn | None = None
        self._between_down: Turn | None = None
        self._asked = world.digests.running()
        self._bound: int | None = None
        self._transcription: tuple[Target, str] | None = None
        self._names = {target.request_model: draft.original_model}
        self._capped = False
        self._cap_id = ""
        self._count = 0
        self.touched_at = world.clock.monotonic()

    @property
    def answering(self) -> bool:
        """Whether a response is under way."""
        return bool(self._pending or self._open)

    # --- from the client ----------------------------------------------------------------------------------

    async def up(self) -> None:
        """Pass on what the client sends until it has ended the connection."""
        while (raw := await self._client.receive()) is not None:
            self.touched_at = self._world.clock.monotonic()
            event_id = ""
            try:
                asked = event.asked(raw)
                event_id = asked.event_id
                out = await self._take(asked)
            except UpstreamError:
                raise
            except OstiaryError as error:
                await self.tell(error, event_id or event.event_id_of(raw))
                continue
            await self._provider.send(out)

    async def _take(self, asked: event.Asked) -> bytes:
        """What goes to the provider. Raises OstiaryError for what does not."""
        raw = asked.document.raw
        if asked.kind == event.RESPONSE_CREATE:
            return await self._create(asked)
        out = self._update(asked) if asked.kind == event.SESSION_UPDATE else raw
        if asked.kind == event.AUDIO_APPEND:
            self._context.audio_bytes += len(raw)
        else:
            self._context.text_bytes += len(raw)
            self._context.messages += 1
        self._asked.update(raw)
        return out

    async def _create(self, asked: event.Asked) -> bytes:
        bound, unbounded = event.response_bound(asked)
        if len(self._pending) + len(self._open) >= REALTIME_RESPONSES_OPEN_MAX:
            raise CallerError(
                Code.REQUEST_LIMIT, f"{REALTIME_RESPONSES_OPEN_MAX} responses are under way, as many as may be."
            )
        raw = asked.document.raw
        self._context.text_bytes += len(raw)
        self._asked.update(raw)
        grant, cap = self._granted(bound)
        turn = self._between = self._turn()
        put = None if bound is not None or cap is None else min(cap, self._bound or cap)
        session = None if unbounded else self._bound
        await turn.begin(grant, self._most(bound or put or session))
        edits: dict[event.Path, bytes] = {}
        turn.event_id = asked.event_id
        if not turn.event_id:  # an error that this causes must be told apart from others
            turn.event_id = self._number()
            edits["event_id",] = encode(turn.event_id)
        if put is not None:
            edits |= event.bound_edit(asked, "response", put)
        self._between = None
        self._pending.append(turn)
        return event.edited(asked.document, edits)

    def _update(self, asked: event.Asked) -> bytes:
        wanted = event.wanted(asked)
        _, cap = self._granted(wanted.bound)
        edits: dict[event.Path, bytes] = {}
        if wanted.model is not None:
            if wanted.model != self._draft.original_model:
                raise CallerError(
                    Code.REQUEST_UNSUPPORTED, "A session keeps the model it was opened with.", param="session.model"
                )
            edits |= event.model_edit(self._target.request_model)
        if wanted.transcription is not None:
            target = self._transcriber(wanted.transcription)
            self._transcription = (target, wanted.transcription)
            self._names[target.request_model] = wanted.transcription
            edits |= event.model_edit(target.request_model, wanted.transcription_path)
        if wanted.unbounded and cap is not None:
            edits |= event.bound_edit(asked, "session", cap)
        if wanted.bound is not None or wanted.unbounded:
            self._bound = wanted.bound
        return event.edited(asked.document, edits)

    def _transcriber(self, model: str) -> Target:
        """The target behind a public model's name at this session's provider: what listens in a session must be allowed
        as it is elsewhere. Raises CallerError."""
        path = "session.audio.input.transcription.model"
        index = self._world.index
        grant = self._world.grants.find(self._arrival.principal, model)
        verdict = grant.decide(Ask(model, self._draft.label)) if isinstance(grant, Grant) else grant
        if isinstance(verdict, Deny):
            raise CallerError(verdict.code, verdict.message, param=path)
        assert isinstance(grant, Grant)
        for target in index.targets(grant.model, Operation.TRANSCRIPTION):
            if target.provider.name == self._target.provider.name:
                return target
        raise CallerError(
            Code.MODEL_UNSUITABLE, "No target of this model transcribes at the provider of this session.", param=path
        )

    def _granted(self, max_tokens: int | None) -> tuple[Grant, int | None]:
        """What holds for a response now, by the snapshot in use now, and the cap on its output. Raises CallerError."""
        model = self._draft.original_model
        grant = self._world.grants.find(self._arrival.principal, model)
        verdict = grant.decide(Ask(model, self._draft.label, max_tokens)) if isinstance(grant, Grant) else grant
        if isinstance(verdict, Deny):
            raise CallerError(verdict.code, verdict.message, param=verdict.param)
        assert isinstance(grant, Grant)
        assert isinstance(verdict, Allow)
        cap = verdict.max_tokens_cap
        default = grant.model.default_max_tokens
        if default is not None and (grant.budgets or grant.each_budget) and (cap is None or default < cap):
            cap = default  # a hold on a budget is only as good as the bound it stands on
        return grant, cap

    def _most(self, bound: int | None) -> Usage:
        return Usage(self._context.input_tokens(), bound or _HOLD_OUTPUT_TOKENS)

    def _turn(self) -> Turn:
        turn = Turn(
            self._world,
            self._arrival,
            self._target,
            Operation.REALTIME_RESPONSE,
            model=self._draft.original_model,
            parent=self._draft,
        )
        turn.draft.prompt_digest = self._asked.hexdigest()
        turn.mark = self._context.mark()
        self._asked = self._world.digests.running()
        return turn

    # --- from the provider --------------------------------------------------------------------------------

    async def down(self) -> None:
        """Pass on what the provider sends until it has ended the connection. Raises UpstreamError upstream.protocol for
        what is no event."""
        while (raw := await self._provider.receive()) is not None:
            self.touched_at = self._world.clock.monotonic()
            out = await self._tell(event.head(raw), raw)
            if out:
                await self._client.send(out)

    async def _tell(self, head: event.Head, raw: bytes) -> bytes:
        """What the client gets of an event."""
        kind = head.kind
        if kind in event.SESSION_EVENTS:
            return await self._session(parse_answer(raw))
        if kind == event.ERROR:
            return await self._failed(raw)
        if kind == event.TRANSCRIBED:
            await self._transcribed(raw)
            return raw
        if kind == event.RESPONSE_CREATED:
            await self._created(head)
        of = head.of_response
        turn = self._open.get(of) if of else None
        if turn is None:
            return raw
        if kind == event.RESPONSE_DONE:
            await self._done(of, turn, raw)
            return raw
        turn.said(raw, len(memoryview(head.delta)), audio=kind in event.AUDIO_DELTAS)
        return b"" if turn.refused is not None and kind != event.RESPONSE_CREATED else raw

    async def _session(self, document: Document) -> bytes:
        """A session's settings, under public names; the first time also the moment to put a cap on them."""
        self._draft.told_by(event.session_model(document), "")
        if not self._capped:
            self._capped = True
            _, cap = self._granted(None)
            if cap is not None:
                self._bound = cap
                self._cap_id = self._number()
                await self._provider.send(event.session_cap(document, cap, self._cap_id))
        return event.renamed(document, self._names)

    async def _created(self, head: event.Head) -> None:
        """A response begins: one that was asked for, in the order in which they were, or one of the provider's own."""
        of = head.of_response
        if not of or of in self._open:
            return
        if self._pending:
            turn = self._pending.popleft()
            turn.response_id = of
            self._open[of] = turn
            return
        if len(self._open) >= REALTIME_RESPONSES_OPEN_MAX:
            raise UpstreamError(Code.UPSTREAM_PROTOCOL, "The provider has too many responses under way.")
        turn = self._turn()
        turn.response_id = of
        self._open[of] = turn
        try:
            grant, cap = self._granted(None)
            await turn.begin(grant, self._most(self._bound or cap))
        except OstiaryError as error:
            # It is counted all the same: a provider may charge for what it says until it hears of the cancellation.
            counted = self._turn()
            counted.response_id, counted.refused = of, error
            self._open[of] = counted
            await self._provider.send(event.cancel(of))
            await self.tell(error, "")
            await counted.begin(None, Usage())

    async def _done(self, of: str, turn: Turn, raw: bytes) -> None:
        """A response has ended: its record stands before the client hears of it."""
        told = event.done(raw)
        turn.said(raw, 0, audio=False)
        del self._open[of]
        turn.draft.finish_reason = told.status[:64]
        if told.usage is not None and told.joins:
            self._context.learned(told.usage, turn.mark)
        produced = told.usage is not None or bool(turn.text_bytes or turn.audio_bytes)
        outcome = Outcome.SUCCEEDED
        error = turn.refused
        if error is not None:
            outcome = Outcome.FAILED
        elif told.status == "failed":
            outcome, error = Outcome.FAILED, UpstreamError(Code.UPSTREAM_ERROR, "The provider's response failed.")
        elif told.status == "cancelled":
            outcome = Outcome.CANCELLED
        turn.reported = told.usage
        await turn.end(outcome, metered=produced, error=error)

    async def _failed(self, raw: bytes) -> bytes:
        """An error of the provider's. Where it answers a `response.create` that has not begun, that one is over."""
        failed = event.failed(raw)
        if failed.event_id and failed.event_id == self._cap_id:
            raise UpstreamError(Code.UPSTREAM_REFUSED, "The provider takes no cap on a session's output.")
        for turn in self._pending:
            if turn.event_id == failed.event_id:
                self._pending.remove(turn)
                refused = UpstreamError(Code.UPSTREAM_REFUSED, "The provider refused the response.")
                await turn.end(Outcome.FAILED, error=refused)
                break
        return failed.raw

    async def _transcribed(self, raw: bytes) -> None:
        """What was heard was written down, by a model of its own. Nobody can say beforehand when that will be: it is
        counted when it is told."""
        target, model = self._transcription or (self._target, self._draft.original_model)
        turn = self._between_down = Turn(
            self._world, self._arrival, target, Operation.TRANSCRIPTION, model=model, parent=self._draft
        )
        turn.reported = event.transcribed(raw)
        turn.text_bytes = len(raw)
        turn.response_id = event.TRANSCRIBED
        await turn.begin(None, Usage())
        await turn.end(Outcome.SUCCEEDED, metered=True)
        self._between_down = None

    # --- both ---------------------------------------------------------------------------------------------

    async def tell(self, error: OstiaryError, event_id: str) -> None:
        """Tell the client of an error; `event_id` is that of its event, or empty."""
        await self._client.send(event.error_event(error, event_id, self._number()))

    async def end(self, error: OstiaryError) -> None:
        """Close what is open: what was produced is charged for, what never began is not."""
        failure: OstiaryError | None = None
        between = [one for one in (self._between, self._between_down) if one is not None]
        for turn in (*between, *self._pending, *self._open.values()):
            outcome = Outcome.CANCELLED if error.code is Code.CLIENT_GONE else Outcome.FAILED
            try:
                await turn.end(outcome, metered=bool(turn.response_id), error=error)
            except OstiaryError as unrecorded:
                failure = unrecorded
        self._pending.clear()
        self._open.clear()
        if failure is not None:
            raise failure

    def _number(self) -> str:
        self._count += 1
        return f"event_{self._draft.request_id}_{self._count}"
