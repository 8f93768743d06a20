"""Cohere: what is carried and refused, citations, log-probabilities, what is charged, embeddings."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ostiary.core.error import CallerError, Code, UpstreamError
from ostiary.core.fold import fold
from ostiary.core.message import ThinkingPart, ToolUsePart
from ostiary.core.reply import TokenLogprob
from ostiary.gateway.dialect.anthropic import Anthropic
from ostiary.gateway.dialect.cohere import Cohere
from ostiary.gateway.dialect.openai import OpenAI
from ostiary.gateway.wire.json import parse
from tests.dialect.write_cohere import event, said

O, A, C = OpenAI(), Anthropic(), Cohere()
USER = {"role": "user", "content": "x"}
FUNCTION = {"type": "function", "function": {"name": "f", "parameters": {}}}
STRICT = {"type": "function", "function": {"name": "g", "parameters": {}, "strict": True}}


def user(*parts):
    return {"messages": [{"role": "user", "content": list(parts)}]}


def translate(client, change, *, drop=False):
    tree = {"model": "m", "messages": [USER], **change}
    call = client.decode_chat(parse(json.dumps(tree).encode()))
    return C.encode_chat(call, model="m", max_tokens=None, drop=drop)


@pytest.mark.parametrize(
    ("client", "change", "expected"),
    [
        (O, {"temperature": 1.5, "top_p": 0.5, "seed": 7, "stop": "a", "frequency_penalty": 0.5}, {"temperature": 1.5, "p": 0.5, "seed": 7, "stop_sequences": ["a"], "frequency_penalty": 0.5}),
        (A, {"top_k": 3, "max_tokens": 9}, {"k": 3, "max_tokens": 9}),
        (O, {"logprobs": True}, {"logprobs": True}),
        (O, {"tools": [FUNCTION], "tool_choice": "required"}, {"tool_choice": "REQUIRED", "strict_tools": None}),
        (O, {"tools": [FUNCTION], "tool_choice": "none"}, {"tool_choice": "NONE"}),
        (O, {"tools": [FUNCTION], "tool_choice": "auto"}, {"tool_choice": None}),
        (O, {"tools": [STRICT]}, {"strict_tools": True, "tools": [{"type": "function", "function": {"name": "g", "parameters": {}}}]}),
        (O, {"response_format": {"type": "json_object"}}, {"response_format": {"type": "json_object"}}),
        (O, {"reasoning_effort": "none"}, {"thinking": {"type": "disabled"}}),
        (A, {"thinking": {"type": "enabled", "budget_tokens": 2000}}, {"thinking": {"type": "enabled", "token_budget": 2000}}),
        (O, {"safety_mode": "STRICT", "citation_options": {"mode": "FAST"}, "documents": ["d"]}, {"safety_mode": "STRICT", "citation_options": {"mode": "FAST"}, "documents": ["d"]}),
        (O, {"service_tier": "default"}, {}),
        (O, user({"type": "text", "text": "a"}, {"type": "image_url", "image_url": {"url": "https://x/y", "detail": "low"}}), {"messages": [{"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "image_url", "image_url": {"url": "https://x/y", "detail": "low"}}]}]}),
        (O, {"messages": [{"role": "developer", "content": "d"}, USER]}, {"messages": [{"role": "system", "content": "d"}, USER]}),
        (O, {"messages": [USER, {"role": "assistant", "content": None, "reasoning_content": "plan", "tool_calls": [{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}]}, {"role": "tool", "tool_call_id": "c", "content": "r"}]}, {"messages": [
            USER, {"role": "assistant", "tool_plan": "plan", "tool_calls": [{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}]}, {"role": "tool", "tool_call_id": "c", "content": "r"}]}),
        (A, {"messages": [USER, {"role": "assistant", "content": [{"type": "thinking", "thinking": "hm", "signature": ""}, {"type": "tool_use", "id": "c", "name": "f", "input": {"a":  1}}]}, {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "c", "content": "r"}]}]}, {"messages": [
            USER, {"role": "assistant", "tool_plan": "hm", "tool_calls": [{"id": "c", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}]}, {"role": "tool", "tool_call_id": "c", "content": "r"}]}),
        (A, {"messages": [USER, {"role": "assistant", "content": [{"type": "thinking", "thinking": "hm", "signature": ""}, {"type": "text", "text": "y"}]}, USER]}, {"messages": [
            USER, {"role": "assistant", "content": [{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": "y"}]}, USER]}),
    ],
)  # fmt: skip
def test_a_field_is_carried(client, change, expected):
    sent = translate(client, change)
    body = json.loads(sent.body)
    assert sent.dropped == ()
    assert {key: body.get(key) for key in expected} == expected


@pytest.mark.parametrize(
    ("client", "change", "param"),
    [
        (O, {"n": 2}, "n"),
        (O, {"top_p": 1}, "top_p"),
        (O, {"seed": -1}, "seed"),
        (O, {"presence_penalty": -1}, "presence_penalty"),
        (O, {"frequency_penalty": 1.5}, "frequency_penalty"),
        (O, {"stop": ["a"] * 6}, "stop"),
        (O, {"logprobs": True, "top_logprobs": 2}, "top_logprobs"),
        (O, {"service_tier": "flex"}, "service_tier"),
        (O, {"reasoning_effort": "low"}, "reasoning_effort"),
        (O, {"tools": [FUNCTION, STRICT]}, "tools[1].function.strict"),
        (O, {"tools": [FUNCTION], "parallel_tool_calls": False}, "parallel_tool_calls"),
        (O, {"tools": [FUNCTION], "tool_choice": {"type": "function", "function": {"name": "f"}}}, "tool_choice"),
        (O, {"never_heard_of": 1}, "never_heard_of"),
        (O, {"messages": [USER, {"role": "assistant", "content": "x"}]}, "messages[1]"),
        (O, user({"type": "file", "file": {"file_data": "data:application/pdf;base64,AA"}}), "messages[0].content[0]"),
        (A, {"top_k": 501}, "top_k"),
        (A, {"tools": [{"name": "f", "input_schema": {}, "cache_control": {"type": "ephemeral"}}]}, "tools[0].cache_control"),
        (A, user({"type": "tool_result", "tool_use_id": "c", "is_error": True}), "messages[0].content[0].is_error"),
    ],
)  # fmt: skip
def test_a_field_that_cannot_be_carried_is_refused_by_its_name_or_told_as_dropped(client, change, param):
    with pytest.raises(CallerError) as caught:
        translate(client, change)
    assert (caught.value.code, caught.value.param) == (Code.REQUEST_UNSUPPORTED, param)
    assert param in translate(client, change, drop=True).dropped


CITATION = {"start": 0, "end": 4, "text": "said", "sources": [{"type": "document", "id": "d"}], "content_index": 1}


def reply(message, **more):
    return C.decode_chat_reply(
        json.dumps({"id": "i", "finish_reason": "COMPLETE", "message": message, **more}).encode()
    )


def read(*events):
    decoder = C.stream_decoder()
    return fold([one for frame in decoder.feed(b"".join(events)) + decoder.close() for one in frame.events])


START = event({"type": "message-start", "id": "i"})
END = event({"type": "message-end", "delta": {"finish_reason": "COMPLETE"}})


def test_citations_belong_to_their_text_whole_and_streamed():
    whole = reply(
        {"content": [{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": "said"}], "citations": [CITATION]}
    )
    streamed = read(
        START,
        event(said(0, "content-start", content={"type": "thinking", "thinking": "hm"})),
        event(said(1, "content-start", content={"type": "text", "text": ""})),
        event(said(1, "content-delta", content={"text": "said"})),
        event(said(0, "citation-start", citations=CITATION)),
        event({"type": "citation-end", "index": 0}),
        END,
    )
    assert whole == streamed
    thinking, text = whole.choices[0].parts
    assert (thinking, text.text, json.loads(text.citations)) == (ThinkingPart("hm"), "said", [CITATION])


def test_a_plan_before_tool_calls_is_thinking():
    parts = reply({"tool_plan": "I look.", "tool_calls": [{"id": "c", "function": {"name": "f", "arguments": "{ }"}}]})
    assert parts.choices[0].parts == (ThinkingPart("I look."), ToolUsePart("c", "f", "{ }"))


def test_the_log_probability_of_a_piece_is_that_of_its_tokens_together():
    item = {"text": "Hi you", "token_ids": [1, 2], "logprobs": [-0.5, -0.25]}
    whole = reply({"content": [{"type": "text", "text": "Hi you"}]}, logprobs=[item])
    streamed = read(
        START,
        event(said(0, "content-start", content={"type": "text", "text": ""})),
        event({**said(0, "content-delta", content={"text": "Hi you"}), "logprobs": item}),
        END,
    )
    assert whole == streamed
    assert whole.choices[0].logprobs == (TokenLogprob("Hi you", -0.75),)


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        (
            {
                "billed_units": {"input_tokens": 5, "output_tokens": 3.0},
                "tokens": {"input_tokens": 71, "output_tokens": 5},
            },
            (5, 3, 0),
        ),
        ({"tokens": {"input_tokens": 71, "output_tokens": 5}, "cached_tokens": 64}, (71, 5, 64)),
        ({"billed_units": {"input_tokens": 5, "output_tokens": 3}, "cached_tokens": 64}, (5, 3, 5)),
        ({"billed_units": {"search_units": 1}, "tokens": None}, None),
        ({"billed_units": {"input_tokens": -5}}, "lie"),
        ({"billed_units": {"input_tokens": 1.5}}, "lie"),
        (7, "lie"),
    ],
)
def test_usage_is_what_is_charged_for(usage, expected):
    found = reply({"content": []}, usage=usage)
    assert found.usage_invalid is (expected == "lie")
    counts = found.usage and (found.usage.input_tokens, found.usage.output_tokens, found.usage.cached_tokens)
    assert counts == (None if expected == "lie" else expected)


@pytest.mark.parametrize(("word", "code"), [("ERROR", Code.UPSTREAM_ERROR), ("TIMEOUT", Code.UPSTREAM_TIMEOUT)])
def test_an_answer_that_ends_in_failure_is_one(word, code):
    for call in (
        lambda: C.decode_chat_reply(json.dumps({"message": {}, "finish_reason": word}).encode()),
        lambda: read(START, event({"type": "message-end", "delta": {"finish_reason": word}})),
    ):
        with pytest.raises(UpstreamError) as caught:
            call()
        assert caught.value.code is code


def test_the_stream_ends_with_its_last_event_whatever_the_server_says_after_it():
    assert read(START, END, b"data: [DONE]\n\n").id == "i"
    for events in ((START,), (START, END[:-2])):
        with pytest.raises(UpstreamError) as caught:
            read(*events)
        assert caught.value.code is Code.UPSTREAM_CUT
    with pytest.raises(UpstreamError) as caught:
        read(START, END, START)
    assert caught.value.code is Code.UPSTREAM_PROTOCOL


@pytest.mark.parametrize(("status", "code"), [(400, Code.UPSTREAM_REFUSED), (401, Code.UPSTREAM_CREDENTIAL), (422, Code.UPSTREAM_REFUSED), (429, Code.UPSTREAM_RATE_LIMITED), (498, Code.UPSTREAM_REFUSED), (500, Code.UPSTREAM_ERROR), (503, Code.UPSTREAM_OVERLOADED)])  # fmt: skip
def test_a_status_has_its_code(status, code):
    error = C.decode_error(status, [(b"retry-after", b"3")], b'{"id":"x","message":"why"}')
    assert (error.code, error.retry_after_seconds) == (code, 3.0)
    assert error.message == ("why" if code is not Code.UPSTREAM_CREDENTIAL else error.message)


def test_an_error_object_in_place_of_an_answer():
    body = b'{"id":"x","message":"why"}'
    for call in (
        C.decode_chat_reply,
        C.tap_chat_reply,
        C.decode_embeddings_reply,
        lambda raw: read(b"data: " + raw + b"\n\n"),
    ):
        with pytest.raises(UpstreamError, match="why"):
            call(body)


junk = st.recursive(
    st.one_of(st.none(), st.text(max_size=4), st.integers(), st.booleans()),
    lambda x: st.one_of(st.lists(x, max_size=3), st.dictionaries(st.sampled_from(["type", "message", "content", "text", "tool_calls", "function", "name", "delta", "index", "usage", "tokens", "citations", "logprobs", "finish_reason", "embeddings", "float"]), x, max_size=4)),
    max_leaves=20,
)  # fmt: skip


@given(
    value=junk,
    kind=st.sampled_from(
        [
            "message-start",
            "content-start",
            "content-delta",
            "tool-plan-delta",
            "tool-call-start",
            "tool-call-delta",
            "citation-start",
            "message-end",
            "x",
        ]
    ),
)
@settings(max_examples=400, deadline=None)
def test_no_answer_crashes_a_decoder(value, kind):
    raw = json.dumps(value).encode()
    for call in (C.decode_chat_reply, C.tap_chat_reply, C.decode_embeddings_reply):
        try:
            call(raw)
        except UpstreamError:
            pass
    for events in (True, False):
        for data in (
            raw,
            json.dumps({"type": kind, "index": 0, "delta": value}).encode(),
            json.dumps({"type": kind, "delta": {"message": value}}).encode(),
        ):
            try:
                decoder = C.stream_decoder(events=events)
                decoder.feed(b"data: " + data + b"\n\n")
                decoder.close()
            except UpstreamError:
                pass
    assert isinstance(C.decode_error(400, [], raw), UpstreamError)


def embed(**tree):
    return C.encode_embeddings(
        O.decode_embeddings(parse(json.dumps({"model": "m", **tree}).encode())), model="e", drop=False
    )


def test_embeddings():
    sent = embed(input=["a", "b"], dimensions=256, encoding_format="base64", truncate="END")
    assert (sent.path, json.loads(sent.body)) == (
        b"/v2/embed",
        {"model": "e", "texts": ["a", "b"], "input_type": "search_document", "embedding_types": ["base64"], "output_dimension": 256, "truncate": "END"},
    )  # fmt: skip
    assert json.loads(embed(input="a", input_type="search_query").body)["input_type"] == "search_query"
    for tree, param in (
        ({"input": [[1]]}, "input"),
        ({"input": ["a", [1]]}, "input[1]"),
        ({"input": "a", "x": 1}, "x"),
    ):
        with pytest.raises(CallerError) as caught:
            embed(**tree)
        assert (caught.value.code, caught.value.param) == (Code.REQUEST_UNSUPPORTED, param)
    assert C.embedding_inputs("embed-v4.0") == 96
    body = b'{"id":"i","embeddings":{"float":[[0.10,-1e-3],[1]]},"meta":{"billed_units":{"input_tokens":4.0}}}'
    found = C.decode_embeddings_reply(body)
    assert (found.vectors, found.usage.input_tokens) == ((b"[0.10,-1e-3]", b"[1]"), 4)
    assert C.decode_embeddings_reply(b'{"embeddings":{"base64":["AAA="]}}').vectors == (b'"AAA="',)


def test_nothing_counts_tokens_here():
    call = O.decode_chat(parse(json.dumps({"model": "m", "messages": [USER]}).encode()))
    with pytest.raises(CallerError):
        C.encode_count_tokens(call, model="m", drop=False)
