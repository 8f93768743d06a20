"""A closing record in the making: what is learnt of a call on its way, gathered until it ends.

Mutable on purpose, and alone so: the exchange fills it in as the stages pass, and `closed` freezes it. A record is
complete at every moment, so that a call may end anywhere.
"""

from ostiary.core.call import DialectName, Operation
from ostiary.core.event import Attempt, Closed, Opened, Outcome, Timings
from ostiary.core.label import Sensitivity
from ostiary.core.principal import Deployment, Principal
from ostiary.core.usage import Cost, Usage


class Draft:
    """What is known of one call so far. Times are monotonic seconds, 0.0 where the moment has not come."""

    __slots__ = (
        "answer_digest",
        "attempts",
        "cost",
        "deployment",
        "dialect",
        "digest_key",
        "dropped_fields",
        "end_user",
        "error",
        "error_class",
        "fallback",
        "feature",
        "finish_reason",
        "first_byte_at",
        "first_content_at",
        "label",
        "operation",
        "original_model",
        "principal",
        "prompt_digest",
        "prompt_id",
        "prompt_version",
        "provider",
        "received_at",
        "request_id",
        "request_model",
        "response_model",
        "sent_at",
        "snapshot",
        "started_at",
        "status",
        "stream",
        "usage",
        "usage_estimated",
    )

    def __init__(
        self, request_id: str, principal: Principal, operation: Operation, dialect: DialectName, snapshot: str
    ) -> None:
        self.request_id = request_id
        self.principal = principal
        self.operation = operation
        self.dialect = dialect
        self.snapshot = snapshot
        self.stream = False
        self.label = Sensitivity.INTERNAL
        self.original_model = ""
        self.request_model = ""
        self.response_model = ""
        self.provider = ""
        self.feature = ""
        self.prompt_id = ""
        self.prompt_version = ""
        self.deployment: Deployment = principal.deployment
        self.end_user = ""
        self.prompt_digest = ""
        self.answer_digest = ""
        self.digest_key = ""
        self.status = 0
        self.error = ""
        self.error_class = ""
        self.fallback = ""
        self.finish_reason = ""
        self.usage = Usage()
        self.usage_estimated = False
        self.cost: Cost | None = None
        self.attempts: list[Attempt] = []
        self.dropped_fields: tuple[str, ...] = ()
        self.started_at = 0.0
        self.received_at = 0.0
        self.sent_at = 0.0
        self.first_byte_at = 0.0
        self.first_content_at = 0.0

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
                received_ms=self._since(self.received_at),
                sent_ms=self._since(self.sent_at),
                first_byte_ms=self._since(self.first_byte_at),
                first_content_ms=self._since(self.first_content_at),
                total_ms=self._since(now),
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
        )

    def _since(self, moment: float) -> float:
        return round((moment - self.started_at) * 1e3, 3) if moment else 0.0
