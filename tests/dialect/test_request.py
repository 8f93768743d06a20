"""Requests: bounds and types, what passes unchanged, and that no request crashes or loses a field silently."""

import copy
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ostiary.core import limit
from ostiary.core.error import CallerError, Code, UpstreamError
from ostiary.core.fold import fold
from ostiary.core.message import Role, ToolUsePart
from ostiary.gateway.dialect.anthropic import Anthropic
from ostiary.gateway.dialect.openai import OpenAI
from ostiary.gateway.wire.json import parse, raw_members
from ostiary.snapshot.tables import ProfileRow

O, A = OpenAI(), Anthropic()
DIALECTS = {"openai": O, "anthropic": A}
OTHER = {"openai": A, "anthropic": O}
both = pytest.mark.parametrize("name", DIALECTS)
BASE = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}

FULL = {
    "openai": {
        "model": "m",
        "messages": [
            {"role": "system", "content": "sys"},
            {"role": "developer", "content": [{"type": "text", "text": "dev"}], "name": "d"},
            {"role": "user", "content": [{"type": "text", "text": "u"}, {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA"}}], "name": "zoe"},
            {"role": "assistant", "content": None, "tool_calls": [{"id": "c", "type": "function", "function": {"name": "f", "arguments": '{"q":"arg"}'}}]},
            {"role": "tool", "tool_call_id": "c", "content": "result"},
            {"role": "user", "content": "bye"},
        ],
        "tools": [{"type": "function", "function": {"name": "f", "description": "does", "parameters": {"type": "object", "properties": {"q": {"description": "ask"}}}}}],
        "response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": {"title": "t"}}},
        "user": "end-user",
        "metadata": {"note": "memo"},
        "stop": ["halt"],
        "max_tokens": 5,
        "n": 1,
    },
    "anthropic": {
        "model": "m",
        "max_tokens": 5,
        "system": [{"type": "text", "text": "sys"}],
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": "u"}, {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AA"}}]},
            {"role": "assistant", "content": [{"type": "thinking", "thinking": "hm", "signature": "s"}, {"type": "tool_use", "id": "c", "name": "f", "input": {"q": "arg", "data": ["deep"]}}]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "c", "content": [{"type": "text", "text": "result"}]}, {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "doc"}, "title": "name"}]},
        ],
        "tools": [{"name": "f", "description": "does", "input_schema": {"type": "object", "properties": {"q": {"description": "ask"}}}}],
        "metadata": {"user_id": "end-user"},
        "stop_sequences": ["halt"],
        "top_k": 3,
    },
}  # fmt: skip
TEXTS = {
    "openai": {
        "sys",
        "dev",
        "u",
        '{"q":"arg"}',
        "result",
        "bye",
        "d",
        "zoe",
        "f",
        "does",
        "ask",
        "t",
        "end-user",
        "memo",
        "halt",
        "n",
    },
    "anthropic": {"sys", "u", "hm", "arg", "deep", "result", "doc", "name", "f", "does", "ask", "end-user", "halt"},
}


def document(tree):
    return parse(json.dumps(tree).encode())


def refused(call, tree):
    with pytest.raises(CallerError) as caught:
        call(document(tree))
    return caught.value.code, caught.value.param


NUMBERS = [True, "10", 1e308, -1, 1.5, [], {}]


@both
@pytest.mark.parametrize("value", NUMBERS, ids=repr)
def test_a_bound_on_output_is_a_whole_number(name, value):
    tree = {**BASE, "max_tokens": value}
    assert refused(DIALECTS[name].peek_chat, tree) == (Code.REQUEST_INVALID, "max_tokens")
    assert refused(DIALECTS[name].decode_chat, tree) == (Code.REQUEST_INVALID, "max_tokens")


@pytest.mark.parametrize("value", [*NUMBERS, 0], ids=repr)
def test_the_number_of_choices_is_a_whole_number(value):
    assert refused(O.peek_chat, {**BASE, "n": value}) == (Code.REQUEST_INVALID, "n")


def test_temperatures_are_numbers_in_range():
    for value in (True, "1", -0.1, 2.1, [1]):
        assert refused(O.decode_chat, {**BASE, "temperature": value})[1] == "temperature"
        assert refused(A.decode_chat, {**BASE, "temperature": value})[1] == "temperature"
    with pytest.raises(CallerError) as caught:
        O.decode_chat(parse(b'{"model":"m","messages":[{"role":"user","content":"x"}],"temperature":1e999}'))
    assert caught.value.param == "temperature"


@both
@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"messages": BASE["messages"] * (limit.MESSAGES_MAX + 1)}, "messages"),
        (
            {"messages": [{"role": "user", "content": [{"type": "text", "text": "x"}] * (limit.PARTS_MAX + 1)}]},
            "messages[0].content",
        ),
        ({"tools": [{"type": "function", "name": "f", "function": {"name": "f"}}] * (limit.TOOLS_MAX + 1)}, "tools"),
        ({"tools": [{"name": "f", "x": "y" * limit.TOOL_SCHEMA_BYTES_MAX}]}, "tools[0]"),
        ({"model": "m" * (limit.MODEL_NAME_BYTES_MAX + 1)}, "model"),
        ({"model": "é" * (limit.MODEL_NAME_BYTES_MAX // 2 + 1)}, "model"),
        ({"max_tokens": limit.MAX_TOKENS_MAX + 1}, "max_tokens"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_every_bound_is_kept_before_anything_is_built(name, change, param):
    assert refused(DIALECTS[name].peek_chat, {**BASE, **change}) == (Code.REQUEST_LIMIT, param)


def test_bounds_with_names_of_one_dialect():
    stops = ["x"] * (limit.STOP_SEQUENCES_MAX + 1)
    assert refused(O.peek_chat, {**BASE, "stop": stops}) == (Code.REQUEST_LIMIT, "stop")
    assert refused(A.peek_chat, {**BASE, "stop_sequences": stops}) == (Code.REQUEST_LIMIT, "stop_sequences")
    assert refused(O.peek_chat, {**BASE, "n": limit.CHOICES_MAX + 1}) == (Code.REQUEST_LIMIT, "n")
    assert (
        refused(O.peek_embeddings, {"model": "m", "input": ["x"] * (limit.EMBEDDING_INPUTS_MAX + 1)})[0]
        is Code.REQUEST_LIMIT
    )


def test_the_greater_of_two_bounds_on_output_counts():
    assert O.peek_chat(document({**BASE, "max_tokens": 5, "max_completion_tokens": 500})).max_tokens == 500


def test_a_peek_sees_what_admission_needs():
    peek = O.peek_chat(document({**FULL["openai"], "stream": True, "stream_options": {"include_usage": True}}))
    assert (peek.model, peek.stream, peek.include_usage, peek.max_tokens, peek.choices) == ("m", True, True, 5, 1)
    assert (peek.messages, peek.tools, peek.tool_depth, peek.media, peek.end_user) == (6, 1, 0, 1, "end-user")
    peek = A.peek_chat(document(FULL["anthropic"]))
    assert (peek.messages, peek.tools, peek.tool_depth, peek.media, peek.end_user) == (3, 1, 1, 2, "end-user")


def test_tool_rounds_at_the_end_are_counted():
    call = {"role": "assistant", "content": None, "tool_calls": [{"id": "c"}]}
    result = {"role": "tool", "tool_call_id": "c", "content": "x"}
    rounds = [{"role": "user", "content": "x"}, call, result, result, call, result]
    assert O.peek_chat(document({**BASE, "messages": rounds})).tool_depth == 2
    assert O.peek_chat(document({**BASE, "messages": [*rounds, {"role": "user", "content": "x"}]})).tool_depth == 0
    use = {"role": "assistant", "content": [{"type": "tool_use"}]}
    answer = {"role": "user", "content": [{"type": "tool_result"}]}
    assert A.peek_chat(document({**BASE, "messages": [use, answer, use, answer, use, answer]})).tool_depth == 3


def test_inline_media_are_not_counted_as_prompt():
    url = "data:image/png;base64," + "A" * 10_000
    tree = {**BASE, "messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": url}}]}]}
    assert O.peek_chat(document(tree)).prompt_bytes < 500
    source = {"type": "base64", "media_type": "image/png", "data": "A" * 10_000}
    tree = {
        **BASE,
        "messages": [
            {"role": "user", "content": [{"type": "tool_result", "content": [{"type": "image", "source": source}]}]}
        ],
    }
    assert A.peek_chat(document(tree)).prompt_bytes < 500


@both
def test_the_same_dialect_passes_every_other_value_byte_for_byte(name):
    raw = (
        json.dumps({**FULL[name], "stream": True, "unknown": [1.0, {"a": 1e2}]}, indent=1)
        .replace("hi", "h\\u0069")
        .encode()
    )
    sent = DIALECTS[name].forward_chat(parse(raw), model="other", report_usage=True, max_tokens=9)
    before, after = raw_members(raw), raw_members(sent.body)
    added = {"stream_options"} if name == "openai" else set()
    assert after.keys() - before.keys() == added
    assert bytes(after["model"]) == b'"other"'
    assert all(bytes(after[key]) == bytes(before[key]) for key in before if key != "model")


def test_usage_is_asked_for_without_losing_other_stream_options():
    tree = {**BASE, "stream": True, "stream_options": {"include_obfuscation": False, "include_usage": False}}
    sent = json.loads(O.forward_chat(document(tree), model="m", report_usage=True, max_tokens=None).body)
    assert sent["stream_options"] == {"include_obfuscation": False, "include_usage": True}
    plain = O.forward_chat(document(BASE), model="m", report_usage=True, max_tokens=7)
    assert json.loads(plain.body) == {**BASE, "max_completion_tokens": 7}
    older = OpenAI(ProfileRow(max_tokens_field="max_tokens"))
    sent = json.loads(older.forward_chat(document(BASE), model="m", report_usage=False, max_tokens=7).body)
    assert sent["max_tokens"] == 7
    assert json.loads(A.forward_chat(document(BASE), model="m", report_usage=True, max_tokens=7).body) == {
        **BASE,
        "max_tokens": 7,
    }


@both
def test_every_text_has_its_place_and_an_edit_changes_it_alone(name):
    dialect = DIALECTS[name]
    doc = document(FULL[name])
    places = dialect.request_texts(doc)
    found = {place.text for place in places}
    assert TEXTS[name] <= found
    assert not found & {"m", "AA", "image/png", "c", "user", "base64"}
    roles = {place.text: place.role for place in places}
    assert (roles["sys"], roles["u"]) == (Role.SYSTEM, Role.USER)
    for place in places:
        edited = json.loads(dialect.edit_request(doc, {place.path: "REPLACED"}))
        expected = copy.deepcopy(FULL[name])
        holder = expected
        for step in place.path[:-1]:
            holder = holder[step]
        holder[place.path[-1]] = "REPLACED"
        assert edited == expected


def leaves(value, path=()):
    yield path
    if isinstance(value, dict):
        for key, item in value.items():
            yield from leaves(item, (*path, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from leaves(item, (*path, index))


junk = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 10**20),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=4),
    st.just([]),
    st.just({}),
    st.just([None]),
    st.just({"type": "text"}),
)


@both
@given(data=st.data())
@settings(max_examples=500, deadline=None)
def test_no_request_crashes_a_decoder(name, data):
    tree = copy.deepcopy(FULL[name])
    for _ in range(data.draw(st.integers(1, 3))):
        path = data.draw(st.sampled_from([path for path in leaves(tree) if path]))
        holder = tree
        for step in path[:-1]:
            holder = holder[step]
        holder[path[-1]] = copy.deepcopy(data.draw(junk))
    doc = document(tree)
    dialect, errors = DIALECTS[name], []
    for drop in (True, False):
        try:
            dialect.peek_chat(doc)
            call = dialect.decode_chat(doc)
            OTHER[name].encode_chat(call, model="x", max_tokens=None, drop=drop)
            dialect.encode_chat(call, model="x", max_tokens=None, drop=drop)
        except CallerError as error:
            errors.append((error.code, error.param))
    assert {code for code, _ in errors} <= {Code.REQUEST_INVALID, Code.REQUEST_LIMIT, Code.REQUEST_UNSUPPORTED}
    assert all(param for _, param in errors)
    assert all(isinstance(place.text, str) for place in dialect.request_texts(doc))


@both
@given(data=st.data())
@settings(max_examples=300, deadline=None)
def test_no_field_disappears_silently(name, data):
    """A member added anywhere outside of free-form JSON is refused by its path, or listed as dropped."""
    tree = copy.deepcopy(FULL[name])
    tree.pop("top_k", None)
    tree.pop("metadata", None)
    free = {"input", "parameters", "schema", "input_schema", "metadata"}
    paths = [path for path in leaves(tree) if not free & {*map(str, path)}]
    objects = []
    for path in paths:
        holder = tree
        for step in path:
            holder = holder[step]
        if isinstance(holder, dict):
            objects.append((path, holder))
    path, holder = data.draw(st.sampled_from(objects))
    holder["surprise"] = 1
    spelled = "".join(
        f"[{step}]" if isinstance(step, int) else f".{step}" for step in (*path, "surprise")
    ).removeprefix(".")
    call = DIALECTS[name].decode_chat(document(tree))
    assert spelled in OTHER[name].encode_chat(call, model="x", max_tokens=None, drop=True).dropped
    with pytest.raises(CallerError):
        OTHER[name].encode_chat(call, model="x", max_tokens=None, drop=False)


@pytest.mark.parametrize(
    "deltas",
    [
        ['{"tool_calls":[{"index":0,"id":"c","function":{"name":"f","arguments":"{"}}]}', '{"tool_calls":[{"index":0,"function":{"name":"f","arguments":"}"}}]}'],
        ['{"tool_calls":[{"id":"c","function":{"name":"f","arguments":""}}]}', '{"tool_calls":[{"function":{"arguments":"{}"}}]}'],
        ['{"role":"assistant","content":null,"tool_calls":[{"index":4,"id":"c","type":"function","function":{"name":"f"}}]}', '{"role":"assistant","tool_calls":[{"index":4,"function":{"arguments":"{}"}}]}'],
        ['{"tool_calls":[{"index":0,"id":"c"}]}', '{"tool_calls":[{"index":0,"function":{"arguments":"{"}}]}', '{"tool_calls":[{"index":0,"function":{"name":"f","arguments":"}"}}]}'],
    ],
    ids=["name repeated", "no index", "index gap", "name late"],
)  # fmt: skip
def test_odd_tool_call_streams_are_understood(deltas):
    stream = "".join(
        f'data: {{"id":"i","model":"m","choices":[{{"index":0,"delta":{delta}}}]}}\n\n' for delta in deltas
    )
    stream += 'data: {"choices":[{"index":0,"delta":{},"finish_reason":"tool_calls"}],"usage":{"prompt_tokens":1,"completion_tokens":2}}\n\ndata: [DONE]\n\n'
    decoder = O.stream_decoder()
    frames = decoder.feed(stream.encode()) + decoder.close()
    reply = fold([event for frame in frames for event in frame.events])
    assert reply.choices[0].parts == (ToolUsePart("c", "f", "{}"),)
    assert reply.usage.output_tokens == 2


def test_embeddings_pass_and_translate():
    tree = {"model": "m", "input": ["a", [1, 2]], "dimensions": 8, "encoding_format": "base64", "user": "u", "extra": 1}
    call = O.decode_embeddings(document(tree))
    assert json.loads(O.encode_embeddings(call, model="x", drop=False).body) == {**tree, "model": "x"}
    assert O.peek_embeddings(document(tree)).inputs == 2
    body = b'{"object":"list","data":[{"object":"embedding","index":1,"embedding":"AAA="},{"object":"embedding","index":0,"embedding":[0.10,-1e-3]}],"model":"e","usage":{"prompt_tokens":3,"total_tokens":3}}'
    reply = O.decode_embeddings_reply(body)
    assert reply.vectors == (b"[0.10,-1e-3]", b'"AAA="')
    assert b'"embedding":[0.10,-1e-3]' in O.encode_embeddings_reply(reply)
    for call in (A.peek_embeddings, A.decode_embeddings):
        assert refused(call, tree)[0] is Code.MODEL_UNSUITABLE
    assert A.decode_token_count(b'{"input_tokens":7}') == 7


def test_a_chunk_of_another_form_passes_unread_but_is_not_translated():
    chunk = b'data: {"choices":[{"index":0,"delta":{"content":[{"type":"text","text":"hi"}]}}],"usage":{"prompt_tokens":1,"completion_tokens":2}}\n\n'
    frame = O.stream_decoder(events=False).feed(chunk)[0]
    assert (frame.raw, frame.content, frame.usage.output_tokens) == (chunk, True, 2)
    with pytest.raises(UpstreamError) as caught:
        O.stream_decoder().feed(chunk)
    assert caught.value.code is Code.UPSTREAM_PROTOCOL
    with pytest.raises(UpstreamError):
        O.stream_decoder(events=False).feed(b'data: {"delta":1,"model":7}\n\n')
