"""Calls with an idempotency key: done once, answered as often as they are asked."""

import asyncio
import re

import pytest

from ostiary.core.error import Code
from ostiary.core.event import Kind
from ostiary.core.limit import REPLAY_BYTES_MAX, REPLAY_SECONDS
from ostiary.simulator.behaviour import Behaviour, Fault
from ostiary.store.replay.files import FileReplays
from ostiary.testing.clock import FakeClock
from tests.exchange.harness import House, RecordingSink
from tests.exchange.test_cache import Gate, as_

KEY = {b"idempotency-key": b"3f1c-22"}


@pytest.fixture(params=["memory", "files"])
def house(request, tmp_path):
    def make(**fields):
        if request.param == "memory":
            return House(**fields)
        return House(replays=FileReplays(tmp_path / "replay", FakeClock()), **fields)

    return make


def code(sink):
    return sink.json["error"]["code"]


@pytest.mark.parametrize("stream", [False, True])
async def test_at32_a_repetition_gets_the_same_answer_and_is_charged_nothing(house, stream):
    one = house()
    first = await one.chat(headers=KEY, stream=stream)
    again = await one.chat(headers=KEY, stream=stream)
    assert (again.status, again.body, again.streamed) == (200, first.body, stream)
    assert len(one.upstream.sent) == 1
    assert again.headers[b"idempotent-replayed"] == b"true"
    assert b"idempotent-replayed" not in first.headers
    assert again.headers[b"x-request-id"] != first.headers[b"x-request-id"]
    assert again.headers[b"content-type"] == first.headers[b"content-type"]
    paid, free = one.journal.of(Kind.CLOSED)
    assert paid.cost.nano > 0
    assert (free.cost.nano, free.cache, free.opened) == (0, "replay", -1)
    one.check()


async def test_at32_another_body_is_refused(house):
    one = house()
    await one.chat(headers=KEY)
    for change in ({"temperature": 0.1}, {"stream": True}, {"model": "claude"}):
        sink = await one.chat(**{"headers": KEY, **change})
        assert (sink.status, code(sink)) == (422, Code.IDEMPOTENCY_MISMATCH)
    assert len(one.upstream.sent) == 1
    one.check()


@pytest.mark.parametrize("other", [{"tenant": "evil"}, {"key_id": "key-2"}])
async def test_at32_the_same_key_of_somebody_else_is_another_one(house, other):
    one = house(
        teams=tuple(
            House()
            .world.index.teams["acme", "search"]
            .__class__(tenant=tenant, name="search", environment="production", models=("*",))
            for tenant in ("acme", "evil")
        )
    )
    await one.chat(headers=KEY)
    as_(one, **other)
    sink = await one.chat(headers=KEY)
    assert (sink.status, len(one.upstream.sent)) == (200, 2)
    assert b"idempotent-replayed" not in sink.headers


async def test_at32_the_same_key_at_another_route_is_another_one(house):
    one = house()
    await one.chat(headers=KEY)
    assert (await one.message("gpt", headers=KEY)).status == 200
    sink = await one.post(b"/v1/embeddings", {"model": "gpt", "input": "x"}, headers=KEY)
    assert (sink.status, len(one.upstream.sent)) == (200, 3)


async def test_at32_a_failure_that_may_have_done_something_is_kept(house):
    one = house(script=[Behaviour(status=500), Behaviour(status=500)])
    first = await one.chat("claude", headers=KEY)
    again = await one.chat("claude", headers=KEY)
    assert (first.status, again.status, again.json) == (502, 502, first.json)
    assert len(one.upstream.sent) == 1
    one.check()


@pytest.mark.parametrize("status", [429, 503, 401])
async def test_a_failure_after_which_nothing_was_done_leaves_the_key_free(house, status):
    one = house(script=[Behaviour(status=status, retry_after="1")])
    assert (await one.chat("claude", headers=KEY)).status in (429, 503, 502)
    one.clock.advance(40)
    assert (await one.chat("claude", headers=KEY)).status == 200
    one.check()


async def test_a_refused_call_leaves_the_key_free(house):
    one = house()
    assert (await one.chat("no-such", headers=KEY)).status == 404
    assert (await one.chat("gpt", headers=KEY)).status == 200


async def test_at32_a_key_is_free_again_after_its_time():
    one = House()
    await one.chat(headers=KEY)
    one.clock.advance(REPLAY_SECONDS + 1)
    await one.chat(headers=KEY)
    assert len(one.upstream.sent) == 2


@pytest.mark.parametrize("value", [b"", b'""', b"x" * 256, b"a b", b"caf\xc3\xa9", b"a\x01"])
async def test_at32_what_is_no_key_is_refused(house, value):
    sink = await house().chat(headers={b"idempotency-key": value})
    assert (sink.status, code(sink)) == (400, Code.IDEMPOTENCY_INVALID)


async def test_a_key_may_stand_in_quotes(house):
    one = house()
    await one.chat(headers={b"idempotency-key": b'"k"'})
    sink = await one.chat(headers={b"idempotency-key": b"k"})
    assert sink.headers[b"idempotent-replayed"] == b"true"


async def test_at32_while_the_first_is_under_way_a_repetition_is_told_so(house):
    one = house()
    gate = Gate(one)
    first = asyncio.ensure_future(one.chat(headers=KEY))
    await gate.waiting.wait()
    others = await asyncio.gather(*(one.chat(headers=KEY) for _ in range(20)))
    assert {(sink.status, code(sink)) for sink in others} == {(409, Code.IDEMPOTENCY_IN_FLIGHT)}
    assert {sink.headers[b"retry-after"] for sink in others} == {b"1"}
    gate.open.set()
    assert (await first).status == 200
    assert (await one.chat(headers=KEY)).status == 200
    assert len(one.upstream.sent) == 1
    one.check()


async def test_a_client_that_leaves_does_not_end_the_work_and_gets_its_answer_later(house):
    one = house()
    gate = Gate(one)
    sink = RecordingSink(one.journal)
    first = asyncio.ensure_future(one.chat(headers=KEY, sink=sink))
    await gate.waiting.wait()
    sink.gone = True
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    gate.open.set()
    while one.world.detached.open_count:
        await asyncio.sleep(0)
    again = await one.chat(headers=KEY)
    assert (again.status, again.headers[b"idempotent-replayed"]) == (200, b"true")
    assert len(one.upstream.sent) == 1
    one.check()


def ids(body):
    return [int(number) for number in re.findall(rb"^id: (\d+)$", body, re.M)]


@pytest.mark.parametrize("dialect", ["openai", "anthropic"])
async def test_the_events_of_a_stream_are_numbered_and_a_client_that_comes_back_gets_the_rest(house, dialect):
    one = house()
    ask = one.chat if dialect == "openai" else one.message
    whole = await ask("claude", headers=KEY, stream=True)
    numbers = ids(whole.body)
    assert numbers == list(range(1, len(numbers) + 1))
    assert len(numbers) == whole.body.count(b"\n\n") > 5
    for seen in (0, 3, numbers[-1]):
        rest = await ask("claude", headers={**KEY, b"last-event-id": b"%d" % seen}, stream=True)
        assert ids(rest.body) == numbers[seen:]
        assert whole.body.endswith(rest.body)
    assert len(one.upstream.sent) == 1
    one.check()


async def test_a_stream_without_a_key_is_not_numbered(house):
    assert ids((await house().chat(stream=True)).body) == []


async def test_a_client_that_comes_back_while_the_stream_goes_on_joins_it(house):
    one = house()
    sent = one.upstream.send
    release = asyncio.Event()

    async def send(request):
        reply = await sent(request)
        whole = b""
        while data := await reply.chunk():
            whole += data
        half = len(whole) // 2
        halves = [whole[:half], whole[half:], b""]

        async def held():
            if len(halves) == 2:
                await release.wait()
            return halves.pop(0)

        reply.chunk = held
        return reply

    one.upstream.send = send
    sink = RecordingSink(one.journal)
    first = asyncio.ensure_future(one.chat("claude", headers=KEY, stream=True, sink=sink))
    await sink.wrote.wait()
    seen = max(ids(sink.body))
    sink.gone = True
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    back = asyncio.ensure_future(one.chat("claude", headers={**KEY, b"last-event-id": b"%d" % seen}, stream=True))
    await asyncio.sleep(0)
    release.set()
    rest = await back
    assert ids(rest.body)[0] == seen + 1
    assert rest.body.endswith(b"data: [DONE]\nid: %d\n\n" % ids(rest.body)[-1])
    assert len(one.upstream.sent) == 1
    one.check()


async def test_a_stream_that_failed_midway_is_repeated_as_it_was(house):
    one = house(script=[Behaviour(fault=Fault.CUT, after=5)])
    first = await one.chat("claude", headers=KEY, stream=True)
    again = await one.chat("claude", headers=KEY, stream=True)
    assert b'"error"' in first.body
    assert again.body == first.body
    assert len(one.upstream.sent) == 1
    one.check()


async def test_regulated_data_is_done_once_and_nothing_of_it_is_kept(tmp_path):
    one = House(replays=FileReplays(tmp_path, FakeClock()))
    headers = {**KEY, b"x-ostiary-sensitivity": b"regulated"}
    first = await one.chat("private", headers=headers)
    assert first.status == 200
    again = await one.chat("private", headers=headers)
    assert (again.status, code(again)) == (409, Code.IDEMPOTENCY_NOT_REPLAYABLE)
    (file,) = tmp_path.iterdir()
    assert file.stat().st_size < 400
    assert len(one.upstream.sent) == 1
    one.check()


@pytest.mark.parametrize("stream", [False, True])
async def test_an_answer_too_large_to_keep_is_given_once(house, stream):
    one = house(script=[Behaviour(text="word " * (REPLAY_BYTES_MAX // 5 + 1))])
    assert (await one.chat(headers=KEY, stream=stream)).status == 200
    again = await one.chat(headers=KEY, stream=stream)
    assert (again.status, code(again)) == (409, Code.IDEMPOTENCY_NOT_REPLAYABLE)
    assert len(one.upstream.sent) == 1
    one.check()


@pytest.mark.parametrize("value", [b"x", b"-1", b"1" * 10, b"\xc2\xb2"])
async def test_an_event_id_that_is_none_of_ours_is_refused(house, value):
    sink = await house().chat(headers={**KEY, b"last-event-id": value}, stream=True)
    assert (sink.status, code(sink)) == (400, Code.REQUEST_INVALID)


async def test_shutting_down_ends_work_that_nobody_waits_for_and_leaves_the_key_free(house):
    one = house()
    gate = Gate(one)
    sink = RecordingSink(one.journal)
    first = asyncio.ensure_future(one.chat(headers=KEY, sink=sink))
    await gate.waiting.wait()
    sink.gone = True
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    await one.world.detached.end()
    one.check()
    gate.open.set()
    assert b"idempotent-replayed" not in (await one.chat(headers=KEY)).headers
