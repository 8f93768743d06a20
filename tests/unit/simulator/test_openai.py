"""The official SDK is the judge of form elsewhere; here, that every shape is there and always the same."""

import base64
import struct

import msgspec
import pytest

from ostiary.simulator.behaviour import Behaviour, Fault, Received
from ostiary.simulator.provider import Provider

KEY = ((b"authorization", b"Bearer sk-test"),)


def ask(body, *, path="/v1/chat/completions", method="POST", headers=KEY, behaviour=None):
    raw = body if isinstance(body, bytes) else msgspec.json.encode(body)
    return Provider(behaviour).plan(Received(method, path, headers, raw))


def document(plan):
    (piece,) = plan.pieces
    return msgspec.json.decode(piece.data)


def events(plan):
    texts = b"".join(piece.data for piece in plan.pieces).split(b"\n\n")[:-1]
    assert all(text.startswith(b"data: ") for text in texts)
    return [text[6:] if text[6:] == b"[DONE]" else msgspec.json.decode(text[6:]) for text in texts]


def chat(**more):
    return {"model": "sim-gpt", "messages": [{"role": "user", "content": "hello"}], **more}


def text_of(chunks, index=0):
    return "".join(
        choice["delta"].get("content") or ""
        for chunk in chunks
        if chunk != b"[DONE]"
        for choice in chunk["choices"]
        if choice["index"] == index
    )


TOOLS = [
    {
        "type": "function",
        "function": {
            "name": name,
            "parameters": {"type": "object", "properties": {"city": {"type": "string"}, "days": {"type": "integer"}}},
        },
    }
    for name in ("weather", "news")
]


def test_the_same_request_has_the_same_answer_and_another_seed_another():
    assert document(ask(chat())) == document(ask(chat()))
    assert document(ask(chat())) != document(ask(chat(), behaviour=Behaviour(seed=1)))


def test_it_says_that_it_is_simulated():
    plan = ask(chat())
    answer = document(plan)
    assert (b"x-ostiary-simulated", b"true") in plan.headers
    assert answer["system_fingerprint"] == "simulated"
    assert answer["choices"][0]["message"]["content"].startswith("This is a simulated answer.")


def test_plain_and_streamed_say_the_same():
    whole = document(ask(chat(), behaviour=Behaviour(text="one two three")))
    streamed = events(ask(chat(stream=True), behaviour=Behaviour(text="one two three")))
    assert text_of(streamed) == whole["choices"][0]["message"]["content"] == "one two three"
    assert streamed[-1] == b"[DONE]"
    assert streamed[-2]["choices"][0]["finish_reason"] == "stop"


def test_usage_is_streamed_only_where_asked_for():
    assert all("usage" not in chunk for chunk in events(ask(chat(stream=True)))[:-1])
    *chunks, last, done = events(ask(chat(stream=True, stream_options={"include_usage": True})))
    assert done == b"[DONE]"
    assert all(chunk["usage"] is None for chunk in chunks)
    assert last["choices"] == []
    assert last["usage"]["total_tokens"] == last["usage"]["prompt_tokens"] + last["usage"]["completion_tokens"]


def test_max_tokens_ends_with_length():
    choice = document(ask(chat(max_tokens=3)))["choices"][0]
    assert (choice["message"]["content"], choice["finish_reason"]) == ("This is a", "length")


def test_stop_ends_before_it():
    assert document(ask(chat(stop=["simulated"])))["choices"][0]["message"]["content"] == "This is a "


def test_n_choices():
    assert [choice["index"] for choice in document(ask(chat(n=3)))["choices"]] == [0, 1, 2]
    chunks = events(ask(chat(n=2, stream=True)))
    assert text_of(chunks, 0).startswith("This")
    assert text_of(chunks, 1).startswith("This")


@pytest.mark.parametrize(("text", "count"), [("hello", 1), ("in parallel please", 2)])
def test_tools_are_called_one_or_in_parallel(text, count):
    body = chat(tools=TOOLS, messages=[{"role": "user", "content": text}])
    choice = document(ask(body))["choices"][0]
    calls = choice["message"]["tool_calls"]
    assert len(calls) == count
    assert choice["finish_reason"] == "tool_calls"
    assert msgspec.json.decode(calls[0]["function"]["arguments"]).keys() == {"city", "days"}
    joined = {}
    for chunk in events(ask({**body, "stream": True}))[:-1]:
        for call in chunk["choices"][0]["delta"].get("tool_calls", []):
            joined[call["index"]] = joined.get(call["index"], "") + call["function"]["arguments"]
    assert len(joined) == count
    assert all(msgspec.json.decode(arguments) for arguments in joined.values())


@pytest.mark.parametrize(
    "more",
    [
        {"tool_choice": "none"},
        {"messages": [{"role": "user", "content": "x"}, {"role": "tool", "tool_call_id": "c", "content": "sunny"}]},
    ],
)
def test_tools_are_not_called_where_they_should_not_be(more):
    assert document(ask(chat(tools=TOOLS, **more)))["choices"][0]["finish_reason"] == "stop"


def test_a_forced_tool_is_called():
    forced = {"type": "function", "function": {"name": "news"}}
    calls = document(ask(chat(tools=TOOLS, tool_choice=forced)))["choices"][0]["message"]["tool_calls"]
    assert [call["function"]["name"] for call in calls] == ["news"]


def test_structured_output_fits_its_schema():
    schema = {
        "type": "object",
        "properties": {
            "name": {"type": "string"},
            "kind": {"enum": ["a", "b"]},
            "count": {"type": "integer"},
            "tags": {"type": "array", "items": {"type": "string"}},
            "maybe": {"anyOf": [{"type": "null"}, {"type": "string"}]},
        },
    }
    shape = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    made = msgspec.json.decode(document(ask(chat(response_format=shape)))["choices"][0]["message"]["content"])
    assert made.keys() == schema["properties"].keys()
    assert made["kind"] in ("a", "b")
    assert isinstance(made["count"], int)
    assert made["tags"] == ["simulated"]


def test_logprobs():
    listed = document(ask(chat(logprobs=True, top_logprobs=2)))["choices"][0]["logprobs"]["content"]
    assert listed[0]["token"] == "This"
    assert len(listed[0]["top_logprobs"]) == 2


@pytest.mark.parametrize(("given", "count"), [("a", 1), (["a", "b"], 2), ([1, 2, 3], 1), ([[1], [2]], 2)])
def test_embeddings_count_their_inputs(given, count):
    answer = document(ask({"model": "e", "input": given, "dimensions": 4}, path="/v1/embeddings"))
    assert [(len(item["embedding"]), item["index"]) for item in answer["data"]] == [(4, i) for i in range(count)]


def test_embeddings_in_base64_are_the_same_floats():
    body = {"model": "e", "input": "a", "dimensions": 4}
    packed = document(ask({**body, "encoding_format": "base64"}, path="/v1/embeddings"))["data"][0]["embedding"]
    assert len(struct.unpack("<4f", base64.b64decode(packed))) == 4


def test_models_are_listed():
    assert document(ask(b"", path="/v1/models", method="GET"))["object"] == "list"
    assert document(ask(b"", path="/v1/models/x", method="GET"))["id"] == "x"


@pytest.mark.parametrize(
    ("status", "options"),
    [
        (401, {"headers": ()}),
        (400, {"body": b"{"}),
        (400, {"body": b"[]"}),
        (400, {"body": {"messages": []}}),
        (400, {"body": {"model": "x"}}),
        (404, {"path": "/v1/nothing"}),
        (400, {"body": {"model": "x"}, "path": "/v1/embeddings"}),
        (400, {"headers": (*KEY, (b"x-simulate", b"fault=nonsense"))}),
    ],
)
def test_what_is_wrong_becomes_the_vendors_error(status, options):
    plan = ask(options.pop("body", chat()), **options)
    assert plan.status == status
    assert document(plan)["error"].keys() == {"message", "type", "param", "code"}


@pytest.mark.parametrize("status", [400, 401, 403, 404, 429, 500, 502, 503])
def test_every_error_status_by_model_name(status):
    plan = ask(chat(model=f"sim-error-{status}"))
    assert plan.status == status
    assert document(plan)["error"]["message"]
    assert (dict(plan.headers).get(b"retry-after") is not None) == (status == 429)


def test_an_error_can_repeat_the_credential():
    assert "sk-test" in document(ask(chat(), behaviour=Behaviour(status=401, fault=Fault.ECHO_KEY)))["error"]["message"]


def test_faults_of_meaning():
    assert "usage" not in document(ask(chat(), behaviour=Behaviour(fault=Fault.NO_USAGE)))
    assert document(ask(chat(), behaviour=Behaviour(fault=Fault.WRONG_USAGE)))["usage"]["completion_tokens"] == 10**15
    assert document(ask(chat(), behaviour=Behaviour(fault=Fault.REFUSAL)))["choices"][0]["message"]["refusal"]
    filtered = document(ask(chat(), behaviour=Behaviour(fault=Fault.FILTER)))
    assert filtered["choices"][0]["finish_reason"] == "content_filter"
    assert events(ask(chat(stream=True), behaviour=Behaviour(fault=Fault.NO_END)))[-1] != b"[DONE]"
    assert "error" in events(ask(chat(stream=True), behaviour=Behaviour(fault=Fault.ERROR_EVENT)))[-1]
    assert "error" in document(ask(chat(), behaviour=Behaviour(fault=Fault.ERROR_EVENT)))
