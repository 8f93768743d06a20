"""Bedrock: what is carried and refused, its stream's own turns, its errors by name, its embeddings."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ostiary.core.error import CallerError, Code, UpstreamError
from ostiary.core.fold import fold
from ostiary.core.message import TextPart, ToolUsePart
from ostiary.gateway.dialect.anthropic import Anthropic
from ostiary.gateway.dialect.bedrock import Bedrock
from ostiary.gateway.dialect.openai import OpenAI
from ostiary.gateway.wire.json import parse
from tests.dialect.write_bedrock import event, message

O, A, B = OpenAI(), Anthropic(), Bedrock()
USER = {"role": "user", "content": "x"}
FUNCTION = {"type": "function", "function": {"name": "f"}}
CLAUDE = "eu.anthropic.claude-x-v1:0"
PDF = {"type": "base64", "media_type": "application/pdf", "data": "AA"}
SPEC = {"toolSpec": {"name": "f", "inputSchema": {"json": {"type": "object", "properties": {}}}}}


def user(*parts):
    return {"messages": [{"role": "user", "content": list(parts)}]}


def translate(client, change, *, model="m", drop=False):
    tree = {"model": "m", "messages": [USER], **change}
    call = client.decode_chat(parse(json.dumps(tree).encode()))
    return B.encode_chat(call, model=model, max_tokens=None, drop=drop)


@pytest.mark.parametrize(
    ("client", "change", "model", "expected"),
    [
        (O, {"temperature": 1, "top_p": 0.5, "stop": ["a"]}, "m", {"inferenceConfig": {"temperature": 1.0, "topP": 0.5, "stopSequences": ["a"]}}),
        (O, {"tools": [FUNCTION], "tool_choice": "required"}, "m", {"toolConfig": {"tools": [SPEC], "toolChoice": {"any": {}}}}),
        (O, {"tools": [FUNCTION], "tool_choice": "auto"}, "m", {"toolConfig": {"tools": [SPEC], "toolChoice": {"auto": {}}}}),
        (O, {"tools": [FUNCTION], "tool_choice": "none"}, "m", {"toolConfig": None}),
        (O, {"tools": [{"type": "function", "function": {"name": "f", "strict": True, "parameters": {"a": 1}}}]}, "m", {"toolConfig": {"tools": [{"toolSpec": {"name": "f", "inputSchema": {"json": {"a": 1}}, "strict": True}}]}}),
        (O, {"service_tier": "auto"}, "m", {"serviceTier": None}),
        (O, {"service_tier": "flex"}, "m", {"serviceTier": {"type": "flex"}}),
        (O, {"user": "u-1"}, "m", {"requestMetadata": {"end_user": "u-1"}}),
        (O, {"reasoning_effort": "none"}, CLAUDE, {"additionalModelRequestFields": {"thinking": {"type": "disabled"}}}),
        (O, {"reasoning_effort": "low"}, CLAUDE, {"additionalModelRequestFields": {"thinking": {"type": "adaptive"}}, "outputConfig": {"effort": "low"}}),
        (A, {"top_k": 3}, CLAUDE, {"additionalModelRequestFields": {"top_k": 3}}),
        (O, user({"type": "input_audio", "input_audio": {"data": "AA", "format": "wav"}}), "m", {"messages": [{"role": "user", "content": [{"audio": {"format": "wav", "source": {"bytes": "AA"}}}]}]}),
        (A, user({"type": "document", "source": PDF, "title": "a/b.pdf", "context": "c", "citations": {"enabled": True}}, {"type": "document", "source": PDF, "title": "a b"}, {"type": "document", "source": PDF, "title": "a b"}), "m", {"messages": [{"role": "user", "content": [
            {"document": {"format": "pdf", "name": "a-b", "source": {"bytes": "AA"}, "context": "c", "citations": {"enabled": True}}},
            {"document": {"format": "pdf", "name": "a b", "source": {"bytes": "AA"}}},
            {"document": {"format": "pdf", "name": "a b (2)", "source": {"bytes": "AA"}}}]}]}),
        (A, user({"type": "tool_result", "tool_use_id": "c", "content": "r", "is_error": True, "cache_control": {"type": "ephemeral", "ttl": "5m"}}), "m", {"messages": [{"role": "user", "content": [
            {"toolResult": {"toolUseId": "c", "content": [{"text": "r"}], "status": "error"}}, {"cachePoint": {"type": "default", "ttl": "5m"}}]}]}),
        (A, {"messages": [USER, {"role": "assistant", "content": [{"type": "redacted_thinking", "data": "b3A="}, {"type": "tool_use", "id": "c", "name": "f", "input": {"a": 1}}]}, USER]}, CLAUDE, {"messages": [
            {"role": "user", "content": [{"text": "x"}]},
            {"role": "assistant", "content": [{"reasoningContent": {"redactedContent": "b3A="}}, {"toolUse": {"toolUseId": "c", "name": "f", "input": {"a": 1}}}]},
            {"role": "user", "content": [{"text": "x"}]}]}),
    ],
)  # fmt: skip
def test_a_field_is_carried(client, change, model, expected):
    sent = translate(client, change, model=model)
    body = json.loads(sent.body)
    assert sent.dropped == ()
    assert {key: body.get(key) for key in expected} == expected


@pytest.mark.parametrize(
    ("client", "change", "param"),
    [
        (O, {"temperature": 1.5}, "temperature"),
        (O, {"n": 2}, "n"),
        (O, {"seed": 1}, "seed"),
        (O, {"logprobs": True}, "logprobs"),
        (O, {"frequency_penalty": 1}, "frequency_penalty"),
        (O, {"presence_penalty": 1}, "presence_penalty"),
        (O, {"reasoning_effort": "minimal"}, "reasoning_effort"),
        (O, {"response_format": {"type": "json_object"}}, "response_format"),
        (O, {"tools": [FUNCTION], "parallel_tool_calls": False}, "parallel_tool_calls"),
        (O, {"service_tier": "scale"}, "service_tier"),
        (O, {"never_heard_of": 1}, "never_heard_of"),
        (O, user({"type": "image_url", "image_url": {"url": "https://x/y"}}), "messages[0].content[0]"),
        (O, user({"type": "image_url", "image_url": {"url": "data:image/tiff;base64,AA"}}), "messages[0].content[0]"),
        (O, user({"type": "file", "file": {"file_id": "f"}}), "messages[0].content[0]"),
        (O, user({"type": "input_audio", "input_audio": {"data": "AA", "format": "midi"}}), "messages[0].content[0]"),
        (O, {"messages": [USER, {"role": "assistant", "content": "x"}]}, "messages[1]"),
        (O, {"messages": [{"role": "user", "content": "x", "name": "z"}]}, "messages[0].name"),
        (A, {"top_k": 1}, "top_k"),
        (A, {"thinking": {"type": "disabled"}}, "thinking"),
        (A, {"container": "c"}, "container"),
        (A, user({"type": "document", "source": {"type": "url", "url": "https://x/y.pdf"}}), "messages[0].content[0]"),
        (A, user({"type": "text", "text": "x", "citations": [{"type": "char_location"}]}), "messages[0].content[0].citations"),
    ],
)  # fmt: skip
def test_a_field_that_cannot_be_carried_is_refused_by_its_name_or_told_as_dropped(client, change, param):
    with pytest.raises(CallerError) as caught:
        translate(client, change)
    assert (caught.value.code, caught.value.param) == (Code.REQUEST_UNSUPPORTED, param)
    assert param in translate(client, change, drop=True).dropped


def test_unsigned_thinking_is_for_models_that_sign_none():
    change = {"messages": [USER, {"role": "assistant", "content": [{"type": "thinking", "thinking": "hm", "signature": ""}, {"type": "text", "text": "y"}]}, USER]}  # fmt: skip
    with pytest.raises(CallerError):
        translate(A, change, model=CLAUDE)
    turn = json.loads(translate(A, change, model="deepseek.r1-v1:0").body)["messages"][1]
    assert turn["content"][0] == {"reasoningContent": {"reasoningText": {"text": "hm"}}}


def test_an_arn_is_one_segment_of_the_path():
    arn = "arn:aws:bedrock:us-east-1:1:inference-profile/x"
    path = translate(O, {"stream": True}, model=arn).path
    assert path == b"/model/arn%3Aaws%3Abedrock%3Aus-east-1%3A1%3Ainference-profile%2Fx/converse-stream"


def test_tokens_are_counted_of_what_is_the_prompt():
    tree = {"model": "m", "system": "s", "max_tokens": 5, "top_k": 1, "messages": [USER]}
    call = A.decode_chat(parse(json.dumps(tree).encode()))
    sent = B.encode_count_tokens(call, model=CLAUDE, drop=False)
    assert sent.path == b"/model/eu.anthropic.claude-x-v1%3A0/count-tokens"
    assert json.loads(sent.body)["input"]["converse"].keys() == {"messages", "system", "additionalModelRequestFields"}
    assert B.decode_token_count(b'{"inputTokens":7}') == 7
    for body in (b"{}", b'{"inputTokens":-1}', b"[]"):
        with pytest.raises(UpstreamError):
            B.decode_token_count(body)


def read(*events):
    decoder = B.stream_decoder()
    return [one for frame in decoder.feed(b"".join(events)) + decoder.close() for one in frame.events]


START = event("messageStart", {"role": "assistant"})
STOP = event("messageStop", {"stopReason": "end_turn"})
META = event(
    "metadata", {"usage": {"inputTokens": 1, "outputTokens": 2, "totalTokens": 3}, "metrics": {"latencyMs": 1}}
)


def test_a_tool_call_without_arguments_has_an_empty_object():
    begun = event("contentBlockStart", {"contentBlockIndex": 0, "start": {"toolUse": {"toolUseId": "t", "name": "f"}}})
    ended = event("contentBlockStop", {"contentBlockIndex": 0})
    empty = event("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"toolUse": {"input": ""}}})
    for events in ((begun, ended), (begun, empty, ended)):
        assert fold(read(START, *events, STOP, META)).choices[0].parts == (ToolUsePart("t", "f", "{}"),)


def test_cited_text_is_the_same_whole_and_streamed():
    citation = {"title": "d", "location": {"documentChar": {"documentIndex": 0, "start": 1, "end": 2}}}
    block = {"citationsContent": {"content": [{"text": "said"}], "citations": [citation, citation]}}
    body = json.dumps({"output": {"message": {"content": [block]}}, "stopReason": "end_turn"}).encode()
    text = event("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"text": "said"}})
    cite = event("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"citation": citation}})
    part = fold(read(START, text, cite, cite, STOP)).choices[0].parts[0]
    assert part == B.decode_chat_reply(body).choices[0].parts[0] == TextPart("said", citations=json.dumps([citation] * 2).encode().replace(b"}, {", b"},{"))  # fmt: skip


def test_a_stream_that_ends_before_its_usage_has_lost_nothing_else():
    text = event("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"text": "x"}})
    reply = fold(read(START, text, STOP))
    assert (reply.usage, reply.choices[0].parts) == (None, (TextPart("x"),))
    for cut in (START + text, START + text + STOP[:-1], START + text + STOP + META[:-1]):
        with pytest.raises(UpstreamError) as caught:
            read(cut)
        assert caught.value.code is Code.UPSTREAM_CUT


@pytest.mark.parametrize(
    "events",
    [
        (META,),
        (STOP, META, START),
        (event("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"toolUse": {"input": "x"}}}),),
        (event("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"text": "x"}}), event("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"reasoningContent": {"text": "x"}}})),
        (event("contentBlockDelta", {"contentBlockIndex": 10**6, "delta": {"text": "x"}}),),
        (event("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"image": {}}}),),
        (event("contentBlockDelta", {"contentBlockIndex": 0}),),
        (event("contentBlockStart", {"contentBlockIndex": 0, "start": {"toolUse": {"toolUseId": "t", "name": "f", "type": "server_tool_use"}}}),),
        (event("contentBlockStart", {"contentBlockIndex": 0, "start": {"image": {"format": "png"}}}),),
        (event("messageStop", b"[]"),),
    ],
)  # fmt: skip
def test_a_stream_out_of_order_breaks_its_protocol(events):
    with pytest.raises(UpstreamError) as caught:
        read(*events)
    assert caught.value.code is Code.UPSTREAM_PROTOCOL


def test_events_that_are_not_known_yet_are_passed_over():
    reply = fold(read(START, event("somethingNew", {"a": 1}), STOP, META))
    assert reply.usage.total_tokens == 3


NAMES = [
    ("ValidationException", 400, Code.UPSTREAM_REFUSED),
    ("AccessDeniedException", 403, Code.UPSTREAM_CREDENTIAL),
    ("ExpiredTokenException", 403, Code.UPSTREAM_CREDENTIAL),
    ("ResourceNotFoundException", 404, Code.UPSTREAM_REFUSED),
    ("ModelTimeoutException", 408, Code.UPSTREAM_TIMEOUT),
    ("ModelErrorException", 424, Code.UPSTREAM_ERROR),
    ("ModelStreamErrorException", 424, Code.UPSTREAM_ERROR),
    ("ThrottlingException", 429, Code.UPSTREAM_RATE_LIMITED),
    ("ModelNotReadyException", 429, Code.UPSTREAM_OVERLOADED),
    ("ServiceQuotaExceededException", 400, Code.UPSTREAM_RATE_LIMITED),
    ("InternalServerException", 500, Code.UPSTREAM_ERROR),
    ("ServiceUnavailableException", 503, Code.UPSTREAM_OVERLOADED),
]


@pytest.mark.parametrize(("name", "status", "code"), NAMES)
def test_an_error_is_known_by_its_name_wherever_it_stands(name, status, code):
    said = b'{"message":"What happened."}'
    for headers, body in (
        ([(b"x-amzn-errortype", f"{name}:http://internal.amazon.com/".encode())], said),
        ([], json.dumps({"__type": f"com.amazon#{name}", "Message": "What happened."}).encode()),
    ):
        error = B.decode_error(status, headers, body)
        assert error.code is code
    with pytest.raises(UpstreamError) as caught:
        B.stream_decoder().feed(event(name[0].lower() + name[1:], said))
    assert caught.value.code is code
    assert caught.value.message == ("What happened." if code is not Code.UPSTREAM_CREDENTIAL else caught.value.message)


def test_an_error_message_of_the_stream_itself():
    raw = message(
        {":message-type": "error", ":error-code": "InternalServerException", ":error-message": "It broke."}, b""
    )
    with pytest.raises(UpstreamError, match="It broke"):
        B.stream_decoder().feed(raw)


@pytest.mark.parametrize("word", ["malformed_model_output", "malformed_tool_use"])
def test_a_model_that_failed_has_not_answered(word):
    body = json.dumps({"output": {"message": {"content": []}}, "stopReason": word}).encode()
    with pytest.raises(UpstreamError) as caught:
        B.decode_chat_reply(body)
    assert caught.value.code is Code.UPSTREAM_ERROR


@pytest.mark.parametrize(
    "usage",
    [
        {"inputTokens": -1},
        {"cacheReadInputTokens": "1"},
        {"cacheWriteInputTokens": 1, "cacheDetails": [{"ttl": "1h", "inputTokens": 2}]},
        7,
    ],
)
def test_usage_that_cannot_be_true_is_no_usage(usage):
    told = {"inputTokens": 1, "outputTokens": 1, **usage} if isinstance(usage, dict) else usage
    body = json.dumps({"output": {"message": {"content": []}}, "stopReason": "end_turn", "usage": told}).encode()
    tap = B.tap_chat_reply(body)
    assert (tap.usage, tap.usage_invalid, tap.finish_reason) == (None, True, "end_turn")


junk = st.recursive(
    st.one_of(st.none(), st.text(max_size=4), st.integers(), st.booleans()),
    lambda x: st.one_of(st.lists(x, max_size=3), st.dictionaries(st.sampled_from(["output", "message", "content", "text", "toolUse", "name", "input", "delta", "start", "contentBlockIndex", "stopReason", "usage", "reasoningContent", "citation", "embedding", "embeddings"]), x, max_size=4)),
    max_leaves=20,
)  # fmt: skip


@given(
    value=junk,
    name=st.sampled_from(
        [
            "messageStart",
            "contentBlockStart",
            "contentBlockDelta",
            "contentBlockStop",
            "messageStop",
            "metadata",
            "aException",
        ]
    ),
)
@settings(max_examples=400, deadline=None)
def test_no_answer_crashes_a_decoder(value, name):
    raw = json.dumps(value).encode()
    for call in (
        B.decode_chat_reply,
        B.tap_chat_reply,
        B.decode_embeddings_reply,
        B.decode_token_count,
        B.stream_decoder().feed,
        B.stream_decoder(events=False).feed,
    ):
        try:
            call(event(name, raw) if call.__name__ == "feed" else raw)
        except UpstreamError:
            pass
    assert isinstance(B.decode_error(400, [], raw), UpstreamError)


def embed(tree, model, *, drop=False):
    return B.encode_embeddings(
        O.decode_embeddings(parse(json.dumps({"model": "m", **tree}).encode())), model=model, drop=drop
    )


def test_titan_takes_one_text_a_call():
    assert B.embedding_inputs("amazon.titan-embed-text-v2:0") == 1
    sent = embed({"input": "a", "dimensions": 256}, "amazon.titan-embed-text-v2:0")
    assert (sent.path, json.loads(sent.body)) == (
        b"/model/amazon.titan-embed-text-v2%3A0/invoke",
        {"inputText": "a", "dimensions": 256},
    )
    for tree, param in (
        ({"input": [1, 2]}, "input"),
        ({"input": "a", "x": 1}, "x"),
    ):
        with pytest.raises(CallerError) as caught:
            embed(tree, "amazon.titan-embed-text-v2:0")
        assert (caught.value.code, caught.value.param) == (Code.REQUEST_UNSUPPORTED, param)
    with pytest.raises(CallerError):
        embed({"input": "a", "dimensions": 256}, "amazon.titan-embed-text-v1")
    packed = embed({"input": "a", "encoding_format": "base64", "user": "u"}, "amazon.titan-embed-text-v1")
    assert packed.dropped == ("user",), "the form of vectors is made here, and the end user is a hint"
    reply = B.decode_embeddings_reply(
        b'{"embedding":[0.10,-1e-3],"inputTextTokenCount":3,"embeddingsByType":{"float":[1]}}'
    )
    assert (reply.vectors, reply.usage.input_tokens) == ((b"[0.10,-1e-3]",), 3)


def test_cohere_on_bedrock_takes_many():
    body = json.loads(embed({"input": ["a", "b"]}, "cohere.embed-english-v3").body)
    assert body == {"texts": ["a", "b"], "input_type": "search_document", "embedding_types": ["float"]}
    assert json.loads(embed({"input": "a", "dimensions": 8}, "cohere.embed-v4:0").body)["output_dimension"] == 8
    with pytest.raises(CallerError):
        embed({"input": "a", "dimensions": 8}, "cohere.embed-english-v3")
    assert B.embedding_inputs("cohere.embed-english-v3") == 96
    for body in (b'{"embeddings":{"float":[[1.0],[2]]}}', b'{"embeddings":[[1.0],[2]]}'):
        assert B.decode_embeddings_reply(body).vectors == (b"[1.0]", b"[2]")


def test_other_models_have_no_embeddings():
    with pytest.raises(CallerError) as caught:
        embed({"input": "a"}, CLAUDE)
    assert caught.value.code is Code.MODEL_UNSUITABLE
