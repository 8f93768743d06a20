"""Providers' prompt caches: where marks and keys are placed, where not, and how their hits are measured."""

import json

import pytest
from prometheus_client import CollectorRegistry

from ostiary.core.event import Kind
from ostiary.core.limit import PROMPT_CACHE_BYTES_MIN
from ostiary.gateway.wire.json import parse, raw_members
from ostiary.snapshot.tables import ProfileRow, TeamRow
from ostiary.telemetry.metrics import Metrics
from tests.exchange.harness import House, model, provider, snapshot

LONG = "All that is to be known. " * (PROMPT_CACHE_BYTES_MIN // 20)
MARK, HOUR = {"type": "ephemeral"}, {"type": "ephemeral", "ttl": "1h"}
TOOL = {"name": "f", "description": "d", "input_schema": {"type": "object", "properties": {}}}
TURNS = [
    {"role": "user", "content": "Hello"},
    {"role": "assistant", "content": "Hi, how can I help?"},
    {"role": "user", "content": "What now?"},
]
TEAM = TeamRow(tenant="acme", name="search", environment="production", models=("*",))


def house(name="5m"):
    providers = (
        *snapshot().providers,
        provider("aws", "bedrock", path=""),
        provider("strict", "openai", profile=ProfileRow(omit=("prompt_cache_key",))),
    )
    models = (
        model("claude", ("ant", "claude-sonnet"), prompt_cache=name),
        model("gpt", ("oai", "gpt-4o-mini"), prompt_cache=name),
        model("reasoner", ("res", "gpt-x"), prompt_cache=name),
        model("gem", ("goo", "gemini-x"), prompt_cache=name),
        model("strict", ("strict", "m"), prompt_cache=name),
        model("aws-claude", ("aws", "anthropic.claude-x"), prompt_cache=name),
        model("aws-nova", ("aws", "amazon.nova-x"), prompt_cache=name),
        model("aws-other", ("aws", "meta.llama-x"), prompt_cache=name),
    )
    return House(models=models, teams=(TEAM,), providers=providers)


def sent(one):
    return json.loads(one.upstream.sent[-1].body)


async def message(one, body, name="claude"):
    raw = json.dumps({"model": name, "max_tokens": 9, **body}).encode()
    sink = await one.post(b"/v1/messages", raw)
    return raw, sink


async def test_marks_stand_behind_the_last_tool_the_system_prompt_and_the_turn_before_the_last():
    one = house()
    await message(one, {"tools": [TOOL, {**TOOL, "description": LONG}], "system": LONG, "messages": TURNS})
    body = sent(one)
    assert [tool.get("cache_control") for tool in body["tools"]] == [None, MARK]
    assert body["system"] == [{"type": "text", "text": LONG, "cache_control": MARK}]
    assert body["messages"][0] == TURNS[0]
    assert body["messages"][1]["content"] == [{"type": "text", "text": TURNS[1]["content"], "cache_control": MARK}]
    assert body["messages"][2] == TURNS[2]
    assert one.upstream.sent[-1].body.count(b'"cache_control"') == 3


async def test_what_is_written_for_an_hour_says_so():
    one = house("1h")
    await message(one, {"system": LONG, "messages": TURNS[:1]})
    assert sent(one)["system"][0]["cache_control"] == HOUR


async def test_blocks_keep_their_bytes_and_the_last_gets_the_mark():
    one = house()
    system = '[{"type":"text", "text" : "first \\u00e9"},{"text":"' + LONG + '",  "type":"text"}]'
    turns = '[{"content":[{"type":"text","text":"a\\/b"}], "role":"user"},{"role":"user","content":"x"}]'
    raw = f'{{"model":"claude","max_tokens":9,"system":{system},"messages":{turns},"top_k" :  5}}'.encode()
    await one.post(b"/v1/messages", raw)
    out = one.upstream.sent[-1].body
    assert b'{"type":"text", "text" : "first \\u00e9"}' in out
    assert b'"a\\/b"' in out
    assert sent(one)["system"][1]["cache_control"] == MARK
    assert sent(one)["messages"][0]["content"][0]["cache_control"] == MARK
    before, after = raw_members(parse(raw)), raw_members(parse(out))
    for name in ("max_tokens", "top_k"):
        assert bytes(before[name]) == bytes(after[name])


@pytest.mark.parametrize(
    "body",
    [
        {"system": "Be brief.", "messages": TURNS},
        {"messages": [{"role": "user", "content": LONG}]},
        {"system": [{"type": "text", "text": LONG, "cache_control": MARK}], "messages": TURNS},
        {
            "system": LONG,
            "messages": [{"role": "user", "content": [{"type": "text", "text": "x", "cache_control": HOUR}]}],
        },
        {"system": LONG, "messages": TURNS, "cache_control": MARK},
    ],
    ids=["short", "one turn", "marked system", "marked turn", "marked as a whole"],
)
async def test_what_is_short_or_marked_already_stays_as_it_is(body):
    one = house()
    raw, _ = await message(one, body)
    expected = {**json.loads(raw), "model": "claude-sonnet"}
    assert sent(one) == expected


@pytest.mark.parametrize(
    "content",
    [
        [{"type": "thinking", "thinking": "hm", "signature": "s"}],
        [{"type": "text", "text": "x"}, {"type": "thinking", "thinking": "hm", "signature": "s"}],
    ],
)
async def test_blocks_that_take_no_mark_get_none(content):
    one = house()
    turns = [TURNS[0], {"role": "assistant", "content": content}, TURNS[2]]
    await message(one, {"system": LONG, "messages": turns})
    assert sent(one)["messages"] == turns
    assert "cache_control" in sent(one)["system"][0]


async def test_a_tool_that_is_loaded_later_takes_no_mark():
    one = house()
    tools = [{**TOOL, "description": LONG, "defer_loading": True}]
    await message(one, {"tools": tools, "messages": TURNS[:1]})
    assert sent(one)["tools"] == tools


async def test_without_the_entrys_wish_nothing_is_placed():
    one = house("")
    raw, _ = await message(one, {"system": LONG, "messages": TURNS})
    assert sent(one) == {**json.loads(raw), "model": "claude-sonnet"}
    await one.chat("gpt")
    assert "prompt_cache_key" not in sent(one)


# --- translated -----------------------------------------------------------------------------------------------


async def openai(one, name, **fields):
    function = {"name": "f", "description": LONG, "parameters": {"type": "object"}}
    turns = [{"role": "system", "content": LONG}, *TURNS]
    return await one.chat(name, messages=turns, tools=[{"type": "function", "function": function}], **fields)


async def test_a_translated_call_gets_the_same_marks():
    one = house()
    assert (await openai(one, "claude")).status == 200
    body = sent(one)
    assert body["tools"][-1]["cache_control"] == MARK
    assert body["system"][-1]["cache_control"] == MARK
    assert body["messages"][1]["content"][-1]["cache_control"] == MARK
    assert one.upstream.sent[-1].body.count(b'"cache_control"') == 3


@pytest.mark.parametrize(("name", "points"), [("aws-claude", 3), ("aws-nova", 2), ("aws-other", 0)])
async def test_bedrock_gets_cache_points_where_the_model_is_known_to_take_them(name, points):
    one = house("1h")
    await openai(one, name)
    assert one.upstream.sent[-1].body.count(b'"cachePoint"') == points
    assert ("cachePoint" in json.dumps(sent(one).get("toolConfig", {}))) is (points == 3)
    if points:
        lifetime = {"ttl": "1h"} if points == 3 else {}
        assert sent(one)["system"][-1] == {"cachePoint": {"type": "default", **lifetime}}


async def test_a_short_translated_call_gets_none():
    one = house()
    await one.chat("claude", messages=[{"role": "system", "content": "Be brief."}, *TURNS])
    assert b"cache_control" not in one.upstream.sent[-1].body


@pytest.mark.parametrize("name", ["gpt", "reasoner"])
@pytest.mark.parametrize("client", ["chat", "message"])
async def test_providers_that_go_by_a_key_get_one_that_says_nothing_and_is_the_teams(name, client):
    keys = []
    for team in ("search", "search", "sales"):
        one = House(
            models=(model(name, ("oai" if name == "gpt" else "res", "m"), prompt_cache="5m"),),
            teams=(TEAM, TeamRow(tenant="acme", name="sales", environment="production", models=("*",))),
        )
        one.gateway._keys.principal = type(one.gateway._keys.principal)("acme", team, "production", "k", "n")
        if client == "chat":
            await one.chat(name)
        else:
            await message(one, {"messages": TURNS[:1]}, name)
        keys.append(sent(one)["prompt_cache_key"])
    assert keys[0] == keys[1] != keys[2]
    assert all(len(key) == 32 and "acme" not in key and "search" not in key for key in keys)


async def test_a_callers_own_key_stays_and_a_server_that_knows_none_gets_none():
    one = house()
    await one.chat("gpt", prompt_cache_key="mine")
    assert sent(one)["prompt_cache_key"] == "mine"
    for call in (one.chat("strict"), message(one, {"messages": TURNS[:1]}, "strict")):
        await call
        assert "prompt_cache_key" not in sent(one)


async def test_gemini_sees_for_itself():
    one = house()
    assert (await one.chat("gem", messages=[{"role": "user", "content": LONG}])).status == 200
    assert b"cache" not in one.upstream.sent[-1].body


async def test_hits_are_measured_by_model_and_provider():
    registry = CollectorRegistry()
    metrics = Metrics(registry)
    metrics.known_models(frozenset({"claude"}))
    one = house()
    await message(one, {"system": LONG, "messages": TURNS[:1]})
    (closed,) = one.journal.of(Kind.CLOSED)
    usage = type(closed.usage)(input_tokens=1_000, output_tokens=5, cached_tokens=700, cache_write_tokens=200)
    metrics.closed(type(closed)(**{**{f: getattr(closed, f) for f in closed.__struct_fields__}, "usage": usage}))
    metrics.flush()

    def value(kind):
        labels = {"model": "claude", "provider": "ant", "kind": kind}
        return registry.get_sample_value("ostiary_prompt_cache_tokens_total", labels)

    assert (value("read"), value("written"), value("uncached")) == (700, 200, 100)
