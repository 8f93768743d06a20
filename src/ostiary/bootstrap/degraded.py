"""What a model says instead of a failure, from the operator's file to rows of a snapshot."""

import re
from collections.abc import Callable
from typing import Final

from ostiary.bootstrap.expression import refused
from ostiary.bootstrap.scopes import FALLBACK_ON
from ostiary.core.error import Code, OperatorError
from ostiary.gateway.degrade import PLACES
from ostiary.settings import DegradedSettings
from ostiary.snapshot.tables import DegradedAnswerRow, DegradedRow

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
    path: Path_, degraded: DegradedSettings | None, error: Callable[[Path_, str], OperatorError]
) -> DegradedRow | None:
    """The row. Raises what `error` makes of a place and a reason: a condition that is none, a place of a text that nothing
    fills."""
    if degraded is None:
        return None
    for i, answer in enumerate(degraded.answers):
        here: Path_ = (*path, "degraded", "answers", i)
        problem = refused(answer.when) if answer.when else None
        if problem is not None:
            raise error((*here, "when"), problem)
        unknown = [name for name in _PLACE.findall(answer.text) if name not in PLACES]
        if unknown:
            raise error((*here, "text"), f"nothing fills `{{{unknown[0]}}}`; there are: {', '.join(PLACES)}")
    return DegradedRow(
        tuple(code for word in degraded.on for code in _ON[word]),
        tuple(DegradedAnswerRow(one.text, one.when, tuple(one.questions)) for one in degraded.answers),
    )
