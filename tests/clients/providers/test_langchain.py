"""LangChain's chat models of OpenAI, Anthropic and Google, to providers of every dialect."""

import anthropic
import pytest
from langchain_anthropic import ChatAnthropic
from langchain_core.messages import HumanMessage, ToolMessage
from langchain_core.tools import tool
from langchain_google_genai import ChatGoogleGenerativeAI
from langchain_openai import ChatOpenAI
from pydantic import BaseModel

from ostiary.simulator.content import OPENING
from tests.clients.house import KEY

ASK = [HumanMessage("Say something.")]


@tool
def weather(city: str) -> str:
    """The weather of a city."""
    return f"Rain in {city}."


class Report(BaseModel):
    """A report."""

    title: str
    days: list[int]


CHATS = {
    "ChatOpenAI": lambda url, model: ChatOpenAI(model=model, base_url=f"{url}/v1", api_key=KEY, max_retries=0),
    "ChatOpenAI, responses": lambda url, model: ChatOpenAI(
        model=model, base_url=f"{url}/v1", api_key=KEY, max_retries=0, use_responses_api=True, store=False
    ),
    "ChatAnthropic": lambda url, model: ChatAnthropic(
        model=model, base_url=url, api_key=KEY, max_retries=0, max_tokens=99
    ),
    "ChatGoogleGenerativeAI": lambda url, model: ChatGoogleGenerativeAI(
        model=model, base_url=url, api_key=KEY, max_retries=1, transport="rest"
    ),
}


@pytest.fixture(params=list(CHATS))
def chat(request, url, model):
    return CHATS[request.param](url, model)


def test_a_plain_answer_arrives_whole(chat):
    answer = chat.invoke(ASK)
    assert answer.text.startswith(OPENING)
    assert answer.usage_metadata["output_tokens"] > 0


def test_a_stream_arrives_in_pieces(chat):
    chunks = list(chat.stream(ASK))
    assert "".join(chunk.text for chunk in chunks).startswith(OPENING)
    assert len(chunks) > 5


@pytest.mark.parametrize("streamed", [False, True], ids=["plain", "streamed"])
def test_a_tool_is_called_and_its_result_answered(chat, streamed):
    bound = chat.bind_tools([weather])
    if streamed:
        first, *others = bound.stream(ASK)
        asked = sum(others, first)
    else:
        asked = bound.invoke(ASK)
    (call,) = asked.tool_calls
    assert (call["name"], call["args"]) == ("weather", {"city": "simulated"})
    result = weather.invoke(call)
    assert isinstance(result, ToolMessage)
    last = bound.invoke([*ASK, asked, result])
    assert last.text.startswith(OPENING)
    assert last.tool_calls == []


def test_a_structured_answer_is_parsed_into_its_model(chat, model):
    if model == "cohere" and isinstance(chat, ChatAnthropic):
        with pytest.raises(anthropic.BadRequestError) as caught:
            chat.with_structured_output(Report).invoke(ASK)  # forces a tool by its name
        assert caught.value.body["error"]["code"] == "request.unsupported"
        return
    assert isinstance(chat.with_structured_output(Report).invoke(ASK), Report)
