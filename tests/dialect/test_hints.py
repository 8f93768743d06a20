"""Hints are carried where they have a place, else left out by name without leave; and what OpenAI's own two forms of
chat have in common goes from one to the other."""

import json

import pytest

from ostiary.core.error import CallerError, Code
from ostiary.gateway.wire.json import parse
from tests.dialect.known import CLIENTS, PROVIDERS

USER = {"role": "user", "content": "x"}
BASE = {"openai": {"model": "m", "messages": [USER]}, "openai-responses": {"model": "m", "input": [USER]}}
FUNCTION = {
    "openai": {"type": "function", "function": {"name": "f"}},
    "openai-responses": {"type": "function", "name": "f"},
}
OTHER = {"openai": "openai-responses", "openai-responses": "openai"}
PAIRS = [(client, provider) for client in BASE for provider in PROVIDERS if provider != client]


def translate(client, provider, change, *, drop=False):
    call = CLIENTS[client].decode_chat(parse(json.dumps({**BASE[client], **change}).encode()))
    return PROVIDERS[provider].encode_chat(call, model="m", max_tokens=None, drop=drop)


@pytest.mark.parametrize(("client", "provider"), PAIRS)
@pytest.mark.parametrize("field", ["user", "safety_identifier", "prompt_cache_key"])
def test_a_hint_is_carried_or_named_but_never_refused(client, provider, field):
    sent = translate(client, provider, {field: "abc"})
    if b"abc" in sent.body:
        assert sent.dropped == ()
    else:
        assert sent.dropped == (field,)
    assert json.loads(translate(client, provider, {}).body).keys() <= json.loads(sent.body).keys()


@pytest.mark.parametrize("client", BASE)
def test_a_key_for_the_prompt_cache_has_a_place_in_both_of_openais_forms(client):
    assert json.loads(translate(client, OTHER[client], {"prompt_cache_key": "k"}).body)["prompt_cache_key"] == "k"


@pytest.mark.parametrize("provider", ["anthropic", "bedrock", "cohere", "gemini"])
@pytest.mark.parametrize("client", BASE)
def test_a_key_for_the_prompt_cache_is_left_out_where_it_has_no_place(client, provider):
    assert translate(client, provider, {"prompt_cache_key": "k"}).dropped == ("prompt_cache_key",)


@pytest.mark.parametrize(("client", "provider"), PAIRS)
def test_calls_that_may_be_parallel_are_the_default_everywhere(client, provider):
    for tools in ([], [FUNCTION[client]]):
        assert translate(client, provider, {"parallel_tool_calls": True, "tools": tools}).dropped == ()


def test_what_is_to_be_shown_of_thinking_is_a_hint_where_it_is_shown_unasked():
    assert translate("openai-responses", "openai", {"reasoning": {"summary": "auto"}}).dropped == ("reasoning.summary",)


@pytest.mark.parametrize(
    ("chat", "responses"),
    [
        ({"verbosity": "low"}, {"text": {"verbosity": "low"}}),
        ({"metadata": {"a": "b"}}, {"metadata": {"a": "b"}}),
        ({"prompt_cache_retention": "24h"}, {"prompt_cache_retention": "24h"}),
        ({"prompt_cache_options": {"ttl": "30m"}}, {"prompt_cache_options": {"ttl": "30m"}}),
        (
            {"verbosity": "high", "response_format": {"type": "json_object"}},
            {"text": {"format": {"type": "json_object"}, "verbosity": "high"}},
        ),
    ],
)
def test_what_openais_forms_share_goes_both_ways(chat, responses):
    there = json.loads(translate("openai", "openai-responses", chat).body)
    assert {key: there[key] for key in responses} == responses
    back = json.loads(translate("openai-responses", "openai", responses).body)
    assert {key: back[key] for key in chat} == chat


FORMATS = [
    ({}, {}),
    ({"format": {"type": "text"}}, {"format": {"type": "text"}}),
    (
        {"format": {"type": "grammar", "grammar": {"syntax": "lark", "definition": "start: WORD"}}},
        {"format": {"type": "grammar", "syntax": "lark", "definition": "start: WORD"}},
    ),
]


@pytest.mark.parametrize(("wrapped", "flat"), FORMATS)
@pytest.mark.parametrize("alone", [True, False])
@pytest.mark.parametrize("choice", ["custom", "none", "required"])
def test_custom_tools_go_both_ways_in_the_callers_order(wrapped, flat, alone, choice):
    chat = {"type": "custom", "custom": {"name": "sql", "description": "d", **wrapped}}
    responses = {"type": "custom", "name": "sql", "description": "d", **flat}
    chosen = {"type": "custom", "custom": {"name": "sql"}} if choice == "custom" else choice
    chosen_flat = {"type": "custom", "name": "sql"} if choice == "custom" else choice
    for client, tool, other, sent_choice, got_choice in (
        ("openai", chat, responses, chosen, chosen_flat),
        ("openai-responses", responses, chat, chosen_flat, chosen),
    ):
        tools = [tool] if alone else [tool, FUNCTION[client], {**tool}]
        asked = {"tools": tools, "tool_choice": sent_choice, "parallel_tool_calls": False}
        sent = translate(client, OTHER[client], asked)
        body = json.loads(sent.body)
        assert sent.dropped == ()
        assert [one for one in body["tools"] if one["type"] == "custom"] == [other] * (1 if alone else 2)
        assert [one["type"] for one in body["tools"]] == [one["type"] for one in tools]
        assert body["tool_choice"] == got_choice
        assert body["parallel_tool_calls"] is False


@pytest.mark.parametrize("client", BASE)
def test_what_is_not_known_of_a_custom_tool_is_not_lost(client):
    inner = {"name": "sql", "new": 1}
    tool = {"type": "custom", "custom": inner} if client == "openai" else {"type": "custom", **inner}
    with pytest.raises(CallerError) as caught:
        translate(client, OTHER[client], {"tools": [tool]})
    assert caught.value.param == "tools[0]"


@pytest.mark.parametrize("provider", ["anthropic", "gemini"])
@pytest.mark.parametrize("field", ["verbosity", "metadata", "prompt_cache_retention"])
def test_it_is_refused_by_others_since_it_asks_for_something(provider, field):
    value = {"a": "b"} if field == "metadata" else "low"
    with pytest.raises(CallerError) as caught:
        translate("openai", provider, {field: value})
    assert (caught.value.code, caught.value.param) == (Code.REQUEST_UNSUPPORTED, field)
    assert translate("openai", provider, {field: value}, drop=True).dropped == (field,)
