"""Pydantic AI's agents on the models of OpenAI, Anthropic and Google, to providers of every dialect."""

import pytest
from google import genai
from google.genai import types
from pydantic import BaseModel
from pydantic_ai import Agent, NativeOutput
from pydantic_ai.models.anthropic import AnthropicModel
from pydantic_ai.models.google import GoogleModel
from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
from pydantic_ai.providers.anthropic import AnthropicProvider
from pydantic_ai.providers.google import GoogleProvider
from pydantic_ai.providers.openai import OpenAIProvider

from ostiary.simulator.content import OPENING
from tests.clients.house import KEY

ASK = "Say something."


class Report(BaseModel):
    title: str
    days: list[int]


MODELS = {
    "OpenAIChatModel": lambda url, name: OpenAIChatModel(
        name, provider=OpenAIProvider(base_url=f"{url}/v1", api_key=KEY)
    ),
    "OpenAIResponsesModel": lambda url, name: OpenAIResponsesModel(
        name, provider=OpenAIProvider(base_url=f"{url}/v1", api_key=KEY)
    ),
    "AnthropicModel": lambda url, name: AnthropicModel(name, provider=AnthropicProvider(base_url=url, api_key=KEY)),
}


@pytest.fixture(params=[*MODELS, "GoogleModel"])
async def asked(request, url, model):
    if request.param in MODELS:
        async with MODELS[request.param](url, model) as made:
            yield made
        return
    # It asks for tool calls that surely fit their schemas, which no other provider promises: allow to leave that out.
    options = types.HttpOptions(base_url=url, headers={"x-ostiary-drop-unsupported": "true"})
    with genai.Client(api_key=KEY, http_options=options) as client:
        yield GoogleModel(model, provider=GoogleProvider(client=client))
        await client.aio.aclose()


async def test_a_plain_answer_arrives_whole(asked):
    answer = await Agent(asked).run(ASK)
    assert answer.output.startswith(OPENING)
    assert answer.usage.output_tokens > 0


async def test_a_stream_arrives_in_pieces(asked):
    async with Agent(asked).run_stream(ASK) as answer:
        pieces = [piece async for piece in answer.stream_text(delta=True, debounce_by=None)]
    assert "".join(pieces).startswith(OPENING)
    assert len(pieces) > 5


@pytest.mark.parametrize("streamed", [False, True], ids=["plain", "streamed"])
async def test_an_agents_tool_is_called_and_its_result_answered(asked, streamed):
    agent, seen = Agent(asked), []

    @agent.tool_plain
    def weather(city: str) -> str:
        """The weather of a city."""
        seen.append(city)
        return "Rain."

    if streamed:
        async with agent.run_stream(ASK) as answer:
            told = await answer.get_output()
    else:
        told = (await agent.run(ASK)).output
    assert seen == ["simulated"]
    assert told.startswith(OPENING)


@pytest.mark.parametrize("output", [Report, NativeOutput(Report)], ids=["by a tool", "by schema"])
async def test_a_structured_answer_is_parsed_into_its_model(asked, output):
    if output is not Report and isinstance(asked, AnthropicModel):
        return  # asks for schemas only of models whose names it knows
    assert isinstance((await Agent(asked, output_type=output).run(ASK)).output, Report)
