"""What a model says instead of a failure, from the operator's file to rows of a snapshot."""

import re
from collections.abc import Callable, Collection
from typing import Final

import msgspec

from ostiary.bootstrap.expression import refused
from ostiary.bootstrap.near import near
from ostiary.bootstrap.scopes import FALLBACK_ON
from ostiary.core.error import Code, OperatorError
from ostiary.gateway.degrade import PLACES
from ostiary.settings import DegradedSettings
from ostiary.snapshot.tables import DegradedAnswerRow, DegradedRow, HandoverRow, WebhookRow

Path_ = tuple[str | int, ...]
_ON: Final[dict[str, tuple[Code, ...]]] = {
    **FALLBACK_ON,
    "error": (*FALLBACK_ON["error"], Code.UPSTREAM_UNAVAILABLE),
    "overload": (*FALLBACK_ON["overload"], Code.GATEWAY_OVERLOADED),
    "budget": (Code.BUDGET_EXHAUSTED, Code.COUNTERS_UNAVAILABLE),
    "limit": (Code.LIMIT_REQUESTS, Code.LIMIT_TOKENS, Code.LIMIT_CONCURRENCY),
}
_PLACE: Final = re.compile(r"\{(\w+)\}")


def degraded_row(
    path: Path_,
    degraded: DegradedSettings | None,
    error: Callable[[Path_, str], OperatorError],
    providers: Collection[str] = (),
    callbacks: Collection[str] = (),
) -> DegradedRow | None:
    """The row. Raises what `error` makes of a place and a reason: a condition that is none, a place of a text that nothing
    fills, a webhook of no provider."""
    if degraded is None:
        return None
    for i, answer in enumerate(degraded.answers):
        here: Path_ = (*path, "degraded", "answers", i)
        problem = refused(answer.when) if answer.when else None
        if problem is not None:
            raise error((*here, "when"), problem)
        if sum(one is not None for one in (answer.text, answer.webhook, answer.handover)) != 1:
            raise error(here, "an answer has a `text`, a `webhook` or a `handover`: one of them")
        if answer.handover is not None and answer.handover.callback and answer.handover.callback not in callbacks:
            wanted = answer.handover.callback
            raise error((*here, "handover", "callback"), f"no callback `{wanted}`{near(wanted, callbacks)}")
        if answer.webhook is not None and answer.webhook.provider not in providers:
            wanted = answer.webhook.provider
            raise error((*here, "webhook", "provider"), f"no provider `{wanted}`{near(wanted, providers)}")
        unknown = [name for name in _PLACE.findall(answer.text or "") if name not in PLACES]
        if unknown:
            raise error((*here, "text"), f"nothing fills `{{{unknown[0]}}}`; there are: {', '.join(PLACES)}")
    return DegradedRow(
        tuple(code for word in degraded.on for code in _ON[word]),
        tuple(
            DegradedAnswerRow(
                one.text or "",
                one.when,
                tuple(one.questions),
                None if one.webhook is None else WebhookRow(**msgspec.structs.asdict(one.webhook)),
                None if one.handover is None else HandoverRow(one.handover.ttl_seconds, one.handover.callback),
            )
            for one in degraded.answers
        ),
    )
