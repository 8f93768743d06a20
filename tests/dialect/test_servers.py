"""What servers that imitate OpenAI do otherwise, as recorded from them, and what becomes of it."""

import json

import pytest

from ostiary.core.fold import fold
from ostiary.gateway.dialect.anthropic import Anthropic
from ostiary.gateway.dialect.openai import OpenAI

ID = "call__0_weather_cmpl-1"
FRAME = {"id": "chatcmpl-1", "created": 1, "model": "tiny"}


def chunk(delta, finish=None):
    choice = {"index": 0, "finish_reason": finish, "logprobs": None, "delta": delta}
    tree = {**FRAME, "object": "chat.completion.chunk", "choices": [choice]}
    return b"data: %b\n\n" % json.dumps(tree).encode()


def piece(arguments):
    """A delta of llama-cpp-python: the name with every piece, and all of it once more in the form for older clients."""
    function = {"name": "weather", "arguments": arguments}
    calls = [{"index": 0, "id": ID, "type": "function", "function": function}]
    return chunk({"role": None, "content": None, "function_call": function, "tool_calls": calls})


STREAM = b"".join(
    (
        chunk({"role": "assistant", "content": None, "function_call": None, "tool_calls": None}),
        *map(piece, ("{", '"city"', ': "', "Paris", '"}')),
        piece(""),
        chunk({"role": None, "content": None, "function_call": None, "tool_calls": None}, "tool_calls"),
        b"data: [DONE]\n\n",
    )
)
FUNCTION = {"name": "weather", "arguments": '{"city": "Paris"}'}
MESSAGE = {
    "content": None,
    "tool_calls": [{"id": ID, "type": "function", "function": FUNCTION}],
    "role": "assistant",
    "function_call": FUNCTION,
}
PLAIN = {
    **FRAME,
    "object": "chat.completion",
    "choices": [{"index": 0, "message": MESSAGE, "logprobs": None, "finish_reason": "tool_calls"}],
}


def test_a_call_told_in_the_old_form_as_well_is_one_call_streamed_and_plain():
    frames = OpenAI().stream_decoder().feed(STREAM)
    streamed = fold(event for frame in frames for event in frame.events)
    plain = OpenAI().decode_chat_reply(json.dumps(PLAIN).encode())
    assert streamed.choices == plain.choices
    told = json.loads(Anthropic().encode_chat_reply(plain))
    assert told["content"] == [{"type": "tool_use", "id": ID, "name": "weather", "input": {"city": "Paris"}}]


def test_a_call_in_the_old_form_alone_is_still_a_call():
    message = {key: value for key, value in MESSAGE.items() if key != "tool_calls"}
    tree = {**PLAIN, "choices": [{**PLAIN["choices"][0], "message": message}]}
    (choice,) = OpenAI().decode_chat_reply(json.dumps(tree).encode()).choices
    assert [part.name for part in choice.parts] == ["weather"]


@pytest.mark.parametrize("events", [True, False], ids=["translated", "passed on"])
def test_what_is_told_twice_is_counted_once(events):
    frames = OpenAI().stream_decoder(events=events).feed(STREAM)
    assert sum(frame.produced_bytes for frame in frames) == len("weather" + '{"city": "Paris"}')
