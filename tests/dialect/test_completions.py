"""OpenAI's older form: a text to be continued, by way of any dialect."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ostiary.core.call import DialectName
from ostiary.core.error import CallerError, Code, UpstreamError
from ostiary.core.fold import fold, unfold
from ostiary.core.message import Message, RefusalPart, Role, TextPart, ThinkingPart, ToolUsePart
from ostiary.core.reply import ChatReply, Choice, FinishReason
from ostiary.core.usage import Usage
from ostiary.gateway.dialect.completions import Completions
from ostiary.gateway.wire.json import parse
from tests.dialect.known import PROVIDERS, write_stream

FORM = Completions()


def document(**fields):
    return parse(json.dumps({"model": "m", "prompt": "Once", **fields}).encode())


def events_of(dialect, data, size=None):
    decoder = dialect.stream_decoder()
    pieces = [data] if size is None else [data[at : at + size] for at in range(0, len(data), size)]
    frames = [frame for piece in pieces for frame in decoder.feed(piece)] + decoder.close()
    return [event for frame in frames for event in frame.events], frames


parts = st.one_of(
    st.builds(TextPart, st.text(min_size=1, max_size=12)),
    st.builds(RefusalPart, st.text(min_size=1, max_size=12)),
    st.builds(ThinkingPart, st.text(min_size=1, max_size=12)),
)
replies = st.builds(
    ChatReply,
    st.text("abc1", min_size=1, max_size=4),
    st.just("model"),
    st.lists(
        st.builds(Choice, st.lists(parts, max_size=3).map(tuple), st.sampled_from(list(FinishReason))),
        min_size=1,
        max_size=3,
    ).map(tuple),
    st.one_of(st.none(), st.builds(Usage, st.integers(0, 99), st.integers(0, 99))),
    st.one_of(st.none(), st.integers(1, 2**31)),
)


@given(replies, st.integers(1, 40))
@settings(max_examples=200, deadline=None)
def test_a_streamed_answer_folds_to_the_plain_one_however_it_was_cut(reply, size):
    plain = FORM.decode_chat_reply(FORM.encode_chat_reply(reply, created=7))
    encoder = FORM.stream_encoder(include_usage=True, created=7)
    data = b"".join(encoder.encode(event) for event in unfold(reply))
    events, frames = events_of(FORM, data, size)
    assert fold(events) == plain
    assert b"".join(frame.raw for frame in frames) == data
    said = sum(
        len(part.text.encode("utf-8", "replace"))
        for choice in reply.choices
        for part in choice.parts
        if not isinstance(part, ThinkingPart)
    )
    assert sum(frame.produced_bytes for frame in frames) == said


@pytest.mark.parametrize("provider", PROVIDERS)
def test_an_answer_of_every_dialect_becomes_a_text(provider):
    reply = ChatReply(
        "id-1",
        "model-1",
        (Choice((ThinkingPart("Hm."), TextPart("A time.")), FinishReason.LENGTH),),
        Usage(input_tokens=3, output_tokens=4),
        5,
    )
    events, _ = events_of(PROVIDERS[provider], write_stream(provider, unfold(reply)))
    encoder = FORM.stream_encoder(include_usage=True, created=5)
    told = b"".join(encoder.encode(event) for event in events)
    assert told.endswith(b"data: [DONE]\n\n")
    chunks = [json.loads(line[6:]) for line in told.decode().splitlines() if line.startswith("data: {")]
    assert {chunk["object"] for chunk in chunks} == {"text_completion"}
    assert "".join(choice["text"] for chunk in chunks for choice in chunk["choices"]) == "A time."
    assert [choice["finish_reason"] for chunk in chunks for choice in chunk["choices"]][-1] == "length"
    assert chunks[-1]["choices"] == []
    assert chunks[-1]["usage"]["completion_tokens"] == 4
    plain = json.loads(FORM.encode_chat_reply(reply))
    assert plain["choices"] == [{"text": "A time.", "index": 0, "logprobs": None, "finish_reason": "length"}]


def test_a_tool_call_has_no_place_in_an_answer():
    reply = ChatReply("i", "m", (Choice((ToolUsePart("c", "f", "{}"),), FinishReason.TOOL_USE),), None)
    with pytest.raises(UpstreamError) as caught:
        FORM.encode_chat_reply(reply)
    assert caught.value.code is Code.UPSTREAM_PROTOCOL
    encoder = FORM.stream_encoder(include_usage=False)
    with pytest.raises(UpstreamError):
        [encoder.encode(event) for event in unfold(reply)]


def test_every_field_with_a_place_elsewhere_is_carried():
    call = FORM.decode_chat(
        document(
            max_tokens=9,
            temperature=0.5,
            top_p=0.25,
            n=2,
            best_of=2,
            stop="x",
            seed=-3,
            presence_penalty=1,
            frequency_penalty=-1,
            user="u",
            stream=True,
            stream_options={"include_usage": True},
            echo=False,
            suffix="",
            logit_bias={},
            logprobs=None,
        )
    )
    assert call.messages == (Message(Role.USER, (TextPart("Once"),), "", "prompt", ("prompt",)),)
    assert (call.max_tokens, call.temperature, call.top_p, call.choices, call.stop) == (9, 0.5, 0.25, 2, ("x",))
    assert (call.seed, call.presence_penalty, call.frequency_penalty, call.end_user) == (-3, 1, -1, "u")
    assert (call.stream, call.include_usage, call.extensions) == (True, True, {})
    assert call.dialect is DialectName.COMPLETIONS
    assert FORM.decode_chat(document(prompt=["Once"])).messages[0].parts == (TextPart("Once"),)


ONLY_HERE = {
    "suffix": "end",
    "echo": True,
    "best_of": 3,
    "logprobs": 0,
    "logit_bias": {"50256": -100},
    "of_a_server": 1,
}


@pytest.mark.parametrize("provider", PROVIDERS)
@pytest.mark.parametrize("field", ONLY_HERE)
def test_what_only_this_form_has_is_refused_by_name_or_left_out_by_name(provider, field):
    call = FORM.decode_chat(document(max_tokens=5, **{field: ONLY_HERE[field]}))
    with pytest.raises(CallerError) as caught:
        PROVIDERS[provider].encode_chat(call, model="x", max_tokens=None, drop=False)
    assert (caught.value.code, caught.value.param) == (Code.REQUEST_UNSUPPORTED, field)
    assert PROVIDERS[provider].encode_chat(call, model="x", max_tokens=None, drop=True).dropped == (field,)


@pytest.mark.parametrize("prompt", [["a", "b"], [1, 2], [[1, 2]], [[1], [2]]])
def test_a_prompt_without_a_place_in_a_conversation_is_refused(prompt):
    assert FORM.peek_chat(document(prompt=prompt)).messages == (2 if len(prompt) > 1 and prompt[0] != 1 else 1)
    with pytest.raises(CallerError) as caught:
        FORM.decode_chat(document(prompt=prompt))
    assert (caught.value.code, caught.value.param) == (Code.REQUEST_UNSUPPORTED, "prompt")


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"prompt": None}, "prompt"),
        ({"prompt": []}, "prompt"),
        ({"prompt": {}}, "prompt"),
        ({"prompt": ["x"] * 257}, "prompt"),
        ({"model": None}, "model"),
        ({"stream": "true"}, "stream"),
        ({"stream_options": []}, "stream_options"),
        ({"stream_options": {"include_usage": 1}}, "stream_options.include_usage"),
        ({"n": 0}, "n"),
        ({"n": 17}, "n"),
        ({"best_of": 17}, "best_of"),
        ({"max_tokens": -1}, "max_tokens"),
        ({"stop": ["x"] * 17}, "stop"),
        ({"user": 1}, "user"),
    ],
)
def test_what_is_wrong_is_named(fields, param):
    with pytest.raises(CallerError) as caught:
        FORM.peek_chat(document(**fields))
    assert caught.value.param == param


def test_everything_that_is_produced_is_counted_for_the_hold():
    peek = FORM.peek_chat(document(prompt=["a", "b"], n=2, best_of=5, max_tokens=7))
    assert (peek.choices, peek.max_tokens, peek.messages) == (10, 7, 2)
    tokens = document(prompt=[[1] * 100, [2] * 50])
    assert FORM.peek_chat(tokens).prompt_bytes == len(tokens.raw) + 4 * 150


def test_within_the_form_the_bytes_pass_with_the_named_edits():
    raw = b'{"model": "m", "prompt" : [1, 2.0],\n"logprobs": 5, "stream": true, "x": 1.50}'
    sent = FORM.forward_chat(parse(raw), model="other", report_usage=True, max_tokens=4)
    assert sent.path == b"/completions"
    assert sent.body == (
        b'{"model":"other","prompt":[1, 2.0],"logprobs":5,"stream":true,"x":1.50,'
        b'"stream_options":{"include_usage":true},"max_tokens":4}'
    )
    own = document(max_tokens=3, stream=True, stream_options={"include_usage": False, "x": 1})
    sent = json.loads(FORM.forward_chat(own, model="o", report_usage=True, max_tokens=4).body)
    assert (sent["max_tokens"], sent["stream_options"]) == (3, {"include_usage": True, "x": 1})
    sent = json.loads(FORM.forward_chat(own, model="o", report_usage=False, max_tokens=None).body)
    assert sent == {**own.tree, "model": "o"}


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b'{"error":{"message":"x","type":"server_error"}}', Code.UPSTREAM_ERROR),
        (b'{"object":"error","message":"x"}', Code.UPSTREAM_ERROR),
        (b"{}", Code.UPSTREAM_PROTOCOL),
        (b"[]", Code.UPSTREAM_PROTOCOL),
        (b"nonsense", Code.UPSTREAM_PROTOCOL),
        (b'{"choices":[]}', Code.UPSTREAM_PROTOCOL),
        (b'{"choices":[{"text":1}]}', Code.UPSTREAM_PROTOCOL),
        (b'{"choices":[{"text":"","finish_reason":"error"}]}', Code.UPSTREAM_ERROR),
    ],
)
def test_an_answer_of_another_kind_is_an_error(body, code):
    with pytest.raises(UpstreamError) as caught:
        FORM.decode_chat_reply(body)
    assert caught.value.code is code


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b'data: {"choices":[{"text":"a","index":0}]}\n\n', Code.UPSTREAM_CUT),
        (b'data: {"error":{"message":"x","type":"server_error"}}\n\n', Code.UPSTREAM_ERROR),
        (b"data: {}\n\n", Code.UPSTREAM_PROTOCOL),
        (b"data: nonsense\n\n", Code.UPSTREAM_PROTOCOL),
        (b'data: {"choices":[{"text":"a","index":-1}]}\n\n', Code.UPSTREAM_PROTOCOL),
        (b'data: [DONE]\n\ndata: {"choices":[]}\n\n', Code.UPSTREAM_PROTOCOL),
    ],
)
def test_a_stream_that_is_none_is_an_error(data, code):
    with pytest.raises(UpstreamError) as caught:
        events_of(FORM, data)
    assert caught.value.code is code


def test_texts_are_found_and_edited_in_place():
    one = document(prompt=["a", "b"], suffix="c")
    places = FORM.request_texts(one)
    assert {place.text for place in places} >= {"a", "b", "c"}
    edited = FORM.edit_request(one, {("prompt", 1): "B"})
    assert json.loads(edited)["prompt"] == ["a", "B"]
    answer = json.dumps({"id": "i", "choices": [{"text": "said", "finish_reason": "stop"}]}).encode()
    assert [place.text for place in FORM.reply_texts(answer)] == ["said"]


def test_nothing_but_texts_goes_to_a_provider_of_this_form():
    call = FORM.decode_chat(document())
    for ask in (
        lambda: FORM.encode_chat(call, model="x", max_tokens=None, drop=True),
        lambda: FORM.forward_embeddings(document(), model="x"),
        lambda: FORM.forward_count_tokens(document(), model="x"),
    ):
        with pytest.raises(CallerError) as caught:
            ask()
        assert caught.value.code is Code.MODEL_UNSUITABLE
