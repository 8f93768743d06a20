"""The official Anthropic Python SDK, blocking and asynchronous, through a running gateway to providers of both dialects."""

import anthropic
import pytest
from pydantic import BaseModel

from ostiary.simulator.content import OPENING
from tests.clients.house import KEY, MODELS

pytestmark = pytest.mark.parametrize("model", ["claude", "gpt"])
UPSTREAM = {"gpt": "sim-gpt", "claude": "sim-claude"}
USER = [{"role": "user", "content": "Say something."}]
PARALLEL = [{"role": "user", "content": "Use the tools in parallel."}]
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="


class Weather(BaseModel):
    city: str
    days: int


class Report(BaseModel):
    title: str
    weather: list[Weather]


def tool(name, **properties):
    schema = {"type": "object", "properties": properties, "required": list(properties)}
    return {"name": name, "description": f"{name}.", "input_schema": schema}


TOOLS = [tool("weather", city={"type": "string"}, days={"type": "integer"}), tool("time", zone={"type": "string"})]


def ask(model, messages=USER, **more):
    return lambda client: client.messages.create(model=model, messages=messages, **{"max_tokens": 99, **more})


def streamed(model, messages=USER, **more):
    return lambda client: client.messages.stream(model=model, messages=messages, **{"max_tokens": 99, **more})


async def test_a_plain_answer_arrives_whole_with_usage_and_a_request_id(anthropic_sdk, model):
    answer = await anthropic_sdk.call(ask(model))
    assert (answer.type, answer.role, answer.stop_reason) == ("message", "assistant", "end_turn")
    (block,) = answer.content
    assert block.type == "text"
    assert block.text.startswith(OPENING)
    assert answer.model == UPSTREAM[model]
    assert answer.usage.input_tokens > 0
    assert answer.usage.output_tokens > 0
    assert answer._request_id


async def test_the_answers_headers_say_what_served_it_and_where_it_is_recorded(anthropic_sdk, model):
    raw = await anthropic_sdk.call(
        lambda client: client.messages.with_raw_response.create(model=model, messages=USER, max_tokens=9)
    )
    headers = raw.headers
    assert headers["request-id"] == headers["x-request-id"] == raw.request_id
    assert headers["x-ostiary-target"].endswith(f"/{UPSTREAM[model]}@{UPSTREAM[model]}")
    assert headers["x-ostiary-receipt"].rpartition("/")[2].isdigit()
    assert headers["x-ostiary-cost"].endswith(" USD")


async def test_a_stream_has_the_events_of_this_dialect_in_their_order(anthropic_sdk, model):
    events = await anthropic_sdk.events(ask(model, stream=True, max_tokens=9))
    kinds = [event.type for event in events]
    assert kinds[:2] == ["message_start", "content_block_start"]
    assert kinds[-3:] == ["content_block_stop", "message_delta", "message_stop"]
    assert set(kinds[2:-3]) == {"content_block_delta"}
    text = "".join(event.delta.text for event in events if event.type == "content_block_delta")
    assert text.startswith(OPENING)
    assert len(text.split()) == 9
    assert events[-2].delta.stop_reason == "max_tokens"
    assert events[-2].usage.output_tokens > 0


async def test_the_stream_helper_gathers_the_message(anthropic_sdk, model):
    events, final = await anthropic_sdk.helper(streamed(model), "get_final_message")
    told = "".join(event.text for event in events if event.type == "text")
    assert [block.text for block in final.content] == [told]
    assert told.startswith(OPENING)
    assert final.stop_reason == "end_turn"
    assert final.usage.input_tokens > 0
    assert final.usage.output_tokens > 1


async def test_tools_called_in_parallel_take_their_results_back(anthropic_sdk, upstream, model):
    answer = await anthropic_sdk.call(ask(model, PARALLEL, tools=TOOLS))
    assert answer.stop_reason == "tool_use"
    calls = [block for block in answer.content if block.type == "tool_use"]
    assert [(call.name, set(call.input)) for call in calls] == [("weather", {"city", "days"}), ("time", {"zone"})]
    assert len({call.id for call in calls}) == 2
    results = [{"type": "tool_result", "tool_use_id": call.id, "content": f"of {call.name}"} for call in calls]
    # The SDK's own objects go back into the history, with every field they have.
    messages = [*PARALLEL, {"role": "assistant", "content": answer.content}, {"role": "user", "content": results}]
    last = await anthropic_sdk.call(ask(model, messages, tools=TOOLS))
    assert [block.type for block in last.content] == ["text"]
    sent = upstream.body(UPSTREAM[model])["messages"]
    if model == "claude":
        assert sent[2]["content"] == results
    else:
        assert [call["id"] for call in sent[1]["tool_calls"]] == [call.id for call in calls]
        assert sent[2:] == [{"role": "tool", "tool_call_id": call.id, "content": f"of {call.name}"} for call in calls]


async def test_tool_calls_stream_in_pieces_that_make_up_the_same_input(anthropic_sdk, model):
    events, final = await anthropic_sdk.helper(streamed(model, PARALLEL, tools=TOOLS), "get_final_message")
    assert final.stop_reason == "tool_use"
    calls = [block for block in final.content if block.type == "tool_use"]
    assert [(call.name, set(call.input)) for call in calls] == [("weather", {"city", "days"}), ("time", {"zone"})]
    assert sum(event.type == "input_json" for event in events) > 2


@pytest.mark.parametrize("choice", [{"type": "any"}, {"type": "tool", "name": "time"}], ids=["any", "named"])
async def test_a_tool_can_be_forced(anthropic_sdk, upstream, model, choice):
    choice = {**choice, "disable_parallel_tool_use": True}
    answer = await anthropic_sdk.call(ask(model, tools=TOOLS, tool_choice=choice))
    calls = [block.name for block in answer.content if block.type == "tool_use"]
    assert calls == ["weather" if choice["type"] == "any" else "time"]
    sent = upstream.body(UPSTREAM[model])
    if model == "claude":
        assert sent["tool_choice"] == choice
    else:
        named = {"type": "function", "function": {"name": "time"}}
        assert sent["tool_choice"] == ("required" if choice["type"] == "any" else named)
        assert sent["parallel_tool_calls"] is False


async def test_a_structured_answer_is_parsed_into_its_model(anthropic_sdk, upstream, model):
    answer = await anthropic_sdk.call(
        lambda client: client.messages.parse(model=model, messages=USER, max_tokens=99, output_format=Report)
    )
    assert isinstance(answer.parsed_output, Report)
    sent = upstream.body(UPSTREAM[model])
    asked = sent["output_config"]["format"] if model == "claude" else sent["response_format"]["json_schema"]
    assert asked["schema"]["properties"].keys() == {"title", "weather"}


async def test_a_structured_answer_is_parsed_from_a_stream(anthropic_sdk, model):
    _, final = await anthropic_sdk.helper(streamed(model, output_format=Report), "get_final_message")
    assert isinstance(final.parsed_output, Report)


async def test_thinking_arrives_and_its_signature_where_there_is_one(anthropic_sdk, upstream, model):
    thinking = {"type": "enabled", "budget_tokens": 2048}
    answer = await anthropic_sdk.call(ask(model, max_tokens=4096, thinking=thinking))
    if model == "gpt":
        assert upstream.body("sim-gpt")["reasoning_effort"] == "low"
        assert [block.type for block in answer.content] == ["text"]
        return
    thought, said = answer.content
    assert (thought.type, said.type) == ("thinking", "text")
    assert thought.thinking.startswith("This is simulated thinking")
    assert thought.signature.startswith("SIMULATED")
    history = [*USER, {"role": "assistant", "content": answer.content}, *USER]
    await anthropic_sdk.call(ask(model, history, max_tokens=4096, thinking=thinking))
    sent = upstream.body("sim-claude")["messages"][1]["content"][0]
    assert sent == {"type": "thinking", "thinking": thought.thinking, "signature": thought.signature}


async def test_signed_thinking_is_refused_where_nobody_could_read_it(anthropic_sdk, upstream, model):
    block = {"type": "thinking", "thinking": "Hm.", "signature": "c2ln"}
    history = [*USER, {"role": "assistant", "content": [block, {"type": "text", "text": "So."}]}, *USER]
    if model == "claude":
        await anthropic_sdk.call(ask(model, history))
        assert upstream.body("sim-claude")["messages"][1]["content"][0] == block
    else:
        with pytest.raises(anthropic.BadRequestError) as caught:
            await anthropic_sdk.call(ask(model, history))
        assert caught.value.error_code == "request.unsupported"
        assert caught.value.body["error"]["param"] == "messages[1].content[0]"


async def test_thinking_streams_before_the_answer_where_the_provider_thinks_aloud(anthropic_sdk, model):
    events, final = await anthropic_sdk.helper(
        streamed(model, max_tokens=4096, thinking={"type": "adaptive"}), "get_final_message"
    )
    told = "".join(event.thinking for event in events if event.type == "thinking")
    assert [block.type for block in final.content] == (["thinking", "text"] if model == "claude" else ["text"])
    if model == "gpt":
        assert told == ""
        return
    assert final.content[0].thinking == told
    assert [event.signature for event in events if event.type == "signature"] == [final.content[0].signature]


async def test_images_reach_the_provider(anthropic_sdk, upstream, model):
    parts = [
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PIXEL}},
        {"type": "image", "source": {"type": "url", "url": "https://images.invalid/cat.png"}},
        {"type": "text", "text": "What is this?"},
    ]
    await anthropic_sdk.call(ask(model, [{"role": "user", "content": parts}]))
    sent = upstream.body(UPSTREAM[model])["messages"][0]["content"]
    if model == "claude":
        assert sent == parts
    else:
        assert [part["type"] for part in sent] == ["image_url", "image_url", "text"]
        assert sent[0]["image_url"]["url"] == f"data:image/png;base64,{PIXEL}"
        assert sent[1]["image_url"]["url"] == "https://images.invalid/cat.png"


async def test_system_prompt_stop_and_sampling_are_carried(anthropic_sdk, upstream, model):
    more = {"system": "Be brief.", "stop_sequences": ["simulated"], "metadata": {"user_id": "u1"}}
    more["extra_body"] = {"temperature": 0.5}
    answer = await anthropic_sdk.call(ask(model, **more))
    assert answer.content[0].text.strip() == "This is a"
    sent = upstream.body(UPSTREAM[model])
    assert sent["temperature"] == 0.5
    if model == "claude":
        assert (answer.stop_reason, answer.stop_sequence) == ("stop_sequence", "simulated")
        assert sent["system"] == "Be brief."
        assert sent["metadata"] == {"user_id": "u1"}
    else:
        assert sent["messages"][0] == {"role": "system", "content": "Be brief."}
        assert sent["stop"] == ["simulated"]
        assert sent["user"] == "u1"


async def test_tokens_are_counted_by_the_provider_or_estimated(anthropic_sdk, model):
    raw = await anthropic_sdk.call(
        lambda client: client.messages.with_raw_response.count_tokens(model=model, messages=USER, tools=TOOLS)
    )
    assert raw.headers.get("x-ostiary-estimated") == ("true" if model == "gpt" else None)
    answer = await anthropic_sdk.call(lambda client: client.messages.count_tokens(model=model, messages=USER))
    assert answer.input_tokens > 0
    assert answer._request_id


async def test_models_are_listed_and_found_by_name(anthropic_sdk, model):
    listed = await anthropic_sdk.items(lambda client: client.models.list())
    assert {one.id for one in listed} == MODELS
    assert all(one.type == "model" and one.created_at.tzinfo is not None for one in listed)
    found = await anthropic_sdk.call(lambda client: client.models.retrieve(model))
    assert (found.id, found.display_name) == (model, model)


async def test_models_are_listed_page_by_page(anthropic_sdk, model):
    listed = await anthropic_sdk.items(lambda client: client.models.list(limit=1))
    assert model in {one.id for one in listed} == MODELS
    page = await anthropic_sdk.call(lambda client: client.models.list(limit=1))
    assert (len(page.data), page.has_more) == (1, True)


async def test_the_key_may_come_as_a_bearer_token(anthropic_sdk, model):
    def doing(client):
        return ask(model)(client.with_options(auth_token=KEY))

    assert (await anthropic_sdk.call(doing)).content


async def test_beta_features_go_to_a_provider_that_knows_them(anthropic_sdk, upstream, model):
    answer = await anthropic_sdk.call(
        lambda client: client.beta.messages.create(
            model=model, messages=USER, max_tokens=99, betas=["some-feature-2026-01-01"]
        )
    )
    assert answer.content[0].text.startswith(OPENING)
    sent = upstream.last(UPSTREAM[model]).request
    assert sent.header(b"anthropic-beta") == ("some-feature-2026-01-01" if model == "claude" else "")


async def test_the_tool_runner_runs_until_the_answer_though_not_every_provider_keeps_threads(
    anthropic_sdk, upstream, model
):
    calls = []
    if anthropic_sdk.blocking:

        @anthropic.beta_tool
        def weather(city: str) -> str:
            """The weather of a city."""
            calls.append(city)
            return "sunny"
    else:

        @anthropic.beta_async_tool
        async def weather(city: str) -> str:
            """The weather of a city."""
            calls.append(city)
            return "sunny"

    runner = anthropic_sdk.client.beta.messages.tool_runner(
        model=model, messages=USER, max_tokens=99, tools=[weather], max_iterations=4
    )
    last = runner.until_done() if anthropic_sdk.blocking else await runner.until_done()
    assert calls == ["simulated"]
    assert last.stop_reason == "end_turn"
    sent = upstream.body(UPSTREAM[model])
    if model == "gpt":
        assert [message["role"] for message in sent["messages"]] == ["user", "assistant", "tool"]


async def test_a_refusal_is_told_as_one(anthropic_sdk, model):
    answer = await anthropic_sdk.call(ask("ant/sim-refusal" if model == "claude" else "oai/sim-refusal"))
    assert answer.content[0].text == "This is a simulated refusal."
    assert answer.stop_reason == "refusal"
