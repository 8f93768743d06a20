"""Tool calls that a provider tells in turns, and arguments that are no object: streamed and plain say the same."""

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ostiary.core.error import Code, UpstreamError
from ostiary.core.fold import fold, unfold
from ostiary.core.message import TextPart, ToolUsePart
from ostiary.core.reply import ChatReply, Choice, FinishReason
from ostiary.core.stream import ArgumentsDelta, ChoiceFinished, Finished, PartStarted, Started, TextDelta
from ostiary.core.usage import Usage
from ostiary.gateway.dialect.anthropic.reply import encode_reply
from ostiary.gateway.dialect.anthropic.stream_decode import StreamDecoder
from ostiary.gateway.dialect.anthropic.stream_encode import StreamEncoder

BLANKS = st.sampled_from(["", " ", "\n\t"])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)


def written(value, blank, ascii_only):
    return blank + json.dumps(value, ensure_ascii=ascii_only, separators=("," + blank, ": ")) + blank


OBJECTS = st.builds(written, st.dictionaries(st.text(max_size=4), VALUES, max_size=3), BLANKS, st.booleans())
OTHERS = st.builds(written, VALUES.filter(lambda value: not isinstance(value, dict)), BLANKS, st.booleans())
FREE = st.text(max_size=20).filter(lambda text: not text.strip(" \t\r\n").startswith("{"))
DOUBLED = st.just('{"a":1,"a":2}')


@st.composite
def told_in_turns(draw):
    """A reply of text and tool calls, and events that tell it with all tool calls' pieces mixed."""
    arguments = draw(st.lists(OBJECTS | OTHERS | FREE | DOUBLED | st.just(""), min_size=1, max_size=4))
    text = draw(st.text(max_size=5))
    parts = ([TextPart(text)] if text else []) + [ToolUsePart(f"t{i}", f"f{i}", a) for i, a in enumerate(arguments)]
    queues = []
    for index, part in enumerate(parts):
        if isinstance(part, TextPart):
            continue
        cuts = sorted(draw(st.lists(st.integers(0, len(part.arguments)), max_size=4)))
        pieces = [part.arguments[a:b] for a, b in zip([0, *cuts], [*cuts, len(part.arguments)], strict=True)]
        queues.append([ArgumentsDelta(0, index, piece) for piece in pieces if piece])
    events = [Started("m", "model")]
    if text:
        events += [PartStarted(0, 0, TextPart("")), TextDelta(0, 0, text)]
    events += [
        PartStarted(0, index, ToolUsePart(part.id, part.name, ""))
        for index, part in enumerate(parts)
        if isinstance(part, ToolUsePart)
    ]
    while queue := [queue for queue in queues if queue]:
        events.append(draw(st.sampled_from(queue)).pop(0))
    events += [ChoiceFinished(0, FinishReason.TOOL_USE), Finished()]
    return ChatReply("m", "model", (Choice(tuple(parts), FinishReason.TOOL_USE),), Usage()), events


def through(events):
    """What a client of Anthropic's form reads of a stream."""
    encoder, decoder = StreamEncoder(), StreamDecoder(events=True)
    data = b"".join(encoder.encode(event) for event in events)
    frames = decoder.feed(data) + decoder.close()
    return fold([event for frame in frames for event in frame.events]).choices


def read(part):
    """A part as a client takes it: a tool call's input is what its JSON means."""
    return (part.id, part.name, json.loads(part.arguments or "{}")) if isinstance(part, ToolUsePart) else part


@given(told_in_turns())
def test_calls_told_in_turns_are_the_calls_of_the_plain_answer(told):
    reply, events = told
    plain = [
        TextPart(block["text"]) if block["type"] == "text" else (block["id"], block["name"], block["input"])
        for block in json.loads(encode_reply(reply))["content"]
    ]
    assert [read(part) for part in through(events)[0].parts] == plain


def calls(*pieces):
    """A stream of two calls whose arguments come in these pieces, each with the call it is for."""
    events = [Started("m", "model")]
    events += [PartStarted(0, index, ToolUsePart(f"t{index}", "f", "")) for index in (0, 1)]
    events += [ArgumentsDelta(0, index, piece) for index, piece in pieces]
    return [*events, ChoiceFinished(0, FinishReason.TOOL_USE), Finished()]


def test_a_number_may_go_on_after_another_call_has_spoken():
    parts = through(calls((0, "0"), (1, "{}"), (0, "1")))[0].parts
    assert [json.loads(part.arguments) for part in parts] == [{"INVALID_JSON": "01"}, {}]


def test_blanks_behind_a_whole_object_mean_nothing():
    parts = through(calls((0, '{"a":1}'), (1, "{"), (0, " \n"), (1, "}")))[0].parts
    assert [part.arguments for part in parts] == ['{"a":1}', "{}"]


@given(st.lists(OBJECTS.filter(str.strip), min_size=1, max_size=3))
def test_objects_keep_their_bytes(arguments):
    parts = tuple(ToolUsePart(f"t{i}", "f", text) for i, text in enumerate(arguments))
    reply = ChatReply("m", "model", (Choice(parts, FinishReason.TOOL_USE),), Usage())
    assert [part.arguments for part in through(unfold(reply))[0].parts] == arguments


def test_a_call_that_is_whole_does_not_hold_up_the_next():
    encoder = StreamEncoder()
    for event in (
        Started("m", "model"),
        PartStarted(0, 3, ToolUsePart("a", "f", "")),
        ArgumentsDelta(0, 3, '{"x":'),
        ArgumentsDelta(0, 3, "1}"),
    ):
        encoder.encode(event)
    assert b'"name":"g"' in encoder.encode(PartStarted(0, 4, ToolUsePart("b", "g", "")))
    assert b"partial" in encoder.encode(ArgumentsDelta(0, 4, "{"))


def test_what_is_kept_is_bounded(monkeypatch):
    monkeypatch.setattr("ostiary.gateway.dialect.anthropic.stream_encode.STREAM_KEPT_CHARS_MAX", 1_000)
    encoder = StreamEncoder()
    encoder.encode(PartStarted(0, 3, ToolUsePart("a", "f", "")))
    encoder.encode(PartStarted(0, 4, ToolUsePart("b", "g", "")))
    with pytest.raises(UpstreamError) as caught:
        for _ in range(1_000):
            encoder.encode(ArgumentsDelta(0, 4, "x"))
    assert caught.value.code is Code.UPSTREAM_TOO_LARGE


def test_turns_without_end_cost_linear_time():
    encoder = StreamEncoder()
    encoder.encode(PartStarted(0, 3, ToolUsePart("a", "f", '{"x":"')))
    encoder.encode(PartStarted(0, 4, ToolUsePart("b", "g", "")))
    began = time.process_time()
    for _ in range(20_000):
        encoder.encode(ArgumentsDelta(0, 3, "x" * 20))
        encoder.encode(ArgumentsDelta(0, 4, "y"))
    assert time.process_time() - began < 2.0
