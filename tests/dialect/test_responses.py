"""The responses form: what is peculiar to it."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ostiary.core import limit
from ostiary.core.error import CallerError, Code, UpstreamError
from ostiary.core.fold import fold, unfold
from ostiary.core.message import RedactedThinkingPart, Role, TextPart, ThinkingPart, ToolUsePart
from ostiary.core.reply import FinishReason
from ostiary.core.stream import ArgumentsDelta, PartStarted, SignatureDelta, Started, TextDelta
from ostiary.gateway.dialect.anthropic import Anthropic
from ostiary.gateway.dialect.openai import OpenAI
from ostiary.gateway.dialect.responses import Responses
from ostiary.gateway.wire.json import parse, raw_members
from tests.dialect.test_law import events_of, read, replies, write

R, O, A = Responses(), OpenAI(), Anthropic()
BASE = {"model": "m", "input": "hi"}
CALL = {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"}
OUTPUT = {"type": "function_call_output", "call_id": "c", "output": "x"}
REASONING = {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "hm"}]}
USER = {"role": "user", "content": "x"}
FULL = {
    "model": "m",
    "instructions": "sys",
    "input": [
        {"role": "developer", "content": [{"type": "input_text", "text": "dev"}]},
        {"role": "user", "content": [{"type": "input_text", "text": "u"}, {"type": "input_image", "image_url": "data:image/png;base64,AA", "detail": "auto"}]},
        {**REASONING, "encrypted_content": "ENC"},
        {"type": "message", "id": "msg_1", "status": "completed", "role": "assistant", "content": [{"type": "output_text", "text": "said", "annotations": []}, {"type": "refusal", "refusal": "no"}]},
        {**CALL, "id": "fc_1", "arguments": '{"q":"arg"}'},
        {**OUTPUT, "output": [{"type": "input_text", "text": "result"}]},
        {"type": "custom_tool_call", "call_id": "c2", "name": "g", "input": "free"},
        {"type": "custom_tool_call_output", "call_id": "c2", "output": "made"},
        {"role": "user", "content": "bye"},
    ],
    "tools": [{"type": "function", "name": "f", "description": "does", "parameters": {"type": "object", "properties": {"q": {"description": "ask"}}}}],
    "text": {"format": {"type": "json_schema", "name": "n", "schema": {"title": "t"}}},
    "reasoning": {"effort": "low", "summary": "auto"},
    "user": "end-user",
}  # fmt: skip


def document(tree):
    return parse(json.dumps(tree).encode())


def refused(call, tree):
    with pytest.raises(CallerError) as caught:
        call(document(tree))
    return caught.value.code, caught.value.param


def sent(provider, change, *, drop=False):
    call = R.decode_chat(document({**BASE, **change}))
    return provider.encode_chat(call, model="m", max_tokens=None, drop=drop)


STATE = [
    ({"previous_response_id": "resp_0"}, "previous_response_id"),
    ({"conversation": "conv_0"}, "conversation"),
    ({"conversation": {"id": "conv_0"}}, "conversation"),
    ({"prompt": {"id": "pmpt_0"}}, "prompt"),
    ({"background": True}, "background"),
    ({"input": [USER, {"type": "item_reference", "id": "msg_0"}]}, "input[1]"),
    ({"input": [USER, {"id": "msg_0"}]}, "input[1]"),
]


@pytest.mark.parametrize(("change", "param"), STATE, ids=lambda value: value if isinstance(value, str) else "")
def test_what_needs_state_at_the_provider_is_refused_before_it_goes_anywhere(change, param):
    assert refused(R.peek_chat, {**BASE, **change}) == (Code.REQUEST_UNSUPPORTED, param)
    assert refused(R.decode_chat, {**BASE, **change}) == (Code.REQUEST_UNSUPPORTED, param)


def test_no_state_is_asked_for_by_null_or_false():
    tree = {**BASE, "previous_response_id": None, "conversation": None, "prompt": None, "background": False}
    assert R.peek_chat(document(tree)).messages == 1


def test_nothing_is_stored_unless_the_caller_says_so():
    for tree, stored in ((BASE, False), ({**BASE, "store": None}, False), ({**BASE, "store": True}, True)):
        forwarded = R.forward_chat(document(tree), model="m", report_usage=True, max_tokens=None)
        assert json.loads(forwarded.body)["store"] is stored
    assert json.loads(sent(R, {}).body)["store"] is False


def test_the_same_dialect_passes_every_other_value_byte_for_byte():
    raw = json.dumps({**FULL, "stream": True, "unknown": [1.0, {"a": 1e2}]}, indent=1).encode()
    R.peek_chat(parse(raw))
    forwarded = R.forward_chat(parse(raw), model="other", report_usage=True, max_tokens=9)
    before, after = raw_members(raw), raw_members(forwarded.body)
    assert after.keys() - before.keys() == {"store", "max_output_tokens"}
    assert bytes(after["model"]) == b'"other"'
    assert all(bytes(after[key]) == bytes(before[key]) for key in before if key != "model")


@pytest.mark.parametrize(
    ("change", "code", "param"),
    [
        ({"input": None}, Code.REQUEST_INVALID, "input"),
        ({"input": []}, Code.REQUEST_INVALID, "input"),
        ({"input": ["x"]}, Code.REQUEST_INVALID, "input[0]"),
        ({"input": [USER] * (limit.MESSAGES_MAX + 1)}, Code.REQUEST_LIMIT, "input"),
        ({"input": [{"role": "user", "content": [{"type": "input_text", "text": "x"}] * (limit.PARTS_MAX + 1)}]}, Code.REQUEST_LIMIT, "input[0].content"),
        ({"input": [{**OUTPUT, "output": [{}] * (limit.PARTS_MAX + 1)}]}, Code.REQUEST_LIMIT, "input[0].output"),
        ({"tools": [{"type": "function"}] * (limit.TOOLS_MAX + 1)}, Code.REQUEST_LIMIT, "tools"),
        ({"model": "m" * (limit.MODEL_NAME_BYTES_MAX + 1)}, Code.REQUEST_LIMIT, "model"),
        ({"max_output_tokens": 0}, Code.REQUEST_INVALID, "max_output_tokens"),
        ({"max_output_tokens": 1.5}, Code.REQUEST_INVALID, "max_output_tokens"),
        ({"max_output_tokens": limit.MAX_TOKENS_MAX + 1}, Code.REQUEST_LIMIT, "max_output_tokens"),
        ({"stream": 1}, Code.REQUEST_INVALID, "stream"),
        ({"user": 1}, Code.REQUEST_INVALID, "user"),
    ],
)  # fmt: skip
def test_every_bound_is_kept_before_anything_is_built(change, code, param):
    assert refused(R.peek_chat, {**BASE, **change}) == (code, param)
    assert refused(R.decode_chat, {**BASE, **change}) == (code, param)


def test_a_peek_sees_what_admission_needs():
    peek = R.peek_chat(document({**FULL, "stream": True, "max_output_tokens": 7}))
    assert (peek.model, peek.stream, peek.include_usage, peek.max_tokens, peek.choices) == ("m", True, True, 7, 1)
    assert (peek.messages, peek.tools, peek.tool_depth, peek.media, peek.end_user) == (9, 1, 0, 1, "end-user")
    file = {"type": "input_file", "filename": "f", "file_data": "A" * 10_000}
    image = {"type": "input_image", "image_url": "data:image/png;base64," + "A" * 10_000}
    tree = {**BASE, "input": [{"role": "user", "content": [file, image]}, {**OUTPUT, "output": [image]}]}
    assert R.peek_chat(document(tree)).prompt_bytes < 500


@pytest.mark.parametrize(
    ("items", "depth"),
    [
        ([USER, CALL, OUTPUT], 1),
        ([USER, CALL, CALL, OUTPUT, OUTPUT], 1),
        ([USER, REASONING, CALL, OUTPUT, REASONING, {"role": "assistant", "content": "y"}, CALL, OUTPUT], 2),
        ([CALL, OUTPUT, CALL, OUTPUT, CALL, OUTPUT], 3),
        ([USER, {**CALL, "type": "custom_tool_call"}, {**OUTPUT, "type": "custom_tool_call_output"}], 1),
        ([USER, CALL, OUTPUT, USER], 0),
        ([CALL, OUTPUT, USER, CALL, OUTPUT], 1),
        ([USER, CALL], 0),
    ],
)
def test_tool_rounds_at_the_end_are_counted(items, depth):
    assert R.peek_chat(document({**BASE, "input": items})).tool_depth == depth


CARRIED = [
    ({"input": [USER, CALL, CALL, OUTPUT, OUTPUT]}, O, {"messages": [USER, {"role": "assistant", "content": None, "tool_calls": [{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}] * 2}, {"role": "tool", "tool_call_id": "c", "content": "x"}, {"role": "tool", "tool_call_id": "c", "content": "x"}]}),
    ({"instructions": "s"}, O, {"messages": [{"role": "system", "content": "s"}, {"role": "user", "content": "hi"}]}),
    ({"include": ["reasoning.encrypted_content"], "top_logprobs": 0, "metadata": {}, "store": False, "truncation": "disabled"}, A, {"messages": [{"role": "user", "content": "hi"}]}),
    ({"reasoning": {"effort": "none"}}, O, {"reasoning_effort": "none"}),
    ({"reasoning": {"summary": "auto", "context": "auto", "mode": "standard"}}, A, {"thinking": {"type": "adaptive", "display": "summarized"}}),
    ({"reasoning": {}, "text": {}, "tools": []}, A, {}),
    ({"safety_identifier": "s"}, A, {"metadata": {"user_id": "s"}}),
    ({"text": {"format": {"type": "json_object"}}}, O, {"response_format": {"type": "json_object"}}),
    ({"tool_choice": "required", "tools": [{"type": "function", "name": "f", "defer_loading": False, "allowed_callers": ["direct"]}]}, O, {"tool_choice": "required"}),
    ({"input": [USER, {"type": "custom_tool_call", "call_id": "c", "name": "n", "input": "i", "caller": {"type": "direct"}}, {"type": "custom_tool_call_output", "call_id": "c", "output": "o"}]}, R, {"input": [USER, {"type": "custom_tool_call", "call_id": "c", "name": "n", "input": "i"}, {"type": "custom_tool_call_output", "call_id": "c", "output": "o"}]}),
    ({"input": [{"role": "user", "content": [{"type": "input_file", "file_url": "https://x/y.pdf", "detail": "auto"}]}]}, A, {"messages": [{"role": "user", "content": [{"type": "document", "source": {"type": "url", "url": "https://x/y.pdf"}}]}]}),
    ({"input": [USER, {**REASONING, "encrypted_content": "E"}, {"role": "assistant", "content": "y"}, USER]}, R, {"include": ["reasoning.encrypted_content"], "input": [USER, {**REASONING, "encrypted_content": "E"}, {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "y", "annotations": []}]}, USER]}),
    ({"input": [USER, {**REASONING, "summary": [], "encrypted_content": "E"}, CALL, OUTPUT]}, A, {"messages": [USER, {"role": "assistant", "content": [{"type": "redacted_thinking", "data": "E"}, {"type": "tool_use", "id": "c", "name": "f", "input": {}}]}, {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "c", "content": "x"}]}]}),
    ({"input": [USER, {**REASONING, "summary": [], "content": [{"type": "reasoning_text", "text": "raw"}]}, {"role": "assistant", "content": "y"}, USER]}, O, {"messages": [USER, {"role": "assistant", "content": "y", "reasoning_content": "raw"}, USER]}),
]  # fmt: skip


@pytest.mark.parametrize(("change", "provider", "expected"), CARRIED)
def test_a_field_is_carried(change, provider, expected):
    encoded = sent(provider, change)
    assert encoded.dropped == ()
    body = json.loads(encoded.body)
    assert {key: body.get(key) for key in expected} == expected


REFUSED = [
    (A, {"include": ["message.output_text.logprobs"]}, "include"),
    (A, {"include": ["reasoning.encrypted_content", "web_search_call.results"]}, "include[1]"),
    (A, {"text": {"verbosity": "low"}}, "text.verbosity"),
    (A, {"text": {"format": {"type": "json_object"}}}, "text.format"),
    (A, {"reasoning": {"summary": "detailed"}}, "reasoning.summary"),
    (O, {"reasoning": {"context": "all_turns"}}, "reasoning.context"),
    (O, {"tools": [{"type": "web_search"}]}, "tools[0]"),
    (O, {"tools": [{"type": "function", "name": "f", "output_schema": {}}]}, "tools[0].output_schema"),
    (O, {"tool_choice": {"type": "allowed_tools", "mode": "auto", "tools": []}}, "tool_choice"),
    (O, {"max_tool_calls": 1}, "max_tool_calls"),
    (O, {"store": True}, "store"),
    (O, {"truncation": "auto"}, "truncation"),
    (O, {"user": "a", "safety_identifier": "b"}, "user"),
    (O, {"input": [USER, {**REASONING, "summary": []}, {"role": "assistant", "content": "y"}, USER]}, "input[1]"),
    (R, {"input": [USER, REASONING, {"role": "assistant", "content": "y"}, USER]}, "input[1]"),
    (A, {"input": [{"role": "user", "content": [{"type": "input_image", "file_id": "f"}]}]}, "input[0].content[0]"),
    (A, {"input": [{"role": "user", "content": [{"type": "input_image", "image_url": "https://x", "detail": "low"}]}]}, "input[0].content[0].detail"),
    (A, {"input": [{"role": "user", "content": [{"type": "input_image", "image_url": "https://x", "file_id": "f"}]}]}, "input[0].content[0].file_id"),
    (A, {"input": [USER, {**CALL, "namespace": "n"}, OUTPUT]}, "input[1].namespace"),
    (A, {"stream_options": {"new": 1}}, "stream_options.new"),
]  # fmt: skip


@pytest.mark.parametrize(("provider", "change", "param"), REFUSED)
def test_a_field_is_refused_by_the_callers_name_or_dropped_by_it(provider, change, param):
    with pytest.raises(CallerError) as caught:
        sent(provider, change)
    assert (caught.value.code, caught.value.param) == (Code.REQUEST_UNSUPPORTED, param)
    assert sent(provider, change, drop=True).dropped == (param,)


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"n": 2}, "n"),
        ({"seed": 1}, "seed"),
        ({"stop": "x"}, "stop"),
        ({"presence_penalty": 1}, "presence_penalty"),
        ({"frequency_penalty": 1}, "frequency_penalty"),
        ({"service_tier": "odd"}, "service_tier"),
        ({"response_format": {"type": "json_schema", "json_schema": {"name": "n"}}}, "response_format"),
        ({"messages": [{"role": "user", "content": "x", "name": "z"}]}, "messages[0].name"),
    ],
)
def test_what_a_provider_of_this_form_has_no_place_for_is_refused(change, param):
    call = O.decode_chat(document({"model": "m", "messages": [USER], **change}))
    with pytest.raises(CallerError) as caught:
        R.encode_chat(call, model="m", max_tokens=None, drop=False)
    assert (caught.value.code, caught.value.param) == (Code.REQUEST_UNSUPPORTED, param)
    assert R.encode_chat(call, model="m", max_tokens=None, drop=True).dropped == (param,)


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"input": [{"role": "king", "content": "x"}]}, "input[0].role"),
        ({"input": [{"role": "user"}]}, "input[0].content"),
        ({"input": [{"role": "user", "content": [{"type": "input_image"}]}]}, "input[0].content[0]"),
        ({"input": [{"role": "user", "content": [{"type": "input_image", "image_url": "data:x"}]}]}, "input[0].content[0].image_url"),
        ({"input": [{"role": "user", "content": [{"type": "input_image", "image_url": "u", "detail": "x"}]}]}, "input[0].content[0].detail"),
        ({"input": [{"type": "function_call", "call_id": "c", "name": "f"}]}, "input[0].arguments"),
        ({"input": [{"type": "function_call_output", "call_id": 7, "output": "x"}]}, "input[0].call_id"),
        ({"tools": [{"type": "function"}]}, "tools[0].name"),
        ({"tools": [{"type": "function", "name": "f", "parameters": []}]}, "tools[0].parameters"),
        ({"tool_choice": "maybe"}, "tool_choice"),
        ({"text": {"format": {"type": "json_schema", "name": "n"}}}, "text.format.schema"),
        ({"temperature": 3}, "temperature"),
        ({"top_logprobs": -1}, "top_logprobs"),
    ],
)  # fmt: skip
def test_a_wrong_field_is_named(change, param):
    assert refused(R.decode_chat, {**BASE, **change}) == (Code.REQUEST_INVALID, param)


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"input": [{"type": "web_search_call", "id": "ws_1"}]}, "input[0]"),
        ({"input": [{"role": "user", "content": [{"type": "input_audio"}]}]}, "input[0].content[0]"),
        ({"input": [{**OUTPUT, "output": [{"type": "refusal", "refusal": "x"}]}]}, "input[0].output[0]"),
        ({"input": [{"type": "function_call_output", "output": "x"}]}, "input[0].call_id"),
        ({"text": {"format": {"type": "yaml"}}}, "text.format.type"),
    ],
)
def test_a_kind_nobody_knows_is_refused_even_where_fields_may_be_left_out(change, param):
    with pytest.raises(CallerError) as caught:
        sent(O, change, drop=True)
    assert (caught.value.code, caught.value.param) == (Code.REQUEST_UNSUPPORTED, param)


def leaves(value, path=()):
    yield path
    if isinstance(value, dict):
        for key, item in value.items():
            yield from leaves(item, (*path, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from leaves(item, (*path, index))


junk = st.one_of(
    st.none(), st.booleans(), st.integers(-3, 10**20), st.text(max_size=4), st.just([]), st.just({}), st.just([None]),
    st.just({"type": "input_text"}),
)  # fmt: skip


@given(data=st.data())
@settings(max_examples=500, deadline=None)
def test_no_request_crashes_a_decoder(data):
    tree = json.loads(json.dumps(FULL))
    for _ in range(data.draw(st.integers(1, 3))):
        path = data.draw(st.sampled_from([path for path in leaves(tree) if path]))
        holder = tree
        for step in path[:-1]:
            holder = holder[step]
        holder[path[-1]] = json.loads(json.dumps(data.draw(junk)))
    doc, errors = document(tree), []
    for drop in (True, False):
        try:
            R.peek_chat(doc)
            call = R.decode_chat(doc)
            for provider in (O, A, R):
                provider.encode_chat(call, model="x", max_tokens=None, drop=drop)
        except CallerError as error:
            errors.append((error.code, error.param))
    assert {code for code, _ in errors} <= {Code.REQUEST_INVALID, Code.REQUEST_LIMIT, Code.REQUEST_UNSUPPORTED}
    assert all(param for _, param in errors)
    assert all(isinstance(place.text, str) for place in R.request_texts(doc))


@given(data=st.data())
@settings(max_examples=200, deadline=None)
def test_no_field_disappears_silently(data):
    """A member added anywhere outside of free-form JSON is refused by its path, or listed as dropped."""
    tree = json.loads(json.dumps(FULL))
    objects = []
    for path in leaves(tree):
        holder = tree
        for step in path:
            holder = holder[step]
        if isinstance(holder, dict) and not {"parameters", "schema"} & {*map(str, path)}:
            objects.append((path, holder))
    path, holder = data.draw(st.sampled_from(objects))
    holder["surprise"] = 1
    spelled = "".join(f"[{s}]" if isinstance(s, int) else f".{s}" for s in (*path, "surprise")).removeprefix(".")
    call = R.decode_chat(document(tree))
    for provider in (O, A):
        assert spelled in provider.encode_chat(call, model="x", max_tokens=None, drop=True).dropped
        with pytest.raises(CallerError):
            provider.encode_chat(call, model="x", max_tokens=None, drop=False)


def test_every_text_has_its_place_and_an_edit_changes_it_alone():
    doc = document(FULL)
    places = R.request_texts(doc)
    roles = {place.text: place.role for place in places}
    assert {"sys", "dev", "u", "hm", "said", "no", '{"q":"arg"}', "result", "free", "made", "bye", "f", "does", "ask", "t", "n", "end-user"} == roles.keys() - {"g", "object"}  # fmt: skip
    assert (roles["sys"], roles["u"], roles["hm"], roles["free"]) == (Role.SYSTEM, Role.USER, Role.ASSISTANT, Role.ASSISTANT)  # fmt: skip
    assert (roles["result"], roles["made"], roles["said"]) == (Role.TOOL, Role.TOOL, Role.ASSISTANT)
    for place in places:
        edited = json.loads(R.edit_request(doc, {place.path: "REPLACED"}))
        expected = json.loads(json.dumps(FULL))
        holder = expected
        for step in place.path[:-1]:
            holder = holder[step]
        holder[place.path[-1]] = "REPLACED"
        assert edited == expected


@given(reply=replies)
@settings(max_examples=100, deadline=None)
def test_events_are_numbered_and_the_last_one_is_the_plain_answer(reply):
    stream = write(R, unfold(reply))
    events = [json.loads(block.split(b"data: ", 1)[1]) for block in stream.split(b"\n\n")[:-1]]
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    assert events[-1]["response"] == json.loads(R.encode_chat_reply(reply, created=7))
    done = {event["output_index"]: event["item"] for event in events if event["type"] == "response.output_item.done"}
    assert [done[index] for index in sorted(done)] == events[-1]["response"]["output"]


@pytest.mark.parametrize("part", [ThinkingPart("hm", "SIG", "rs_9"), RedactedThinkingPart("DATA", "rs_9")])
def test_reasoning_goes_out_and_comes_back_as_it_was(part):
    said = [part, TextPart("y")]
    encoder = R.stream_encoder(include_usage=True)
    events = [Started("r", "m"), *(PartStarted(0, index, value) for index, value in enumerate(said))]
    stream = b"".join(map(encoder.encode, events)) + encoder.encode(unfold(fold(events))[-1])
    items = json.loads(stream.split(b"data: ")[-1])["response"]["output"]
    call = R.decode_chat(document({**BASE, "input": [USER, *items, USER]}))
    assert call.messages[1].parts == tuple(said)
    assert json.loads(R.encode_chat(call, model="m", max_tokens=None, drop=False).body)["input"][1] == {
        key: value for key, value in items[0].items() if key != "status"
    }


def stream_of(*events):
    return b"".join(b"data: %b\n\n" % json.dumps(event).encode() for event in events)


END = {"type": "response.completed", "response": {"id": "r", "model": "m", "status": "completed", "output": []}}


def test_what_was_not_told_in_deltas_is_read_from_the_whole_item():
    items = [
        {"type": "reasoning", "id": "rs_1", "summary": [], "content": [{"type": "reasoning_text", "text": "raw"}], "encrypted_content": "E"},
        {"type": "message", "id": "m_1", "role": "assistant", "content": [{"type": "output_text", "text": "whole"}]},
        {**CALL, "arguments": '{"a":1}'},
    ]  # fmt: skip
    stream = stream_of(*({"type": "response.output_item.done", "output_index": i, "item": x} for i, x in enumerate(items)), END)  # fmt: skip
    plain = R.decode_chat_reply(json.dumps({**END["response"], "output": items}).encode())
    assert fold(events_of(read(R, [stream + b"data: [DONE]\n\n"]))).choices == plain.choices
    assert plain.choices[0].parts == (
        ThinkingPart("raw", id="rs_1"),
        RedactedThinkingPart("E", "rs_1"),
        TextPart("whole"),
        ToolUsePart("c", "f", '{"a":1}'),
    )


def test_paragraphs_of_a_summary_are_joined_the_same_streamed_and_plain():
    item = {**REASONING, "summary": [{"type": "summary_text", "text": text} for text in ("a", "", "b")]}
    deltas = [
        {"type": "response.reasoning_summary_text.delta", "item_id": "rs_1", "output_index": 0, "summary_index": index, "delta": text}
        for index, text in ((0, "a"), (2, "b"))
    ]  # fmt: skip
    stream = stream_of(*deltas, {"type": "response.output_item.done", "output_index": 0, "item": item}, END)
    plain = R.decode_chat_reply(json.dumps({**END["response"], "output": [item]}).encode())
    assert fold(events_of(read(R, [stream]))).choices == plain.choices
    assert plain.choices[0].parts == (ThinkingPart("a\n\nb", id="rs_1"),)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"status": "failed", "error": {"code": "rate_limit_exceeded", "message": "slow"}}, Code.UPSTREAM_RATE_LIMITED),
        ({"status": "failed", "error": {"code": "invalid_prompt", "message": "no"}}, Code.UPSTREAM_REFUSED),
        ({"status": "failed", "error": {"code": "server_error", "message": "no"}}, Code.UPSTREAM_ERROR),
        ({"status": "failed", "error": None}, Code.UPSTREAM_ERROR),
        ({"status": "cancelled"}, Code.UPSTREAM_ERROR),
        ({"status": "queued"}, Code.UPSTREAM_PROTOCOL),
    ],
)
def test_a_response_that_gives_no_answer_is_an_error(change, code):
    tree = {**END["response"], **change}
    for body in (json.dumps(tree).encode(), json.dumps({**tree, "model": 7}).encode()):
        for reader in (R.decode_chat_reply, R.tap_chat_reply):
            with pytest.raises(UpstreamError) as caught:
                reader(body)
            assert caught.value.code is code
    for events in (True, False):
        with pytest.raises(UpstreamError) as caught:
            R.stream_decoder(events=events).feed(stream_of({"type": "response.failed", "response": tree}))
        assert caught.value.code is code


@pytest.mark.parametrize("events", [True, False])
def test_an_error_event_is_an_error_in_either_form(events):
    for error in (
        {"type": "error", "code": "rate_limit_exceeded", "message": "slow", "param": None, "sequence_number": 3},
        {"type": "error", "error": {"type": "x", "code": "rate_limit_exceeded", "message": "slow"}},
    ):
        with pytest.raises(UpstreamError) as caught:
            R.stream_decoder(events=events).feed(stream_of(error))
        assert (caught.value.code, caught.value.message) == (Code.UPSTREAM_RATE_LIMITED, "slow")


def test_an_item_of_a_providers_own_tool_is_an_error_but_passes_where_nothing_is_translated():
    item = {"type": "web_search_call", "id": "ws_1", "status": "completed", "name": 7}
    body = json.dumps({**END["response"], "output": [item]}).encode()
    assert R.tap_chat_reply(body).finish_reason == "completed"
    stream = stream_of({"type": "response.output_item.added", "output_index": 0, "item": item}, {"type": "response.x.delta", "delta": {}}, END)  # fmt: skip
    decoder = R.stream_decoder(events=False)
    assert b"".join(frame.raw for frame in decoder.feed(stream) + decoder.close()) == stream
    for reader in (R.decode_chat_reply, lambda _: R.stream_decoder().feed(stream)):
        with pytest.raises(UpstreamError) as caught:
            reader(body)
        assert caught.value.code is Code.UPSTREAM_PROTOCOL


@pytest.mark.parametrize(
    ("details", "status", "finish"),
    [
        ({"reason": "max_output_tokens"}, "incomplete", FinishReason.LENGTH),
        ({"reason": "content_filter"}, "incomplete", FinishReason.CONTENT_FILTER),
        (None, "incomplete", FinishReason.LENGTH),
        (None, None, FinishReason.STOP),
    ],
)
def test_why_an_answer_ended_is_the_same_streamed_and_plain(details, status, finish):
    tree = {**END["response"], "status": status, "incomplete_details": details}
    event = {"type": f"response.{status or 'completed'}", "response": tree}
    (choice,) = R.decode_chat_reply(json.dumps(tree).encode()).choices
    assert choice.finish_reason is finish
    assert fold(events_of(read(R, [stream_of(event)]))).choices[0].finish_reason is finish


@pytest.mark.parametrize(
    "usage",
    [
        {"input_tokens": -1, "output_tokens": 1},
        {"input_tokens": 10**18, "output_tokens": 1},
        {"input_tokens": "7", "output_tokens": 1},
        {"input_tokens": 5, "output_tokens": 1, "input_tokens_details": {"cached_tokens": 6}},
        [],
    ],
)
def test_usage_that_cannot_be_true_is_not_reported(usage):
    body = json.dumps({**END["response"], "usage": usage}).encode()
    for tapped in (R.tap_chat_reply(body), R.decode_chat_reply(body)):
        assert (tapped.usage, tapped.usage_invalid) == (None, True)
    frame = read(R, [stream_of({**END, "response": {**END["response"], "usage": usage}})])[-1]
    assert (frame.usage, frame.usage_invalid) == (None, True)


def test_whole_counts_written_as_floats_are_taken():
    body = json.dumps({**END["response"], "usage": {"input_tokens": 5.0, "output_tokens": 2.0}}).encode()
    assert R.tap_chat_reply(body).usage.input_tokens == 5


answers = st.recursive(
    st.one_of(st.none(), st.text(max_size=5), st.integers(), st.booleans()),
    lambda x: st.one_of(
        st.lists(x, max_size=3),
        st.dictionaries(
            st.sampled_from(
                "type output item response delta status error usage content summary name arguments text id logprobs"
                " incomplete_details reason input_tokens output_index encrypted_content model".split()
            ),
            x,
            max_size=5,
        ),
    ),
    max_leaves=25,
)


@given(
    answer=answers,
    kind=st.sampled_from(["", "message", "reasoning", "function_call"]),
    event=st.sampled_from(
        "error response.created response.completed response.failed response.output_item.added"
        " response.output_item.done response.output_text.delta response.function_call_arguments.delta".split()
    ),
)
@settings(max_examples=600, deadline=None)
def test_no_answer_crashes_a_decoder(answer, kind, event):
    item = {**answer, "type": kind} if isinstance(answer, dict) and kind else answer
    for tree in (answer, {"output": [item]}, {"output": [], "usage": answer, "error": answer}):
        for reader in (R.decode_chat_reply, R.tap_chat_reply, R.decode_token_count):
            try:
                reader(json.dumps(tree).encode())
            except UpstreamError:
                pass
    for events in (True, False):
        for tree in (answer, {"type": event, "item": item, "response": answer, "delta": answer, "error": answer}):
            try:
                read_all = R.stream_decoder(events=events)
                read_all.feed(stream_of(tree))
                read_all.close()
            except UpstreamError:
                pass


def test_what_comes_back_to_ended_reasoning_is_a_new_item_and_what_has_no_form_is_an_error():
    encoder = R.stream_encoder(include_usage=True)
    for event in (PartStarted(0, 0, ThinkingPart("")), TextDelta(0, 0, "a"), PartStarted(0, 1, TextPart("b"))):
        encoder.encode(event)
    assert b'"output_index":2' in encoder.encode(TextDelta(0, 0, "c"))
    encoder.encode(PartStarted(0, 2, TextPart("d")))
    for event in (SignatureDelta(0, 0, "s"), ArgumentsDelta(0, 9, "{")):
        with pytest.raises(UpstreamError) as caught:
            encoder.encode(event)
        assert caught.value.code is Code.UPSTREAM_PROTOCOL


def test_calls_told_in_turns_keep_their_places():
    encoder = R.stream_encoder(include_usage=True)
    told = [PartStarted(0, 0, ToolUsePart("a", "f", "")), PartStarted(0, 1, ToolUsePart("b", "g", ""))]
    told += [ArgumentsDelta(0, index, text) for index, text in ((0, '{"x":'), (1, "{"), (0, "1}"), (1, "}"))]
    stream = b"".join(map(encoder.encode, [Started("r", "m"), *told, *unfold(fold(told))[-1:]]))
    assert fold(events_of(read(R, [stream]))).choices[0].parts == (
        ToolUsePart("a", "f", '{"x":1}'),
        ToolUsePart("b", "g", "{}"),
    )


def test_what_is_kept_is_bounded(monkeypatch):
    monkeypatch.setattr("ostiary.gateway.dialect.responses.stream_encode.STREAM_KEPT_CHARS_MAX", 1_000)
    encoder = R.stream_encoder(include_usage=True)
    encoder.encode(PartStarted(0, 0, TextPart("")))
    with pytest.raises(UpstreamError) as caught:
        for _ in range(1_001):
            encoder.encode(TextDelta(0, 0, "x"))
    assert caught.value.code is Code.UPSTREAM_TOO_LARGE


def test_a_count_asks_for_the_prompt_alone():
    tree = {**FULL, "temperature": 1, "max_output_tokens": 5, "top_p": 0.5}
    counted = R.encode_count_tokens(R.decode_chat(document(tree)), model="x", drop=False)
    assert counted.path == b"/responses/input_tokens"
    assert json.loads(counted.body).keys() == {"model", "input", "tools", "text", "reasoning"}
    forwarded = R.forward_count_tokens(document(BASE), model="x")
    assert json.loads(forwarded.body) == {**BASE, "model": "x"}
    assert R.decode_token_count(R.encode_token_count(7)) == 7
    for body in (b'{"input_tokens":-1}', b"{}"):
        with pytest.raises(UpstreamError):
            R.decode_token_count(body)


def test_there_are_no_embeddings():
    tree = {"model": "m", "input": "x"}
    for call in (R.peek_embeddings, R.decode_embeddings):
        assert refused(call, tree)[0] is Code.MODEL_UNSUITABLE
