"""Whether an answer has the structure that its request asked for: an object of JSON, one that fits a schema, arguments that
fit a strict tool's. Pure, and bounded: what is larger than the bounds is not judged."""

from collections.abc import Sequence
from typing import Final

import msgspec

from ostiary.core.call import ChatCall
from ostiary.core.limit import SCHEMA_ANSWER_BYTES_MAX, SCHEMA_STEPS_COUNT_MAX
from ostiary.core.message import FormatKind, RefusalPart, TextPart, ToolUsePart
from ostiary.core.reply import Choice
from ostiary.gateway.judge.schema import TooMuch, misfit
from ostiary.gateway.wire.json import parse_value

_ANY_OBJECT: Final = b'{"type":"object"}'


class Structure(msgspec.Struct, frozen=True):
    """What was asked for: the schema of the text (empty: nothing), and those of strict tools' arguments by name."""

    text: bytes = b""
    tools: dict[str, bytes] = {}


def structure_of(call: ChatCall) -> Structure | None:
    """What a call asks for; None where that is nothing."""
    form, text = call.response_format, b""
    if form is not None and form.kind is FormatKind.JSON_SCHEMA:
        text = form.schema
    elif form is not None and form.kind is FormatKind.JSON_OBJECT:
        text = _ANY_OBJECT
    tools = {tool.name: tool.parameters for tool in call.tools if tool.strict and tool.parameters}
    return Structure(text, tools) if text or tools else None


def size(asked: Structure, choices: Sequence[Choice]) -> int:
    """How much there is to be read, in characters or bytes."""
    said = (text for choice in choices for text in (_text(choice), *(one.arguments for one in _calls(choice))))
    return sum(map(len, (asked.text, *asked.tools.values(), *said)))


def breach(asked: Structure, choices: Sequence[Choice], steps: int = SCHEMA_STEPS_COUNT_MAX) -> str | None:
    """What of an answer does not have the structure asked for, without a word of it; None where all has. A refusal, and a
    choice that calls tools in place of saying something, has no structure to keep. Raises TooMuch where a text would take
    more than so many comparisons, or is larger than SCHEMA_ANSWER_BYTES_MAX."""
    for choice in choices:
        calls = _calls(choice)
        refused = any(isinstance(part, RefusalPart) for part in choice.parts)
        text = _text(choice)
        if asked.text and not refused and (text or not calls):
            found = _unlike(asked.text, text, "the answer", steps)
            if found is not None:
                return found
        for one in calls:
            schema = asked.tools.get(one.name)
            if schema is not None and not one.custom:
                found = _unlike(schema, one.arguments, "a strict tool's arguments", steps)
                if found is not None:
                    return found
    return None


def _unlike(schema: bytes, text: str, what: str, steps: int) -> str | None:
    data = text.encode("utf-8", "replace")
    if len(data) > SCHEMA_ANSWER_BYTES_MAX:
        raise TooMuch
    try:
        value = parse_value(data)
    except ValueError:
        return f"{what} is no JSON"
    try:
        wanted = parse_value(schema)
    except ValueError:
        return None
    found = misfit(wanted, value, steps)
    return None if found is None else f"in {what}, {found}"


def _text(choice: Choice) -> str:
    return "".join(part.text for part in choice.parts if isinstance(part, TextPart))


def _calls(choice: Choice) -> list[ToolUsePart]:
    return [part for part in choice.parts if isinstance(part, ToolUsePart)]
