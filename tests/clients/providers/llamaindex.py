"""LlamaIndex's chat models against a gateway, in an interpreter of their own. Plays every scenario for every kind of client
and model and prints one JSON object: client → model → scenario → what came out. Judged by the test that starts this.

Arguments: the gateway's URL, a key, and each model's names: its own, one of OpenAI's, one of Anthropic's, with commas.
"""

import json
import sys
import traceback

from llama_index.core.llms import ChatMessage
from llama_index.core.tools import FunctionTool
from llama_index.llms.anthropic import Anthropic
from llama_index.llms.google_genai import GoogleGenAI
from llama_index.llms.openai import OpenAIResponses
from llama_index.llms.openai_like import OpenAILike

url, key, *models = sys.argv[1:]
USER = [ChatMessage(role="user", content="Say something.")]
TOOL_USER = [ChatMessage(role="user", content="Use the tools in parallel.")]


def weather(city: str, days: int) -> str:
    """The weather of some days."""
    return f"sunny in {city} for {days} days"


TOOLS = [FunctionTool.from_defaults(weather)]


DROP = {"x-ostiary-drop-unsupported": "true"}  # LlamaIndex sends settings of its own, which not every provider has


def clients(model, openai_name, anthropic_name):
    openai = {"api_base": f"{url}/v1", "api_key": key, "max_retries": 0, "default_headers": DROP}
    yield "openai", OpenAILike(model=model, is_chat_model=True, is_function_calling_model=True, **openai)
    yield "openai-responses", OpenAIResponses(model=openai_name, **openai)
    yield (
        "anthropic",
        Anthropic(model=anthropic_name, base_url=url, api_key=key, max_retries=0, default_headers=DROP),
    )
    yield (
        "google",
        GoogleGenAI(model=model, api_key=key, http_options={"base_url": url, "headers": DROP}, context_window=128_000),
    )


def plain(llm):
    return llm.chat(USER).message.content


def streamed(llm):
    pieces = list(llm.stream_chat(USER))
    return {"deltas": "".join(piece.delta or "" for piece in pieces), "whole": pieces[-1].message.content}


def tools(llm):
    response = llm.chat_with_tools(TOOLS, chat_history=TOOL_USER, allow_parallel_tool_calls=True)
    calls = llm.get_tool_calls_from_response(response)
    results = [
        ChatMessage(
            role="tool",
            content=str(TOOLS[0].call(**call.tool_kwargs)),
            additional_kwargs={"tool_call_id": call.tool_id, "name": call.tool_name},
        )
        for call in calls
        if call.tool_name == "weather"
    ]
    last = llm.chat_with_tools(
        TOOLS, chat_history=[*TOOL_USER, response.message, *results], allow_parallel_tool_calls=True
    )
    return {"calls": [[call.tool_name, call.tool_kwargs] for call in calls], "last": last.message.content}


found = {}
for names in models:
    model, *known = names.split(",")
    for name, llm in clients(model, *known):
        for scenario in (plain, streamed, tools):
            try:
                result = scenario(llm)
            except Exception:  # judged by the test
                result = {"thrown": traceback.format_exc()[-2_000:]}
            found.setdefault(name, {}).setdefault(model, {})[scenario.__name__] = result
print(json.dumps(found))
