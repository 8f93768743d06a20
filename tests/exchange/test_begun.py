"""Streams that have begun and cannot go on: what ends them fits behind what the client has got, passed or translated."""

import asyncio
import json

import pytest

from ostiary.core.error import Code
from ostiary.core.event import Outcome
from ostiary.gateway import exchange as exchange_module
from ostiary.gateway.dialect import Addressed
from ostiary.simulator.behaviour import Behaviour, Fault
from tests.exchange.harness import House, RecordingSink, events

ASKED = {"contents": [{"role": "user", "parts": [{"text": "Say something."}]}]}
TARGETS = ("gem", "gpt", "claude", "reasoner")


def array(house, model, sink=None):
    return house.call("gemini", ASKED, addressed=Addressed(model, stream=True, sse=False), sink=sink)


def reason(chunk):
    return chunk["error"]["details"][0]["reason"]


@pytest.mark.parametrize("model", TARGETS)
async def test_a_streamed_array_is_json_from_its_first_byte_to_its_last(model):
    house = House()
    sink = await array(house, model)
    assert sink.status == 200
    assert sink.headers[b"content-type"].startswith(b"application/json")
    assert sink.keepalive.strip() == b"", "white space is all that may stand anywhere in JSON"
    assert sink.keepalive
    assert sink.json[-1]["candidates"][0]["finishReason"] == "STOP"
    assert sink.ended
    house.check()


async def test_an_array_passes_unchanged_within_one_dialect():
    house = House()
    sink = await array(house, "gem")
    again = House()
    events_sink = await again.call("gemini", ASKED, addressed=Addressed("gem", stream=True, sse=True))
    assert b"alt=sse" not in house.upstream.sent[0].target
    assert b",\r\n" in sink.body, "the provider's own line ends"
    assert events_sink.headers[b"content-type"].startswith(b"text/event-stream")
    assert len(sink.json) == len(events(events_sink.body))


@pytest.mark.parametrize("model", TARGETS)
@pytest.mark.parametrize(
    ("fault", "code"),
    [
        (Fault.CUT, Code.UPSTREAM_CUT),
        (Fault.RESET, Code.UPSTREAM_CUT),
        (Fault.ERROR_EVENT, Code.UPSTREAM_OVERLOADED),
        (Fault.STALL, Code.UPSTREAM_TIMEOUT),
    ],
)
async def test_an_array_that_cannot_go_on_ends_as_json_with_the_error_in_its_last_place(model, fault, code):
    house = House(behaviour=Behaviour(fault=fault, after=6, tokens=30))
    sink = await array(house, model)
    assert sink.streamed
    assert sink.ended
    *told, last = sink.json
    assert told
    assert all("candidates" in chunk for chunk in told)
    assert reason(last) == house.closed.error
    if fault is not Fault.ERROR_EVENT:
        assert reason(last) == code
    assert house.outcome is Outcome.FAILED
    house.check()


@pytest.mark.parametrize("model", TARGETS)
async def test_an_array_whose_head_alone_went_out_is_json_too(model, monkeypatch):
    monkeypatch.setattr(exchange_module, "COMMIT_AFTER_SECONDS", 0)
    house = House(behaviour=Behaviour(fault=Fault.CUT, after=0))
    sink = RecordingSink(house.journal)

    async def wait_for_the_head(place):
        if place >= 0:
            await asyncio.wait_for(sink.started.wait(), 5)

    house.upstream.pause = wait_for_the_head
    await array(house, model, sink)
    assert sink.streamed
    assert [reason(chunk) for chunk in sink.json] == [Code.UPSTREAM_CUT]
    house.check()


@pytest.mark.parametrize("model", TARGETS)
async def test_the_error_of_a_responses_stream_has_the_next_number(model):
    house = House(behaviour=Behaviour(fault=Fault.CUT, after=6, tokens=30))
    sink = await house.call("openai-responses", {"model": model, "input": "Say something.", "stream": True})
    told = [json.loads(data) for data in events(sink.body)]
    assert told[-1]["type"] == "error"
    assert told[-1]["code"] == Code.UPSTREAM_CUT
    assert [event["sequence_number"] for event in told] == list(range(len(told)))
    assert len(told) > 2
    house.check()
