"""Whether an answer is poor, by what its model's entry calls so: signs that can be read off the answer itself. Pure."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

from ostiary.core.limit import QUALITY_TEXT_CHARS_MAX
from ostiary.core.message import RefusalPart, TextPart, ToolUsePart
from ostiary.core.reply import Choice, FinishReason
from ostiary.snapshot.tables import PoorSign, QualityRow

ANSWER_FIELDS: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {"answer": ("text", "characters", "finish_reason", "refused", "tool_calls")}
)
"""Every name that a condition on answers may use."""

Facts = dict[str, dict[str, str | int | bool]]

_ENDS: Final = {
    PoorSign.LENGTH: (FinishReason.LENGTH, FinishReason.CONTEXT_WINDOW),
    PoorSign.CONTENT_FILTER: (FinishReason.CONTENT_FILTER,),
    PoorSign.REFUSAL: (FinishReason.REFUSAL,),
}


def facts_of(choice: Choice) -> Facts:
    """What a condition sees of an answer: its text up to QUALITY_TEXT_CHARS_MAX characters, the number of all of them, why
    the model stopped (empty: it did not say), whether it refused, and how many tools it calls."""
    text = _text(choice)
    return {
        "answer": {
            "text": text[:QUALITY_TEXT_CHARS_MAX],
            "characters": len(text),
            "finish_reason": str(choice.finish_reason or ""),
            "refused": _refused(choice),
            "tool_calls": sum(isinstance(part, ToolUsePart) for part in choice.parts),
        }
    }


def poor(row: QualityRow, choice: Choice, holds: Callable[[str, Facts], bool]) -> str | None:
    """Why an answer is poor, in words; None where it is not. `holds` judges the entry's condition. An answer that calls
    tools is neither empty nor short."""
    text, silent = _text(choice), not any(isinstance(part, ToolUsePart) for part in choice.parts)
    for sign in row.signs:
        if choice.finish_reason in _ENDS.get(sign, ()):
            return f"it ended for {choice.finish_reason}"
        if sign is PoorSign.REFUSAL and _refused(choice):
            return "the model refused"
        if sign is PoorSign.EMPTY and silent and not text.strip() and not _refused(choice):
            return "it is empty"
    if silent and len(text) < row.min_characters:
        return f"it has {len(text)} characters, fewer than {row.min_characters}"
    if row.poor_when and holds(row.poor_when, facts_of(choice)):
        return "the entry's condition calls it so"
    return None


def _text(choice: Choice) -> str:
    return "".join(part.text for part in choice.parts if isinstance(part, TextPart))


def _refused(choice: Choice) -> bool:
    return any(isinstance(part, RefusalPart) for part in choice.parts)
