"""A glance at a packet tells what reading all of it tells, whatever the packet is and whatever came before."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ostiary.core.error import UpstreamError
from ostiary.gateway.dialect.anthropic.stream_decode import StreamDecoder as AnthropicDecoder
from ostiary.gateway.dialect.openai.stream_decode import StreamDecoder as OpenAIDecoder
from ostiary.gateway.guard.holdback import Holdback
from ostiary.gateway.relay import Relay

TEXTS = st.sampled_from(["", "Hello", " there", "naïve", "\U0001f600", 'a "quote"', "two\nlines", "\x00"])
ODD = [
    b": a comment\n\n",
    b"data: \n\n",
    b"data: [DONE]\n\n",
    b"data: not json\n\n",
    b'data: {"choices": [], "error": {"message": "no"}}\n\n',
    b'data: {"object": "error", "message": "no", "choices": [{"delta": {"content": "x"}}]}\n\n',
    b'data: {"choices": [{"delta": {"content": "\xff"}}]}\n\n',
    b'data: {"choices": [{"delta": {"content": "x"}}], "note": "\xff"}\n\n',
    b'data: {"choices": [{"delta": {"content": "\\ud800"}}]}\n\n',
    b'data: {"choices": [{"delta": {"content": ["x"]}}]}\n\n',
    b'data: {"choices": [{"delta": {"content": "x"}}], "usage": {"prompt_tokens": 3}, "usage": null}\n\n',
    b'event: error\ndata: {"choices": [{"delta": {"content": "x"}}]}\n\n',
    b'event: error\ndata: {"type": "error", "error": {"type": "overloaded_error", "message": "no"}}\n\n',
    b'event: content_block_delta\ndata: {"type": "error", "error": {"type": "api_error", "message": "no"}}\n\n',
    b'event: content_block_delta\ndata: {"type": "content_block_delta"}\n\n',
    b'event: content_block_delta\ndata: {"type": "ping"}\n\n',
    b'event: content_block_delta\ndata: {"type": "message_stop"}\n\n',
    b'event: content_block_delta\ndata: {"type": "content_block_delta", "delta": {"text": "\xff"}}\n\n',
    b'event: content_block_delta_too\ndata: {"type": "content_block_delta", "delta": {"text": "x"}}\n\n',
    b"\n\n",
    b"\xef\xbb\xbf",
    b"data: {",
]
DELTAS = st.one_of(
    st.fixed_dictionaries({"content": TEXTS}),
    st.fixed_dictionaries({"content": TEXTS, "role": st.just("assistant"), "refusal": st.none()}),
    st.fixed_dictionaries({"content": TEXTS, "refusal": TEXTS}),
    st.fixed_dictionaries({"content": TEXTS, "reasoning_content": TEXTS}),
    st.fixed_dictionaries({"content": st.none(), "reasoning": TEXTS}),
    st.fixed_dictionaries(
        {
            "content": TEXTS,
            "tool_calls": st.just([{"index": 0, "id": "c", "function": {"name": "f", "arguments": "{}"}}]),
        }
    ),
    st.just({"function_call": {"name": "f", "arguments": "{}"}}),
    st.just({}),
)
CHOICES = st.fixed_dictionaries(
    {"delta": DELTAS},
    optional={
        "index": st.integers(0, 2),
        "finish_reason": st.sampled_from([None, None, "stop", ""]),
        "logprobs": st.sampled_from([None, {"content": []}, {"content": 3}]),
    },
)
CHUNKS = st.fixed_dictionaries(
    {"choices": st.one_of(st.lists(CHOICES, min_size=1, max_size=1), st.lists(CHOICES, max_size=2))},
    optional={
        "model": st.sampled_from(["m", "m", "other", None, ""]),
        "object": st.sampled_from(["chat.completion.chunk", None, "chunk"]),
        "usage": st.sampled_from([None, {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7}]),
        "obfuscation": TEXTS,
        "error": st.none(),
    },
)
EVENTS = st.one_of(
    st.fixed_dictionaries(
        {
            "type": st.just("content_block_delta"),
            "index": st.integers(0, 2),
            "delta": st.one_of(
                st.fixed_dictionaries({"type": st.just("text_delta"), "text": TEXTS}),
                st.fixed_dictionaries({"type": st.just("input_json_delta"), "partial_json": TEXTS}),
                st.fixed_dictionaries({"type": st.just("thinking_delta"), "thinking": TEXTS}),
                st.fixed_dictionaries({"type": st.just("signature_delta"), "signature": TEXTS}),
            ),
        }
    ),
    st.just({"type": "message_start", "message": {"model": "m", "usage": {"input_tokens": 3, "output_tokens": 1}}}),
    st.just({"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 9}}),
    st.just({"type": "message_stop"}),
    st.just({"type": "ping"}),
)


def openai_packet(chunk, ascii_only):
    return b"data: " + json.dumps(chunk, ensure_ascii=ascii_only).encode() + b"\n\n"


def anthropic_packet(event, ascii_only):
    line = json.dumps(event, ensure_ascii=ascii_only).encode()
    return b"event: " + event["type"].encode() + b"\ndata: " + line + b"\n\n"


PLAIN = {
    "id": "c",
    "object": "chat.completion.chunk",
    "created": 1,
    "model": "m",
    "choices": [{"index": 0, "delta": {"content": "x"}, "finish_reason": None, "logprobs": None}],
}
USAGE = {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7}
CHANGES = [
    lambda chunk, choice: None,
    lambda chunk, choice: chunk.update(model="other"),
    lambda chunk, choice: chunk.update(model=None),
    lambda chunk, choice: chunk.pop("model"),
    lambda chunk, choice: chunk.update(usage=USAGE),
    lambda chunk, choice: chunk.update(usage=None, obfuscation="abc"),
    lambda chunk, choice: chunk.update(error={"message": "no"}),
    lambda chunk, choice: chunk.update(object="error", message="no"),
    lambda chunk, choice: chunk.update(created="now"),
    lambda chunk, choice: chunk.update(choices=[choice, choice]),
    lambda chunk, choice: chunk.update(choices=[]),
    lambda chunk, choice: choice.update(finish_reason="stop"),
    lambda chunk, choice: choice.update(finish_reason=""),
    lambda chunk, choice: choice.update(logprobs={"content": 3}),
    lambda chunk, choice: choice.update(logprobs={"content": []}),
    lambda chunk, choice: choice.update(index="0"),
    lambda chunk, choice: choice.pop("delta"),
    *(
        lambda chunk, choice, more=more: choice["delta"].update(more)
        for more in (
            {"content": ""},
            {"content": None},
            {"content": "é\U0001f600"},
            {"content": ["x"]},
            {"role": "assistant", "refusal": None},
            {"refusal": "no"},
            {"reasoning_content": "hm"},
            {"reasoning": "hm"},
            {"reasoning": {"text": "hm"}},
            {"function_call": {"name": "f", "arguments": "{}"}},
            {"tool_calls": []},
            {"tool_calls": [{"index": 0, "id": "c", "function": {"name": "f", "arguments": "{}"}}]},
        )
    ),
]


def changed(change, ascii_only, ending):
    chunk = json.loads(json.dumps(PLAIN))
    change(chunk, chunk["choices"][0])
    return ending[0] + json.dumps(chunk, ensure_ascii=ascii_only).encode() + ending[1]


FORMS = [(b"data: ", b"\n\n")] * 4 + [
    (b"data:", b"\n\n"),
    (b"event: error\ndata: ", b"\n\n"),
    (b"event: chunk\ndata: ", b"\n\n"),
    (b"data: ", b"\n\n: more\n\n"),
    (b"data: ", b" \r\n\n"),
    (b"data: ", b"\n"),
    (b"data: ", b"x\n\n"),
    (b"\ndata: ", b"\n\n"),
]
PACKETS = {
    "openai": st.one_of(
        st.just(openai_packet(PLAIN, True)),
        st.builds(changed, st.sampled_from(CHANGES), st.booleans(), st.sampled_from(FORMS)),
        st.builds(openai_packet, CHUNKS, st.booleans()),
    ),
    "anthropic": st.builds(anthropic_packet, EVENTS, st.booleans()),
}
DECODERS = {"openai": OpenAIDecoder, "anthropic": AnthropicDecoder}


def told(dialect, packets, *, glancing):
    """What a relay lets out and says after each packet, up to its error."""
    decoder = DECODERS[dialect](events=False)
    glanced = 0
    if glancing:
        glance = decoder.glance

        def counted(data):
            nonlocal glanced
            produced = glance(data)
            glanced += produced > 0
            return produced

        decoder.glance = counted
    else:
        decoder.glance = lambda data: 0
    relay = Relay(decoder, Encoder(), Holdback(), passes=True, include_usage=False)
    said = []
    try:
        for packet in [*packets, b""]:
            piece = relay.feed(packet)
            said.append(
                (piece, relay.produced_bytes, relay.usage, relay.response_model, relay.finish_reason),
            )
    except UpstreamError as error:
        said.append((error.code, error.message))
    return said, glanced


class Encoder:
    """What a relay needs of one where nothing is encoded."""

    media_type = b"text/event-stream"
    keepalive = b""

    def wrote(self, data):
        pass

    def error(self, error, request_id):
        return b""


@pytest.mark.parametrize("dialect", DECODERS)
@given(data=st.data())
def test_a_stream_looked_at_is_told_as_one_read(dialect, data):
    usual = PACKETS[dialect]
    odd = st.one_of(st.sampled_from(ODD), st.builds(bytes.__add__, usual, usual))
    packets = data.draw(st.lists(st.one_of(usual, usual, usual, usual, odd), max_size=6))
    if dialect == "openai":
        packets = [openai_packet(PLAIN, True)] * 2 + packets
    assert told(dialect, packets, glancing=True)[0] == told(dialect, packets, glancing=False)[0]


def test_what_is_not_plain_text_in_the_midst_of_it_is_read():
    plain = openai_packet(PLAIN, True)
    for packet in [
        *ODD,
        *(changed(change, ascii_only, form) for change in CHANGES for ascii_only in (True, False) for form in FORMS),
    ]:
        packets = [plain, plain, packet, plain, packet, packet, plain + packet, plain]
        assert told("openai", packets, glancing=True)[0] == told("openai", packets, glancing=False)[0], packet


def test_a_stream_of_text_is_only_looked_at():
    chunk = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "obfuscation": "xyz"}
    texts = ["", "A", "b", "ç", "d"]
    packets = [
        openai_packet({**chunk, "choices": [{"index": 0, "delta": {"content": text}, "finish_reason": None}]}, False)
        for text in texts
    ]
    packets += [b"data: [DONE]\n\n"]
    assert told("openai", packets, glancing=True)[1] == 3
    events = [{"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": t}} for t in texts]
    packets = [anthropic_packet({"type": "ping"}, True), *(anthropic_packet(one, False) for one in events)]
    assert told("anthropic", packets, glancing=True)[1] == 4
