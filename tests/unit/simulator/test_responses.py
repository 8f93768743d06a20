"""Simulated responses: read by the official SDK's types, the same plain and streamed, and read by the gateway's own
dialect, which was written apart from them."""

import msgspec
import pytest
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter

from ostiary.core.error import UpstreamError
from ostiary.core.fold import fold
from ostiary.core.reply import FinishReason
from ostiary.gateway.dialect.responses import Responses
from ostiary.simulator.behaviour import Behaviour, Fault, Received
from ostiary.simulator.provider import Provider

KEY = ((b"authorization", b"Bearer sk-test"),)
EVENT = TypeAdapter(ResponseStreamEvent)
TOOL = {"type": "function", "name": "f", "parameters": {"type": "object", "properties": {"a": {"type": "string"}}}}
SCHEMA = {"type": "json_schema", "name": "n", "schema": {"type": "object", "properties": {"a": {"type": "integer"}}}}


def ask(body, *, path="/v1/responses", headers=KEY, behaviour=None):
    tree = {"model": "sim-gpt", "input": "hello", **body}
    return Provider(behaviour).plan(Received("POST", path, headers, msgspec.json.encode(tree)))


def bytes_of(plan):
    return b"".join(piece.data for piece in plan.pieces)


def streamed(body, behaviour=None):
    return bytes_of(ask({**body, "stream": True}, behaviour=behaviour))


def folded(stream):
    decoder = Responses().stream_decoder()
    return fold([event for frame in decoder.feed(stream) + decoder.close() for event in frame.events])


@pytest.mark.parametrize(
    ("body", "finish"),
    [
        ({}, FinishReason.STOP),
        ({"max_output_tokens": 3}, FinishReason.LENGTH),
        ({"tools": [TOOL]}, FinishReason.TOOL_USE),
        ({"tools": [TOOL, {**TOOL, "name": "g"}], "input": "in parallel"}, FinishReason.TOOL_USE),
        ({"tools": [TOOL], "tool_choice": "none"}, FinishReason.STOP),
        ({"reasoning": {"summary": "auto"}, "include": ["reasoning.encrypted_content"]}, FinishReason.STOP),
        ({"reasoning": {"effort": "low"}, "include": ["reasoning.encrypted_content"]}, FinishReason.STOP),
        ({"include": ["message.output_text.logprobs"], "top_logprobs": 1}, FinishReason.STOP),
        ({"text": {"format": SCHEMA}}, FinishReason.STOP),
    ],
)
@pytest.mark.parametrize("fault", [Fault.NONE, Fault.REFUSAL, Fault.NO_USAGE])
def test_plain_and_streamed_say_the_same_in_a_form_that_the_sdk_reads(body, finish, fault):
    # The request's bytes choose the words, so the stream's own last event is what it is compared with.
    stream = streamed(body, Behaviour(fault=fault))
    events = [msgspec.json.decode(block.split(b"data: ")[1]) for block in stream.split(b"\n\n")[:-1]]
    for number, event in enumerate(events):
        EVENT.validate_python(event)
        assert event["sequence_number"] == number
    whole = msgspec.json.encode(events[-1]["response"])
    Response.model_validate_json(whole)
    plain = Responses().decode_chat_reply(whole)
    reply = folded(stream)
    assert (reply.choices, reply.usage) == (plain.choices, plain.usage)
    assert plain.choices[0].finish_reason is finish
    assert (plain.usage is None) == (fault is Fault.NO_USAGE)
    Response.model_validate_json(bytes_of(ask(body, behaviour=Behaviour(fault=fault))))


@pytest.mark.parametrize("stream", [True, False])
def test_an_error_in_the_answer_is_one_to_the_dialect(stream):
    plan = ask({"stream": stream}, behaviour=Behaviour(fault=Fault.ERROR_EVENT))
    with pytest.raises(UpstreamError, match="simulated"):
        folded(bytes_of(plan)) if stream else Responses().decode_chat_reply(bytes_of(plan))


def test_a_stream_without_its_end_is_cut():
    with pytest.raises(UpstreamError):
        folded(streamed({}, Behaviour(fault=Fault.NO_END)))


def test_input_tokens_are_counted():
    plan = ask({}, path="/v1/responses/input_tokens")
    assert Responses().decode_token_count(bytes_of(plan)) == 2


@pytest.mark.parametrize(
    ("change", "headers", "status"),
    [({"input": []}, KEY, 400), ({"model": 7}, KEY, 400), ({}, (), 401), ({"model": "sim-error-503"}, KEY, 503)],
)
def test_what_is_wrong_is_the_vendors_error(change, headers, status):
    plan = ask(change, headers=headers)
    assert plan.status == status
    assert msgspec.json.decode(bytes_of(plan))["error"].keys() == {"message", "type", "param", "code"}
