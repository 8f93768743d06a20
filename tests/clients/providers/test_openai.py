"""The official OpenAI Python SDK's chat completions, to providers of every dialect."""

import json

import pytest

from ostiary.simulator.content import OPENING

TOOL = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather of a city.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
USER = [{"role": "user", "content": "Say something."}]


def ask(model, messages=USER, **more):
    return lambda client: client.chat.completions.create(model=model, messages=messages, **more)


async def test_a_plain_answer_arrives_whole(openai_sdk, model):
    answer = await openai_sdk.call(ask(model))
    assert answer.choices[0].message.content.startswith(OPENING)
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens > 0


async def test_a_stream_arrives_in_pieces_and_ends_with_its_usage(openai_sdk, model):
    more = {"stream": True, "stream_options": {"include_usage": True}}
    *chunks, last = await openai_sdk.events(ask(model, **more))
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks).startswith(OPENING)
    assert len(chunks) > 5
    assert last.usage.completion_tokens > 0


@pytest.mark.parametrize("streamed", [False, True], ids=["plain", "streamed"])
async def test_a_tool_is_called_and_its_result_answered(openai_sdk, model, streamed):
    if streamed:
        _, answer = await openai_sdk.helper(
            lambda client: client.chat.completions.stream(model=model, messages=USER, tools=[TOOL]),
            "get_final_completion",
        )
    else:
        answer = await openai_sdk.call(ask(model, tools=[TOOL]))
    message = answer.choices[0].message
    assert answer.choices[0].finish_reason == "tool_calls"
    (call,) = message.tool_calls
    assert (call.function.name, json.loads(call.function.arguments)) == ("weather", {"city": "simulated"})
    result = {"role": "tool", "tool_call_id": call.id, "content": "Rain."}
    last = await openai_sdk.call(ask(model, [*USER, message.model_dump(exclude_none=True), result], tools=[TOOL]))
    assert last.choices[0].message.content.startswith(OPENING)
    assert not last.choices[0].message.tool_calls
