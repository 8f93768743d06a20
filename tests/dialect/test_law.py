"""The law of the dialects, for every pair: the folded stream is the plain answer, however it was cut."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ostiary.core.fold import fold, unfold
from ostiary.core.message import RedactedThinkingPart, RefusalPart, TextPart, ThinkingPart, ToolUsePart
from ostiary.core.reply import ChatReply, Choice, FinishReason, TokenLogprob
from ostiary.core.stream import ArgumentsDelta, TextDelta
from ostiary.core.usage import Usage
from tests.dialect.known import BOTH, CLIENTS, PAIRS, PROVIDERS, write_reply, write_stream

texts = st.one_of(
    st.text(min_size=1, max_size=20),
    st.sampled_from(["\n\ndata: [DONE]\n\n", "\r\n\r\nevent: error\r\n", "\u2028\u2029\x85", "\x00\x1f", "😀é", '"\\']),
)
scalars = st.one_of(st.integers(-5, 5), st.booleans(), st.none(), st.text(max_size=8), st.floats(-9, 9))
objects = st.dictionaries(st.text(max_size=6), st.one_of(scalars, st.lists(scalars, max_size=3)), max_size=4)
arguments = st.builds(
    lambda value, spaced, escaped: json.dumps(value, indent=1 if spaced else None, ensure_ascii=escaped),
    objects,
    st.booleans(),
    st.booleans(),
)
ids = st.text("abcXYZ019_-", min_size=1, max_size=12)
parts = st.one_of(
    st.builds(TextPart, texts, signature=st.one_of(st.just(""), ids)),
    st.builds(ThinkingPart, texts, st.one_of(st.just(""), ids)),
    st.builds(RefusalPart, texts),
    st.builds(RedactedThinkingPart, ids),
    st.builds(ToolUsePart, ids, ids, arguments, signature=st.one_of(st.just(""), ids)),
)
logprobs = st.lists(
    st.builds(
        TokenLogprob,
        texts,
        st.floats(-50, 0),
        st.one_of(st.none(), st.just((104, 105))),
        st.lists(st.builds(TokenLogprob, texts, st.floats(-50, 0)), max_size=2).map(tuple),
    ),
    min_size=1,
    max_size=3,
).map(tuple)
usages = st.builds(
    Usage,
    input_tokens=st.integers(100, 1000),
    output_tokens=st.integers(50, 1000),
    cached_tokens=st.integers(0, 40),
    cache_write_tokens=st.integers(20, 40),
    cache_write_1h_tokens=st.integers(0, 20),
    reasoning_tokens=st.integers(0, 50),
)
choices = st.builds(
    Choice,
    st.lists(parts, max_size=5).map(tuple),
    st.sampled_from(list(FinishReason)),
    st.one_of(st.none(), texts),
    st.one_of(st.none(), logprobs),
    st.one_of(st.none(), logprobs),
)
replies = st.builds(
    ChatReply,
    ids,
    ids,
    st.lists(choices, min_size=1, max_size=3).map(tuple),
    st.one_of(st.none(), usages),
    st.one_of(st.none(), st.integers(1, 2**31)),
    st.one_of(st.none(), st.sampled_from(["default", "priority"])),
    st.one_of(st.none(), ids),
)


def write(dialect, events):
    encoder = dialect.stream_encoder(include_usage=True, created=7)
    return b"".join(encoder.encode(event) for event in events)


def read(dialect, pieces):
    decoder = dialect.stream_decoder()
    frames = [frame for piece in pieces for frame in decoder.feed(piece)]
    return frames + decoder.close()


def events_of(frames):
    return [event for frame in frames for event in frame.events]


def cut(data, offsets):
    edges = [0, *sorted(offset % (len(data) + 1) for offset in offsets), len(data)]
    return [data[a:b] for a, b in zip(edges, edges[1:])]


@pytest.mark.parametrize("name", BOTH)
@given(reply=replies)
@settings(max_examples=300, deadline=None)
def test_a_streamed_reply_folds_to_the_plain_one(name, reply):
    dialect = BOTH[name]
    plain = dialect.decode_chat_reply(dialect.encode_chat_reply(reply, created=7))
    assert fold(events_of(read(dialect, [write(dialect, unfold(reply))]))) == plain


@pytest.mark.parametrize(("provider", "client"), PAIRS)
@given(reply=replies)
@settings(max_examples=200, deadline=None)
def test_the_law_holds_through_every_pair(provider, client, reply):
    upstream, downstream = PROVIDERS[provider], CLIENTS[client]
    # What the provider says, in the order in which its form says it: OpenAI's has one place for each kind of part,
    # and a block once sent to an Anthropic client cannot be moved before another.
    said = upstream.decode_chat_reply(write_reply(provider, reply))
    plain = downstream.encode_chat_reply(said, created=7)
    events = events_of(read(upstream, [write_stream(provider, unfold(said))]))
    streamed = write(downstream, events)
    if client in PROVIDERS:
        assert fold(events_of(read(downstream, [streamed]))) == downstream.decode_chat_reply(plain)


@pytest.mark.parametrize(("provider", "client"), PAIRS)
@given(pieces=st.lists(st.text(min_size=1, max_size=6), min_size=1, max_size=6), value=objects)
@settings(max_examples=100, deadline=None)
def test_tool_arguments_survive_every_pair_byte_for_byte(provider, client, pieces, value):
    upstream, downstream = PROVIDERS[provider], CLIENTS[client]
    text = json.dumps(value, indent=2, ensure_ascii=False)
    reply = ChatReply("r", "m", (Choice((ToolUsePart("c", "f", text),), FinishReason.TOOL_USE),), None)
    plain = upstream.decode_chat_reply(write_reply(provider, reply))
    plain = downstream.decode_chat_reply(downstream.encode_chat_reply(plain))
    streamed = fold(events_of(read(upstream, [write_stream(provider, unfold(reply))])))
    assert plain.choices[0].parts[0].arguments == text
    assert streamed.choices[0].parts[0].arguments == text


@pytest.mark.parametrize("name", BOTH)
@given(
    reply=replies, offsets=st.lists(st.integers(0, 10**6), max_size=8), crlf=st.sampled_from([b"\n", b"\r\n", b"\r"])
)
@settings(max_examples=200, deadline=None)
def test_where_a_stream_is_cut_changes_nothing(name, reply, offsets, crlf):
    dialect = BOTH[name]
    stream = write(dialect, unfold(reply)).replace(b"\n", crlf)
    whole = read(dialect, [stream])
    assert b"".join(frame.raw for frame in whole) == stream
    assert read(dialect, cut(stream, offsets)) == whole


@pytest.mark.parametrize("name", BOTH)
@pytest.mark.parametrize("line_end", [b"\n", b"\r\n", b"\r"])
def test_every_single_offset_gives_the_same_frames(name, line_end):
    dialect = BOTH[name]
    reply = ChatReply(
        "id-1",
        "model-1",
        (
            Choice(
                (
                    ThinkingPart("hm\n", "sig"),
                    TextPart("é😀\u2028\n\ndata: [DONE]\n\n"),
                    ToolUsePart("c1", "f", '{"a": "é"}'),
                ),
                FinishReason.TOOL_USE,
            ),
        ),
        Usage(input_tokens=5, output_tokens=7),
    )
    stream = (b"\xef\xbb\xbf: hello\n\n" + write(dialect, unfold(reply))).replace(b"\n", line_end)
    whole = read(dialect, [stream])
    assert b"".join(frame.raw for frame in whole) == stream
    for offset in range(len(stream) + 1):
        assert read(dialect, [stream[:offset], stream[offset:]]) == whole
    assert read(dialect, [stream[i : i + 1] for i in range(len(stream))]) == whole


@pytest.mark.parametrize("name", BOTH)
@given(text=texts)
@settings(max_examples=100, deadline=None)
def test_content_never_opens_an_event_of_its_own(name, text):
    dialect = BOTH[name]
    reply = ChatReply("i", "m", (Choice((TextPart(text), ToolUsePart("c", "f", text)), FinishReason.STOP),), None)
    for event in unfold(reply):
        if isinstance(event, TextDelta | ArgumentsDelta):
            encoder = dialect.stream_encoder(include_usage=False)
            for before in unfold(reply)[: unfold(reply).index(event)]:
                encoder.encode(before)
            out = encoder.encode(event)
            assert out.count(b"\n\n") == out.count(b"data: {") == len(out.split(b"\n\n")) - 1
            assert b"\r" not in out


@pytest.mark.parametrize("name", BOTH)
@given(reply=replies)
@settings(max_examples=50, deadline=None)
def test_a_tap_sees_what_a_full_decoder_sees(name, reply):
    dialect = BOTH[name]
    stream = write(dialect, unfold(reply))
    decoder = dialect.stream_decoder(events=False)
    tapped = decoder.feed(stream) + decoder.close()
    full = read(dialect, [stream])
    assert [
        (f.raw, f.content, f.usage, f.usage_only, f.terminal, f.finish_reason, f.produced_bytes) for f in tapped
    ] == [(f.raw, f.content, f.usage, f.usage_only, f.terminal, f.finish_reason, f.produced_bytes) for f in full]
    assert all(frame.events == () for frame in tapped)
