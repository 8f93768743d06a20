"""Realtime sessions in one process: a simulated provider, channels in memory, a journal in memory."""

import asyncio
import contextlib
import json

import pytest

from ostiary.core.error import Code, UpstreamError
from ostiary.core.event import Kind, Outcome
from ostiary.core.http import Answer
from ostiary.core.limit import (
    REALTIME_IDLE_SECONDS_MAX,
    REALTIME_RESPONSES_OPEN_MAX,
    REALTIME_SESSION_SECONDS_MAX,
)
from ostiary.gateway.ports import SHED
from ostiary.simulator.behaviour import Behaviour, Fault
from ostiary.simulator.realtime import SENTENCE_CHARS
from ostiary.snapshot.index import Index
from ostiary.snapshot.tables import (
    BudgetedRow,
    BudgetRow,
    LimitedRow,
    LimitRow,
    PriceRow,
    PricingRow,
    Rates,
    TeamRow,
    UnknownPrice,
)
from tests.exchange.harness import (
    KEY,
    UPSTREAM_KEY,
    House,
    RecordingSink,
    fallback,
    model,
    provider,
    snapshot,
)

RATES = Rates(input=4_000_000, output=16_000_000, cached=400_000, input_audio=32_000_000, output_audio=64_000_000)
TEXT = {"type": "session.update", "session": {"type": "realtime", "output_modalities": ["text"]}}
CREATE = {"type": "response.create"}
SENTENCE = {"type": "input_audio_buffer.append", "audio": "A" * SENTENCE_CHARS}


def item(text="Say something."):
    part = {"type": "input_text", "text": text}
    return {"type": "conversation.item.create", "item": {"type": "message", "role": "user", "content": [part]}}


def fields(**more):
    base = {
        "providers": (
            provider("oai", "openai"),
            provider("spare", "openai"),
            provider("ant", "anthropic"),
            provider("azu", "openai", path="/openai/deployments/{model}", query="api-version=2025-04-01-preview"),
        ),
        "models": (
            model("voice", ("oai", "gpt-rt"), fallbacks=(fallback("other"),)),
            model("other", ("spare", "gpt-other")),
            model("capped", ("oai", "gpt-rt"), max_tokens=5),
            model("scribe", ("oai", "gpt-scribe")),
            model("scribe-elsewhere", ("spare", "gpt-scribe")),
            model("claude", ("ant", "claude-sonnet")),
            model("secretive", ("oai", "gpt-rt")),
            model("azure", ("azu", "my deployment")),
        ),
        "teams": (
            TeamRow(
                tenant="acme",
                name="search",
                environment="production",
                models=("voice", "other", "capped", "scribe", "scribe-elsewhere", "claude", "azure"),
            ),
        ),
        "pricing": PricingRow(
            rows=tuple(
                PriceRow(provider="list", model=name, rates=RATES, version="v1")
                for name in ("gpt-rt", "gpt-other", "gpt-scribe")
            ),
            unknown=UnknownPrice.CEILING,
            ceiling=Rates(input=30_000_000_000, output=120_000_000_000),
            version="v1",
        ),
    }
    return {**base, **more}


class Call:
    """A session being served: the client's channel, and the task."""

    def __init__(self, house, sink, task):
        self.house, self.sink, self.task = house, sink, task

    @property
    def client(self):
        return self.sink.channel

    @property
    def provider(self):
        return self.house.upstream.channels[-1]

    async def over(self):
        async with asyncio.timeout(5):
            await self.task

    async def leave(self, code=1000, **how):
        self.client.leave(code, **how)
        await self.over()
        self.house.check()

    async def respond(self, *events):
        """Say these and ask for a response; what it ended with."""
        for event in (*events, CREATE):
            self.client.say(event)
        return await self.client.until("response.done", len(self.client.of("response.done")) + 1)


def begin(house, query=b"model=voice", *, headers=None, sink=None, key=KEY):
    """Open a session as a client does; an answer where it is refused on its head."""
    given = {
        b"upgrade": b"websocket",
        b"connection": b"Upgrade",
        b"sec-websocket-version": b"13",
        b"sec-websocket-key": b"AAAAAAAAAAAAAAAAAAAAAA==",
        **(headers or {}),
    }
    verdict = house.gateway.accept(house.head(b"/v1/realtime", method="GET", headers=given, query=query, key=key))
    if isinstance(verdict, Answer):
        return verdict
    sink = sink or RecordingSink(house.journal)
    task = asyncio.get_running_loop().create_task(house.gateway.serve(verdict, b"", sink))
    return Call(house, sink, task)


async def opened(house, query=b"model=voice", **options):
    call = begin(house, query, **options)
    async with asyncio.timeout(5):
        await call.sink.started.wait()
    await call.client.until("session.created")
    return call


async def refused(house, query=b"model=voice", **options):
    """The status and reason code of a session that is not opened."""
    call = begin(house, query, **options)
    if isinstance(call, Answer):
        return call.status, json.loads(call.body)["error"]["code"]
    await call.over()
    house.check()
    return call.sink.status, call.sink.json["error"]["code"]


def turns(house, outcome=None):
    found = [
        one
        for one in (*house.journal.of(Kind.CLOSED), *house.journal.of(Kind.DENIED))
        if one.operation == "realtime_response"
    ]
    return [one for one in found if outcome in (None, one.outcome)]


def session_record(house):
    (found,) = (
        one for one in (*house.journal.of(Kind.CLOSED), *house.journal.of(Kind.DENIED)) if one.operation == "realtime"
    )
    return found


# --- the story ----------------------------------------------------------------------------------------------


async def test_a_session_converses_and_each_response_is_a_call_of_its_own():
    house = House(**fields())
    call = await opened(house)
    first = await call.respond(TEXT, item())
    second = await call.respond(item("And more."))
    assert first["response"]["status"] == second["response"]["status"] == "completed"
    assert "".join(one["delta"] for one in call.client.of("response.output_text.delta")).startswith("This is a sim")
    await call.leave()
    records = turns(house)
    assert [one.outcome for one in records] == [Outcome.SUCCEEDED] * 2
    for one, done in zip(records, (first, second), strict=True):
        usage = done["response"]["usage"]
        assert one.usage.input_tokens == usage["input_tokens"]
        assert one.usage.output_tokens == usage["output_tokens"]
        assert one.cost.nano == usage["input_tokens"] * 4 + usage["output_tokens"] * 16
        assert (one.request_model, one.original_model, one.provider) == ("gpt-rt", "voice", "oai")
        assert one.finish_reason == "completed"
    session = session_record(house)
    assert (session.outcome, session.status, session.error) == (Outcome.SUCCEEDED, 101, "")
    assert session.cost is None, "the money stands with the responses, once"
    assert session.usage.total_tokens == 0
    assert len({one.request_id for one in (*records, session)}) == 1


async def test_the_record_of_a_response_stands_before_the_client_hears_that_it_has_ended():
    house = House(**fields())
    call = await opened(house)
    await call.respond(TEXT, item())
    at = {event["type"]: count for event, count in call.client.got}
    assert at["session.created"] == 1, "the session's own"
    assert at["response.created"] == 2, "the response is open"
    assert at["response.done"] == 3, "and closed"
    await call.leave()


async def test_nothing_goes_upstream_before_the_opening_record():
    house = House(**fields())
    house.journal.failing = True
    assert await refused(house) == (503, Code.AUDIT_UNAVAILABLE)
    assert house.upstream.sent == []


async def test_tokens_are_costed_by_kind():
    house = House(**fields())
    call = await opened(house)
    call.client.say(
        {"type": "session.update", "session": {"type": "realtime", "audio": {"input": {"turn_detection": None}}}}
    )
    call.client.say(SENTENCE)
    call.client.say({"type": "input_audio_buffer.commit"})
    done = await call.respond()
    await call.leave()
    usage = done["response"]["usage"]
    heard = usage["input_token_details"]["audio_tokens"]
    spoken = usage["output_token_details"]["audio_tokens"]
    assert heard
    assert spoken
    (one,) = turns(house)
    assert (one.usage.input_audio_tokens, one.usage.output_audio_tokens) == (heard, spoken)
    plain_in, plain_out = usage["input_tokens"] - heard, usage["output_tokens"] - spoken
    assert one.cost.nano == plain_in * 4 + heard * 32 + plain_out * 16 + spoken * 64


async def test_events_pass_as_they_came_but_for_the_names_of_models():
    house = House(**fields())
    call = await opened(house)
    created = call.client.events[0]
    assert created["session"]["model"] == "voice"
    odd = b'{"type" : "conversation.item.create", "item":{"type":"message","role":"user","content":[],"x":1.50}}'
    call.client.say(odd)
    call.client.say(
        {"type": "session.update", "session": {"type": "realtime", "model": "voice", "instructions": "Be."}}
    )
    updated = await call.client.until("session.updated")
    assert updated["session"]["model"] == "voice"
    assert call.provider.events[0] == odd
    assert json.loads(call.provider.events[1])["session"]["model"] == "gpt-rt"
    await call.leave()


async def test_a_tool_is_called_and_its_output_answered():
    house = House(**fields())
    call = await opened(house)
    tool = {"type": "function", "name": "weather", "parameters": {"type": "object", "properties": {"city": {}}}}
    call.client.say({"type": "session.update", "session": {**TEXT["session"], "tools": [tool]}})
    done = await call.respond(item())
    (called,) = done["response"]["output"]
    assert called["name"] == "weather"
    said = "".join(one["delta"] for one in call.client.of("response.function_call_arguments.delta"))
    assert said == called["arguments"]
    output = {"type": "function_call_output", "call_id": called["call_id"], "output": "rain"}
    done = await call.respond({"type": "conversation.item.create", "item": output})
    assert done["response"]["output"][0]["type"] == "message"
    await call.leave()


# --- who may ----------------------------------------------------------------------------------------------


async def test_a_browser_sends_its_key_among_the_subprotocols_and_it_is_never_echoed():
    house = House(**fields())
    offer = b"realtime, openai-insecure-api-key." + KEY + b", openai-beta.realtime-v1"
    call = await opened(house, headers={b"sec-websocket-protocol": offer}, key=None)
    assert call.sink.headers[b"sec-websocket-protocol"] == b"realtime"
    await call.leave()
    sent = house.upstream.sent[0]
    assert dict(sent.headers)[b"openai-beta"] == b"realtime=v1"
    assert KEY.decode() not in str(sent) + str(house.journal.records) + str(call.sink.headers)


@pytest.mark.parametrize(
    ("headers", "key", "query", "expected"),
    [
        ({}, None, b"model=voice", (401, Code.AUTH_MISSING)),
        ({}, b"osk-wrong", b"model=voice", (401, Code.AUTH_INVALID)),
        (
            {b"sec-websocket-protocol": b"realtime, openai-insecure-api-key.nope"},
            None,
            b"model=voice",
            (401, "auth.invalid"),
        ),
        (
            {b"sec-websocket-protocol": b"openai-insecure-api-key.other"},
            KEY,
            b"model=voice",
            (400, Code.AUTH_AMBIGUOUS),
        ),
        ({}, KEY, b"model=voice&api-key=x", (400, Code.AUTH_IN_QUERY)),
        ({}, KEY, b"", (400, Code.REQUEST_INVALID)),
        ({}, KEY, b"model=voice&model=other", (400, Code.REQUEST_UNSUPPORTED)),
        ({}, KEY, b"model=voice&intent=transcription", (400, Code.REQUEST_UNSUPPORTED)),
        ({}, KEY, b"call_id=rtc_1", (400, Code.REQUEST_UNSUPPORTED)),
        ({}, KEY, b"model=" + b"v" * 300, (400, Code.REQUEST_LIMIT)),
        ({}, KEY, b"model=%ff", (400, Code.REQUEST_INVALID)),
        ({}, KEY, b"model=nowhere", (404, Code.MODEL_NOT_FOUND)),
        ({}, KEY, b"model=secretive", (403, Code.POLICY_MODEL_NOT_ALLOWED)),
        ({}, KEY, b"model=claude", (400, Code.MODEL_UNSUITABLE)),
        ({b"x-ostiary-sensitivity": b"regulated"}, KEY, b"model=voice", (403, Code.POLICY_SENSITIVITY)),
        ({b"sec-websocket-protocol": b"chat"}, KEY, b"model=voice", (400, Code.REQUEST_INVALID)),
        ({b"sec-websocket-protocol": b"a, " * 20}, KEY, b"model=voice", (400, Code.REQUEST_LIMIT)),
    ],
)
async def test_what_is_refused_before_the_upgrade_is_an_ordinary_answer_and_reaches_nobody(
    headers, key, query, expected
):
    house = House(**fields())
    assert await refused(house, query, headers=headers, key=key) == expected
    assert house.upstream.sent == []


async def test_a_plain_request_to_the_path_is_told_to_upgrade():
    answer = House(**fields()).get(b"/v1/realtime", query=b"model=voice")
    assert answer.status == 426
    assert dict(answer.headers)[b"upgrade"] == b"websocket"
    assert json.loads(answer.body)["error"]["code"] == Code.REQUEST_UPGRADE


async def test_the_provider_gets_its_own_credential_and_nothing_of_the_callers():
    house = House(**fields())
    headers = {
        b"openai-beta": b"realtime=v1",
        b"cookie": b"a=b",
        b"x-forwarded-for": b"1.2.3.4",
        b"origin": b"https://x",
    }
    call = await opened(house, headers=headers)
    await call.leave()
    sent = dict(house.upstream.sent[0].headers)
    assert sent.pop(b"authorization") == b"Bearer " + UPSTREAM_KEY.encode()
    assert sent == {b"user-agent": b"ostiary", b"openai-beta": b"realtime=v1"}
    assert house.upstream.sent[0].target == b"/v1/realtime?model=gpt-rt"


async def test_azure_deployments_stand_in_the_query():
    house = House(**fields())
    call = await opened(house, b"model=azure")
    await call.leave()
    assert (
        house.upstream.sent[0].target == b"/openai/realtime?deployment=my%20deployment&api-version=2025-04-01-preview"
    )


async def test_a_key_that_is_revoked_ends_its_session():
    house = House(**fields())
    call = await opened(house)
    house.gateway._keys.find = lambda digest: None
    await call.over()
    house.check()
    assert call.client.events[-1]["error"]["code"] == Code.AUTH_INVALID
    assert call.client.closed[0] == 1008
    assert call.provider.closed
    assert session_record(house).error == Code.AUTH_INVALID


# --- providers ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [Code.UPSTREAM_UNREACHABLE, Code.UPSTREAM_OVERLOADED])
async def test_a_target_that_cannot_be_reached_gives_way_to_the_fallback(error):
    house = House(**fields())
    house.upstream.errors = [UpstreamError(error, "No.")]
    call = await opened(house)
    assert call.client.events[0]["session"]["model"] == "voice"
    await call.respond(TEXT, item())
    await call.leave()
    assert [one.target for one in session_record(house).attempts] == ["oai/gpt-rt", "spare/gpt-other"]
    assert session_record(house).fallback == error
    assert turns(house)[0].request_model == "gpt-other"
    assert (
        call.sink.headers[b"x-ostiary-target"] == b"spare/gpt-other@gpt-other"
        or b"spare" in call.sink.headers[b"x-ostiary-target"]
    )


@pytest.mark.parametrize(("status", "code"), [(401, Code.UPSTREAM_CREDENTIAL), (400, Code.UPSTREAM_REFUSED)])
async def test_a_provider_that_refuses_the_handshake_is_told_as_an_http_error(status, code):
    models = (model("voice", ("oai", "gpt-rt")),)
    house = House(behaviour=Behaviour(status=status, fault=Fault.ECHO_KEY), **fields(models=models))
    call = begin(house)
    await call.over()
    house.check()
    assert call.sink.json["error"]["code"] == code
    assert UPSTREAM_KEY.encode() not in call.sink.body
    assert session_record(house).error == code


async def test_a_provider_that_answers_with_a_page_does_not_speak_websocket():
    house = House(behaviour=Behaviour(fault=Fault.CONTENT_TYPE), **fields(models=(model("voice", ("oai", "gpt-rt")),)))
    status, _ = await refused(house)
    assert status in (400, 502)


async def test_a_provider_that_cuts_the_session_is_charged_for_what_it_said():
    house = House(behaviour=Behaviour(fault=Fault.CUT, after=6), **fields())
    call = await opened(house)
    for one in (TEXT, item(), CREATE):
        call.client.say(one)
    await call.over()
    house.check()
    (one,) = turns(house)
    assert (one.outcome, one.error) == (Outcome.FAILED, Code.UPSTREAM_CUT)
    assert one.usage_estimated
    assert one.cost.nano > 0
    assert call.client.events[-1]["error"]["code"] == Code.UPSTREAM_CUT
    assert call.client.closed[0] == 1014


@pytest.mark.parametrize(("code", "passed"), [(1000, 1000), (1001, 1001), (1005, 1000), (1011, 1011), (4000, 4000)])
async def test_the_providers_close_code_goes_on_to_the_client(code, passed):
    house = House(**fields())
    call = await opened(house)
    call.provider.end(code)
    await call.over()
    house.check()
    assert call.client.closed[0] == passed


@pytest.mark.parametrize("raw", [b"nothing", b"[1]", b'{"type":1}', b"{}", b'{"a":' * 3_000])
async def test_what_is_no_event_ends_the_session(raw):
    house = House(**fields())
    call = await opened(house)
    call.provider.tell(raw)
    await call.over()
    house.check()
    assert call.client.closed[0] == 1014
    assert session_record(house).error == Code.UPSTREAM_PROTOCOL


async def test_events_nobody_knows_pass():
    house = House(**fields())
    call = await opened(house)
    call.provider.tell(b'{"type":"something.new","n":1.0}')
    assert await call.client.until("something.new") == {"type": "something.new", "n": 1.0}
    await call.leave()


async def test_a_providers_error_shows_no_credential():
    house = House(behaviour=Behaviour(fault=Fault.ECHO_KEY), **fields())
    call = await opened(house)
    call.client.say({**CREATE, "event_id": "mine"})
    told = await call.client.until("error")
    assert told["error"]["event_id"] == "mine"
    assert UPSTREAM_KEY not in json.dumps(told)
    await call.leave()


async def test_a_response_the_provider_refuses_costs_nothing_and_frees_its_hold():
    house = House(behaviour=Behaviour(fault=Fault.ERROR_EVENT), **fields())
    call = await opened(house)
    call.client.say(CREATE)
    told = await call.client.until("error")
    assert told["error"]["event_id"].startswith("event_"), "an id was put in to tell it by"
    assert house.world.holds.open_count == 0
    (one,) = turns(house)
    assert (one.outcome, one.cost, one.error) == (Outcome.FAILED, None, Code.UPSTREAM_REFUSED)
    await call.leave()


@pytest.mark.parametrize("fault", [Fault.NO_USAGE, Fault.WRONG_USAGE])
async def test_what_is_not_reported_is_counted(fault):
    house = House(behaviour=Behaviour(fault=fault), **fields())
    call = await opened(house)
    await call.respond(TEXT, item())
    await call.leave()
    (one,) = turns(house)
    assert one.usage_estimated
    assert 0 < one.usage.output_tokens < 1_000
    assert one.cost.nano > 0


# --- clients ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("event", "code"),
    [
        (b"not json", Code.REQUEST_MALFORMED),
        (b'{"type":"response.create","type":"x"}', Code.REQUEST_MALFORMED),
        (b"[]", Code.REQUEST_MALFORMED),
        ({"no": "type"}, Code.REQUEST_INVALID),
        ({"type": "session.close.now"}, Code.REQUEST_UNSUPPORTED),
        ({"type": "transcription_session.update", "session": {}}, Code.REQUEST_UNSUPPORTED),
        ({"type": "session.update", "session": {"type": "transcription"}}, Code.REQUEST_UNSUPPORTED),
        ({"type": "session.update", "session": {"model": "gpt-rt"}}, Code.REQUEST_UNSUPPORTED),
        ({"type": "session.update", "session": {"model": "other"}}, Code.REQUEST_UNSUPPORTED),
        ({"type": "session.update", "session": []}, Code.REQUEST_INVALID),
        ({"type": "session.update", "session": {"model": 1}}, Code.REQUEST_INVALID),
        ({"type": "session.update", "session": {"max_output_tokens": "many"}}, Code.REQUEST_INVALID),
        ({"type": "response.create", "response": {"model": "gpt-rt"}}, Code.REQUEST_UNSUPPORTED),
        ({"type": "response.create", "response": 1}, Code.REQUEST_INVALID),
        ({"type": "response.create", "event_id": 1}, Code.REQUEST_INVALID),
    ],
)
async def test_an_event_that_is_not_taken_is_told_and_the_session_goes_on(event, code):
    house = House(**fields())
    call = await opened(house)
    call.client.say(event)
    told = await call.client.until("error")
    assert told["error"]["code"] == code
    assert call.provider.events == []
    await call.respond(TEXT, item())
    await call.leave()


async def test_an_error_names_the_event_it_answers():
    house = House(**fields())
    call = await opened(house)
    call.client.say({"type": "nothing.known", "event_id": "e-7"})
    assert (await call.client.until("error"))["error"]["event_id"] == "e-7"
    await call.leave()


@pytest.mark.parametrize(
    ("how", "outcome", "error"),
    [
        ({"code": 1000}, Outcome.SUCCEEDED, ""),
        ({"code": 1005}, Outcome.SUCCEEDED, ""),
        ({"code": 1006}, Outcome.CANCELLED, Code.CLIENT_GONE),
        ({"code": 1006, "stalled": True}, Outcome.CANCELLED, Code.CLIENT_SLOW),
        ({"code": 1002, "breached": True}, Outcome.FAILED, Code.REQUEST_MALFORMED),
    ],
)
async def test_a_client_that_leaves_closes_the_provider_at_once(how, outcome, error):
    house = House(behaviour=Behaviour(fault=Fault.STALL, after=6), **fields())
    call = await opened(house)
    for one in (TEXT, item(), CREATE):
        call.client.say(one)
    await call.client.until("response.output_text.delta")
    await call.leave(**how)
    assert call.provider.closed
    assert (session_record(house).outcome, session_record(house).error) == (outcome, error)
    (one,) = turns(house)
    assert one.cost.nano > 0, "what was produced is charged for"
    assert one.usage_estimated


async def test_a_client_that_goes_away_before_the_upgrade_is_recorded():
    house = House(**fields())
    waiting = asyncio.Event()

    async def hold(place):
        waiting.set()
        await asyncio.Event().wait()

    house.upstream.pause = hold
    call = begin(house)
    await waiting.wait()
    call.sink.gone = True
    call.task.cancel()
    await call.over()
    house.check()
    assert session_record(house).outcome is Outcome.CANCELLED
    assert house.upstream.cancelled == 1


async def test_at_the_end_of_a_drain_the_client_is_told_to_connect_again():
    house = House(**fields())
    call = await opened(house)
    call.task.cancel("draining")
    await call.over()
    house.check()
    assert call.client.events[-1]["error"]["code"] == Code.GATEWAY_DRAINING
    assert call.client.closed[0] == 1012


async def test_fd36_a_session_ended_for_memory_is_told_so():
    house = House(**fields())
    call = await opened(house)
    call.task.cancel(SHED)
    await call.over()
    house.check()
    assert call.client.events[-1]["error"]["code"] == Code.GATEWAY_OVERLOADED
    assert call.client.closed[0] == 1013
    assert session_record(house).error == Code.GATEWAY_OVERLOADED


async def test_a_drain_ends_a_session_as_soon_as_no_response_is_under_way():
    house = House(**fields())
    call = await opened(house)
    call.client.draining = True
    await call.over()
    house.check()
    assert call.client.closed[0] == 1012


@pytest.mark.parametrize(
    ("seconds", "code"),
    [(REALTIME_IDLE_SECONDS_MAX, Code.REQUEST_TIMEOUT), (REALTIME_SESSION_SECONDS_MAX, Code.REQUEST_LIMIT)],
)
async def test_silence_and_length_are_bounded(seconds, code):
    house = House(**fields())
    call = await opened(house)
    house.clock.advance(seconds)
    if code is Code.REQUEST_LIMIT:
        call.provider.tell(b'{"type":"something.new"}')
        await call.client.until("something.new")
    await call.over()
    house.check()
    assert session_record(house).error == code
    assert call.client.closed[0] == 1001


# --- limits and budgets -------------------------------------------------------------------------------------


def scope(limit):
    return (LimitedRow("team/acme/search", limit),)


async def test_a_session_takes_a_place_as_long_as_it_is_open():
    house = House(**fields(limits=scope(LimitRow(concurrent_requests=1))))
    call = await opened(house)
    assert await refused_beside(house) == (429, Code.LIMIT_CONCURRENCY)
    await call.respond(TEXT, item())
    await call.leave()
    await (await opened(house)).leave()


async def refused_beside(house):
    call = begin(house)
    await call.over()
    return call.sink.status, call.sink.json["error"]["code"]


async def test_each_response_counts_as_a_request():
    house = House(**fields(limits=scope(LimitRow(requests_per_minute=2, request_burst=2))))
    call = await opened(house)  # the first
    await call.respond(TEXT, item())  # the second
    call.client.say(CREATE)
    told = await call.client.until("error")
    assert told["error"]["code"] == Code.LIMIT_REQUESTS
    house.clock.advance(30.0)
    await call.respond()
    await call.leave()
    assert [one.outcome for one in turns(house)].count(Outcome.DENIED) == 1


async def test_tokens_are_limited_by_response_and_corrected_to_what_they_were():
    house = House(**fields(limits=scope(LimitRow(tokens_per_minute=6_000, token_burst=6_000))))
    call = await opened(house)
    await call.respond(TEXT, item())
    await call.respond()  # the first hold of more than 4 096 tokens was given back
    await call.leave()


def budget(**more):
    return fields(budgets=(BudgetedRow("team/acme/search", BudgetRow(**more)),))


async def test_a_budget_that_is_used_up_refuses_further_responses_and_the_session_stays():
    house = House(**budget(tokens=4_300))
    call = await opened(house)
    first = await call.respond(TEXT, item())
    spent = house.world.holds.spent()["team/acme/search"].tokens
    assert spent == first["response"]["usage"]["total_tokens"]
    refusals = 0
    while not refusals:
        call.client.say({**CREATE, "event_id": "again"})
        async with asyncio.timeout(5):
            while not (refusals := len(call.client.of("error"))) and house.world.holds.open_count == 0:
                await asyncio.sleep(0)
            while not (refusals := len(call.client.of("error"))) and house.world.holds.open_count:
                await asyncio.sleep(0)
    told = call.client.of("error")[0]["error"]
    assert (told["code"], told["event_id"]) == (Code.BUDGET_EXHAUSTED, "again")
    assert turns(house, Outcome.DENIED)[0].error == Code.BUDGET_EXHAUSTED
    call.client.say(item())
    await call.client.until("conversation.item.added", 2)
    await call.leave()


async def test_a_response_the_provider_began_by_itself_is_held_or_cancelled():
    house = House(**budget(tokens=20))
    call = await opened(house)
    call.client.say(SENTENCE)
    told = await call.client.until("error")
    assert told["error"]["code"] == Code.BUDGET_EXHAUSTED
    done = await call.client.until("response.done")
    cancelled = [json.loads(one) for one in call.provider.events if b"response.cancel" in one]
    assert cancelled == [{"type": "response.cancel", "response_id": done["response"]["id"]}]
    assert call.client.of("response.output_audio.delta") == [], "what may not be had is not passed on"
    await call.leave()
    denied, counted = turns(house, Outcome.DENIED), turns(house, Outcome.FAILED)
    assert len(denied) == len(counted) == 1
    assert counted[0].usage.total_tokens == done["response"]["usage"]["total_tokens"], "yet it was consumed"
    assert house.world.holds.spent()["team/acme/search"].tokens == counted[0].usage.total_tokens


async def test_a_response_the_provider_began_by_itself_is_charged_like_any_other():
    house = House(**budget(nano=10**9))
    call = await opened(house)
    call.client.say(SENTENCE)
    done = await call.client.until("response.done")
    await call.leave()
    (one,) = turns(house)
    assert one.usage.total_tokens == done["response"]["usage"]["total_tokens"]
    assert house.world.holds.spent()["team/acme/search"].nano == one.cost.nano > 0


async def test_a_soft_budget_only_tells():
    house = House(**budget(tokens=10, hard=False, alerts=(1.0,)))
    call = await opened(house)
    await call.respond(TEXT, item())
    await call.leave()
    assert house.observer.alerts == [("team/acme/search", 1.0)]


async def test_a_snapshot_that_takes_the_model_away_refuses_the_next_response():
    house = House(**fields())
    call = await opened(house)
    await call.respond(TEXT, item())
    teams = (TeamRow(tenant="acme", name="search", environment="production", models=("other",)),)
    house.world.swap(Index(snapshot(**fields(teams=teams))))
    call.client.say(CREATE)
    assert (await call.client.until("error"))["error"]["code"] == Code.POLICY_MODEL_NOT_ALLOWED
    await call.leave()


async def test_a_cap_holds_for_what_is_asked_and_for_what_is_not():
    house = House(**fields())
    call = await opened(house, b"model=capped")
    updated = await call.client.until("session.updated")
    assert updated["session"]["max_output_tokens"] == 5, "a response begun by the provider is bounded too"
    done = await call.respond(TEXT, item())
    assert done["response"]["max_output_tokens"] == 5
    assert done["response"]["status"] == "incomplete"
    call.client.say({"type": "response.create", "response": {"max_output_tokens": 6}})
    assert (await call.client.until("error"))["error"]["code"] == Code.POLICY_MAX_TOKENS
    call.client.say({"type": "response.create", "response": {"max_output_tokens": "inf"}})
    done = await call.client.until("response.done", 2)
    assert done["response"]["max_output_tokens"] == 5
    call.client.say({"type": "session.update", "session": {"type": "realtime", "max_output_tokens": "inf"}})
    assert (await call.client.until("session.updated", 3))["session"]["max_output_tokens"] == 5
    call.client.say({"type": "session.update", "session": {"type": "realtime", "max_output_tokens": 6}})
    assert (await call.client.until("error", 2))["error"]["code"] == Code.POLICY_MAX_TOKENS
    await call.leave()


async def test_so_many_responses_may_be_under_way():
    house = House(behaviour=Behaviour(fault=Fault.STALL, after=0), **fields())
    call = await opened(house)
    for _ in range(REALTIME_RESPONSES_OPEN_MAX + 1):
        call.client.say({"type": "response.create", "response": {"conversation": "none"}})
    assert (await call.client.until("error"))["error"]["code"] == Code.REQUEST_LIMIT
    await call.leave()


# --- what listens -------------------------------------------------------------------------------------------


def listening(name):
    audio = {"input": {"transcription": {"model": name, "language": "en"}, "turn_detection": None}}
    return {"type": "session.update", "session": {"type": "realtime", "audio": audio}}


async def test_a_transcript_is_a_call_of_the_model_that_made_it():
    house = House(**fields())
    call = await opened(house)
    call.client.say(listening("scribe"))
    updated = await call.client.until("session.updated")
    assert updated["session"]["audio"]["input"]["transcription"] == {"model": "scribe", "language": "en"}
    assert json.loads(call.provider.events[0])["session"]["audio"]["input"]["transcription"]["model"] == "gpt-scribe"
    call.client.say(SENTENCE)
    call.client.say({"type": "input_audio_buffer.commit"})
    told = await call.client.until("conversation.item.input_audio_transcription.completed")
    await call.leave()
    (one,) = [one for one in house.journal.of(Kind.CLOSED) if one.operation == "transcription"]
    assert (one.original_model, one.request_model) == ("scribe", "gpt-scribe")
    assert one.usage.total_tokens == told["usage"]["total_tokens"]
    assert one.cost.nano > 0


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("gpt-4o-transcribe", Code.MODEL_NOT_FOUND),
        ("secretive", Code.POLICY_MODEL_NOT_ALLOWED),
        ("scribe-elsewhere", Code.MODEL_UNSUITABLE),
        ("claude", Code.MODEL_UNSUITABLE),
    ],
)
async def test_what_listens_must_be_allowed_and_stand_at_the_same_provider(name, code):
    house = House(**fields())
    call = await opened(house)
    call.client.say(listening(name))
    assert (await call.client.until("error"))["error"]["code"] == code
    older = {"type": "session.update", "session": {"input_audio_transcription": {"model": name}}}
    call.client.say(older)
    assert (await call.client.until("error", 2))["error"]["code"] == code
    assert call.provider.events == []
    await call.leave()


async def test_without_a_record_no_response_goes_out():
    house = House(**fields())
    call = await opened(house)
    house.journal.failing = True
    call.client.say(CREATE)
    assert (await call.client.until("error"))["error"]["code"] == Code.AUDIT_UNAVAILABLE
    assert call.provider.events == []
    house.journal.failing = False
    await call.respond(TEXT, item())
    await call.leave()


@pytest.mark.parametrize("durability", ["process", "disk"])
async def test_a_session_that_is_cancelled_at_any_point_leaves_nothing_open(durability):
    for steps in range(0, 60, 3):
        house = House(
            durability=durability,
            behaviour=Behaviour(tokens=4),
            **fields(budgets=(), limits=scope(LimitRow(concurrent_requests=5))),
        )
        call = begin(house)
        for step in range(steps):
            await asyncio.sleep(0)
            if step == 10 and call.sink.started.is_set():
                for one in (TEXT, listening("scribe"), SENTENCE, {"type": "input_audio_buffer.commit"}, CREATE):
                    call.client.say(one)
        call.task.cancel()
        with contextlib.suppress(asyncio.CancelledError):  # cancelled before its first step
            await call.over()
        house.check()
