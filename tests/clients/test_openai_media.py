"""What the official OpenAI Python SDK offers beside conversations: completions, moderations, images, sound; and
rankings, for which it has no method, over plain HTTP."""

import io
import json

import httpx
import openai
import pytest

from ostiary.simulator.content import OPENING
from tests.clients.house import KEY

PICTURE = ("door.png", b"\x89PNG\r\n\x1a\n\x00\xff", "image/png")
SOUND = ("speech.mp3", b"ID3\x04" + bytes(range(256)) * 64, "audio/mpeg")


@pytest.mark.parametrize("model", ["gpt", "claude"])
async def test_a_completion_is_answered_by_providers_of_every_dialect(openai_sdk, model):
    ask = {"model": model, "prompt": "Once upon a time", "max_tokens": 30}
    answer = await openai_sdk.call(lambda client: client.completions.create(**ask))
    assert answer.object == "text_completion"
    assert answer.choices[0].text.startswith(OPENING)
    assert answer.choices[0].finish_reason in ("stop", "length")
    assert answer.usage.total_tokens > 0
    more = {"stream": True, "stream_options": {"include_usage": True}}
    *chunks, last = await openai_sdk.events(lambda client: client.completions.create(**ask, **more))
    assert "".join(chunk.choices[0].text for chunk in chunks).startswith(OPENING)
    assert last.usage.total_tokens > 0


async def test_a_moderation_tells_of_each_input(openai_sdk):
    answer = await openai_sdk.call(lambda client: client.moderations.create(model="gpt", input=["one", "two"]))
    assert [one.flagged for one in answer.results] == [False, False]


@pytest.mark.filterwarnings("ignore:deprecated:DeprecationWarning")  # what the SDK thinks of its older methods
async def test_images_are_made_edited_and_varied(openai_sdk):
    made = await openai_sdk.call(lambda client: client.images.generate(model="gpt", prompt="a door", n=2))
    assert [image.b64_json for image in made.data] == [made.data[0].b64_json] * 2
    assert made.usage.output_tokens > 0
    edited = await openai_sdk.call(
        lambda client: client.images.edit(model="gpt", prompt="a window", image=[PICTURE, PICTURE], mask=PICTURE)
    )
    assert edited.data[0].b64_json
    varied = await openai_sdk.call(lambda client: client.images.create_variation(model="gpt", image=PICTURE, n=1))
    assert varied.data[0].b64_json


async def test_an_image_comes_in_parts(openai_sdk):
    ask = {"model": "gpt", "prompt": "a door", "stream": True, "partial_images": 2}
    events = await openai_sdk.events(lambda client: client.images.generate(**ask))
    assert [event.type.split(".")[1] for event in events] == ["partial_image", "partial_image", "completed"]
    assert events[-1].usage.total_tokens > 0
    events = await openai_sdk.events(lambda client: client.images.edit(image=PICTURE, **ask))
    assert events[-1].type == "image_edit.completed"


async def test_speech_arrives_byte_for_byte(openai_sdk):
    ask = {"model": "gpt", "voice": "alloy", "input": "Hello.", "response_format": "wav"}
    answer = await openai_sdk.call(lambda client: client.audio.speech.create(**ask))
    assert answer.content.startswith(b"ID3\x04simulated\x00\xff\xfb")
    assert answer.response.headers["content-type"] == "audio/wav"


@pytest.mark.filterwarnings("ignore:deprecated:DeprecationWarning")  # what the SDK thinks of its older methods
@pytest.mark.parametrize("kind", ["transcriptions", "translations"])
async def test_a_recording_is_written_down_in_every_form(openai_sdk, kind):
    def ask(**more):
        return lambda client: getattr(client.audio, kind).create(model="gpt", file=SOUND, **more)

    assert (await openai_sdk.call(ask())).text.startswith(OPENING)
    verbose = await openai_sdk.call(ask(response_format="verbose_json"))
    assert float(verbose.duration) == 2.5
    for form, begins in (("text", OPENING), ("srt", "1\n00:00"), ("vtt", "WEBVTT")):
        assert str(await openai_sdk.call(ask(response_format=form))).startswith(begins)


async def test_a_transcript_is_streamed(openai_sdk):
    ask = {"model": "gpt", "file": io.BytesIO(SOUND[1]), "stream": True}
    events = await openai_sdk.events(lambda client: client.audio.transcriptions.create(**ask))
    assert "".join(event.delta for event in events[:-1]) == events[-1].text
    assert events[-1].type == "transcript.text.done"


async def test_failures_are_the_sdks_own(openai_sdk):
    with pytest.raises(openai.BadRequestError) as caught:
        await openai_sdk.call(lambda client: client.audio.speech.create(model="claude", voice="alloy", input="x"))
    assert caught.value.code == "model.unsuitable"
    with pytest.raises(openai.NotFoundError):
        await openai_sdk.call(lambda client: client.images.generate(model="nothing", prompt="x"))
    with pytest.raises(openai.RateLimitError):
        await openai_sdk.call(
            lambda client: client.audio.transcriptions.create(model="oai/sim-rate-limited", file=SOUND)
        )


@pytest.mark.parametrize("path", ["/v1/rerank", "/v2/rerank"])
async def test_a_ranking_comes_in_the_form_of_its_provider(url, path):
    ask = {"model": "gpt", "query": "what", "documents": ["a", "b", "c"], "top_n": 2, "return_documents": True}
    async with httpx.AsyncClient() as client:
        answer = await client.post(url + path, json=ask, headers={"authorization": f"Bearer {KEY}"})
        other = await client.post(
            url + path,
            content=json.dumps({**ask, "model": "ranker"}),
            headers={"authorization": f"Bearer {KEY}", "content-type": "application/json"},
        )
    assert answer.status_code == 200
    told = answer.json()
    assert len(told["results"]) == 2
    assert {"index", "relevance_score", "document"} == set(told["results"][0])
    assert told["usage"]["total_tokens"] > 0
    assert other.json()["meta"]["billed_units"]["search_units"] == 1
