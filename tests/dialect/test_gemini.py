"""What only Google's form has: two spellings, paths that name the model, streamed arrays, batches of embeddings."""

import json

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ostiary.core.error import CallerError, Code, UpstreamError
from ostiary.core.fold import fold, unfold
from ostiary.core.message import (
    AudioPart,
    FileSource,
    Role,
    TextPart,
    ThinkingPart,
    ToolChoice,
    ToolMode,
    ToolUsePart,
)
from ostiary.core.reply import ChatReply, Choice, EmbeddingsReply, FinishReason
from ostiary.core.stream import ArgumentsDelta, ChoiceFinished, Finished, PartStarted, Started, TextDelta
from ostiary.core.usage import Usage
from ostiary.gateway.dialect import Addressed, ListedModel
from ostiary.gateway.dialect.anthropic import Anthropic
from ostiary.gateway.dialect.gemini import Gemini
from ostiary.gateway.dialect.gemini.chunk import decode_chunk
from ostiary.gateway.dialect.gemini.reading import Reading
from ostiary.gateway.dialect.openai import OpenAI
from ostiary.gateway.task import batch
from ostiary.gateway.wire.json import parse
from ostiary.snapshot.tables import ProfileRow
from tests.dialect.known import PROVIDERS
from tests.dialect.test_law import replies

G = Gemini()
VERTEX = Gemini(ProfileRow(vertex_embeddings=True))
PLAIN, SSE, ARRAY = Addressed("m"), Addressed("m", stream=True, sse=True), Addressed("m", stream=True)
BATCH = Addressed("m", batch=True)
USER = {"role": "user", "parts": [{"text": "x"}]}
DECLARED = {"functionDeclarations": [{"name": "f"}, {"name": "g"}]}


def document(tree):
    return parse(tree if isinstance(tree, bytes) else json.dumps(tree).encode())


def decoded(tree):
    return G.decode_chat(document({"contents": [USER], **tree}), PLAIN)


def sent(client, tree, *, model="gemini-x", drop=False):
    call = client.decode_chat(document({"model": "m", **tree}))
    return json.loads(G.encode_chat(call, model=model, max_tokens=None, drop=drop).body)


def read(pieces, *, events=True):
    decoder = G.stream_decoder(events=events)
    frames = [frame for piece in pieces for frame in decoder.feed(piece)]
    return frames + decoder.close()


def events_of(frames):
    return [event for frame in frames for event in frame.events]


def chunk(*parts, finish=None, index=0, **more):
    candidate = {"content": {"role": "model", "parts": list(parts)}, "index": index}
    if finish:
        candidate["finishReason"] = finish
    return {"candidates": [candidate], "responseId": "r", "modelVersion": "v", **more}


def sse(*chunks):
    return b"".join(b"data: %b\n\n" % json.dumps(tree).encode() for tree in chunks)


def whole(*chunks):
    return fold(events_of(read([sse(*chunks)])))


# --- streams


@given(reply=replies, offsets=st.lists(st.integers(0, 10**6), max_size=6))
@settings(max_examples=150, deadline=None)
def test_a_streamed_array_says_the_same_as_events_wherever_it_is_cut(reply, offsets):
    encoder = G.stream_encoder(include_usage=True, addressed=ARRAY)
    assert encoder.media_type == b"application/json; charset=utf-8"
    stream = b"".join(encoder.encode(event) for event in unfold(reply))
    json.loads(stream)
    edges = [0, *sorted(offset % (len(stream) + 1) for offset in offsets), len(stream)]
    frames = read([stream[a:b] for a, b in zip(edges, edges[1:])])
    assert b"".join(frame.raw for frame in frames) == stream
    assert fold(events_of(frames)) == G.decode_chat_reply(G.encode_chat_reply(reply))


def test_an_array_without_its_end_is_an_error():
    stream = b"[" + json.dumps(chunk({"text": "a"}, finish="STOP")).encode()
    with pytest.raises(UpstreamError) as caught:
        read([stream])
    assert caught.value.code is Code.UPSTREAM_CUT
    with pytest.raises(UpstreamError) as caught:
        read([stream + b"] x"])
    assert caught.value.code is Code.UPSTREAM_PROTOCOL


def test_an_error_alone_in_an_array_is_the_providers_error():
    body = b'[{"error":{"code":429,"message":"Slow down.","status":"RESOURCE_EXHAUSTED"}}]'
    with pytest.raises(UpstreamError) as caught:
        read([body])
    assert caught.value.code is Code.UPSTREAM_RATE_LIMITED
    assert G.decode_error(429, (), body).message == "Slow down."


@pytest.mark.parametrize(
    "chunks",
    [
        (),
        (chunk({"text": "a"}),),
        (chunk({"text": "a"}, finish="STOP"), chunk({"text": "b"}, index=1)),
        ({"usageMetadata": {"promptTokenCount": 1}},),
    ],
)
def test_a_stream_with_a_candidate_that_has_not_finished_is_cut(chunks):
    with pytest.raises(UpstreamError) as caught:
        read([sse(*chunks)], events=False)
    assert caught.value.code is Code.UPSTREAM_CUT


def test_usage_after_the_finish_counts():
    usage = {"promptTokenCount": 7, "candidatesTokenCount": 2, "thoughtsTokenCount": 3, "toolUsePromptTokenCount": 1}
    frames = read([sse(chunk({"text": "a"}, finish="STOP"), {"usageMetadata": usage})])
    assert [frame.usage_only for frame in frames] == [False, True, False]
    assert fold(events_of(frames)).usage == Usage(input_tokens=8, output_tokens=5, reasoning_tokens=3)


def test_a_call_told_in_turns_with_text_is_told_whole_and_in_its_place():
    encoder = G.stream_encoder(include_usage=True)
    out = b"".join(
        encoder.encode(event)
        for event in (
            Started("r", "m"),
            PartStarted(0, 1, TextPart("")),
            PartStarted(0, 3, ToolUsePart("a", "f", "")),
            ArgumentsDelta(0, 3, '{"x":\n'),
            PartStarted(0, 4, ToolUsePart("b", "g", "")),
            TextDelta(0, 1, "before"),
            ArgumentsDelta(0, 4, "{}"),
            ArgumentsDelta(0, 3, "1}"),
            ChoiceFinished(0, FinishReason.TOOL_USE),
            Finished(),
        )
    )
    (choice,) = fold(events_of(read([out]))).choices
    assert choice.parts == (TextPart("before"), ToolUsePart("a", "f", '{"x":\n1}'), ToolUsePart("b", "g", "{}"))
    assert choice.finish_reason is FinishReason.TOOL_USE


def test_what_is_kept_of_calls_is_bounded(monkeypatch):
    monkeypatch.setattr("ostiary.gateway.dialect.gemini.stream_encode.STREAM_KEPT_CHARS_MAX", 1_000)
    encoder = G.stream_encoder(include_usage=True)
    with pytest.raises(UpstreamError) as caught:
        for _ in range(20):
            encoder.encode(ArgumentsDelta(0, 0, "x" * 100))
    assert caught.value.code is Code.UPSTREAM_TOO_LARGE


def test_a_signature_that_comes_alone_belongs_to_the_part_before_it():
    last = chunk({"text": "", "thoughtSignature": "s2"}, finish="STOP")
    reply = whole(chunk({"text": "hm", "thought": True}), chunk({"text": "a"}), chunk({"text": "b"}), last)
    assert reply.choices[0].parts == (ThinkingPart("hm"), TextPart("ab", signature="s2"))


def test_calls_without_an_id_get_one_that_is_the_same_plain_and_streamed():
    parts = [{"functionCall": {"name": "f", "args": {"a": 1}}}, {"functionCall": {"name": "f"}}]
    body = json.dumps(chunk(*parts, finish="STOP")).encode()
    plain = G.decode_chat_reply(body)
    assert plain.choices == whole(chunk(parts[0]), chunk(parts[1], finish="STOP")).choices
    assert [part.id for part in plain.choices[0].parts] == ["call_r_0_0", "call_r_0_1"]


@pytest.mark.parametrize(
    "part",
    [
        {"executableCode": {"code": "1"}},
        {"inlineData": {"mimeType": "image/png", "data": "AA"}},
        {"functionCall": {"args": {}}},
        {"functionCall": {"name": "f", "willContinue": True}},
        {"functionCall": {"name": "f", "partialArgs": [{"jsonPath": "$.a", "stringValue": "b"}]}},
    ],
)
def test_a_part_that_cannot_be_told_is_an_error_but_passes_within_the_dialect(part):
    stream = sse(chunk(part, finish="STOP"))
    with pytest.raises(UpstreamError) as caught:
        read([stream])
    assert caught.value.code is Code.UPSTREAM_PROTOCOL
    assert read([stream], events=False)[0].content


@pytest.mark.parametrize("word", ["MALFORMED_FUNCTION_CALL", "TOO_MANY_TOOL_CALLS"])
def test_a_model_that_fails_to_answer_is_an_error(word):
    with pytest.raises(UpstreamError) as caught:
        G.decode_chat_reply(json.dumps(chunk(finish=word)).encode())
    assert caught.value.code is Code.UPSTREAM_ERROR


def test_a_blocked_prompt_is_a_filtered_answer_plain_and_streamed():
    tree = {"promptFeedback": {"blockReason": "SAFETY"}, "usageMetadata": {"promptTokenCount": 3}}
    body = json.dumps(tree).encode()
    plain = G.decode_chat_reply(body)
    assert plain.choices == (Choice((), FinishReason.CONTENT_FILTER),)
    assert whole(tree) == plain
    assert G.tap_chat_reply(body).finish_reason == "SAFETY"


def test_tokens_of_images_are_told_apart_in_plain_answers_and_streams_and_back():
    usage = {
        "promptTokenCount": 9,
        "candidatesTokenCount": 8,
        "totalTokenCount": 17,
        "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 5}, {"modality": "IMAGE", "tokenCount": 4}],
        "candidatesTokensDetails": [{"modality": "TEXT", "tokenCount": 1}, {"modality": "IMAGE", "tokenCount": 7}],
    }
    expected = Usage(9, 8, input_image_tokens=4, output_image_tokens=7)
    answer = chunk({"text": "a"}, finish="STOP", usageMetadata=usage)
    body = json.dumps(answer).encode()
    assert G.tap_chat_reply(body).usage == expected
    reply = G.decode_chat_reply(body)
    assert reply.usage == expected
    assert fold(events_of(read([sse(answer)]))).usage == expected
    assert json.loads(G.encode_chat_reply(reply))["usageMetadata"] == usage


@pytest.mark.parametrize(
    "usage",
    [
        {"promptTokenCount": -1},
        {"promptTokenCount": 1, "cachedContentTokenCount": 2},
        {"promptTokenCount": 1, "promptTokensDetails": [{"modality": "AUDIO", "tokenCount": 9}]},
        {"promptTokenCount": 1, "promptTokensDetails": [{"modality": "IMAGE", "tokenCount": 9}]},
        [],
    ],
)
def test_counts_that_cannot_be_true_are_no_usage(usage):
    body = json.dumps(chunk({"text": "a"}, finish="STOP", usageMetadata=usage)).encode()
    tap = G.tap_chat_reply(body)
    assert (tap.usage, tap.usage_invalid) == (None, True)
    assert G.decode_chat_reply(body).usage_invalid


@pytest.mark.parametrize("body", [b"{}", b'{"candidates":[]}', b"[]", b'{"candidates":[{"index":900}]}'])
def test_an_answer_without_candidates_is_an_error(body):
    with pytest.raises(UpstreamError) as caught:
        G.decode_chat_reply(body)
    assert caught.value.code is Code.UPSTREAM_PROTOCOL


# --- requests


def test_both_spellings_mean_the_same():
    camel = {"systemInstruction": {"parts": [{"text": "s"}]}, "generationConfig": {"maxOutputTokens": 5, "topK": 3}}
    snake = {
        "system_instruction": {"parts": [{"text": "s"}]},
        "generation_config": {"max_output_tokens": 5, "top_k": 3.0},
    }
    one, other = decoded(camel), decoded(snake)
    assert (one.max_tokens, one.top_k) == (other.max_tokens, other.top_k) == (5, 3)
    assert one.messages[0].parts == other.messages[0].parts
    assert G.peek_chat(document({"contents": [USER], **snake}), PLAIN).max_tokens == 5


def test_a_member_in_both_spellings_is_refused_and_extensions_keep_the_callers_spelling():
    with pytest.raises(CallerError) as caught:
        decoded({"safetySettings": [1], "safety_settings": [1]})
    assert caught.value.param == "safety_settings"
    assert set(decoded({"safety_settings": [1], "cachedContent": "c"}).extensions) == {
        "safety_settings",
        "cachedContent",
    }


def test_the_path_says_what_is_peeked():
    peek = G.peek_chat(document({"contents": [USER], "tools": [DECLARED, {"googleSearch": {}}]}), SSE)
    assert (peek.model, peek.stream, peek.include_usage, peek.tools) == ("m", True, True, 3)


def test_rounds_and_media_are_counted():
    call = {"role": "model", "parts": [{"functionCall": {"name": "f", "args": {}}}]}
    answer = {"role": "user", "parts": [{"function_response": {"name": "f", "response": {"output": "x"}}}]}
    picture = {
        "parts": [{"inlineData": {"mimeType": "image/png", "data": "A" * 400}}, {"file_data": {"file_uri": "u"}}]
    }
    tree = document({"contents": [picture, call, answer, call, answer, answer]})
    peek = G.peek_chat(tree, PLAIN)
    assert (peek.tool_depth, peek.media, peek.prompt_bytes) == (2, 2, len(tree.raw) - 400)


@pytest.mark.parametrize(
    ("tree", "param"),
    [
        ({"contents": []}, "contents"),
        ({"contents": [{"role": "king", "parts": []}]}, "contents[0].role"),
        ({"contents": [{"parts": [{}]}]}, "contents[0].parts[0]"),
        ({"contents": [{"parts": [{"functionCall": {"name": "f", "args": []}}]}]}, "contents[0].parts[0].functionCall.args"),
        ({"contents": [{"parts": [{"functionResponse": {"name": "f", "response": {}}}]}]}, "contents[0].parts[0].functionResponse"),
        ({"toolConfig": {"functionCallingConfig": {"mode": "MAYBE"}}}, "toolConfig.functionCallingConfig.mode"),
        ({"generationConfig": {"responseSchema": {"type": "STRING"}}}, "generationConfig.responseMimeType"),
        ({"generationConfig": {"temperature": 3}}, "generationConfig.temperature"),
        ({"systemInstruction": {"parts": [{"inlineData": {"mimeType": "image/png", "data": ""}}]}}, "systemInstruction.parts[0]"),
        ({"tools": [{"functionDeclarations": [{"name": "f", "parameters": 1}]}]}, "tools[0].functionDeclarations[0].parameters"),
    ],
)  # fmt: skip
def test_a_wrong_field_is_named(tree, param):
    with pytest.raises(CallerError) as caught:
        decoded(tree)
    assert (caught.value.code, caught.value.param) == (Code.REQUEST_INVALID, param)


def test_media_find_their_kinds():
    parts = [
        {"inlineData": {"mimeType": "audio/mpeg", "data": "AA"}},
        {"fileData": {"mimeType": "application/pdf", "fileUri": "gs://b/a.pdf"}},
    ]
    audio, file = decoded({"contents": [{"parts": parts}]}).messages[0].parts
    assert audio == AudioPart("AA", "mp3")
    assert file.source == FileSource("gs://b/a.pdf")


def test_googles_schemas_become_json_schema_and_standard_ones_keep_their_bytes():
    own = {
        "type": "OBJECT",
        "properties": {"b": {"type": "ARRAY", "items": {"type": "STRING"}, "minItems": "1"}, "a": {"any_of": [{"type": "NUMBER"}], "nullable": True}},
        "propertyOrdering": ["a", "b"],
    }  # fmt: skip
    raw = b'{"type":  "object"}'
    body = b'{"contents":[{"parts":[{"text":"x"}]}],"tools":[{"functionDeclarations":[{"name":"f","parameters":%b},{"name":"g","parametersJsonSchema":%b}]}]}'
    first, second = G.decode_chat(document(body % (json.dumps(own).encode(), raw)), PLAIN).tools
    assert first.parameters == (
        b'{"type":"object","properties":{"a":{"anyOf":[{"type":"number"},{"type":"null"}]},'
        b'"b":{"type":"array","items":{"type":"string"},"minItems":1}}}'
    )
    assert second.parameters == raw


def test_args_keep_their_bytes_to_and_from_another_form():
    raw = b'{"contents":[{"parts":[{"text":"x"}]},{"role":"model","parts":[{"functionCall":{"id":"c","name":"f","args":{"b":1.0,  "a":"\\u00e9"}}}]},{"parts":[{"functionResponse":{"id":"c","name":"f","response":{"r":  1}}}]}]}'
    there = OpenAI().encode_chat(G.decode_chat(document(raw), PLAIN), model="m", max_tokens=None, drop=False).body
    assert json.loads(there)["messages"][1]["tool_calls"][0]["function"]["arguments"] == '{"b":1.0,  "a":"\\u00e9"}'
    back = G.encode_chat(OpenAI().decode_chat(document(there)), model="m", max_tokens=None, drop=False).body
    assert b'"args":{"b":1.0,  "a":"\\u00e9"}' in back
    assert b'"response":{"r":  1}' in back


def test_a_signature_in_the_alphabet_for_urls_is_given_in_the_standard_one():
    part = {"text": "t", "thought": True, "thoughtSignature": "a-b_"}
    call = decoded({"contents": [USER, {"role": "model", "parts": [part]}, USER]})
    assert call.messages[1].parts == (ThinkingPart("t", "a+b/"),)


def test_a_call_without_signature_says_so_to_models_that_ask():
    history = [
        {"role": "user", "content": "x"},
        {"role": "assistant", "tool_calls": [{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}]},
        {"role": "tool", "tool_call_id": "c", "content": "r"},
    ]  # fmt: skip
    assert "thoughtSignature" in sent(OpenAI(), {"messages": history})["contents"][1]["parts"][0]
    assert (
        "thoughtSignature"
        not in sent(OpenAI(), {"messages": history}, model="gemini-2.5-pro")["contents"][1]["parts"][0]
    )


def test_a_result_of_an_unknown_call_is_refused_by_its_place():
    tree = {"messages": [{"role": "user", "content": "x"}, {"role": "tool", "tool_call_id": "c", "content": "r"}]}
    with pytest.raises(CallerError) as caught:
        sent(OpenAI(), tree)
    assert (caught.value.code, caught.value.param) == (Code.REQUEST_UNSUPPORTED, "messages[1].content")


@pytest.mark.parametrize(
    ("client", "more", "model", "expected"),
    [
        (OpenAI(), {"reasoning_effort": "none"}, "gemini-x", {"thinkingBudget": 0}),
        (OpenAI(), {"reasoning_effort": "low"}, "gemini-x", {"thinkingLevel": "LOW"}),
        (OpenAI(), {"reasoning_effort": "low"}, "gemini-2.5-flash", {"thinkingBudget": 1024}),
        (Anthropic(), {"thinking": {"type": "adaptive"}}, "gemini-x", {"includeThoughts": True}),
        (Anthropic(), {"thinking": {"type": "adaptive", "display": "omitted"}}, "gemini-x", None),
    ],
)
def test_thinking_is_asked_for_in_the_models_own_way(client, more, model, expected):
    body = sent(client, {"max_tokens": 5, "messages": [{"role": "user", "content": "x"}], **more}, model=model)
    assert body["generationConfig"].get("thinkingConfig") == expected


@pytest.mark.parametrize(
    ("calling", "mode", "name", "left"),
    [
        ({"mode": "AUTO"}, "auto", "", []),
        ({"mode": "NONE"}, "none", "", []),
        ({"mode": "ANY"}, "required", "", []),
        ({"mode": "ANY", "allowedFunctionNames": ["f"]}, "named", "f", []),
        ({"mode": "ANY", "allowedFunctionNames": ["g", "f"]}, "required", "", []),
        ({"mode": "ANY", "allowedFunctionNames": ["f", "h"]}, "required", "", ["allowedFunctionNames"]),
        ({"mode": "VALIDATED"}, "auto", "", ["mode"]),
    ],
)
def test_the_choice_of_functions(calling, mode, name, left):
    call = decoded({"tools": [DECLARED], "toolConfig": {"functionCallingConfig": calling}})
    assert (call.tool_choice.mode, call.tool_choice.name) == (mode, name)
    assert list(call.extensions) == [f"toolConfig.functionCallingConfig.{key}" for key in left]


# --- the other operations


@pytest.mark.parametrize(
    ("tree", "expected"),
    [
        ({"contents": []}, b'{"contents":[],"generationConfig":{"maxOutputTokens":9}}'),
        ({"generation_config": {"top_k": 1}}, b'{"generation_config":{"top_k":1,"maxOutputTokens":9}}'),
        ({"generationConfig": {"max_output_tokens": 3}}, None),
    ],
)
def test_a_default_bound_is_put_where_the_caller_set_none(tree, expected):
    original = document(tree)
    encoded = G.forward_chat(original, model="a b", report_usage=True, max_tokens=9, addressed=ARRAY)
    assert encoded.path == b"/models/a%20b:streamGenerateContent"
    assert encoded.body == (expected or original.raw)


def test_tokens_are_counted_in_either_form():
    inner = {"contents": [USER], "systemInstruction": {"parts": [{"text": "s"}]}}
    tree = document({"generateContentRequest": {"model": "models/x", **inner}})
    call = G.decode_chat(tree, PLAIN)
    assert call.original_model == "m"
    assert call.messages[0].path == "generateContentRequest.systemInstruction"
    encoded = G.encode_count_tokens(call, model="y", drop=False)
    assert encoded.path == b"/models/y:countTokens"
    assert json.loads(encoded.body)["generateContentRequest"]["model"] == "models/y"
    short = G.encode_count_tokens(decoded({}), model="y", drop=False)
    assert json.loads(short.body) == {"contents": [USER]}
    assert json.loads(G.forward_count_tokens(tree, model="z").body)["generateContentRequest"]["model"] == "models/z"
    assert G.decode_token_count(G.encode_token_count(7)) == 7
    for body in (b"{}", b'{"totalTokens":-1}', b'{"error":{"code":500}}'):
        with pytest.raises(UpstreamError):
            G.decode_token_count(body)


PART = st.fixed_dictionaries(
    {},
    optional={
        "text": st.sampled_from(["", "a", "ü"]),
        "thought": st.sampled_from([None, False, True]),
        "thoughtSignature": st.sampled_from([None, "", "s"]),
        "functionCall": st.sampled_from([None, {"name": "f", "args": {"a": 1}}]),
        "inlineData": st.sampled_from([None, {"data": ""}]),
    },
)
CANDIDATE = st.fixed_dictionaries(
    {},
    optional={
        "content": st.sampled_from([None, {}]) | st.fixed_dictionaries({"parts": st.lists(PART, max_size=2)}),
        "finishReason": st.sampled_from([None, "", "STOP", "MAX_TOKENS", "SAFETY", "NEW", "MALFORMED_RESPONSE"]),
        "index": st.sampled_from([None, 0, 1, -1, 128]),
        "logprobsResult": st.sampled_from([None, {"chosenCandidates": [{"token": "a", "logProbability": -1.0}]}]),
    },
)
ANSWER = st.fixed_dictionaries(
    {"candidates": st.lists(CANDIDATE, max_size=2)},
    optional={
        "responseId": st.sampled_from([None, "r"]),
        "modelVersion": st.sampled_from([None, "m"]),
        "usageMetadata": st.sampled_from([None, {"promptTokenCount": 3}, {"promptTokenCount": -1}]),
        "promptFeedback": st.sampled_from([None, {"blockReason": "SAFETY"}]),
    },
)


@given(ANSWER)
def test_an_answer_of_one_text_is_read_as_its_events_fold(answer):
    body = json.dumps(answer).encode()
    chunk = decode_chunk(body)
    usage, lie = chunk.usage()
    told, slow = outcome(lambda: G.decode_chat_reply(body)), outcome(lambda: fold(Reading().events(chunk, usage)))
    if isinstance(slow, ChatReply):
        if not slow.choices:
            return  # which is no answer at all
        slow = msgspec.structs.replace(slow, usage_invalid=lie)
    assert told == slow


def outcome(read):
    try:
        return read()
    except UpstreamError as error:
        return error.code, error.message


def test_embeddings_one_and_many():
    one = {"content": {"parts": [{"text": "a"}, {"text": "b"}]}, "outputDimensionality": 3}
    call = G.decode_embeddings(document(one), PLAIN)
    assert (call.inputs, call.dimensions) == (("ab",), 3)
    alone = G.encode_embeddings(call, model="e", drop=False)
    assert (alone.path, json.loads(alone.body)["content"]) == (b"/models/e:embedContent", {"parts": [{"text": "ab"}]})
    many = document({"requests": [{"model": "models/x", **one}] * 2})
    assert G.peek_embeddings(many, BATCH).inputs == 2
    batch = G.encode_embeddings(G.decode_embeddings(many, BATCH), model="e", drop=False)
    assert batch.path == b"/models/e:batchEmbedContents"
    forwarded = json.loads(G.forward_embeddings(many, model="e", addressed=BATCH).body)
    assert [request["model"] for request in forwarded["requests"]] == ["models/e"] * 2
    assert G.forward_embeddings(document(one), model="e", addressed=PLAIN).body == document(one).raw


def test_vertex_ais_other_models_are_asked_by_its_prediction_service():
    """https://docs.cloud.google.com/vertex-ai/generative-ai/docs/model-reference/text-embeddings-api"""
    assert [VERTEX.embeddings_pass(model) for model in ("text-embedding-005", "gemini-embedding-001")] == [False, True]
    assert G.embeddings_pass("text-embedding-005")
    call = OpenAI().decode_embeddings(document({"model": "m", "input": ["a", "b"], "dimensions": 3}), PLAIN)
    encoded = VERTEX.encode_embeddings(call, model="text-embedding-005", drop=False)
    assert encoded.path == b"/models/text-embedding-005:predict"
    assert json.loads(encoded.body) == {
        "instances": [{"content": "a"}, {"content": "b"}],
        "parameters": {"outputDimensionality": 3},
    }
    newer = VERTEX.encode_embeddings(call, model="gemini-embedding-001", drop=False)
    assert newer.path == b"/models/gemini-embedding-001:batchEmbedContents"
    with pytest.raises(CallerError) as caught:
        VERTEX.encode_embeddings(msgspec.structs.replace(call, inputs=("a", (1, 2))), model="t", drop=False)
    assert caught.value.param == "input[1]"


def test_what_is_said_of_one_text_stays_with_it_also_in_a_part_of_a_batch():
    asked = {"content": {"parts": [{"text": "a"}]}, "taskType": "RETRIEVAL_DOCUMENT"}
    one = G.decode_embeddings(document({**asked, "title": "t"}), PLAIN)
    (told,) = json.loads(VERTEX.encode_embeddings(one, model="t", drop=False).body)["instances"]
    assert told == {"content": "a", "task_type": "RETRIEVAL_DOCUMENT", "title": "t"}
    many = document({"requests": [asked, {"content": {"parts": [{"text": "b"}]}, "task_type": "CLUSTERING"}, asked]})
    parts = [
        json.loads(VERTEX.encode_embeddings(part, model="t", drop=False).body)["instances"]
        for part in batch.calls(G.decode_embeddings(many, BATCH), (1, 2))
    ]
    assert [[one["task_type"] for one in part] for part in parts] == [
        ["RETRIEVAL_DOCUMENT"],
        ["CLUSTERING", "RETRIEVAL_DOCUMENT"],
    ]


@pytest.mark.parametrize(
    ("tree", "addressed", "param"),
    [
        ({"content": {"parts": [{"text": "a"}]}, "autoTruncate": False}, PLAIN, "autoTruncate"),
        ({"requests": [{"content": {"parts": [{"text": "a"}]}}] * 2, "taskType": "X"}, BATCH, "taskType"),
    ],
)
def test_what_the_prediction_service_has_no_place_for_is_refused_by_name_or_dropped_by_it(tree, addressed, param):
    call = G.decode_embeddings(document(tree), addressed)
    with pytest.raises(CallerError) as caught:
        VERTEX.encode_embeddings(call, model="t", drop=False)
    assert caught.value.param == param
    assert VERTEX.encode_embeddings(call, model="t", drop=True).dropped == (param,)


@pytest.mark.parametrize(
    ("statistics", "usage"),
    [
        ([{"token_count": 2, "truncated": False}, {"token_count": 3.0}], Usage(input_tokens=5)),
        ([{"token_count": 2}, {}], None),
        ([{"token_count": 2}, {"token_count": -1}], None),
    ],
)
def test_a_prediction_is_counted_where_every_text_of_it_is(statistics, usage):
    told = [{"embeddings": {"values": [0.5, -1], "statistics": one}} for one in statistics]
    reply = VERTEX.decode_embeddings_reply(json.dumps({"predictions": told}).encode())
    assert (len(reply.vectors), json.loads(reply.vectors[0]), reply.usage) == (2, [0.5, -1], usage)


@pytest.mark.parametrize(
    "body", [b'{"predictions":1}', b'{"predictions":[{}]}', b'{"predictions":[{"embeddings":{}}]}']
)
def test_a_prediction_of_another_form_is_a_protocol_error(body):
    with pytest.raises(UpstreamError) as caught:
        VERTEX.decode_embeddings_reply(body)
    assert caught.value.code is Code.UPSTREAM_PROTOCOL


@pytest.mark.parametrize(
    ("client", "provider", "tree", "param"),
    [
        (OpenAI(), G, {"model": "m", "input": "x", "task": "t"}, "task"),
        (G, OpenAI(), {"content": {"parts": [{"text": "x"}]}, "taskType": "RETRIEVAL_QUERY"}, "taskType"),
    ],
)
def test_what_embeddings_cannot_carry_is_refused_by_name_or_dropped_by_it(client, provider, tree, param):
    call = client.decode_embeddings(document(tree), PLAIN)
    with pytest.raises(CallerError) as caught:
        provider.encode_embeddings(call, model="e", drop=False)
    assert (caught.value.code, caught.value.param) == (Code.REQUEST_UNSUPPORTED, param)
    assert provider.encode_embeddings(call, model="e", drop=True).dropped == (param,)


def test_a_list_of_tokens_is_refused():
    call = OpenAI().decode_embeddings(document({"model": "m", "input": [1, 2]}))
    with pytest.raises(CallerError) as caught:
        G.encode_embeddings(call, model="e", drop=True)
    assert caught.value.param == "input"


def test_the_end_user_is_a_hint_and_the_form_of_vectors_is_made_here():
    asked = {"model": "m", "input": "x", "user": "u", "encoding_format": "base64"}
    sent = G.encode_embeddings(OpenAI().decode_embeddings(document(asked)), model="e", drop=False)
    assert sent.dropped == ("user",)


def test_vectors_are_lists_whatever_they_came_as():
    reply = EmbeddingsReply("m", (b"[0.5, 1]", b'"AAAAPwAAgD8="'), Usage(input_tokens=2))
    body = json.loads(G.encode_embeddings_reply(reply, BATCH))
    assert [vector["values"] for vector in body["embeddings"]] == [[0.5, 1], [0.5, 1.0]]
    assert G.decode_embeddings_reply(json.dumps(body).encode()).usage == Usage(input_tokens=2)
    assert "embedding" in json.loads(G.encode_embeddings_reply(EmbeddingsReply("m", (b"[1]",), None)))


@pytest.mark.parametrize(
    ("tree", "addressed", "code"),
    [
        ({"content": {"parts": [{"inlineData": {}}]}}, PLAIN, Code.REQUEST_UNSUPPORTED),
        ({"content": {"parts": []}}, PLAIN, Code.REQUEST_INVALID),
        ({}, PLAIN, Code.REQUEST_INVALID),
        ({"requests": []}, BATCH, Code.REQUEST_INVALID),
        ({"requests": [{"content": {"parts": [{"text": "a"}]}, "outputDimensionality": n} for n in (1, 2)]}, BATCH, Code.REQUEST_UNSUPPORTED),
    ],
)  # fmt: skip
def test_embeddings_that_cannot_be_carried_are_refused(tree, addressed, code):
    with pytest.raises(CallerError) as caught:
        G.decode_embeddings(document(tree), addressed)
    assert caught.value.code is code


def test_models_are_listed_under_their_resource_names():
    listed = json.loads(G.encode_models([ListedModel("a", 0)]))
    assert listed["models"][0]["name"] == "models/a"
    assert "generateContent" in json.loads(G.encode_model(ListedModel("a", 0)))["supportedGenerationMethods"]


def test_a_key_that_is_refused_with_400_is_the_gateways_own_matter():
    body = json.dumps({"error": {"code": 400, "message": "API key not valid.", "status": "INVALID_ARGUMENT", "details": [{"@type": "t", "reason": "API_KEY_INVALID"}]}})  # fmt: skip
    error = G.decode_error(400, (), body.encode())
    assert error.code is Code.UPSTREAM_CREDENTIAL
    assert "API key" not in error.message


def test_the_delay_in_an_errors_details_is_the_time_to_wait():
    body = b'{"error":{"code":429,"message":"m","details":[{"retryDelay":"21.5s"}]}}'
    assert G.decode_error(429, (), body).retry_after_seconds == 21.5
    assert G.decode_error(429, ((b"retry-after", b"2"),), body).retry_after_seconds == 2


def test_texts_are_found_with_their_speakers():
    tree = {
        "systemInstruction": {"parts": [{"text": "s"}]},
        "contents": [
            {"role": "user", "parts": [{"text": "u"}, {"inlineData": {"mimeType": "image/png", "data": "AA"}}]},
            {
                "role": "model",
                "parts": [{"functionCall": {"name": "f", "args": {"role": "a"}}, "thoughtSignature": "x"}],
            },
        ],
    }
    places = G.request_texts(document(tree))
    assert [(place.role, place.text) for place in places] == [
        (Role.SYSTEM, "s"),
        (Role.USER, "u"),
        (Role.ASSISTANT, "f"),
        (Role.ASSISTANT, "a"),
    ]
    edited = json.loads(G.edit_request(document(tree), {places[1].path: "w"}))
    assert edited["contents"][0]["parts"][0]["text"] == "w"
    reply = ChatReply("r", "m", (Choice((TextPart("t"),), FinishReason.STOP),), None)
    assert [place.text for place in G.reply_texts(G.encode_chat_reply(reply))] == ["t"]


@pytest.mark.parametrize("name", ["response", "responseJsonSchema", "response_json_schema"])
@pytest.mark.parametrize("provider", sorted(set(PROVIDERS) - {"gemini"}))
def test_what_a_function_gives_back_is_left_out_by_name(provider, name):
    """Google's SDKs send it of every function of the caller's that says what it returns."""
    tools = [{"functionDeclarations": [{"name": "f", name: {"type": "STRING"}}]}]
    encoded = PROVIDERS[provider].encode_chat(decoded({"tools": tools}), model="m", max_tokens=None, drop=False)
    assert encoded.dropped == (f"tools[0].functionDeclarations[0].{name}",)
    assert b"STRING" not in encoded.body


def test_words_may_be_given_by_their_numbers():
    """Google's generated clients send enums so."""
    schema = {"type": 6, "properties": {"type": {"type": 1}, "days": {"type": 5, "items": {"type": 3}}}}
    calling = {"functionCallingConfig": {"mode": 2}}
    tools = [{"functionDeclarations": [{"name": "f", "parameters": schema}]}]
    call = decoded({"tools": tools, "toolConfig": calling})
    assert json.loads(call.tools[0].parameters) == {
        "type": "object",
        "properties": {"type": {"type": "string"}, "days": {"type": "array", "items": {"type": "integer"}}},
    }
    assert call.tool_choice == ToolChoice(ToolMode.REQUIRED)
