"""The official OpenAI Python SDK's responses, to providers of every dialect."""

import json

import openai
import pytest
from pydantic import BaseModel

from ostiary.simulator.content import OPENING

TOOL = {
    "type": "function",
    "name": "weather",
    "description": "The weather of a city.",
    "parameters": {
        "type": "object",
        "properties": {"city": {"type": "string"}},
        "required": ["city"],
        "additionalProperties": False,
    },
    "strict": True,
}
USER = [{"role": "user", "content": "Say something."}]


class Report(BaseModel):
    title: str
    days: list[int]


def ask(model, given=USER, **more):
    return lambda client: client.responses.create(model=model, input=given, store=False, **more)


async def test_a_plain_answer_arrives_whole(openai_sdk, model):
    answer = await openai_sdk.call(ask(model, "Say something.", instructions="Be brief."))
    assert answer.output_text.startswith(OPENING)
    assert (answer.object, answer.status, answer.error) == ("response", "completed", None)
    assert answer.usage.total_tokens == answer.usage.input_tokens + answer.usage.output_tokens > 0
    assert answer._request_id


async def test_a_stream_has_the_events_of_this_dialect_in_their_order(openai_sdk, model):
    events = await openai_sdk.events(ask(model, stream=True))
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert [event.type for event in events[:2]] == ["response.created", "response.in_progress"]
    told = "".join(event.delta for event in events if event.type == "response.output_text.delta")
    assert told.startswith(OPENING)
    assert events[-1].type == "response.completed"
    assert events[-1].response.output_text == told
    assert events[-1].response.usage.output_tokens > 0


async def test_an_answer_that_reaches_its_bound_is_incomplete(openai_sdk, model):
    answer = await openai_sdk.call(ask(model, max_output_tokens=16 if model == "openai-responses" else 5))
    if answer.status == "incomplete":
        assert answer.incomplete_details.reason == "max_output_tokens"
    assert OPENING.startswith(answer.output_text[: len(OPENING)])


@pytest.mark.parametrize("streamed", [False, True], ids=["plain", "streamed"])
async def test_a_tool_is_called_and_its_result_answered(openai_sdk, model, streamed):
    if streamed:
        _, answer = await openai_sdk.helper(
            lambda client: client.responses.stream(model=model, input=USER, tools=[TOOL], store=False),
            "get_final_response",
        )
    else:
        answer = await openai_sdk.call(ask(model, tools=[TOOL]))
    (call,) = [item for item in answer.output if item.type == "function_call"]
    assert (call.name, json.loads(call.arguments)) == ("weather", {"city": "simulated"})
    result = {"type": "function_call_output", "call_id": call.call_id, "output": "Rain."}
    # The SDK's own objects go back into the history, with every field they have.
    last = await openai_sdk.call(ask(model, [*USER, *answer.output, result], tools=[TOOL]))
    assert last.output_text.startswith(OPENING)
    assert all(item.type != "function_call" for item in last.output)


async def test_a_structured_answer_is_parsed_into_its_model(openai_sdk, model):
    answer = await openai_sdk.call(
        lambda client: client.responses.parse(model=model, input=USER, text_format=Report, store=False)
    )
    assert isinstance(answer.output_parsed, Report)
    _, final = await openai_sdk.helper(
        lambda client: client.responses.stream(model=model, input=USER, text_format=Report, store=False),
        "get_final_response",
    )
    assert isinstance(final.output_parsed, Report)


async def test_input_tokens_are_counted(openai_sdk, model):
    told = await openai_sdk.call(lambda client: client.responses.input_tokens.count(model=model, input=USER))
    assert told.input_tokens > 0


async def test_what_a_provider_keeps_is_refused_by_name(openai_sdk, model):
    """A conversation kept at one provider is of no use at the next one, and nobody here could look at it."""
    with pytest.raises(openai.BadRequestError) as caught:
        await openai_sdk.call(ask(model, previous_response_id="resp_1"))
    assert (caught.value.code, caught.value.param) == ("request.unsupported", "previous_response_id")
    with pytest.raises(openai.NotFoundError) as caught:
        await openai_sdk.call(lambda client: client.responses.retrieve("resp_1"))
    assert caught.value.code == "route.not_found"
