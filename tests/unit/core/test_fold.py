import pytest

from ostiary.core.fold import Fold, fold, unfold
from ostiary.core.message import (
    AudioPart,
    RedactedThinkingPart,
    RefusalPart,
    TextPart,
    ThinkingPart,
    ToolUsePart,
)
from ostiary.core.reply import ChatReply, Choice, FinishReason, TokenLogprob
from ostiary.core.stream import (
    ArgumentsDelta,
    ChoiceFinished,
    CitationsDelta,
    Finished,
    LogprobsDelta,
    PartStarted,
    SignatureDelta,
    Started,
    TextDelta,
    UsageReported,
)
from ostiary.core.usage import Usage

TOKEN = TokenLogprob("a", -0.1)
REPLY = ChatReply(
    "id",
    "model",
    (
        Choice(
            (
                ThinkingPart("hm", "sig"),
                RedactedThinkingPart("x"),
                TextPart("hi"),
                RefusalPart("no"),
                ToolUsePart("c", "f", "{}"),
                TextPart(""),
            ),
            FinishReason.STOP_SEQUENCE,
            "END",
            (TOKEN, TOKEN),
            (TOKEN,),
        ),
        Choice((), FinishReason.LENGTH),
    ),
    Usage(input_tokens=1, output_tokens=2),
    7,
    "tier",
    "print",
)


def test_unfolding_and_folding_gives_the_reply():
    assert fold(unfold(REPLY)) == REPLY


def test_parts_stand_in_the_order_of_their_numbers_however_they_came():
    events = [
        Started("i", "m", usage=Usage(input_tokens=3)),
        PartStarted(1, 4, ToolUsePart("b", "g", "")),
        PartStarted(1, 3, ToolUsePart("a", "f", "")),
        ArgumentsDelta(1, 4, "{"),
        ArgumentsDelta(1, 3, "[]"),
        ArgumentsDelta(1, 4, "}"),
        TextDelta(0, 1, "late"),
        ChoiceFinished(1, FinishReason.TOOL_USE),
    ]
    reply = fold(events)
    assert reply.choices[0].parts == (TextPart("late"),)
    assert reply.choices[1].parts == (ToolUsePart("a", "f", "[]"), ToolUsePart("b", "g", "{}"))
    assert reply.usage == Usage(input_tokens=3)


def test_a_delta_without_a_start_begins_its_part():
    reply = fold(
        [
            ArgumentsDelta(0, 0, "{}"),
            SignatureDelta(0, 1, "s"),
            CitationsDelta(0, 2, b'{"a":1}'),
            CitationsDelta(0, 2, b"{}"),
            LogprobsDelta(0, (TOKEN,), refusal=True),
            LogprobsDelta(0, (TOKEN,), refusal=True),
        ]
    )
    assert reply.choices[0].parts == (
        ToolUsePart("", "", "{}"),
        ThinkingPart("", "s"),
        TextPart("", citations=b'[{"a":1},{}]'),
    )
    assert reply.choices[0].refusal_logprobs == (TOKEN, TOKEN)


def test_the_last_usage_counts_and_the_end_is_known():
    folding = Fold()
    for event in (Started("i", "m"), UsageReported(Usage(input_tokens=1)), UsageReported(Usage(input_tokens=2))):
        folding.add(event)
    assert not folding.finished
    folding.add(Finished())
    assert folding.finished
    assert folding.reply().usage == Usage(input_tokens=2)


def test_what_no_reply_holds_cannot_be_unfolded():
    with pytest.raises(TypeError):
        unfold(ChatReply("i", "m", (Choice((AudioPart("", "wav"),), None),), None))
