"""Older completions on the road of every call: translated, or byte for byte where the provider speaks the form."""

import json

import pytest

from ostiary.core.call import DialectName
from ostiary.core.error import Code
from ostiary.core.event import Kind, Outcome
from ostiary.simulator.behaviour import Behaviour, Fault
from tests.exchange.harness import House, events, replaced, snapshot

BODY = b'{"model":"gpt", "prompt" : "Once upon",\n"temperature":0.50, "max_tokens": 20}'


def house(behaviour=None, *, also=False):
    rows = snapshot().providers
    if also:
        rows = tuple(replaced(row, also=(DialectName.COMPLETIONS,)) for row in rows)
    return House(behaviour=behaviour, providers=rows)


async def complete(one, named="gpt", *, headers=None, **fields):
    body = {"model": named, "prompt": "Once upon", **fields}
    sink = await one.post(b"/v1/completions", body, headers=headers)
    one.check()
    return sink


@pytest.mark.parametrize("named", ["gpt", "claude"])
async def test_a_completion_reaches_providers_of_other_dialects(named):
    one = house()
    sink = await complete(one, named, max_tokens=20)
    assert sink.status == 200
    assert sink.json["object"] == "text_completion"
    assert sink.json["choices"][0]["text"].startswith("This is a simulated answer.")
    assert sink.json["usage"]["total_tokens"] == one.closed.usage.total_tokens
    sent = json.loads(one.upstream.sent[0].body)
    assert [turn["role"] for turn in sent["messages"]] == ["user"]
    assert one.closed.operation == "chat"
    assert one.closed.cost.nano > 0


@pytest.mark.parametrize("named", ["gpt", "claude"])
async def test_a_streamed_completion_is_translated(named):
    one = house()
    sink = await complete(one, named, max_tokens=20, stream=True, stream_options={"include_usage": True})
    *chunks, done = events(sink.body)
    assert done == "[DONE]"
    told = [json.loads(chunk) for chunk in chunks]
    assert "".join(choice["text"] for chunk in told for choice in chunk["choices"]).startswith("This is")
    assert told[-1]["usage"]["completion_tokens"] == one.closed.usage.output_tokens
    assert not one.closed.usage_estimated


async def test_a_provider_that_speaks_the_form_gets_the_bytes():
    one = house(also=True)
    sink = await one.post(b"/v1/completions", BODY)
    one.check()
    (sent,) = one.upstream.sent
    assert sent.target == b"/v1/completions"
    assert sent.body == b'{"model":"gpt-4o-mini","prompt":"Once upon","temperature":0.50,"max_tokens":20}'
    assert sink.json["id"].startswith("cmpl-sim")
    assert one.closed.usage.input_tokens == sink.json["usage"]["prompt_tokens"]


async def test_there_a_stream_passes_as_it_came_and_its_usage_is_not_shown_unasked():
    one = house(also=True)
    sink = await complete(one, stream=True, prompt=[1, 2, 3], logprobs=2)
    assert json.loads(one.upstream.sent[0].body)["stream_options"] == {"include_usage": True}
    assert b'"usage"' not in sink.body
    assert events(sink.body)[-1] == "[DONE]"
    assert one.closed.usage.output_tokens > 0
    assert not one.closed.usage_estimated


async def test_there_usage_that_was_not_reported_is_estimated():
    for stream in (False, True):
        one = house(Behaviour(fault=Fault.NO_USAGE), also=True)
        await complete(one, stream=stream)
        assert one.closed.usage_estimated
        assert one.closed.usage.output_tokens > 0


async def test_what_only_the_form_can_do_is_refused_by_name_elsewhere():
    for fields in ({"suffix": "."}, {"prompt": ["a", "b"]}, {"prompt": [1]}, {"logprobs": 1}):
        one = house()
        sink = await complete(one, **fields)
        assert (sink.status, sink.json["error"]["param"]) == (400, next(iter(fields)))
        assert one.upstream.sent == []
    one = house()
    sink = await complete(one, "lenient", suffix=".")
    assert sink.status == 200
    assert sink.headers[b"x-ostiary-dropped"] == b"suffix"


@pytest.mark.parametrize("also", [False, True])
async def test_a_providers_failure_is_told_in_the_clients_form(also):
    one = house(Behaviour(status=500), also=also)
    sink = await complete(one, "spare")
    assert sink.json["error"]["code"] == Code.UPSTREAM_ERROR
    one = house(Behaviour(fault=Fault.NO_END), also=also)
    sink = await complete(one, "spare", stream=True)
    assert json.loads(events(sink.body)[-1])["error"]["code"] == Code.UPSTREAM_CUT
    assert one.outcome is Outcome.FAILED


async def test_the_rules_hold():
    one = house()
    assert (await complete(one, "secretive")).json["error"]["code"] == Code.POLICY_MODEL_NOT_ALLOWED
    assert (await complete(one, "capped", max_tokens=101)).json["error"]["code"] == Code.POLICY_MAX_TOKENS
    regulated = {b"x-ostiary-sensitivity": b"regulated"}
    assert (await complete(one, headers=regulated)).json["error"]["code"] == Code.POLICY_SENSITIVITY
    assert one.upstream.sent == []
    assert len(one.journal.of(Kind.DENIED)) == 3
    one = house(also=True)
    await complete(one, "capped")
    assert json.loads(one.upstream.sent[0].body)["max_tokens"] == 100
