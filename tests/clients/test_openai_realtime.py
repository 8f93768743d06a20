"""The official OpenAI Python SDK's realtime connection, against a gateway in a process of its own."""

import asyncio

import openai
import pytest

from tests.clients.house import KEY, NARROW_KEY, UPSTREAM_KEY

pytest.importorskip("websockets", reason="the SDK's realtime connection needs the package websockets")
from websockets.exceptions import ConnectionClosed, InvalidStatus  # noqa: E402 - behind the look whether it is there

TOOL = {
    "type": "function",
    "name": "weather",
    "description": "The weather of a city.",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}
ITEM = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Say something."}]}


@pytest.fixture
async def client(url):
    sdk = openai.AsyncOpenAI(base_url=f"{url}/v1", api_key=KEY, max_retries=0)
    yield sdk
    await sdk.close()


async def until(connection, kind):
    """The events up to one of a kind, that one the last."""
    found = []
    async with asyncio.timeout(20):
        async for event in connection:
            found.append(event)
            if event.type == kind:
                return found
    raise AssertionError(f"no {kind} in {[event.type for event in found]}")


async def test_a_conversation_in_text(client):
    async with client.realtime.connect(model="gpt") as connection:
        (created,) = await until(connection, "session.created")
        assert created.session.model == "gpt", "the public name, not the provider's"
        await connection.session.update(session={"type": "realtime", "output_modalities": ["text"]})
        await connection.conversation.item.create(item=ITEM)
        await connection.response.create()
        *events, done = await until(connection, "response.done")
        said = "".join(event.delta for event in events if event.type == "response.output_text.delta")
        assert said.startswith("This is a simulated answer.")
        assert done.response.status == "completed"
        assert done.response.usage.total_tokens > 0
        assert done.response.output[0].content[0].text == said


async def test_sound_is_heard_and_answered_in_sound(client):
    async with client.realtime.connect(model="gpt") as connection:
        await connection.input_audio_buffer.append(audio="QUJD" * 2_000)
        *events, done = await until(connection, "response.done")
        kinds = [event.type for event in events]
        assert "input_audio_buffer.speech_stopped" in kinds
        assert "response.output_audio.delta" in kinds
        assert done.response.usage.output_token_details.audio_tokens > 0


async def test_a_tool_is_called(client):
    async with client.realtime.connect(model="gpt") as connection:
        session = {"type": "realtime", "output_modalities": ["text"], "tools": [TOOL]}
        await connection.session.update(session=session)
        await connection.conversation.item.create(item=ITEM)
        await connection.response.create()
        *events, done = await until(connection, "response.done")
        (call,) = done.response.output
        arguments = "".join(one.delta for one in events if one.type == "response.function_call_arguments.delta")
        assert (call.name, call.arguments) == ("weather", arguments)
        output = {"type": "function_call_output", "call_id": call.call_id, "output": "rain"}
        await connection.conversation.item.create(item=output)
        await connection.response.create()
        done = (await until(connection, "response.done"))[-1]
        assert done.response.output[0].type == "message"


async def test_what_is_not_taken_is_an_error_event_and_the_session_goes_on(client):
    async with client.realtime.connect(model="gpt") as connection:
        await connection.session.update(session={"type": "realtime", "model": "claude"})
        told = (await until(connection, "error"))[-1]
        assert told.error.code == "request.unsupported"
        assert told.error.param == "session.model"
        await connection.response.create(response={"output_modalities": ["text"]})
        await until(connection, "response.done")


async def test_a_provider_that_cuts_the_session_is_told_by_event_and_code(client):
    async with client.realtime.connect(model="oai/sim-cut") as connection:
        await connection.response.create()
        told = (await until(connection, "error"))[-1]
        assert told.error.code == "upstream.cut"
        with pytest.raises(ConnectionClosed) as closed:
            await connection.recv()
        assert closed.value.rcvd.code == 1014


@pytest.mark.parametrize(
    ("key", "model", "status", "code"),
    [
        ("osk-wrong", "gpt", 401, "auth.invalid"),
        (KEY, "nothing", 404, "model.not_found"),
        (NARROW_KEY, "claude", 403, "policy.model_not_allowed"),
        (KEY, "claude", 400, "model.unsuitable"),
        (KEY, "oai/sim-error-429", 429, "upstream.rate_limited"),
        (KEY, "oai/sim-echo-key", 101, ""),
    ],
)
async def test_what_is_refused_is_an_ordinary_answer_before_the_upgrade(url, key, model, status, code):
    async with openai.AsyncOpenAI(base_url=f"{url}/v1", api_key=key, max_retries=0) as client:
        if status == 101:
            async with client.realtime.connect(model=model) as connection:
                await connection.response.create()
                told = (await until(connection, "error"))[-1]
                assert UPSTREAM_KEY not in told.error.message
            return
        with pytest.raises(InvalidStatus) as refused:
            await client.realtime.connect(model=model).enter()
    assert refused.value.response.status_code == status
    assert code.encode() in refused.value.response.body


@pytest.mark.filterwarnings("ignore:connect:DeprecationWarning")  # what the library thinks of how the SDK uses it
def test_the_blocking_client_talks_too(url):
    with openai.OpenAI(base_url=f"{url}/v1", api_key=KEY, max_retries=0) as client:
        with client.realtime.connect(model="gpt") as connection:
            connection.response.create(response={"output_modalities": ["text"]})
            for event in connection:
                if event.type == "response.done":
                    break
            assert event.response.status == "completed"


async def test_a_client_that_leaves_cancels_its_provider(client, upstream):
    async with client.realtime.connect(model="oai/sim-stall") as connection:
        await connection.response.create()
        await until(connection, "response.created")
    entry = upstream.provider.requests[-1]
    assert entry.request.path == "/v1/realtime?model=sim-stall"
    upstream._run(upstream.provider.until(lambda: entry.done))
