"""A closing record in the making: what is learnt of a call on its way, gathered until it ends.

Mutable on purpose, and alone so: the exchange fills it in as the stages pass, and `closed` freezes it. A record is
complete at every moment, so that a call may end anywhere.
"""

from ostiary.core.call import DialectName, Operation
from ostiary.core.error import OstiaryError, provider_code
from ostiary.core.event import Attempt, Closed, Opened, Outcome, Skipped, Timings
from ostiary.core.label import Sensitivity
from ostiary.core.limit import DROPPED_FIELDS_CHARS_MAX, MODEL_NAME_BYTES_MAX
from ostiary.core.principal import Deployment, Principal
from ostiary.core.usage import Cost, Usage


class Draft:
    """What is known of one call so far. Times are monotonic seconds, 0.0 where the moment has not come."""

    # Defaults stand on the class: a call sets what it learns and nothing else.
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
    route: tuple[Skipped, ...] = ()
    received_at: float = 0.0
    sent_at: float = 0.0
    first_byte_at: float = 0.0
    first_content_at: float = 0.0

    def __init__(
        self, request_id: str, principal: Principal, operation: Operation, dialect: DialectName, snapshot: str
    ) -> None:
        self.request_id = request_id
        self.principal = principal
        self.operation = operation
        self.dialect = dialect
        self.snapshot = snapshot
        self.deployment: Deployment = principal.deployment
        self.attempts: list[Attempt] = []
        self.started_at = 0.0

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
        first_byte = milliseconds(first_byte_at - began) if first_byte_at > began else 0.0
        status, reason, theirs = (200, "", "") if error is None else (error.status, error.code, provider_code(error))
        total = milliseconds(now - began)
        self.attempts.append(Attempt(target, status, reason, 0.0, first_byte, total, theirs, credential))

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
        return Opened(
            request_id=self.request_id,
            at_ns=at_ns,
            tenant=principal.tenant,
            team=principal.team,
            environment=principal.environment,
            key_id=principal.key_id,
            project=principal.project,
            operation=self.operation,
            client_dialect=self.dialect,
            original_model=self.original_model,
            stream=self.stream,
            label=self.label,
            prompt_digest=self.prompt_digest,
            snapshot=self.snapshot,
            end_user=self.end_user,
            feature=self.feature,
            target=target,
            shadow_of=self.shadow_of,
        )

    def closed(self, outcome: Outcome, opened: int, at_ns: int, now: float) -> Closed:
        """The closing record; `opened` is the sequence number of the opening one, -1 where there is none."""
        principal = self.principal
        return Closed(
            request_id=self.request_id,
            at_ns=at_ns,
            opened=opened,
            outcome=outcome,
            tenant=principal.tenant,
            team=principal.team,
            environment=principal.environment,
            key_id=principal.key_id,
            project=principal.project,
            operation=self.operation,
            client_dialect=self.dialect,
            stream=self.stream,
            end_user=self.end_user,
            feature=self.feature,
            prompt_id=self.prompt_id,
            prompt_version=self.prompt_version,
            label=self.label,
            original_model=self.original_model,
            request_model=self.request_model,
            response_model=self.response_model,
            provider=self.provider,
            status=self.status,
            error=self.error,
            error_class=self.error_class,
            timings=Timings(
                milliseconds(self.received_at - self.started_at) if self.received_at else 0.0,
                milliseconds(self.sent_at - self.started_at) if self.sent_at else 0.0,
                milliseconds(self.first_byte_at - self.started_at) if self.first_byte_at else 0.0,
                milliseconds(self.first_content_at - self.started_at) if self.first_content_at else 0.0,
                milliseconds(now - self.started_at),
            ),
            attempts=tuple(self.attempts),
            usage=self.usage,
            usage_estimated=self.usage_estimated,
            cost=self.cost,
            prompt_digest=self.prompt_digest,
            answer_digest=self.answer_digest,
            digest_key=self.digest_key,
            snapshot=self.snapshot,
            deployment=self.deployment,
            fallback=self.fallback,
            dropped_fields=self.dropped_fields,
            finish_reason=self.finish_reason,
            cache=self.cache,
            degraded=self.degraded,
            strategy=self.strategy,
            route=self.route,
            shadow_of=self.shadow_of,
        )


def milliseconds(seconds: float) -> float:
    """Seconds as milliseconds with three decimals, which is what a record keeps."""
    return int(seconds * 1e6) / 1e3
