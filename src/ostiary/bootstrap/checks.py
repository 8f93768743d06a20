"""What a model's answers are checked for, from the operator's file to rows of a snapshot."""

from collections.abc import Callable

from ostiary.bootstrap.expression import refused_of_answers
from ostiary.core.error import Code, OperatorError
from ostiary.settings import QualitySettings
from ostiary.snapshot.tables import ChecksRow, DegradedRow, FallbackRow, PoorSign, QualityRow

Path_ = tuple[str | int, ...]


def checks_row(
    path: Path_,
    quality: QualitySettings | None,
    fallbacks: tuple[FallbackRow, ...],
    degraded: DegradedRow | None,
    error: Callable[[Path_, str], OperatorError],
) -> ChecksRow | None:
    """The row; None where nothing stands ready for an answer that is not good enough. Raises what `error` makes of a place
    and a reason: a condition that is none, or `quality` where nothing would follow from it."""
    reasons = {code for one in fallbacks for code in one.on} | set(degraded.on if degraded is not None else ())
    judged = Code.UPSTREAM_QUALITY in reasons
    if quality is not None and not judged:
        raise error(
            (*path, "quality"), "nothing stands ready for `quality`: name it in a fallback's `on` or `degraded.on`"
        )
    if quality is not None and quality.poor_when:
        problem = refused_of_answers(quality.poor_when)
        if problem is not None:
            raise error((*path, "quality", "poor_when"), problem)
    found = quality or QualitySettings()
    row = QualityRow(tuple(map(PoorSign, found.signs)), found.min_characters, found.poor_when) if judged else None
    schema = Code.UPSTREAM_SCHEMA in reasons
    return ChecksRow(schema, row) if schema or row is not None else None


def doubts_of(path: Path_, fallbacks: tuple[FallbackRow, ...], degraded: DegradedRow | None) -> list[str]:
    """What an operator should know of the reasons that something stands ready for."""
    reasons = {code for one in fallbacks for code in one.on} | set(degraded.on if degraded is not None else ())
    if Code.GUARD_ANSWER not in reasons:
        return []
    return [f"{'.'.join(map(str, path))}: `guard` never happens yet: this version has no guard that looks at answers"]
