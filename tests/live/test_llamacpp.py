"""Both official Python SDKs, through a running gateway, to a model server that nobody here wrote.

Its model is made of chance, so what it says means nothing; that it says it in this form is what counts. What is
particular to this server (as of 0.3.36): it reports no usage in streams, repeats a tool's name with every piece and the
whole call in the form for older clients, knows no `json_schema`, and answers what it does not like with status 500.
"""

import json

import anthropic
import openai
import pytest
from pydantic import BaseModel

from tests.live.conftest import CONTEXT_TOKENS

pytestmark = pytest.mark.live
USER = [{"role": "user", "content": "def main():"}]
LONG = [{"role": "user", "content": "import os\n" * CONTEXT_TOKENS}]
SCHEMA = {
    "type": "object",
    "properties": {"city": {"enum": ["Paris", "Rome"]}, "raining": {"type": "boolean"}},
    "required": ["city", "raining"],
}
FUNCTION = {"type": "function", "function": {"name": "weather", "parameters": SCHEMA}}
FORCED = {"type": "function", "function": {"name": "weather"}}
TOOL = {"name": "weather", "input_schema": SCHEMA}


class Weather(BaseModel):
    city: str
    raining: bool


def fits(value):
    return value["city"] in ("Paris", "Rome") and value["raining"] in (True, False) and len(value) == 2


# --- within one dialect -----------------------------------------------------------------------------------


def test_openai_plain(openai_client, recorded):
    answer = openai_client.chat.completions.create(model="tiny", messages=USER, max_tokens=12, seed=1)
    assert answer.choices[0].message.content
    assert answer.choices[0].finish_reason in ("length", "stop")
    assert answer.usage.completion_tokens <= 12
    record = recorded(answer._request_id)
    assert record["usage"]["output_tokens"] == answer.usage.completion_tokens
    assert not record.get("usage_estimated")


def test_openai_streamed_is_counted_by_the_gateway_and_marked_as_estimated(openai_client, recorded):
    raw = openai_client.chat.completions.with_raw_response.create(
        model="tiny", messages=USER, max_tokens=12, stream=True, stream_options={"include_usage": True}
    )
    chunks = list(raw.parse())
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert all(chunk.usage is None for chunk in chunks), "should the server report usage now, this test is out of date"
    record = recorded(raw.headers["x-request-id"])
    assert record["usage_estimated"] is True
    assert record["usage"]["output_tokens"] > 0
    assert record["usage"]["input_tokens"] > 0
    assert record["outcome"] == "succeeded"


def test_openai_forced_tool(openai_client):
    answer = openai_client.chat.completions.create(
        model="tiny", messages=USER, max_tokens=200, tools=[FUNCTION], tool_choice=FORCED
    )
    (call,) = answer.choices[0].message.tool_calls
    assert call.function.name == "weather"
    assert fits(json.loads(call.function.arguments))


def test_openai_forced_tool_streamed(openai_client):
    """The frames pass unchanged, the server's repeated names with them: the pieces of the arguments are whole."""
    chunks = openai_client.chat.completions.create(
        model="tiny", messages=USER, max_tokens=200, tools=[FUNCTION], tool_choice=FORCED, stream=True
    )
    pieces = [call.function for chunk in chunks for call in chunk.choices[0].delta.tool_calls or ()]
    assert {piece.name for piece in pieces} == {"weather"}
    assert fits(json.loads("".join(piece.arguments for piece in pieces)))


def test_openai_answer_in_a_form_by_the_servers_own_word(openai_client):
    """`json_object` with a `schema` is this server's extension; within one dialect it goes along."""
    answer = openai_client.chat.completions.create(
        model="tiny",
        messages=USER,
        max_tokens=200,
        response_format={"type": "json_object", "schema": SCHEMA},
    )
    assert fits(json.loads(answer.choices[0].message.content))


def test_openai_log_probabilities(openai_client):
    answer = openai_client.chat.completions.create(
        model="tiny", messages=USER, max_tokens=4, logprobs=True, top_logprobs=2
    )
    listed = answer.choices[0].logprobs.content
    assert 0 < len(listed) <= 4
    assert all(entry.logprob < 0 and len(entry.top_logprobs) >= 2 for entry in listed)


def test_openai_context_overflow(openai_client):
    with pytest.raises(openai.BadRequestError) as caught:
        openai_client.chat.completions.create(model="tiny", messages=LONG, max_tokens=8)
    assert caught.value.code == "upstream.context_window"
    assert f"maximum context length is {CONTEXT_TOKENS} tokens" in caught.value.message


def test_openai_context_overflow_streamed_is_an_error_although_the_server_says_nothing(openai_client):
    """The server answers 200 and an empty stream; a client must not take that for an empty answer."""
    with pytest.raises(openai.InternalServerError) as caught:
        list(openai_client.chat.completions.create(model="tiny", messages=LONG, max_tokens=8, stream=True))
    assert caught.value.code == "upstream.cut"


def test_openai_what_the_server_does_not_know_is_told_in_its_words(openai_client):
    with pytest.raises(openai.InternalServerError) as caught:
        openai_client.chat.completions.parse(model="tiny", messages=USER, response_format=Weather)
    assert caught.value.code == "upstream.error"
    assert "json_schema" in caught.value.message


# --- from the other dialect -------------------------------------------------------------------------------


def test_anthropic_plain(anthropic_client, recorded):
    answer = anthropic_client.messages.create(model="tiny", messages=USER, max_tokens=12)
    assert answer.content[0].text
    assert answer.stop_reason in ("max_tokens", "end_turn")
    assert answer.usage.output_tokens > 0
    assert not recorded(answer._request_id).get("usage_estimated")


def test_anthropic_bound_on_output_holds(anthropic_client):
    answer = anthropic_client.messages.create(model="tiny", messages=USER, max_tokens=12)
    assert answer.usage.output_tokens <= 12


def test_anthropic_streamed(anthropic_client, recorded):
    with anthropic_client.messages.stream(model="tiny", messages=USER, max_tokens=12, system="Be brief.") as stream:
        told = "".join(stream.text_stream)
        final = stream.get_final_message()
        request_id = stream.request_id
    assert final.content[0].text == told
    assert told
    assert recorded(request_id)["usage_estimated"] is True


def test_anthropic_forced_tool(anthropic_client):
    answer = anthropic_client.messages.create(
        model="tiny", messages=USER, max_tokens=200, tools=[TOOL], tool_choice={"type": "tool", "name": "weather"}
    )
    (call,) = answer.content
    assert (answer.stop_reason, call.type, call.name) == ("tool_use", "tool_use", "weather")
    assert fits(call.input)


def test_anthropic_forced_tool_streamed_is_one_call_though_the_server_tells_it_twice(anthropic_client):
    with anthropic_client.messages.stream(
        model="tiny", messages=USER, max_tokens=200, tools=[TOOL], tool_choice={"type": "tool", "name": "weather"}
    ) as stream:
        final = stream.get_final_message()
    (call,) = final.content
    assert (final.stop_reason, call.type, call.name) == ("tool_use", "tool_use", "weather")
    assert fits(call.input)


def test_anthropic_context_overflow(anthropic_client):
    with pytest.raises(anthropic.BadRequestError) as caught:
        anthropic_client.messages.create(model="tiny", messages=LONG, max_tokens=8)
    assert caught.value.error_code == "upstream.context_window"
    assert "maximum context length" in caught.value.api_message


def test_anthropic_context_overflow_streamed(anthropic_client):
    with pytest.raises(anthropic.InternalServerError) as caught:
        list(anthropic_client.messages.create(model="tiny", messages=LONG, max_tokens=8, stream=True))
    assert caught.value.error_code == "upstream.cut"


def test_anthropic_structured_answer_is_refused_by_the_server_and_told(anthropic_client):
    with pytest.raises(anthropic.InternalServerError) as caught:
        anthropic_client.messages.parse(model="tiny", messages=USER, max_tokens=99, output_format=Weather)
    assert caught.value.error_code == "upstream.error"


def test_anthropic_token_count_is_an_estimate_from_above(anthropic_client):
    counted = anthropic_client.messages.count_tokens(model="tiny", messages=USER).input_tokens
    assert counted >= 3
