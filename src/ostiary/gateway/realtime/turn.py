"""One answer within a session (or one transcript): a call of its own, from its limits to its closing record.

begin: limit → price → hold → opening record        before the provider is asked, or as soon as it says it begins
end:   meter → settle → closing record              exactly once, on every way out of the session
"""

import msgspec

from ostiary.core.call import Operation
from ostiary.core.error import OstiaryError
from ostiary.core.event import Attempt, Outcome
from ostiary.core.usage import Usage
from ostiary.gateway.account import Account
from ostiary.gateway.arrival import Arrival
from ostiary.gateway.audit.draft import Draft, milliseconds
from ostiary.gateway.meter import estimate, price
from ostiary.gateway.policy.access import Grant
from ostiary.gateway.route.plan import Plan
from ostiary.gateway.world import World
from ostiary.snapshot.index import Target
from ostiary.snapshot.tables import LimitedRow

_AUDIO_BYTES_PER_TOKEN = 1_000
"""Base64 of sound for one token, from below: a token is 50 to 100 ms, of which the tersest format takes 400 bytes a
piece of 50 ms and the usual one 2 400 (estimates only; what a provider reports is exact)."""


class Context:
    """How much a response will read at most: what the conversation's last response reported, and what was sent since.
    Never less than the truth by more than the estimate's error; corrected by each report."""

    def __init__(self) -> None:
        self.text_bytes = 0
        self.audio_bytes = 0
        self.messages = 0
        self._known = 0
        self._mark = (0, 0, 0)

    def mark(self) -> tuple[int, int, int]:
        """How much was sent so far."""
        return (self.text_bytes, self.audio_bytes, self.messages)

    def learned(self, usage: Usage, mark: tuple[int, int, int]) -> None:
        """A response that began at `mark` reported what it read and said."""
        self._known = usage.total_tokens
        self._mark = mark

    def input_tokens(self) -> int:
        """The bound, in tokens."""
        text, audio, messages = (now - then for now, then in zip(self.mark(), self._mark, strict=True))
        return self._known + estimate.input_tokens(text, messages) + -(-audio // _AUDIO_BYTES_PER_TOKEN)


class Turn:
    """One call of a session. `begin` once, then `end` once, whatever happens."""

    def __init__(
        self, world: World, arrival: Arrival, target: Target, operation: Operation, *, model: str, parent: Draft
    ) -> None:
        self.world = world
        self.target = target
        self.index = world.grants.index
        self.event_id = ""
        self.response_id = ""
        self.refused: OstiaryError | None = None
        self.reported: Usage | None = None
        self.mark = (0, 0, 0)
        self.text_bytes = 0
        self.audio_bytes = 0
        self.answer = world.digests.running()
        self._input_tokens = 0
        self.draft = draft = Draft(arrival.request_id, arrival.principal, operation, arrival.dialect, self.index.id)
        draft.digest_key = parent.digest_key
        draft.started_at = draft.received_at = world.clock.monotonic()
        draft.stream = True
        draft.label = parent.label
        draft.feature, draft.prompt_id, draft.prompt_version = parent.feature, parent.prompt_id, parent.prompt_version
        draft.deployment = parent.deployment
        draft.end_user = parent.end_user
        draft.original_model = model
        draft.response_model = parent.response_model
        draft.provider, draft.request_model = target.provider.name, target.request_model
        self._account = Account(world, self.index, draft)

    async def begin(self, grant: Grant | None, bound: Usage) -> None:
        """Take its share of every limit, hold its bound, and open its record. Raises OstiaryError where one of them says
        no: then it is recorded as denied and nothing of it is kept. Without a grant nothing is limited or held: for what
        began without being asked for and is only counted."""
        account, principal = self._account, self.draft.principal
        self._input_tokens = bound.input_tokens
        try:
            if grant is not None:
                waits = account.limit(grant, bound, each_response)
                if waits is not None:
                    await waits
                waits = account.reserve(grant, Plan((self.target,), 1))
                if waits is not None:
                    await waits
            else:
                known = self.world.grants.find(principal, self.draft.original_model)
                if isinstance(known, Grant):
                    account.count(known)
            waits = account.open(self.target.name)
            if waits is not None:
                await waits
        except OstiaryError as error:
            await self.end(Outcome.DENIED if account.receipt is None else Outcome.FAILED, error=error)
            raise
        self.draft.sent_at = self.world.clock.monotonic()

    def said(self, data: bytes, delta_bytes: int, *, audio: bool) -> None:
        """An event of its answer passed; `delta_bytes` of it are what was produced."""
        if delta_bytes and not self.draft.first_content_at:
            self.draft.first_content_at = self.world.clock.monotonic()
        if audio:
            self.audio_bytes += delta_bytes
        else:
            self.text_bytes += delta_bytes
        self.answer.update(data)

    def estimated(self) -> Usage:
        """What it consumed, counted by us."""
        spoken = -(-self.audio_bytes // _AUDIO_BYTES_PER_TOKEN)
        return Usage(self._input_tokens, estimate.output_tokens(self.text_bytes) + spoken, output_audio_tokens=spoken)

    async def end(
        self,
        outcome: Outcome,
        *,
        metered: bool = False,
        error: OstiaryError | None = None,
    ) -> None:
        """Settle and write the one closing record. `metered` says that something was consumed: what was `reported`, or
        by our own count where that is None. Raises GatewayError audit.unavailable where the record cannot be written now; it is
        then written as soon as that is possible."""
        account, draft = self._account, self.draft
        if account.recorded:
            return
        if metered:
            self._meter()
        draft.answer_digest = self.answer.hexdigest() if metered else ""
        draft.status = 200 if error is None else error.status
        draft.error = "" if error is None else error.code
        if draft.sent_at:
            total = milliseconds(self.world.clock.monotonic() - draft.started_at)
            attempt = Attempt(self.target.name, draft.status, draft.error, 0.0, 0.0, total)
            draft.attempts = (*draft.attempts, attempt)
        await account.synced(account.close(outcome))

    def _meter(self) -> None:
        usage = self.reported
        estimated = usage is None
        if usage is None:
            usage = self.estimated()
        row = self.target.price(self._seconds())
        cost = price.charge(row, self.index.snapshot.pricing, usage, estimated=estimated)
        self.draft.consumed(usage, cost, estimated=estimated)

    def _seconds(self) -> int:
        return self.world.clock.now_ns() // 1_000_000_000


def opening(rows: tuple[LimitedRow, ...]) -> tuple[LimitedRow, ...]:
    """What opening a session takes of limits: a request and, as long as it is open, a place; no tokens."""
    return tuple(LimitedRow(one.scope, msgspec.structs.replace(one.limit, tokens_per_minute=None)) for one in rows)


def each_response(rows: tuple[LimitedRow, ...]) -> tuple[LimitedRow, ...]:
    """What each response takes: a request and its tokens; the place is the session's."""
    return tuple(LimitedRow(one.scope, msgspec.structs.replace(one.limit, concurrent_requests=None)) for one in rows)
