"""The official Anthropic Python SDK, to providers of every dialect."""

import pytest

from ostiary.simulator.content import OPENING

TOOL = {
    "name": "weather",
    "description": "The weather of a city.",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}
USER = [{"role": "user", "content": "Say something."}]


def ask(model, messages=USER, **more):
    return lambda client: client.messages.create(model=model, messages=messages, **{"max_tokens": 99, **more})


def streamed(model, **more):
    return lambda client: client.messages.stream(model=model, messages=USER, max_tokens=99, **more)


async def test_a_plain_answer_arrives_whole(anthropic_sdk, model):
    answer = await anthropic_sdk.call(ask(model, system="Be brief."))
    assert answer.content[0].text.startswith(OPENING)
    assert answer.stop_reason == "end_turn"
    assert answer.usage.input_tokens > 0
    assert answer.usage.output_tokens > 0


async def test_a_stream_arrives_in_pieces_and_makes_up_the_message(anthropic_sdk, model):
    events, final = await anthropic_sdk.helper(streamed(model), "get_final_message")
    pieces = [event.text for event in events if event.type == "text"]
    assert len(pieces) > 5
    assert [block.text for block in final.content] == ["".join(pieces)]
    assert final.content[0].text.startswith(OPENING)
    assert final.stop_reason == "end_turn"
    assert final.usage.output_tokens > 0


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])
async def test_a_tool_is_called_and_its_result_answered(anthropic_sdk, model, stream):
    if stream:
        _, answer = await anthropic_sdk.helper(streamed(model, tools=[TOOL]), "get_final_message")
    else:
        answer = await anthropic_sdk.call(ask(model, tools=[TOOL]))
    assert answer.stop_reason == "tool_use"
    (call,) = [block for block in answer.content if block.type == "tool_use"]
    assert (call.name, call.input) == ("weather", {"city": "simulated"})
    result = {"type": "tool_result", "tool_use_id": call.id, "content": "Rain."}
    # The SDK's own objects go back into the history, with every field they have.
    messages = [*USER, {"role": "assistant", "content": answer.content}, {"role": "user", "content": [result]}]
    last = await anthropic_sdk.call(ask(model, messages, tools=[TOOL]))
    assert [block.type for block in last.content] == ["text"]
    assert last.content[0].text.startswith(OPENING)


async def test_tokens_are_counted(anthropic_sdk, model):
    told = await anthropic_sdk.call(lambda client: client.messages.count_tokens(model=model, messages=USER))
    assert told.input_tokens > 0
