"""What a model says instead of a failure, where its entry asks for that: the first of its answers that fits a call.

An answer may be for some questions alone (a FAQ), for some callers (a condition), for both, or for everything. It is told
in the client's dialect, as a stream where a stream was asked for, and says in a header what it is.
"""

import math
import re
from collections.abc import Callable
from typing import Final

from ostiary.core.error import Code, OstiaryError
from ostiary.core.http import JSON_TYPE, Header
from ostiary.core.reply import FinishReason
from ostiary.core.usage import Usage
from ostiary.gateway.arrival import Arrival
from ostiary.gateway.audit.draft import Draft
from ostiary.gateway.ports import Kept
from ostiary.gateway.relay import stream_headers
from ostiary.gateway.routing import judge
from ostiary.gateway.task import Task
from ostiary.gateway.task.chat import Chat
from ostiary.gateway.world import World
from ostiary.snapshot.tables import DegradedAnswerRow, DegradedRow

LIKENESS_MIN: Final = 0.8
"""Of all the words of two questions that are the same one, so many are in both."""

PLACES: Final = ("reason", "request_id", "model", "retry_after_seconds")
"""What a text may have filled in."""

_WORD: Final = re.compile(r"\w+")


def answer(
    row: DegradedRow, code: Code, question: Callable[[], str], holds: Callable[[str], bool | None]
) -> DegradedAnswerRow | None:
    """The answer to give instead of a failure of this reason; None where there is none. `holds` judges a condition and
    `question` is the user's last word, asked for where that matters."""
    if code not in row.on:
        return None
    words: frozenset[str] | None = None
    for one in row.answers:
        if one.when and holds(one.when) is not True:
            continue
        if one.questions:
            if words is None:
                words = words_of(question())
            if not any(alike(words, words_of(asked)) for asked in one.questions):
                continue
        return one
    return None


def words_of(text: str) -> frozenset[str]:
    """The words of a text, whatever their case and order."""
    return frozenset(_WORD.findall(text.casefold()))


def alike(one: frozenset[str], other: frozenset[str]) -> bool:
    """Whether two questions have so many words in common that they are one; numbers must be the same."""
    if not one or not other:
        return False
    if len(one & other) < LIKENESS_MIN * len(one | other):
        return False
    return not any(word.isnumeric() for word in one ^ other)


def written(text: str, error: OstiaryError, request_id: str, model: str) -> str:
    """A text with its places filled in."""
    filled = (str(error.code), request_id, model, str(math.ceil(error.retry_after_seconds or 0)))
    for place, value in zip(PLACES, filled, strict=True):
        text = text.replace(f"{{{place}}}", value)
    return text


def stood_in(
    world: World, arrival: Arrival, draft: Draft, task: Task, *, bound: Usage, row: DegradedRow, error: OstiaryError
) -> Kept | None:
    """The answer as it goes to the client, None where none fits."""
    if not isinstance(task, Chat):
        return None
    found = answer(row, error.code, task.question, judge(world, arrival, draft, bound, task.need))
    if found is None:
        return None
    now_seconds = world.clock.now_ns() // 1_000_000_000
    text = written(found.text, error, draft.request_id, draft.original_model)
    if not task.stream:
        return _as_kept((JSON_TYPE,), task.said(text, now_seconds), now_seconds)
    encoder, data = task.spoken(text, now_seconds)
    return _as_kept(stream_headers(encoder), data, now_seconds, encoder.keepalive)


def _as_kept(headers: tuple[Header, ...], data: bytes, now_seconds: int, keepalive: bytes | None = None) -> Kept:
    """In the form of an answer that was kept, which is given in the same way."""
    return Kept(
        headers,
        (data,),
        keepalive is not None,
        keepalive or b"",
        "",
        "",
        FinishReason.STOP,
        now_seconds,
        now_seconds,
        now_seconds,
    )
