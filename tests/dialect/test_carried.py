"""What one dialect carries to the other, field by field: the tables in the two request_encode files, executed."""

import json

import pytest

from ostiary.core.error import CallerError, Code
from ostiary.gateway.dialect.anthropic import Anthropic
from ostiary.gateway.dialect.openai import OpenAI
from ostiary.gateway.wire.json import parse

O, A = OpenAI(), Anthropic()
USER = {"role": "user", "content": "x"}
FUNCTION = {"type": "function", "function": {"name": "f"}}
TOOL = {"name": "f", "input_schema": {"type": "object"}}


def user(*parts):
    return {"messages": [{"role": "user", "content": list(parts)}]}


def said(*parts, **more):
    return {"messages": [USER, {"role": "assistant", "content": list(parts) or None, **more}, USER]}


def translate(client, provider, change, *, drop):
    tree = {"model": "m", "messages": [USER], **change}
    call = client.decode_chat(parse(json.dumps(tree).encode()))
    return provider.encode_chat(call, model="m", max_tokens=None, drop=drop)


TO_ANTHROPIC_CARRIED = [
    ({"n": 1, "logprobs": False, "top_logprobs": 0, "store": False, "logit_bias": {}, "metadata": {}}, {}),
    ({"stream_options": {"include_usage": True}, "verbosity": "medium", "modalities": ["text"], "user": None}, {}),
    ({"frequency_penalty": 0, "presence_penalty": 0.0, "response_format": {"type": "text"}}, {}),
    ({"parallel_tool_calls": True, "tools": [FUNCTION]}, {"tools": [{"name": "f", "input_schema": {"type": "object", "properties": {}}}]}),
    ({"parallel_tool_calls": False, "tools": [FUNCTION]}, {"tool_choice": {"type": "auto", "disable_parallel_tool_use": True}}),
    ({"tool_choice": "none", "tools": [FUNCTION], "parallel_tool_calls": False}, {"tool_choice": {"type": "none"}}),
    ({"tool_choice": "auto"}, {}),
    ({"reasoning_effort": "none"}, {"thinking": {"type": "disabled"}}),
    ({"reasoning_effort": "low"}, {"thinking": {"type": "adaptive"}, "output_config": {"effort": "low"}}),
    ({"service_tier": "auto"}, {"service_tier": "auto"}),
    ({"safety_identifier": "s"}, {"metadata": {"user_id": "s"}}),
    ({"stop": ["a", "b"], "top_p": 0.5}, {"stop_sequences": ["a", "b"], "top_p": 0.5}),
    ({"max_tokens": 3, "max_completion_tokens": 4}, {"max_tokens": 4}),
    ({"messages": [{"role": "function", "name": "f", "content": "r"}]}, {"messages": [{"role": "user", "content": [{"type": "tool_result", "tool_use_id": "", "content": "r"}]}]}),
    ({"messages": [USER, {"role": "system", "content": "a"}, {"role": "developer", "content": "b"}]}, {"system": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}),
    ({"messages": [USER, USER]}, {"messages": [{"role": "user", "content": [{"type": "text", "text": "x"}] * 2}]}),
    ({"messages": [USER, {"role": "assistant", "content": "", "function_call": {"name": "f", "arguments": "nope"}}, USER]}, {}),
]  # fmt: skip
TO_ANTHROPIC_REFUSED = [
    ({"n": 2}, "n"),
    ({"seed": 1}, "seed"),
    ({"logprobs": True}, "logprobs"),
    ({"top_logprobs": 1}, "top_logprobs"),
    ({"frequency_penalty": 1}, "frequency_penalty"),
    ({"presence_penalty": -1}, "presence_penalty"),
    ({"temperature": 1.5}, "temperature"),
    ({"reasoning_effort": "minimal"}, "reasoning_effort"),
    ({"service_tier": "flex"}, "service_tier"),
    ({"store": True}, "store"),
    ({"metadata": {"a": "b"}}, "metadata"),
    ({"logit_bias": {"1": 1}}, "logit_bias"),
    ({"audio": {"voice": "x"}}, "audio"),
    ({"prediction": {"type": "content", "content": "x"}}, "prediction"),
    ({"verbosity": "low"}, "verbosity"),
    ({"functions": [{"name": "f"}]}, "functions"),
    ({"never_heard_of": 1}, "never_heard_of"),
    ({"stream_options": {"new": 1}}, "stream_options.new"),
    ({"user": "a", "safety_identifier": "b"}, "user"),
    ({"response_format": {"type": "json_object"}}, "response_format"),
    ({"response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": {}, "description": "d"}}}, "response_format.json_schema.description"),
    ({"tools": [{"type": "custom", "custom": {"name": "c"}}]}, "tools[0]"),
    ({"tools": [FUNCTION], "tool_choice": {"type": "custom", "custom": {"name": "c"}}}, "tool_choice"),
    (user({"type": "image_url", "image_url": {"url": "https://x/y", "detail": "low"}}), "messages[0].content[0].image_url.detail"),
    (user({"type": "input_audio", "input_audio": {"data": "AA", "format": "wav"}}), "messages[0].content[0]"),
    (user({"type": "file", "file": {"file_id": "f"}}), "messages[0].content[0]"),
    (user({"type": "file", "file": {"file_data": "data:text/csv;base64,AA"}}), "messages[0].content[0]"),
    (user({"type": "text", "text": "x", "prompt_cache_breakpoint": {"mode": "explicit", "ttl": "12h"}}), "messages[0].content[0].prompt_cache_breakpoint"),
    ({"messages": [{"role": "user", "content": "x", "name": "z"}]}, "messages[0].name"),
    ({"messages": [{"role": "system", "content": "x", "name": "z"}, USER]}, "messages[0].name"),
    (said(reasoning_content="hm"), "messages[1].reasoning_content"),
    (said(tool_calls=[{"id": "c", "type": "custom", "custom": {"name": "n", "input": "i"}}]), "messages[1].tool_calls[0]"),
    (said(audio={"id": "a"}), "messages[1].audio"),
    ({"messages": [USER, {"role": "assistant", "content": "x"}]}, "messages[1]"),
]  # fmt: skip
TO_OPENAI_CARRIED = [
    ({"thinking": {"type": "adaptive"}}, {}),
    ({"thinking": {"type": "disabled"}}, {"reasoning_effort": "none"}),
    ({"thinking": {"type": "enabled", "budget_tokens": 1024}}, {"reasoning_effort": "low"}),
    ({"thinking": {"type": "enabled", "budget_tokens": 4096}}, {"reasoning_effort": "medium"}),
    ({"thinking": {"type": "enabled", "budget_tokens": 16384, "display": "omitted"}}, {"reasoning_effort": "high"}),
    ({"output_config": {"effort": "xhigh"}}, {"reasoning_effort": "xhigh"}),
    ({"output_format": {"type": "json_schema", "schema": {"a": 1}}}, {"response_format": {"type": "json_schema", "json_schema": {"name": "answer", "schema": {"a": 1}}}}),
    ({"service_tier": "standard_only"}, {"service_tier": "default"}),
    ({"tools": [{**TOOL, "type": "custom", "eager_input_streaming": True, "defer_loading": False, "allowed_callers": ["direct"], "strict": True}]}, {}),
    ({"tools": [TOOL], "tool_choice": {"type": "auto", "disable_parallel_tool_use": False}}, {"parallel_tool_calls": True, "tool_choice": "auto"}),
    ({"tool_choice": {"type": "none"}}, {}),
    (said({"type": "tool_use", "id": "c", "name": "f", "input": {"a":  1}, "caller": {"type": "direct"}}), {}),
    (said({"type": "thinking", "thinking": "hm", "signature": ""}, {"type": "text", "text": "y"}), {"messages": [USER, {"role": "assistant", "content": "y", "reasoning_content": "hm"}, USER]}),
    (said({"type": "thinking", "thinking": "hm", "signature": ""}), {"messages": [USER, {"role": "assistant", "content": "", "reasoning_content": "hm"}, USER]}),
    (user({"type": "tool_result", "tool_use_id": "c"}, {"type": "text", "text": "y"}), {"messages": [{"role": "tool", "tool_call_id": "c", "content": ""}, {"role": "user", "content": "y"}]}),
    ({"messages": [{"role": "system", "content": "s"}, USER]}, {"messages": [{"role": "system", "content": "s"}, USER]}),
]  # fmt: skip
PDF = {"type": "base64", "media_type": "application/pdf", "data": "AA"}
TO_OPENAI_REFUSED = [
    ({"top_k": 1}, "top_k"),
    ({"thinking": {"type": "between_tools"}}, "thinking"),
    ({"service_tier": "priority_only"}, "service_tier"),
    ({"cache_control": {"type": "ephemeral"}}, "cache_control"),
    ({"container": "c"}, "container"),
    ({"mcp_servers": []}, "mcp_servers"),
    ({"metadata": {"user_id": "u", "more": 1}}, "metadata.more"),
    ({"output_config": {"task_budget": 1}}, "output_config.task_budget"),
    ({"tools": [{"type": "bash_20250124", "name": "bash"}]}, "tools[0]"),
    ({"tools": [{**TOOL, "cache_control": {"type": "ephemeral"}}]}, "tools[0].cache_control"),
    ({"tools": [{**TOOL, "defer_loading": True}]}, "tools[0].defer_loading"),
    ({"tools": [{**TOOL, "input_examples": [{}]}]}, "tools[0].input_examples"),
    (user({"type": "text", "text": "x", "cache_control": {"type": "ephemeral"}}), "messages[0].content[0].cache_control"),
    (user({"type": "text", "text": "x", "citations": [{"type": "char_location"}]}), "messages[0].content[0].citations"),
    (user({"type": "image", "source": {"type": "file", "file_id": "f"}}), "messages[0].content[0]"),
    (user({"type": "document", "source": {"type": "url", "url": "https://x/y.pdf"}}), "messages[0].content[0]"),
    (user({"type": "document", "source": {"type": "file", "file_id": "f"}}), "messages[0].content[0]"),
    (user({"type": "document", "source": PDF, "context": "c"}), "messages[0].content[0].context"),
    (user({"type": "document", "source": PDF, "citations": {"enabled": True}}), "messages[0].content[0].citations"),
    (user({"type": "tool_result", "tool_use_id": "c", "is_error": True}), "messages[0].content[0].is_error"),
    (user({"type": "tool_result", "tool_use_id": "c", "content": [{"type": "image", "source": {"type": "url", "url": "u"}}]}), "messages[0].content[0].content[0]"),
    (said({"type": "thinking", "thinking": "hm", "signature": "s"}), "messages[1].content[0]"),
    (said({"type": "redacted_thinking", "data": "d"}), "messages[1].content[0]"),
    (said({"type": "image", "source": {"type": "url", "url": "u"}}), "messages[1].content[0]"),
    ({"messages": [USER, {"role": "assistant", "content": "x"}]}, "messages[1]"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("client", "provider", "change", "expected"),
    [(O, A, *row) for row in TO_ANTHROPIC_CARRIED] + [(A, O, *row) for row in TO_OPENAI_CARRIED],
    ids=lambda value: json.dumps(value)[:60] if isinstance(value, dict) else "",
)
def test_a_field_is_carried(client, provider, change, expected):
    sent = translate(client, provider, change, drop=False)
    body = json.loads(sent.body)
    assert sent.dropped == ()
    assert {key: body.get(key) for key in expected} == expected


@pytest.mark.parametrize(
    ("client", "provider", "change", "param"),
    [(O, A, *row) for row in TO_ANTHROPIC_REFUSED] + [(A, O, *row) for row in TO_OPENAI_REFUSED],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_field_is_refused_by_the_callers_name_or_dropped_by_it(client, provider, change, param):
    with pytest.raises(CallerError) as caught:
        translate(client, provider, change, drop=False)
    assert (caught.value.code, caught.value.param) == (Code.REQUEST_UNSUPPORTED, param)
    assert translate(client, provider, change, drop=True).dropped == (param,)


@pytest.mark.parametrize(
    ("client", "change", "param"),
    [
        (O, {"messages": []}, "messages"),
        (O, {"messages": [{"role": "king", "content": "x"}]}, "messages[0].role"),
        (O, {"messages": [{"role": "user"}]}, "messages[0].content"),
        (O, {"messages": [{"role": "user", "content": 7}]}, "messages[0].content"),
        (O, {"messages": [{"role": "tool", "content": "x"}]}, "messages[0].tool_call_id"),
        (O, user({"type": "image_url", "image_url": {"url": "data:image/png,raw"}}), "messages[0].content[0].image_url.url"),
        (O, user({"type": "image_url"}), "messages[0].content[0].image_url"),
        (O, user({"type": "file", "file": {}}), "messages[0].content[0].file"),
        (O, said(tool_calls=[{"id": "c", "type": "function"}]), "messages[1].tool_calls[0].function"),
        (O, {"tools": [{"type": "function"}]}, "tools[0].function"),
        (O, {"tools": [{"type": "function", "function": {"name": "f", "parameters": []}}]}, "tools[0].function.parameters"),
        (O, {"tool_choice": "maybe"}, "tool_choice"),
        (O, {"stop": [7]}, "stop[0]"),
        (O, {"response_format": {"type": "json_schema"}}, "response_format.json_schema"),
        (A, {"messages": [{"role": "tool", "content": "x"}]}, "messages[0].role"),
        (A, {"system": [{"type": "image", "source": {"type": "url", "url": "u"}}]}, "system[0]"),
        (A, {"tools": [{"name": "f", "input_schema": "x"}]}, "tools[0].input_schema"),
        (A, {"tool_choice": {"type": "maybe"}}, "tool_choice.type"),
        (A, said({"type": "tool_use", "id": "c", "name": "f", "input": "x"}), "messages[1].content[0].input"),
        (A, user({"type": "image"}), "messages[0].content[0].source"),
        (A, user({"type": "tool_result", "tool_use_id": "c", "content": 7}), "messages[0].content[0].content"),
        (A, {"metadata": 7}, "metadata"),
        (A, {"output_config": {"format": {"type": "json_schema"}}}, "output_config.format.schema"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_a_wrong_field_is_named(client, change, param):
    with pytest.raises(CallerError) as caught:
        translate(client, O if client is A else A, change, drop=True)
    assert (caught.value.code, caught.value.param) == (Code.REQUEST_INVALID, param)


def test_a_cache_mark_on_a_part_that_has_no_place_for_one_is_not_lost():
    audio = {"type": "input_audio", "input_audio": {"data": "AA", "format": "wav"}}
    with pytest.raises(CallerError) as caught:
        translate(O, O, user({**audio, "prompt_cache_breakpoint": {"mode": "explicit"}}), drop=False)
    assert caught.value.param == "messages[0].content[0].prompt_cache_breakpoint"


@pytest.mark.parametrize("thread", [{"type": "create"}, {"type": "continue", "previous_message_id": "m"}])
def test_a_conversation_kept_by_the_provider_is_refused_even_where_fields_may_be_left_out(thread):
    with pytest.raises(CallerError) as caught:
        translate(A, O, {"thread": thread}, drop=True)
    assert (caught.value.code, caught.value.param) == (Code.REQUEST_UNSUPPORTED, "thread")


def test_arguments_that_are_no_object_are_kept_inside_one():
    change = said(tool_calls=[{"id": "c", "type": "function", "function": {"name": "f", "arguments": '{"cut'}}])
    body = json.loads(translate(O, A, change, drop=False).body)
    assert body["messages"][1]["content"][0]["input"] == {"INVALID_JSON": '{"cut'}


def test_the_input_of_a_tool_call_keeps_its_bytes_both_ways():
    raw = b'{"model":"m","messages":[{"role":"user","content":"x"},{"role":"assistant","content":[{"type":"tool_use","id":"c","name":"f","input":{"b":1.0,  "a":"\\u00e9"}}]},{"role":"user","content":"y"}]}'
    there = O.encode_chat(A.decode_chat(parse(raw)), model="m", max_tokens=None, drop=False).body
    assert json.loads(there)["messages"][1]["tool_calls"][0]["function"]["arguments"] == '{"b":1.0,  "a":"\\u00e9"}'
    back = A.encode_chat(O.decode_chat(parse(there)), model="m", max_tokens=None, drop=False).body
    assert b'"input":{"b":1.0,  "a":"\\u00e9"}' in back
