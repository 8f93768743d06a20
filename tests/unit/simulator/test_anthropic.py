import msgspec
import pytest

from ostiary.simulator.behaviour import Behaviour, Fault, Received
from ostiary.simulator.provider import Provider

KEY = ((b"x-api-key", b"sk-ant"), (b"anthropic-version", b"2023-06-01"))


def ask(body, *, path="/v1/messages", method="POST", headers=KEY, behaviour=None):
    raw = body if isinstance(body, bytes) else msgspec.json.encode(body)
    return Provider(behaviour).plan(Received(method, path, headers, raw))


def document(plan):
    (piece,) = plan.pieces
    return msgspec.json.decode(piece.data)


def events(plan):
    listed = []
    for text in b"".join(piece.data for piece in plan.pieces).split(b"\n\n")[:-1]:
        name, data = text.split(b"\n")
        event = msgspec.json.decode(data.removeprefix(b"data: "))
        assert name == b"event: " + event["type"].encode()
        listed.append(event)
    return listed


def message(**more):
    return {"model": "sim-claude", "max_tokens": 100, "messages": [{"role": "user", "content": "hello"}], **more}


TOOLS = [
    {"name": name, "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}}}
    for name in ("weather", "news")
]


def test_a_stream_has_the_documented_order_and_says_what_the_plain_answer_says():
    behaviour = Behaviour(text="one two three")
    whole = document(ask(message(), behaviour=behaviour))
    streamed = events(ask(message(stream=True), behaviour=behaviour))
    assert [event["type"] for event in streamed] == [
        "message_start",
        "content_block_start",
        "ping",
        *["content_block_delta"] * 3,
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]
    text = "".join(event["delta"]["text"] for event in streamed if event["type"] == "content_block_delta")
    assert whole["content"] == [{"type": "text", "text": text}]
    assert streamed[-2]["delta"]["stop_reason"] == whole["stop_reason"] == "end_turn"
    assert streamed[-2]["usage"]["output_tokens"] == whole["usage"]["output_tokens"]
    assert streamed[0]["message"]["content"] == []
    assert streamed[0]["message"]["stop_reason"] is None


def test_it_says_that_it_is_simulated():
    plan = ask(message())
    assert (b"x-ostiary-simulated", b"true") in plan.headers
    assert "simulated" in document(plan)["content"][0]["text"]


def test_thinking_comes_first_with_a_signature():
    body = message(thinking={"type": "enabled", "budget_tokens": 1024})
    thinking, text = document(ask(body))["content"]
    assert (thinking["type"], text["type"]) == ("thinking", "text")
    assert thinking["signature"].startswith("SIMULATED")
    deltas = [
        event["delta"] for event in events(ask({**body, "stream": True})) if "index" in event and "delta" in event
    ]
    kinds = list(dict.fromkeys(delta["type"] for delta in deltas))
    assert kinds == ["thinking_delta", "signature_delta", "text_delta"]


@pytest.mark.parametrize(("text", "count"), [("hello", 1), ("in parallel", 2)])
def test_tools(text, count):
    body = message(tools=TOOLS, messages=[{"role": "user", "content": text}])
    answer = document(ask(body))
    assert answer["stop_reason"] == "tool_use"
    assert [block["type"] for block in answer["content"]] == ["text", *["tool_use"] * count]
    joined = {}
    for event in events(ask({**body, "stream": True})):
        if event["type"] == "content_block_delta" and event["delta"]["type"] == "input_json_delta":
            joined[event["index"]] = joined.get(event["index"], "") + event["delta"]["partial_json"]
    assert [msgspec.json.decode(part) for part in joined.values()] == [{"city": "simulated"}] * count


@pytest.mark.parametrize(
    "more",
    [
        {"tool_choice": {"type": "none"}},
        {"messages": [{"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t", "content": "x"}]}]},
    ],
)
def test_tools_are_not_called_where_they_should_not_be(more):
    assert document(ask(message(tools=TOOLS, **more)))["stop_reason"] == "end_turn"


def test_limits_and_stops():
    assert document(ask(message(max_tokens=2)))["stop_reason"] == "max_tokens"
    stopped = document(ask(message(stop_sequences=["simulated", "zzz"])))
    assert (stopped["stop_reason"], stopped["stop_sequence"]) == ("stop_sequence", "simulated")


def test_tokens_are_counted_as_they_are_charged():
    counted = document(ask(message(), path="/v1/messages/count_tokens"))
    assert counted["input_tokens"] == document(ask(message()))["usage"]["input_tokens"]


def test_models_are_listed_in_this_vendors_form():
    assert document(ask(b"", path="/v1/models", method="GET"))["has_more"] is False
    assert document(ask(b"", path="/v1/models/x", method="GET"))["type"] == "model"


@pytest.mark.parametrize(
    ("status", "kind", "options"),
    [
        (401, "authentication_error", {"headers": KEY[1:]}),
        (400, "invalid_request_error", {"headers": KEY[:1]}),
        (400, "invalid_request_error", {"body": b"{"}),
        (400, "invalid_request_error", {"body": {"model": "x"}}),
        (400, "invalid_request_error", {"body": {"model": "x", "messages": [1]}}),
        (404, "not_found_error", {"path": "/v1/nothing"}),
        (400, "invalid_request_error", {"headers": (*KEY, (b"x-simulate", b"nonsense"))}),
        (429, "rate_limit_error", {"behaviour": Behaviour(status=429)}),
        (500, "api_error", {"behaviour": Behaviour(status=500)}),
        (529, "overloaded_error", {"behaviour": Behaviour(status=529)}),
    ],
)
def test_what_is_wrong_becomes_the_vendors_error(status, kind, options):
    plan = ask(options.pop("body", message()), **options)
    answer = document(plan)
    assert (plan.status, answer["type"], answer["error"]["type"]) == (status, "error", kind)
    assert answer["request_id"]


def test_faults_of_meaning():
    assert "usage" not in document(ask(message(), behaviour=Behaviour(fault=Fault.NO_USAGE)))
    assert document(ask(message(), behaviour=Behaviour(fault=Fault.WRONG_USAGE)))["usage"]["output_tokens"] == 10**15
    assert document(ask(message(), behaviour=Behaviour(fault=Fault.REFUSAL)))["stop_reason"] == "refusal"
    assert events(ask(message(stream=True), behaviour=Behaviour(fault=Fault.NO_END)))[-1]["type"] == "message_delta"
    assert events(ask(message(stream=True), behaviour=Behaviour(fault=Fault.ERROR_EVENT)))[-1]["type"] == "error"
    assert document(ask(message(), behaviour=Behaviour(fault=Fault.ERROR_EVENT)))["type"] == "error"
    echoed = document(ask(message(), behaviour=Behaviour(status=401, fault=Fault.ECHO_KEY)))
    assert "sk-ant" in echoed["error"]["message"]
