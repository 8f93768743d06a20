"""A closing record in the making: what is learnt of a call on its way, gathered until it ends.

Mutable on purpose, and alone so: the exchange fills it in as the stages pass, and `closed` freezes it. A record is
complete at every moment, so that a call may end anywhere.
"""

import msgspec

from ostiary.core.call import DialectName, Operation
from ostiary.core.error import OstiaryError, provider_code
from ostiary.core.event import Attempt, Closed, Doubt, Opened, Outcome, Skipped, Timings
from ostiary.core.label import Sensitivity
from ostiary.core.limit import DROPPED_FIELDS_CHARS_MAX, MODEL_NAME_BYTES_MAX
from ostiary.core.principal import Deployment, Principal
from ostiary.core.usage import Cost, Usage


class Draft(msgspec.Struct, eq=False):
    """What is known of one call so far. Times are monotonic seconds, 0.0 where the moment has not come."""

    request_id: str
    principal: Principal
    operation: Operation
    dialect: DialectName
    snapshot: str
    deployment: Deployment | None = None  # the principal's
    attempts: tuple[Attempt, ...] = ()
    started_at: float = 0.0
    stream: bool = False
    label: Sensitivity = Sensitivity.INTERNAL
    original_model: str = ""
    request_model: str = ""
    response_model: str = ""
    provider: str = ""
    feature: str = ""
    prompt_id: str = ""
    prompt_version: str = ""
    end_user: str = ""
    prompt_digest: str = ""
    answer_digest: str = ""
    digest_key: str = ""
    status: int = 0
    error: str = ""
    error_class: str = ""
    fallback: str = ""
    finish_reason: str = ""
    cache: str = ""
    degraded: bool = False
    usage: Usage = Usage()
    usage_estimated: bool = False
    cost: Cost | None = None
    dropped_fields: tuple[str, ...] = ()
    strategy: str = ""
    shadow_of: str = ""
    ticket: str = ""
    doubts: tuple[Doubt, ...] = ()
    route: tuple[Skipped, ...] = ()
    received_at: float = 0.0
    sent_at: float = 0.0
    first_byte_at: float = 0.0
    first_content_at: float = 0.0

    def consumed(self, usage: Usage, cost: Cost, *, estimated: bool) -> None:
        """Add what one attempt consumed."""
        if self.cost is not None:
            usage, cost = self.usage + usage, self.cost + cost
        self.usage, self.cost = usage, cost
        self.usage_estimated = self.usage_estimated or estimated

    def attempted(
        self,
        target: str,
        began: float,
        first_byte_at: float,
        now: float,
        *,
        error: OstiaryError | None,
        credential: str,
    ) -> None:
        """Keep one try at one target: the failure with which it ended, None where it answered."""
        first_byte = (first_byte_at - began) * 1e6 // 1 / 1e3 if first_byte_at > began else 0.0  # as `milliseconds`
        total = (now - began) * 1e6 // 1 / 1e3
        if error is None:
            attempt = Attempt(target, 200, "", 0.0, first_byte, total, "", credential)
        else:
            theirs = provider_code(error)
            attempt = Attempt(target, error.status, error.code, 0.0, first_byte, total, theirs, credential)
        self.attempts = (*self.attempts, attempt)

    def told_by(self, response_model: str, finish_reason: str) -> None:
        """Keep the provider's own words for its model and for why it stopped, as far as a record has room."""
        self.response_model = response_model[:MODEL_NAME_BYTES_MAX]
        self.finish_reason = finish_reason[:MODEL_NAME_BYTES_MAX]

    def left_out(self, names: tuple[str, ...]) -> None:
        """Keep the names of what was left out of a request: as many as a record and a header have room for, and how
        many more there were."""
        room = DROPPED_FIELDS_CHARS_MAX
        for place, name in enumerate(names):
            room -= len(name) + 2
            if room < 0:
                names = (*names[:place], f"and {len(names) - place} more")
                break
        self.dropped_fields = names

    def opened(self, at_ns: int, target: str) -> Opened:
        """The opening record."""
        principal = self.principal
        return Opened(  # by position, as in `closed`
            self.request_id,
            at_ns,
            principal.tenant,
            principal.team,
            principal.environment,
            principal.key_id,
            self.operation,
            self.dialect,
            self.original_model,
            self.stream,
            self.label,
            self.prompt_digest,
            self.snapshot,
            self.end_user,
            self.feature,
            target,
            self.shadow_of,
            principal.project,
        )

    def closed(self, outcome: Outcome, opened: int, at_ns: int, now: float) -> Closed:
        """The closing record; `opened` is the sequence number of the opening one, -1 where there is none."""
        principal, started = self.principal, self.started_at
        # By position: to match so many names takes twice as long as all the rest. A test holds the order. And in two parts:
        # beyond thirty values in one call or display the compiler adds each to a list by itself.
        asked = (
            self.request_id,
            at_ns,
            opened,
            outcome,
            principal.tenant,
            principal.team,
            principal.environment,
            principal.key_id,
            self.operation,
            self.dialect,
            self.stream,
            self.end_user,
            self.feature,
            self.prompt_id,
            self.prompt_version,
            self.label,
            "",  # guard_version
            "",  # policy_version
            self.original_model,
        )
        answered = (
            self.request_model,
            self.response_model,
            self.provider,
            self.status,
            self.error,
            self.error_class,
            Timings(  # as `milliseconds` counts, without a call for each: every call that ends comes by here
                (self.received_at - started) * 1e6 // 1 / 1e3 if self.received_at else 0.0,
                (self.sent_at - started) * 1e6 // 1 / 1e3 if self.sent_at else 0.0,
                (self.first_byte_at - started) * 1e6 // 1 / 1e3 if self.first_byte_at else 0.0,
                (self.first_content_at - started) * 1e6 // 1 / 1e3 if self.first_content_at else 0.0,
                (now - started) * 1e6 // 1 / 1e3,
            ),
            self.attempts,
            self.usage,
            self.usage_estimated,
            self.cost,
            self.prompt_digest,
            self.answer_digest,
            self.digest_key,
            self.snapshot,
            principal.deployment if self.deployment is None else self.deployment,
            self.fallback,
            self.dropped_fields,
            self.finish_reason,
            self.cache,
            self.degraded,
            self.strategy,
            self.route,
            self.shadow_of,
            principal.project,
            self.ticket,
            self.doubts,
        )
        return Closed(*(*asked, *answered))


def milliseconds(seconds: float) -> float:
    """Seconds as milliseconds with three decimals, which is what a record keeps."""
    return int(seconds * 1e6) / 1e3
