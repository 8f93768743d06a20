"""Google's official Python SDK (google-genai), to providers of every dialect."""

import pytest
from google import genai
from google.genai import types
from pydantic import BaseModel

from ostiary.simulator.content import OPENING
from tests.clients.house import KEY
from tests.clients.providers.installation import DIALECTS
from tests.clients.sdk import Sdk

USER = "Say something."
TOOL = types.Tool(
    function_declarations=[
        types.FunctionDeclaration(
            name="weather",
            description="The weather of a city.",
            parameters_json_schema={
                "type": "object",
                "properties": {"city": {"type": "string"}},
                "required": ["city"],
            },
        )
    ]
)


class Report(BaseModel):
    title: str
    days: list[int]


@pytest.fixture
async def google_sdk(blocking, url):
    with genai.Client(api_key=KEY, http_options=types.HttpOptions(base_url=url)) as client:
        yield Sdk(client if blocking else client.aio, blocking=blocking)
        await client.aio.aclose()


def ask(model, contents=USER, **config):
    config = types.GenerateContentConfig(**config)
    return lambda client: client.models.generate_content(model=model, contents=contents, config=config)


def streamed(model, contents=USER, **config):
    config = types.GenerateContentConfig(**config)
    return lambda client: client.models.generate_content_stream(model=model, contents=contents, config=config)


async def test_a_plain_answer_arrives_whole(google_sdk, model):
    answer = await google_sdk.call(ask(model, system_instruction="Be brief."))
    assert answer.text.startswith(OPENING)
    assert answer.candidates[0].finish_reason == types.FinishReason.STOP
    usage = answer.usage_metadata
    assert usage.total_token_count == usage.prompt_token_count + usage.candidates_token_count > 0


async def test_a_stream_arrives_in_pieces_and_ends_with_its_usage(google_sdk, model):
    chunks = await google_sdk.events(streamed(model))
    assert "".join(chunk.text or "" for chunk in chunks).startswith(OPENING)
    assert len(chunks) > 5
    assert chunks[-1].candidates[0].finish_reason == types.FinishReason.STOP
    assert chunks[-1].usage_metadata.candidates_token_count > 0


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])
async def test_a_tool_is_called_and_its_result_answered(google_sdk, model, stream):
    if stream:
        chunks = await google_sdk.events(streamed(model, tools=[TOOL]))
    else:
        chunks = [await google_sdk.call(ask(model, tools=[TOOL]))]
    parts = [part for chunk in chunks for part in chunk.candidates[0].content.parts or []]
    (call,) = [part.function_call for part in parts if part.function_call]
    assert (call.name, call.args) == ("weather", {"city": "simulated"})
    result = types.FunctionResponse(id=call.id, name=call.name, response={"result": "Rain."})
    contents = [
        types.Content(role="user", parts=[types.Part(text=USER)]),
        types.Content(role="model", parts=parts),
        types.Content(role="user", parts=[types.Part(function_response=result)]),
    ]
    last = await google_sdk.call(ask(model, contents, tools=[TOOL]))
    assert last.text.startswith(OPENING)
    assert not last.function_calls


async def test_the_sdks_own_tool_loop_runs_until_the_answer(google_sdk, model):
    seen = []

    def weather(city: str) -> str:
        """The weather of a city."""
        seen.append(city)
        return "Rain."

    answer = await google_sdk.call(ask(model, tools=[weather]))
    assert seen == ["simulated"]
    assert answer.text.startswith(OPENING)


async def test_a_structured_answer_is_parsed_into_its_model(google_sdk, model):
    answer = await google_sdk.call(ask(model, response_mime_type="application/json", response_schema=Report))
    assert isinstance(answer.parsed, Report)


async def test_tokens_are_counted(google_sdk, model):
    told = await google_sdk.call(lambda client: client.models.count_tokens(model=model, contents=USER))
    assert told.total_tokens > 0


async def test_models_are_listed_and_found_by_name(google_sdk, model):
    pages = await google_sdk.call(lambda client: client.models.list())
    listed = list(pages) if google_sdk.blocking else [one async for one in pages]
    assert {one.name for one in listed} >= {f"models/{name}" for name in DIALECTS}
    pages = await google_sdk.call(lambda client: client.models.list(config={"page_size": 1}))
    singly = list(pages) if google_sdk.blocking else [one async for one in pages]
    assert [one.name for one in singly] == [one.name for one in listed]
    found = await google_sdk.call(lambda client: client.models.get(model=model))
    assert found.name == f"models/{model}"


@pytest.mark.parametrize("model", ["openai", "gemini", "cohere"])
async def test_embeddings_arrive_as_numbers(google_sdk, model):
    config = types.EmbedContentConfig(output_dimensionality=6)
    told = await google_sdk.call(
        lambda client: client.models.embed_content(model=model, contents=["one", "two"], config=config)
    )
    # The SDK makes one content of both for any model with `gemini` in its name.
    assert [len(one.values) for one in told.embeddings] == [6] * (1 if model == "gemini" else 2)


async def test_pictures_and_every_setting_reach_the_provider(google_sdk, upstream):
    """The SDK spells members of parts in snake_case, and whole numbers with a fraction."""
    picture = types.Part.from_bytes(data=b"\x89PNG", mime_type="image/png")
    config = {"top_k": 3, "temperature": 0.5, "stop_sequences": ["never said"]}
    answer = await google_sdk.call(ask("anthropic", [USER, picture], **config))
    assert answer.text.startswith(OPENING)
    sent = upstream.body("sim-claude")
    assert sent["messages"][0]["content"][1]["source"]["media_type"] == "image/png"
    assert {name: sent[name] for name in config} == config
