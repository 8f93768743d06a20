"""Google's official Python SDK as it speaks to Vertex AI: with a key, or for a project with credentials of Google's."""

import pytest
from google import genai
from google.genai import errors, types
from google.oauth2.credentials import Credentials

from ostiary.simulator.content import OPENING
from tests.clients.house import KEY
from tests.clients.providers.installation import DIALECTS
from tests.clients.sdk import Sdk

USER = "Say something."


def with_a_key(url, **options):
    return genai.Client(vertexai=True, api_key=KEY, http_options=types.HttpOptions(base_url=url, **options))


def for_a_project(url, **options):
    return genai.Client(
        vertexai=True,
        project="some-project",
        location="europe-west1",
        credentials=Credentials(token=KEY),
        http_options=types.HttpOptions(base_url=url, **options),
    )


@pytest.fixture(params=[with_a_key, for_a_project])
async def vertex_sdk(request, blocking, url, monkeypatch):
    for name in ("GOOGLE_API_KEY", "GEMINI_API_KEY", "GOOGLE_CLOUD_PROJECT", "GOOGLE_CLOUD_LOCATION"):
        monkeypatch.delenv(name, raising=False)
    with request.param(url) as client:
        yield Sdk(client if blocking else client.aio, blocking=blocking)
        await client.aio.aclose()


async def test_a_plain_answer_arrives_whole(vertex_sdk, model):
    config = types.GenerateContentConfig(system_instruction="Be brief.")
    answer = await vertex_sdk.call(
        lambda client: client.models.generate_content(model=model, contents=USER, config=config)
    )
    assert answer.text.startswith(OPENING)
    assert answer.candidates[0].finish_reason == types.FinishReason.STOP
    usage = answer.usage_metadata
    assert usage.total_token_count == usage.prompt_token_count + usage.candidates_token_count > 0


async def test_a_stream_arrives_in_pieces_and_ends_with_its_usage(vertex_sdk, model):
    chunks = await vertex_sdk.events(lambda client: client.models.generate_content_stream(model=model, contents=USER))
    assert "".join(chunk.text or "" for chunk in chunks).startswith(OPENING)
    assert len(chunks) > 5
    assert chunks[-1].usage_metadata.candidates_token_count > 0


async def test_tokens_are_counted(vertex_sdk, model):
    told = await vertex_sdk.call(lambda client: client.models.count_tokens(model=model, contents=USER))
    assert told.total_tokens > 0


async def test_a_model_is_found_by_its_name(vertex_sdk, model):
    found = await vertex_sdk.call(lambda client: client.models.get(model=model))
    assert found.name.endswith(f"models/{model}")


async def test_models_are_listed(vertex_sdk):
    pages = await vertex_sdk.call(lambda client: client.models.list())
    listed = list(pages) if vertex_sdk.blocking else [one async for one in pages]
    assert {one.name for one in listed} >= {f"models/{name}" for name in DIALECTS}


async def test_a_text_is_embedded_by_a_model_that_the_sdk_asks_so(vertex_sdk):
    told = await vertex_sdk.call(lambda client: client.models.embed_content(model="gemini", contents=USER))
    assert len(told.embeddings) == 1
    assert told.embeddings[0].values


@pytest.mark.parametrize("made", [with_a_key, for_a_project])
def test_the_first_version_of_the_path_is_known_too(url, made):
    with made(url, api_version="v1") as client:
        assert client.models.generate_content(model="openai", contents=USER).text.startswith(OPENING)
        assert client.models.get(model="openai").name == "models/openai"


async def test_a_model_that_is_not_offered_is_refused_in_googles_form(vertex_sdk):
    with pytest.raises(errors.ClientError) as caught:
        await vertex_sdk.call(lambda client: client.models.generate_content(model="no/such/model", contents=USER))
    assert (caught.value.code, caught.value.status) == (404, "NOT_FOUND")
    assert "no/such/model" in caught.value.message
