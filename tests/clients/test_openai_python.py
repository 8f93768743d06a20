"""The official OpenAI Python SDK, blocking and asynchronous, through a running gateway to providers of both dialects."""

import asyncio
import json
import math

import openai
import pytest
from pydantic import BaseModel

from ostiary.simulator.content import OPENING
from tests.clients.house import MODELS

pytestmark = pytest.mark.parametrize("model", ["gpt", "claude"])
UPSTREAM = {"gpt": "sim-gpt", "claude": "sim-claude"}
USER = [{"role": "user", "content": "Say something."}]
PIXEL = "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="


class Weather(BaseModel):
    city: str
    days: int


class Report(BaseModel):
    title: str
    weather: list[Weather]
    certain: bool


def function(name, **properties):
    parameters = {"type": "object", "properties": properties, "required": list(properties)}
    return {"type": "function", "function": {"name": name, "description": f"{name}.", "parameters": parameters}}


TOOLS = [
    function("weather", city={"type": "string"}, days={"type": "integer"}),
    function("time", zone={"type": "string"}),
]


def ask(model, messages=USER, **more):
    return lambda client: client.chat.completions.create(model=model, messages=messages, **more)


async def test_a_plain_answer_arrives_whole_with_usage_and_a_request_id(openai_sdk, model):
    answer = await openai_sdk.call(ask(model))
    choice = answer.choices[0]
    assert choice.message.role == "assistant"
    assert choice.message.content.startswith(OPENING)
    assert choice.finish_reason == "stop"
    assert answer.object == "chat.completion"
    assert answer.model == UPSTREAM[model]
    assert answer.created > 1_700_000_000
    assert 0 < answer.usage.completion_tokens == answer.usage.total_tokens - answer.usage.prompt_tokens
    assert answer._request_id


async def test_the_answers_headers_say_what_served_it_and_where_it_is_recorded(openai_sdk, model):
    raw = await openai_sdk.call(
        lambda client: client.chat.completions.with_raw_response.create(model=model, messages=USER)
    )
    headers = raw.headers
    assert headers["x-request-id"] == raw.request_id
    assert headers["x-ostiary-target"].endswith(f"/{UPSTREAM[model]}@{UPSTREAM[model]}")
    assert headers["x-ostiary-attempts"] == "1"
    assert headers["x-ostiary-receipt"].rpartition("/")[2].isdigit()
    assert headers["x-ostiary-cost"].endswith(" USD")
    assert "x-ostiary-fallback" not in headers


async def test_a_stream_is_the_plain_answer_in_pieces(openai_sdk, model):
    plain = await openai_sdk.call(ask(model, max_tokens=9, user="one"))
    chunks = await openai_sdk.events(ask(model, max_tokens=9, user="one", stream=True))
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    assert text.startswith(OPENING)
    assert len(text.split()) == len(plain.choices[0].message.content.split()) == 9
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices[0].finish_reason] == ["length"]
    assert {chunk.id for chunk in chunks} == {chunks[0].id}
    assert all(chunk.usage is None for chunk in chunks)


async def test_a_stream_ends_with_its_usage_where_that_was_asked_for(openai_sdk, model):
    chunks = await openai_sdk.events(ask(model, stream=True, stream_options={"include_usage": True}))
    *others, last = chunks
    assert last.choices == []
    assert last.usage.total_tokens == last.usage.prompt_tokens + last.usage.completion_tokens > 0
    assert all(chunk.usage is None for chunk in others)


async def test_the_stream_helper_gathers_the_answer(openai_sdk, model):
    events, final = await openai_sdk.helper(
        lambda client: client.chat.completions.stream(model=model, messages=USER), "get_final_completion"
    )
    told = "".join(event.delta for event in events if event.type == "content.delta")
    assert final.choices[0].message.content == told
    assert told.startswith(OPENING)
    assert [event.content for event in events if event.type == "content.done"] == [told]


async def test_tools_called_in_parallel_take_their_results_back(openai_sdk, upstream, model):
    messages = [{"role": "user", "content": "Use the tools in parallel."}]
    answer = await openai_sdk.call(ask(model, messages, tools=TOOLS))
    choice = answer.choices[0]
    assert choice.finish_reason == "tool_calls"
    calls = choice.message.tool_calls
    assert [call.function.name for call in calls] == ["weather", "time"]
    assert len({call.id for call in calls}) == 2
    assert [json.loads(call.function.arguments).keys() for call in calls] == [{"city", "days"}, {"zone"}]
    results = [{"role": "tool", "tool_call_id": call.id, "content": f"of {call.function.name}"} for call in calls]
    # The SDK's own object goes back into the history, with every field it has.
    last = await openai_sdk.call(ask(model, [*messages, choice.message, *results], tools=TOOLS))
    assert last.choices[0].message.tool_calls is None
    sent = json.dumps(upstream.body(UPSTREAM[model]))
    assert all(call.id in sent and f"of {call.function.name}" in sent for call in calls)


async def test_tool_calls_stream_in_pieces_that_make_up_the_same_arguments(openai_sdk, model):
    messages = [{"role": "user", "content": "Use the tools in parallel."}]
    events, final = await openai_sdk.helper(
        lambda client: client.chat.completions.stream(model=model, messages=messages, tools=TOOLS),
        "get_final_completion",
    )
    assert final.choices[0].finish_reason == "tool_calls"
    calls = final.choices[0].message.tool_calls
    assert [call.function.name for call in calls] == ["weather", "time"]
    done = [event for event in events if event.type == "tool_calls.function.arguments.done"]
    assert [event.arguments for event in done] == [call.function.arguments for call in calls]
    assert [event.index for event in done] == [0, 1]
    for event in done:
        pieces = [
            piece.arguments_delta
            for piece in events
            if piece.type == "tool_calls.function.arguments.delta" and piece.index == event.index
        ]
        assert len(pieces) > 1
        assert "".join(pieces) == event.arguments
        assert json.loads(event.arguments)


@pytest.mark.parametrize(
    "choice", ["required", {"type": "function", "function": {"name": "time"}}], ids=["any", "named"]
)
async def test_a_tool_can_be_forced(openai_sdk, upstream, model, choice):
    answer = await openai_sdk.call(ask(model, tools=TOOLS, tool_choice=choice, parallel_tool_calls=False))
    calls = answer.choices[0].message.tool_calls
    assert [call.function.name for call in calls] == ["weather" if choice == "required" else "time"]
    sent = upstream.body(UPSTREAM[model])["tool_choice"]
    if model == "gpt":
        assert sent == choice
    else:
        assert sent == {
            **({"type": "any"} if choice == "required" else {"type": "tool", "name": "time"}),
            "disable_parallel_tool_use": True,
        }


async def test_a_tool_made_from_a_model_is_parsed_into_it(openai_sdk, model):
    answer = await openai_sdk.call(
        lambda client: client.chat.completions.parse(
            model=model, messages=USER, tools=[openai.pydantic_function_tool(Weather)]
        )
    )
    (call,) = answer.choices[0].message.tool_calls
    assert isinstance(call.function.parsed_arguments, Weather)


async def test_a_structured_answer_is_parsed_into_its_model(openai_sdk, upstream, model):
    answer = await openai_sdk.call(
        lambda client: client.chat.completions.parse(model=model, messages=USER, response_format=Report)
    )
    assert isinstance(answer.choices[0].message.parsed, Report)
    sent = upstream.body(UPSTREAM[model])
    asked = sent["response_format"]["json_schema"] if model == "gpt" else sent["output_config"]["format"]
    assert asked["schema"]["properties"].keys() == {"title", "weather", "certain"}


async def test_a_structured_answer_is_parsed_from_a_stream(openai_sdk, model):
    _, final = await openai_sdk.helper(
        lambda client: client.chat.completions.stream(model=model, messages=USER, response_format=Report),
        "get_final_completion",
    )
    assert isinstance(final.choices[0].message.parsed, Report)


async def test_a_refusal_is_told_as_one_or_as_filtered(openai_sdk, model):
    answer = await openai_sdk.call(ask("oai/sim-refusal" if model == "gpt" else "ant/sim-refusal"))
    message = answer.choices[0].message
    if model == "gpt":
        assert (message.content, message.refusal) == (None, "This is a simulated refusal.")
    else:
        assert answer.choices[0].finish_reason == "content_filter"


async def test_images_reach_the_provider(openai_sdk, upstream, model):
    parts = [
        {"type": "text", "text": "What is this?"},
        {"type": "image_url", "image_url": {"url": PIXEL}},
        {"type": "image_url", "image_url": {"url": "https://images.invalid/cat.png"}},
    ]
    await openai_sdk.call(ask(model, [{"role": "user", "content": parts}]))
    sent = upstream.body(UPSTREAM[model])["messages"][0]["content"]
    if model == "gpt":
        assert sent == parts
    else:
        assert [part["type"] for part in sent] == ["text", "image", "image"]
        assert sent[1]["source"] == {
            "type": "base64",
            "media_type": "image/png",
            "data": PIXEL.removeprefix("data:image/png;base64,"),
        }
        assert sent[2]["source"] == {"type": "url", "url": "https://images.invalid/cat.png"}


async def test_log_probabilities_arrive_or_are_refused_by_name(openai_sdk, model):
    wanted = ask(model, logprobs=True, top_logprobs=2)
    if model == "gpt":
        listed = (await openai_sdk.call(wanted)).choices[0].logprobs.content
        assert "".join(entry.token for entry in listed).startswith(OPENING)
        assert all(entry.logprob <= 0 and len(entry.top_logprobs) == 2 for entry in listed)
    else:
        with pytest.raises(openai.BadRequestError) as caught:
            await openai_sdk.call(wanted)
        assert (caught.value.code, caught.value.param) == ("request.unsupported", "logprobs")


async def test_log_probabilities_arrive_with_a_stream_or_are_left_out_where_that_is_allowed(openai_sdk, model):
    allow = {"x-ostiary-drop-unsupported": "true"}
    chunks = await openai_sdk.events(ask(model, logprobs=True, stream=True, extra_headers=allow))
    tokens = [chunk.choices[0].logprobs.content[0].token for chunk in chunks if chunk.choices[0].logprobs]
    assert "".join(tokens).startswith(OPENING) if model == "gpt" else tokens == []


async def test_what_was_left_out_is_named(openai_sdk, model):
    raw = await openai_sdk.call(
        lambda client: client.chat.completions.with_raw_response.create(
            model=model, messages=USER, seed=7, extra_headers={"x-ostiary-drop-unsupported": "true"}
        )
    )
    assert raw.headers.get("x-ostiary-dropped") == (None if model == "gpt" else "seed")


async def test_reasoning_effort_is_carried(openai_sdk, upstream, model):
    answer = await openai_sdk.call(ask(model, reasoning_effort="high"))
    assert answer.choices[0].message.content.startswith(OPENING)
    sent = upstream.body(UPSTREAM[model])
    if model == "gpt":
        assert sent["reasoning_effort"] == "high"
    else:
        assert sent["thinking"] == {"type": "adaptive"}
        assert sent["output_config"] == {"effort": "high"}
        assert answer.choices[0].message.model_extra["reasoning_content"].startswith("This is simulated thinking")


async def test_developer_and_system_messages_lead(openai_sdk, upstream, model):
    await openai_sdk.call(ask(model, [{"role": "developer", "content": "Be brief."}, *USER], stop=["never said"]))
    sent = upstream.body(UPSTREAM[model])
    if model == "gpt":
        assert sent["messages"][0] == {"role": "developer", "content": "Be brief."}
        assert sent["stop"] == ["never said"]
    else:
        assert sent["system"] == "Be brief."
        assert sent["stop_sequences"] == ["never said"]


async def test_several_choices_arrive_or_are_refused_by_name(openai_sdk, model):
    if model == "gpt":
        answer = await openai_sdk.call(ask(model, n=3))
        assert [choice.index for choice in answer.choices] == [0, 1, 2]
    else:
        with pytest.raises(openai.BadRequestError) as caught:
            await openai_sdk.call(ask(model, n=3))
        assert (caught.value.code, caught.value.param) == ("request.unsupported", "n")


@pytest.mark.parametrize("form", ["float", "base64", None], ids=["floats", "base64", "the SDK's default"])
async def test_embeddings_arrive_as_numbers_however_they_travel(openai_sdk, model, form):
    def embed(client):
        more = {} if form is None else {"encoding_format": form}
        return client.embeddings.create(model=model, input=["one", "two"], dimensions=6, **more)

    if model == "claude":
        with pytest.raises(openai.BadRequestError) as caught:
            await openai_sdk.call(embed)
        assert (caught.value.code, caught.value.param) == ("model.unsuitable", "model")
        return
    answer = await openai_sdk.call(embed)
    assert [one.index for one in answer.data] == [0, 1]
    assert answer.usage.prompt_tokens > 0
    if form == "base64":
        assert all(isinstance(one.embedding, str) for one in answer.data)
    else:
        assert all(len(one.embedding) == 6 and all(map(math.isfinite, one.embedding)) for one in answer.data)


async def test_embeddings_of_tokens_are_taken(openai_sdk, upstream, model):
    """Frameworks count tokens themselves and send those."""
    if model == "gpt":
        answer = await openai_sdk.call(lambda client: client.embeddings.create(model=model, input=[[1, 2, 3], [4]]))
        assert len(answer.data) == 2
        assert upstream.body("sim-gpt")["input"] == [[1, 2, 3], [4]]


async def test_a_pdf_reaches_the_provider(openai_sdk, upstream, model):
    file = {"filename": "a.pdf", "file_data": "data:application/pdf;base64,JVBERi0xLjQ="}
    parts = [{"type": "file", "file": file}, {"type": "text", "text": "What is this?"}]
    await openai_sdk.call(ask(model, [{"role": "user", "content": parts}]))
    sent = upstream.body(UPSTREAM[model])["messages"][0]["content"][0]
    if model == "gpt":
        assert sent == parts[0]
    else:
        source = {"type": "base64", "media_type": "application/pdf", "data": "JVBERi0xLjQ="}
        assert sent == {"type": "document", "source": source, "title": "a.pdf"}


async def test_many_calls_at_once_get_each_their_own_answer(openai_sdk, model):
    if openai_sdk.blocking:
        return
    texts = [f"Question {number}" for number in range(40)]
    answers = await asyncio.gather(
        *(openai_sdk.call(ask(model, [{"role": "user", "content": text}])) for text in texts)
    )
    again = [await openai_sdk.call(ask(model, [{"role": "user", "content": text}])) for text in texts[:5]]
    told = [answer.choices[0].message.content for answer in answers]
    assert told[:5] == [answer.choices[0].message.content for answer in again]
    assert len({answer._request_id for answer in answers}) == len(texts)


async def test_models_are_listed_and_found_by_name(openai_sdk, model):
    listed = await openai_sdk.items(lambda client: client.models.list())
    assert {one.id for one in listed} == MODELS
    found = await openai_sdk.call(lambda client: client.models.retrieve(model))
    assert (found.id, found.object, found.owned_by) == (model, "model", "ostiary")


async def test_a_model_behind_a_wildcard_is_found_by_its_whole_name(openai_sdk, model):
    name = f"{'oai' if model == 'gpt' else 'ant'}/some-model"
    assert (await openai_sdk.call(lambda client: client.models.retrieve(name))).id == name


async def test_a_fallback_is_told(openai_sdk, alone, model):
    raw = await openai_sdk.call(
        lambda client: client.chat.completions.with_raw_response.create(
            model=alone("flaky", "status=503"), messages=USER, stream=model == "claude"
        )
    )
    assert raw.headers["x-ostiary-fallback"] == "upstream.overloaded"
    assert raw.headers["x-ostiary-attempts"] == "2"
    assert raw.headers["x-ostiary-target"].startswith("ant/sim-claude")
    await openai_sdk.call(lambda _: raw.http_response.read() if openai_sdk.blocking else raw.http_response.aread())
