"""Answers that came and are not good enough: fallbacks and ready answers for their structure and their quality."""

import json
import threading

import pytest

from ostiary.core.error import Code
from ostiary.core.event import Kind, Outcome
from ostiary.gateway import judging
from ostiary.gateway.judge.structure import breach
from ostiary.simulator.behaviour import Behaviour, Fault
from ostiary.snapshot.tables import (
    ChecksRow,
    DegradedAnswerRow,
    DegradedRow,
    FallbackRow,
    HedgeRow,
    PoorSign,
    QualityRow,
)
from tests.exchange.harness import House, model

SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "count": {"type": "integer"}},
    "required": ["city", "count"],
    "additionalProperties": False,
}
FORMAT = {"type": "json_schema", "json_schema": {"name": "place", "schema": SCHEMA, "strict": True}}
GOOD = '{"city":"Bern","count":3}'
BAD = '{"city":"Bern"}'
EMPTY = QualityRow((PoorSign.EMPTY,))


def house(code, *texts, target=("oai", "gpt-4o-mini"), checks=None, degraded=None, **fields):
    """A model with a fallback for one reason; its targets say the texts in turn."""
    checks = checks or ChecksRow(schema=True)
    rows = (
        model("gpt", target, fallbacks=(FallbackRow("spare", (code,)),), checks=checks, degraded=degraded),
        model("spare", ("spare", "gpt-spare")),
    )
    script = [one if isinstance(one, Behaviour) else Behaviour(text=one) for one in texts]
    return House(models=rows, script=script, **fields)


def said(sink):
    return sink.json["choices"][0]["message"]["content"]


@pytest.mark.parametrize("bad", [BAD, "Bern, three", '{"city":"Bern","count":"3"}', GOOD[:-1]])
@pytest.mark.parametrize("target", [("oai", "gpt-4o-mini"), ("ant", "claude-sonnet")])
async def test_an_answer_without_the_structure_asked_for_is_passed_over_and_paid_for(bad, target):
    one = house(Code.UPSTREAM_SCHEMA, bad, GOOD, target=target)
    sink = await one.chat(response_format=FORMAT)
    assert sink.status == 200
    assert said(sink) == GOOD
    assert sink.headers[b"x-ostiary-fallback"] == b"upstream.schema"
    closed = one.closed
    assert [attempt.reason for attempt in closed.attempts] == [Code.UPSTREAM_SCHEMA, ""]
    assert (closed.fallback, closed.outcome) == (Code.UPSTREAM_SCHEMA, Outcome.SUCCEEDED)
    alone = house(Code.UPSTREAM_SCHEMA, GOOD, target=target)
    await alone.chat(response_format=FORMAT)
    assert closed.usage.input_tokens > alone.closed.usage.input_tokens
    assert closed.cost.nano > alone.closed.cost.nano
    one.check()


async def test_an_answer_with_the_structure_asked_for_is_given_as_it_came():
    one = house(Code.UPSTREAM_SCHEMA, GOOD)
    sink = await one.chat(response_format=FORMAT)
    assert said(sink) == GOOD
    assert len(one.closed.attempts) == 1
    one.check()


async def test_where_no_structure_is_asked_for_none_is_looked_for():
    one = house(Code.UPSTREAM_SCHEMA, "no JSON")
    assert said(await one.chat()) == "no JSON"
    assert len(one.closed.attempts) == 1


async def test_where_nothing_stands_ready_the_answer_is_given_as_it_came():
    one = House(script=[Behaviour(text=BAD)])
    assert said(await one.chat(response_format=FORMAT)) == BAD


async def test_an_object_of_json_is_a_structure_too():
    one = house(Code.UPSTREAM_SCHEMA, "[1]", BAD)
    assert said(await one.chat(response_format={"type": "json_object"})) == BAD
    assert one.closed.fallback == Code.UPSTREAM_SCHEMA


async def test_the_fallbacks_answer_is_judged_too_and_the_failure_is_told_without_the_answer():
    one = house(Code.UPSTREAM_SCHEMA, BAD, '{"city": "canary-of-content", "count": "x"}')
    sink = await one.chat(response_format=FORMAT)
    assert (sink.status, sink.json["error"]["code"]) == (502, "upstream.schema")
    assert b"canary-of-content" not in sink.body
    assert one.closed.outcome is Outcome.FAILED
    assert one.closed.cost.nano > 0
    one.check()


async def test_a_refusal_has_no_structure_to_keep():
    one = house(Code.UPSTREAM_SCHEMA, Behaviour(fault=Fault.REFUSAL))
    sink = await one.chat(response_format=FORMAT)
    assert sink.json["choices"][0]["message"]["refusal"]
    assert len(one.closed.attempts) == 1


@pytest.mark.parametrize(
    ("row", "behaviour"),
    [
        (EMPTY, Behaviour(text=" ")),
        (QualityRow((PoorSign.REFUSAL,)), Behaviour(fault=Fault.REFUSAL)),
        (QualityRow((PoorSign.CONTENT_FILTER, PoorSign.REFUSAL)), Behaviour(fault=Fault.FILTER)),
        (QualityRow((PoorSign.LENGTH,)), Behaviour(tokens=50)),
        (QualityRow((PoorSign.EMPTY,), min_characters=20), Behaviour(text="No.")),
        (QualityRow((PoorSign.EMPTY,), poor_when='answer.text.contains("As an AI")'), Behaviour(text="As an AI, no.")),
    ],
)
@pytest.mark.parametrize("target", [("oai", "gpt-4o-mini"), ("ant", "claude-sonnet")])
async def test_a_poor_answer_is_passed_over(row, behaviour, target):
    good = "A long and useful answer."
    one = house(Code.UPSTREAM_QUALITY, behaviour, good, target=target, checks=ChecksRow(quality=row))
    sink = await one.chat(max_tokens=10)
    assert said(sink).startswith("A long and useful answer"[:20])
    assert one.closed.fallback == Code.UPSTREAM_QUALITY
    assert one.closed.cost.nano > 0
    one.check()


async def test_an_answer_that_has_none_of_the_signs_is_not_poor():
    row = QualityRow((PoorSign.EMPTY,), 3, "answer.characters > 100 || answer.refused || answer.tool_calls > 3")
    one = house(Code.UPSTREAM_QUALITY, "Good.", checks=ChecksRow(quality=row))
    assert said(await one.chat()) == "Good."
    assert len(one.closed.attempts) == 1


async def test_a_condition_that_cannot_be_answered_calls_nothing_poor():
    row = QualityRow((PoorSign.EMPTY,), 0, "1 / answer.tool_calls > 0")
    one = house(Code.UPSTREAM_QUALITY, "Good.", checks=ChecksRow(quality=row))
    assert said(await one.chat()) == "Good."


async def test_a_ready_answer_stands_in_for_an_answer_that_is_not_good_enough():
    ready = DegradedRow((Code.UPSTREAM_QUALITY,), (DegradedAnswerRow("Ask a person ({reason})."),))
    one = house(Code.UPSTREAM_SCHEMA, " ", checks=ChecksRow(quality=EMPTY), degraded=ready)
    sink = await one.chat()
    assert said(sink) == "Ask a person (upstream.quality)."
    assert one.closed.cost.nano > 0
    one.check()


class Silent:
    """A stream that ends in good order without a word."""

    status, headers = 200, ((b"content-type", b"text/event-stream"),)

    def __init__(self):
        head = '{"id":"c","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":'
        usage = '{"prompt_tokens":9,"completion_tokens":5,"total_tokens":14}'
        self.left = [
            f'data: {head}{{"role":"assistant","content":""}},"finish_reason":null}}]}}\n\n'.encode(),
            f'data: {head}{{}},"finish_reason":"length"}}],"usage":{usage}}}\n\n'.encode(),
            b"data: [DONE]\n\n",
        ]

    async def chunk(self):
        return self.left.pop(0) if self.left else b""

    async def pour(self, take):
        while take(self.left.pop(0) if self.left else b""):
            pass

    def close(self):
        pass


def silent_first(one):
    """The first call upstream gets the silent stream, the others what the script says."""
    send, given = one.upstream.send, []

    async def sent(request):
        given.append(request)
        return Silent() if len(given) == 1 else await send(request)

    one.upstream.send = sent
    return one


@pytest.mark.parametrize(
    ("code", "checks", "fields"),
    [
        (Code.UPSTREAM_QUALITY, ChecksRow(quality=EMPTY), {}),
        (Code.UPSTREAM_SCHEMA, ChecksRow(schema=True), {"response_format": FORMAT}),
    ],
)
async def test_a_stream_that_ends_without_a_word_is_passed_over_and_paid_for(code, checks, fields):
    one = silent_first(house(code, GOOD, checks=checks))
    sink = await one.chat(stream=True, **fields)
    assert sink.headers[b"x-ostiary-fallback"] == code.encode()
    assert b"Bern" in sink.body
    assert [attempt.reason for attempt in one.closed.attempts] == [code, ""]
    assert one.closed.usage.input_tokens > 9
    one.check()


async def test_a_stream_that_has_begun_is_not_judged():
    one = house(Code.UPSTREAM_SCHEMA, BAD, GOOD)
    sink = await one.chat(stream=True, response_format=FORMAT)
    assert one.closed.fallback == ""
    assert b"Bern" in sink.body
    assert sink.body.endswith(b"data: [DONE]\n\n")
    one.check()


async def test_a_provider_whose_answers_are_poor_is_well():
    one = house(
        Code.UPSTREAM_QUALITY, *[text for _ in range(30) for text in (" ", "Good.")], checks=ChecksRow(quality=EMPTY)
    )
    for _ in range(30):
        assert said(await one.chat()) == "Good."
    assert {closed.fallback for closed in one.journal.of(Kind.CLOSED)} == {Code.UPSTREAM_QUALITY}
    one.check()


@pytest.mark.parametrize(("strict", "status"), [(True, 502), (False, 200)])
async def test_a_strict_tools_arguments_are_judged_and_others_are_not(strict, status):
    short = {"type": "object", "properties": {"city": {"type": "string", "maxLength": 3}}, "required": ["city"]}
    tool = {"type": "function", "function": {"name": "weather", "strict": strict, "parameters": short}}
    one = house(Code.UPSTREAM_SCHEMA)
    sink = await one.chat(tools=[tool])
    assert sink.status == status
    if strict:
        assert sink.json["error"]["message"].endswith("in a strict tool's arguments, $.city breaks `maxLength`.")
    one.check()


async def test_the_answer_of_a_race_is_judged_too():
    rows = (
        model(
            "gpt",
            ("oai", "first"),
            ("onsite", "second"),
            fallbacks=(FallbackRow("spare", (Code.UPSTREAM_QUALITY,)),),
            checks=ChecksRow(quality=EMPTY),
            hedge=HedgeRow(after_seconds=1.0, share=1.0),
        ),
        model("spare", ("spare", "gpt-spare")),
    )
    one = House(models=rows, script=[Behaviour(text=" "), Behaviour(text="Good.")])
    assert said(await one.chat()) == "Good."
    assert [attempt.reason for attempt in one.closed.attempts] == [Code.UPSTREAM_QUALITY, ""]
    one.check()


async def test_a_large_answer_is_judged_off_the_loop(monkeypatch):
    many = {"type": "array", "items": {"type": "integer"}}
    form = {"type": "json_schema", "json_schema": {"name": "n", "schema": many}}
    numbers = ",".join(map(str, range(5_000)))
    one = house(Code.UPSTREAM_SCHEMA, f'[{numbers},"x"]', f"[{numbers}]")
    threads = []
    monkeypatch.setattr(judging, "breach", lambda *args: threads.append(threading.get_ident()) or breach(*args))
    assert said(await one.chat(response_format=form)) == f"[{numbers}]"
    assert len(threads) == 2
    assert threading.get_ident() not in threads
    one.check()


async def test_what_takes_long_to_compare_is_begun_at_once_and_finished_off_the_loop(monkeypatch):
    wide = {"anyOf": [{"type": "object", "required": [f"n{i}"]} for i in range(40)] + [{"type": "array"}]}
    form = {"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "array", "items": wide}}}
    one = house(Code.UPSTREAM_SCHEMA, "[" + ",".join(["{}"] * 60) + "]", "[]")
    threads = []
    monkeypatch.setattr(judging, "breach", lambda *args: threads.append(threading.get_ident()) or breach(*args))
    monkeypatch.setattr(judging, "JUDGED_AT_ONCE_STEPS_COUNT_MAX", 20)
    assert said(await one.chat(response_format=form)) == "[]"
    assert [found == threading.get_ident() for found in threads] == [True, False, True]
    one.check()


async def test_what_is_too_much_to_compare_is_given_as_it_came():
    defs = {f"d{i}": {"anyOf": [{"$ref": f"#/$defs/d{i + 1}"}] * 2} for i in range(40)}
    endless = {
        "$defs": {**defs, "d40": {"type": "string"}},
        "type": "object",
        "additionalProperties": {"$ref": "#/$defs/d0"},
    }
    form = {"type": "json_schema", "json_schema": {"name": "n", "schema": endless}}
    one = house(Code.UPSTREAM_SCHEMA, '{"a": 1}', GOOD)
    assert said(await one.chat(response_format=form)) == '{"a": 1}'
    assert len(one.closed.attempts) == 1


@pytest.mark.parametrize(
    ("path", "wanted"),
    [
        (b"/v1/messages", {"output_config": {"format": {"type": "json_schema", "schema": SCHEMA}}}),
        (
            b"/v1/responses",
            {"text": {"format": {"type": "json_schema", "name": "place", "schema": SCHEMA, "strict": True}}},
        ),
        (
            b"/v1beta/models/gpt:generateContent",
            {"generationConfig": {"responseMimeType": "application/json", "responseJsonSchema": SCHEMA}},
        ),
    ],
)
async def test_the_structure_is_known_in_every_dialect(path, wanted):
    one = house(Code.UPSTREAM_SCHEMA, BAD, GOOD)
    if path.startswith(b"/v1beta"):
        body = {"contents": [{"role": "user", "parts": [{"text": "Where?"}]}], **wanted}
    elif path == b"/v1/responses":
        body = {"model": "gpt", "input": "Where?", **wanted}
    else:
        body = {"model": "gpt", "max_tokens": 99, "messages": [{"role": "user", "content": "Where?"}], **wanted}
    sink = await one.post(path, body)
    assert sink.status == 200, sink.body
    assert one.closed.fallback == Code.UPSTREAM_SCHEMA
    assert json.dumps(GOOD)[1:-1].encode() in sink.body
    one.check()
