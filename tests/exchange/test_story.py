"""A call from arrival to record: what the client gets, what goes upstream, what the journal holds."""

import asyncio
import json

import pytest

from ostiary.core.error import Code, UpstreamError
from ostiary.core.event import Kind, Outcome
from ostiary.core.http import header
from ostiary.core.principal import Principal
from ostiary.gateway import exchange as exchange_module
from ostiary.simulator.behaviour import Behaviour, Fault
from ostiary.snapshot.tables import JournalRow, PricingRow, ProfileRow, Rates, UnknownPrice
from tests.exchange.harness import KEY, UPSTREAM_KEY, House, RecordingSink, events, model, replaced

CLIENTS = {"openai": ("chat", "gpt", "claude"), "anthropic": ("message", "gpt", "claude")}
PAIRS = [(client, model) for client in CLIENTS for model in ("gpt", "claude")]


def ask(house, client, model, **fields):
    return getattr(house, CLIENTS[client][0])(model, **fields)


@pytest.mark.parametrize(("client", "model"), PAIRS)
async def test_a_plain_call_is_answered_in_the_callers_dialect_and_recorded_in_two_records(client, model):
    house = House()
    sink = await ask(house, client, model)
    assert sink.status == 200, sink.body
    if client == "openai":
        assert sink.json["object"] == "chat.completion"
        assert sink.json["choices"][0]["message"]["content"]
    else:
        assert sink.json["type"] == "message"
        assert sink.json["content"][0]["text"]
    assert [kind for kind, _ in house.journal.records] == [Kind.OPENED, Kind.CLOSED]
    closed = house.closed
    assert closed.outcome is Outcome.SUCCEEDED
    assert (closed.tenant, closed.team, closed.environment, closed.key_id) == ("acme", "search", "production", "key-1")
    assert closed.original_model == model
    assert closed.request_model == {"gpt": "gpt-4o-mini", "claude": "claude-sonnet"}[model]
    assert closed.usage.input_tokens > 0
    assert closed.usage.output_tokens > 0
    assert closed.cost.nano == -(
        -(closed.usage.input_tokens * 150_000_000 + closed.usage.output_tokens * 600_000_000) // 10**6
    )
    assert closed.cost.price_version == "v1"
    assert len(closed.prompt_digest) == 64
    assert len(closed.answer_digest) == 64
    assert closed.status == 200
    assert sink.headers[b"x-ostiary-receipt"] == b"test.0/0"
    assert sink.headers[b"x-request-id"] == closed.request_id.encode()
    assert sink.headers[b"x-ostiary-cost"].endswith(b" USD")
    assert sink.headers[b"x-ostiary-cache"] == b"bypass"
    assert sink.records_at == [2], "a plain answer leaves after its closing record"
    house.check()


@pytest.mark.parametrize(("client", "model"), PAIRS)
async def test_a_stream_is_relayed_and_its_end_leaves_after_the_closing_record(client, model):
    house = House()
    sink = await ask(house, client, model, stream=True)
    assert sink.status == 200, sink.body
    assert sink.streamed
    assert sink.headers[b"content-type"].startswith(b"text/event-stream")
    data = events(sink.body)
    if client == "openai":
        assert data[-1] == "[DONE]"
        assert all("usage" not in json.loads(one) or json.loads(one)["usage"] is None for one in data[:-1])
    else:
        assert json.loads(data[-1])["type"] == "message_stop"
    assert sink.records_at[-1] == 2
    assert house.closed.outcome is Outcome.SUCCEEDED
    assert house.closed.usage.output_tokens > 0
    assert not house.closed.usage_estimated
    assert house.closed.timings.first_content_ms >= 0
    house.check()


async def test_the_same_dialect_passes_bytes_through_but_for_the_named_edits():
    house = House()
    body = b'{ "model" : "gpt", "messages":[{"role":"user","content":"caf\\u00e9 \xc3\xa9"}], "x_unknown": {"a":1.50},\n"temperature":0.10 }'
    sink = await house.post(b"/v1/chat/completions", body)
    assert sink.status == 200
    sent = house.upstream.sent[0].body
    assert b'"caf\\u00e9 \xc3\xa9"' in sent
    assert b'{"a":1.50}' in sent
    assert b"0.10" in sent
    assert json.loads(sent)["model"] == "gpt-4o-mini"


async def test_stream_usage_is_asked_for_and_kept_from_a_client_that_did_not():
    house = House()
    sink = await house.chat(stream=True)
    assert json.loads(house.upstream.sent[0].body)["stream_options"]["include_usage"] is True
    assert not [one for one in events(sink.body)[:-1] if json.loads(one).get("usage")]
    house = House()
    sink = await house.chat(stream=True, stream_options={"include_usage": True})
    assert [one for one in events(sink.body)[:-1] if json.loads(one).get("usage")]


async def test_nothing_goes_upstream_before_the_opening_record():
    house = House()
    seen = []

    async def look(place):
        seen.append([kind for kind, _ in house.journal.records])

    house.upstream.pause = look
    await house.chat()
    assert seen[0] == [Kind.OPENED]


async def test_durability_disk_waits_for_the_device_at_both_points():
    house = House(durability="disk")
    await house.chat()
    assert house.journal.syncs == [0, 1]
    house = House(durability="process")
    await house.chat()
    assert house.journal.syncs == []


@pytest.mark.parametrize("fail_at", [1, 2])
@pytest.mark.parametrize("stream", [False, True])
async def test_fd30_without_a_record_nothing_is_answered_as_done(fail_at, stream):
    house = House()
    house.journal.fail_at = (fail_at,)
    sink = await house.chat(stream=stream)
    assert b"audit.unavailable" in sink.body
    assert b"[DONE]" not in sink.body
    assert len(house.upstream.sent) == (0 if fail_at == 1 else 1)
    # A call whose closing record failed does not stay open: the record is written when the journal is back.
    assert [(kind, one.opened) for kind, one in house.journal.deferred] == ([] if fail_at == 1 else [(Kind.CLOSED, 0)])
    if not sink.streamed:
        assert sink.status == 503
    assert house.world.holds.open_count == 0


async def test_on_failure_continue_goes_on_and_leaves_a_gap_record_when_the_journal_is_back():
    house = House(journal=JournalRow(on_failure="continue"))
    house.journal.failing = True
    sink = await house.chat()
    assert sink.status == 200
    assert house.journal.records == []
    house.journal.failing = False
    await house.chat()
    (gap,) = house.journal.of(Kind.GAP)
    assert gap.calls == 2  # an opening and a closing record were left out
    assert [kind for kind, _ in house.journal.records] == [Kind.GAP, Kind.OPENED, Kind.CLOSED]


async def test_on_failure_continue_never_holds_for_regulated_data():
    house = House(journal=JournalRow(on_failure="continue"))
    house.journal.failing = True
    sink = await house.chat("private", headers={b"x-ostiary-sensitivity": b"regulated"})
    assert sink.status == 503
    assert house.upstream.sent == []


# --- identity and policy ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("headers", "key", "query", "status", "code"),
    [
        ({}, None, b"", 401, Code.AUTH_MISSING),
        ({}, b"wrong-key-wrong-key-wrong", b"", 401, Code.AUTH_INVALID),
        ({b"x-api-key": b"another"}, KEY, b"", 400, Code.AUTH_AMBIGUOUS),
        ({}, KEY, b"api_key=" + KEY, 400, Code.AUTH_IN_QUERY),
        ({b"authorization": b"Basic abc"}, None, b"", 401, Code.AUTH_INVALID),
        ({b"authorization": b"Bearer "}, None, b"", 401, Code.AUTH_MISSING),
        ({b"authorization": b"Bearer " + b"a" * 100_000}, None, b"", 401, Code.AUTH_INVALID),
        ({b"authorization": "Bearer ключ".encode()}, None, b"", 401, Code.AUTH_INVALID),
    ],
)
async def test_a_request_without_one_valid_key_reaches_nothing(headers, key, query, status, code):
    house = House()
    sink = await house.post(b"/v1/chat/completions", b"{}", headers=headers, key=key, query=query)
    assert (sink.status, sink.json["error"]["code"]) == (status, code)
    assert house.journal.records == []
    assert house.upstream.sent == []
    assert house.refusals.seen == [("192.0.2.7", code)]


@pytest.mark.parametrize("name", [b"authorization", b"x-api-key", b"x-goog-api-key"])
async def test_a_key_arrives_as_each_dialect_sends_it(name):
    house = House()
    value = b"Bearer " + KEY if name == b"authorization" else KEY
    sink = await house.post(
        b"/v1/messages",
        {"model": "claude", "max_tokens": 5, "messages": [{"role": "user", "content": "x"}]},
        headers={name: value},
        key=None,
    )
    assert sink.status == 200


@pytest.mark.parametrize(
    ("model", "fields", "headers", "status", "code"),
    [
        ("nothing", {}, {}, 404, Code.MODEL_NOT_FOUND),
        ("sandboxed", {}, {}, 404, Code.MODEL_NOT_FOUND),
        ("secretive", {}, {}, 403, Code.POLICY_MODEL_NOT_ALLOWED),
        ("GPT", {}, {}, 404, Code.MODEL_NOT_FOUND),
        ("gpt ", {}, {}, 404, Code.MODEL_NOT_FOUND),
        ("oai/gpt-4o-mini", {}, {}, 404, Code.MODEL_NOT_FOUND),
        ("capped", {"max_tokens": 101}, {}, 400, Code.POLICY_MAX_TOKENS),
        ("gpt", {"max_tokens": 10**7}, {}, 400, Code.REQUEST_LIMIT),
        ("gpt", {}, {b"x-ostiary-sensitivity": b"regulated"}, 403, Code.POLICY_SENSITIVITY),
    ],
)
async def test_a_denied_call_is_told_why_and_recorded_once(model, fields, headers, status, code):
    house = House()
    sink = await house.chat(model, headers=headers, **fields)
    assert (sink.status, sink.json["error"]["code"]) == (status, code)
    assert [kind for kind, _ in house.journal.records] == [Kind.DENIED]
    assert house.outcome is Outcome.DENIED
    assert house.closed.error == code
    assert house.upstream.sent == []
    house.check()


async def test_a_keys_own_list_narrows_its_teams():
    house = House(principal=Principal("acme", "search", "production", "k", "k", frozenset({"claude"})))
    assert (await house.chat("gpt")).status == 403
    assert (await house.chat("claude")).status == 200


async def test_a_cap_holds_for_a_caller_that_asks_for_nothing():
    house = House()
    await house.chat("capped")
    assert 100 in json.loads(house.upstream.sent[0].body).values()


async def test_the_tool_depth_is_counted_from_the_conversation():
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    rounds = [
        {"role": "user", "content": "go"},
        *(
            turn
            for _ in range(65)
            for turn in (
                {"role": "assistant", "content": None, "tool_calls": [call]},
                {"role": "tool", "tool_call_id": "c", "content": "x"},
            )
        ),
    ]
    house = House()
    sink = await house.chat(messages=rounds)
    assert sink.json["error"]["code"] == Code.POLICY_TOOL_DEPTH
    house = House()
    assert (await house.chat(messages=rounds[:-4])).status == 200


async def test_regulated_data_reaches_only_private_targets():
    for draw in (0.0, 0.4, 0.6, 0.99):
        house = House(draw=draw)
        sink = await house.chat("mixed", headers={b"x-ostiary-sensitivity": b"regulated"})
        assert sink.status == 200
        assert [one.origin.host for one in house.upstream.sent] == ["onsite.test"]
    house = House()
    house.upstream.errors = [UpstreamError(Code.UPSTREAM_UNREACHABLE, "down")]
    sink = await house.chat("private", headers={b"x-ostiary-sensitivity": b"regulated"})
    assert sink.status == 502
    assert len(house.upstream.sent) == 1


async def test_an_unknown_price_is_costed_at_the_ceiling_or_refused_never_nothing():
    ceiling = Rates(input=30_000_000_000, output=120_000_000_000)
    house = House(pricing=PricingRow((), UnknownPrice.CEILING, ceiling, "v1"))
    await house.chat()
    usage = house.closed.usage
    assert house.closed.cost.nano == usage.input_tokens * 30_000 + usage.output_tokens * 120_000
    assert house.closed.cost.estimated
    house = House(pricing=PricingRow((), UnknownPrice.REFUSE, ceiling, "v1"))
    sink = await house.chat()
    assert (sink.status, sink.json["error"]["code"]) == (403, Code.PRICE_UNKNOWN)
    assert house.upstream.sent == []


# --- attempts -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "error",
    [
        UpstreamError(Code.UPSTREAM_UNREACHABLE, "refused"),
        UpstreamError(Code.UPSTREAM_TIMEOUT, "slow"),
        UpstreamError(Code.UPSTREAM_TLS, "certificate"),
        UpstreamError(Code.UPSTREAM_CUT, "cut"),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
async def test_fd01_a_target_that_fails_is_followed_by_the_next_in_the_same_call(error, stream):
    house = House()
    house.upstream.errors = [error]
    sink = await house.chat("pair", stream=stream)
    assert sink.status == 200
    assert [one.origin.host for one in house.upstream.sent] == ["oai.test", "spare.test"]
    assert [json.loads(one.body)["model"] for one in house.upstream.sent] == ["first", "second"]
    assert [one.reason for one in house.closed.attempts] == [error.code, ""]
    assert sink.headers[b"x-ostiary-attempts"] == b"2"
    house.check()


@pytest.mark.parametrize("status", [500, 502, 503, 529, 429, 401, 403])
async def test_a_failing_answer_leads_to_the_fallback_model_whose_reason_is_shown(status):
    house = House()
    house.upstream.then(Behaviour(status=status))
    sink = await house.chat("gpt")
    assert sink.status == 200
    assert [one.origin.host for one in house.upstream.sent] == ["oai.test", "spare.test"]
    assert sink.headers[b"x-ostiary-fallback"].startswith(b"upstream.")
    assert house.closed.fallback == sink.headers[b"x-ostiary-fallback"].decode()
    assert house.closed.provider == "spare"


async def test_a_request_the_provider_calls_invalid_is_not_tried_elsewhere():
    house = House()
    house.upstream.then(Behaviour(status=400))
    sink = await house.chat("gpt")
    assert sink.status == 400
    assert len(house.upstream.sent) == 1
    assert house.closed.error == Code.UPSTREAM_REFUSED


async def test_a_fallback_model_the_key_may_not_use_is_never_tried():
    house = House(principal=Principal("acme", "search", "production", "k", "k", frozenset({"gpt"})))
    house.upstream.errors = [UpstreamError(Code.UPSTREAM_UNREACHABLE, "down")]
    sink = await house.chat("gpt")
    assert sink.status == 502
    assert len(house.upstream.sent) == 1


@pytest.mark.parametrize("fault", [Fault.CUT, Fault.RESET, Fault.STALL, Fault.MALFORMED, Fault.ERROR_EVENT])
async def test_fd10_a_stream_that_fails_before_its_first_content_is_retried_unseen(fault):
    house = House()
    house.upstream.then(Behaviour(fault=fault, after=0 if fault is Fault.ERROR_EVENT else 1))
    sink = await house.chat("gpt", stream=True)
    assert sink.status == 200
    assert events(sink.body)[-1] == "[DONE]"
    assert not [one for one in events(sink.body)[:-1] if "error" in json.loads(one)]
    assert len(house.upstream.sent) == 2
    house.check()


@pytest.mark.parametrize(("client", "model"), PAIRS)
@pytest.mark.parametrize("fault", [Fault.CUT, Fault.STALL, Fault.MALFORMED, Fault.NO_END])
async def test_fd10_fd11_a_stream_that_fails_later_ends_in_an_error_event_and_is_not_retried(client, model, fault):
    house = House()
    house.upstream.then(Behaviour(fault=fault, after=8, tokens=40))
    sink = await ask(house, client, model, stream=True)
    assert sink.status == 200
    assert sink.ended
    data = events(sink.body)
    assert "[DONE]" not in data
    assert b"message_stop" not in sink.body
    assert "error" in json.loads(data[-1])
    assert len(house.upstream.sent) == 1
    assert house.outcome is Outcome.FAILED
    assert house.closed.usage.output_tokens > 0, "what was produced is charged"
    assert house.closed.cost.nano > 0
    house.check()


@pytest.mark.parametrize("model_name", ["gpt", "claude"])
async def test_a_client_of_a_silent_provider_gets_its_head_in_time_and_nothing_is_retried_from_then_on(
    monkeypatch, model_name
):
    monkeypatch.setattr(exchange_module, "COMMIT_AFTER_SECONDS", 0.01)
    for silent_at, fails in ((0, False), (1, False), (1, True)):
        house = House()
        house.upstream.then(Behaviour(fault=Fault.CUT if fails else Fault.NONE, after=1))
        sink = RecordingSink(house.journal)

        async def hold(place, sink=sink, silent_at=silent_at):
            if place == silent_at:
                await sink.started.wait()
                assert sink.pieces == []

        house.upstream.pause = hold
        async with asyncio.timeout(5):
            await house.chat(model_name, stream=True, sink=sink)
        data = events(sink.body)
        assert sink.ended
        assert (data[-1] == "[DONE]") is not fails
        if not fails:
            assert json.loads(data[0])["choices"][0]["delta"]["role"] == "assistant", "what waited is not lost"
        assert len(house.upstream.sent) == 1
        house.check()


async def test_every_attempt_starts_from_the_clients_original_call():
    house = House(models=(*House().world.index.snapshot.models,))
    models = {row.name: row for row in house.world.index.snapshot.models}
    assert [row.model for row in models["gpt"].fallbacks] == ["spare"]
    house.upstream.then(Behaviour(status=500))
    await house.chat("gpt", temperature=0.25)
    first, second = (json.loads(one.body) for one in house.upstream.sent)
    assert {**first, "model": ""} == {**second, "model": ""}


# --- how calls end --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stream", [False, True])
async def test_a_client_that_goes_away_cancels_its_upstream_call_and_is_charged_for_what_was_produced(stream):
    house = House(behaviour=Behaviour(tokens=200))
    reached = asyncio.Event()

    async def hold(place):
        if place >= (20 if stream else 0):
            reached.set()
            await asyncio.Event().wait()

    house.upstream.pause = hold
    sink = RecordingSink(house.journal)
    task = asyncio.get_running_loop().create_task(house.chat(stream=stream, sink=sink))
    await reached.wait()
    sink.gone = True
    task.cancel()
    await task
    assert house.outcome is Outcome.CANCELLED
    assert house.closed.error == Code.CLIENT_GONE
    assert house.upstream.replies[0].closed
    assert house.closed.usage.input_tokens > 0
    if stream:
        assert house.closed.usage.output_tokens > 0
        assert house.closed.usage_estimated
    assert house.closed.cost.nano > 0
    house.check()


async def test_a_call_cancelled_while_it_waits_for_the_provider_is_recorded():
    house = House()
    reached = asyncio.Event()

    async def hold(place):
        reached.set()
        await asyncio.Event().wait()

    house.upstream.pause = hold
    sink = RecordingSink(house.journal)
    task = asyncio.get_running_loop().create_task(house.chat(sink=sink))
    await reached.wait()
    sink.gone = True
    task.cancel()
    await task
    assert house.outcome is Outcome.CANCELLED
    assert house.upstream.cancelled == 1
    house.check()


async def test_fd35_the_end_of_a_drain_ends_a_stream_in_an_error_event():
    house = House(behaviour=Behaviour(tokens=200))
    reached = asyncio.Event()

    async def hold(place):
        if place >= 20:
            reached.set()
            await asyncio.Event().wait()

    house.upstream.pause = hold
    sink = RecordingSink(house.journal)
    task = asyncio.get_running_loop().create_task(house.chat(stream=True, sink=sink))
    await reached.wait()
    task.cancel("draining")
    await task
    assert sink.ended
    assert json.loads(events(sink.body)[-1])["error"]["code"] == Code.GATEWAY_DRAINING
    assert house.outcome is Outcome.FAILED
    house.check()


async def test_a_fault_of_ours_is_answered_and_recorded_without_its_text():
    house = House()

    async def boom(place):
        raise RuntimeError("secret detail")

    house.upstream.pause = boom
    sink = await house.chat()
    assert sink.status == 500
    assert b"secret detail" not in sink.body
    assert house.closed.error == Code.GATEWAY_INTERNAL
    assert house.closed.error_class == "RuntimeError"
    house.check()


@pytest.mark.parametrize(("client", "model"), PAIRS)
async def test_no_secret_of_ours_reaches_the_client(client, model):
    for behaviour in (Behaviour(status=401, fault=Fault.ECHO_KEY), Behaviour(status=400, fault=Fault.ECHO_KEY)):
        house = House(behaviour=behaviour)
        sink = await ask(house, client, model)
        assert sink.status >= 400
        assert UPSTREAM_KEY.encode() not in sink.body
        assert all(UPSTREAM_KEY.encode() not in value for value in sink.headers.values())
        assert UPSTREAM_KEY not in str(house.journal.records)


async def test_the_providers_credential_goes_upstream_and_the_callers_does_not():
    house = House()
    await house.chat("gpt")
    await house.chat("claude")
    first, second = house.upstream.sent
    assert header(first.headers, b"authorization") == b"Bearer " + UPSTREAM_KEY.encode()
    assert header(second.headers, b"x-api-key") == UPSTREAM_KEY.encode()
    for one in house.upstream.sent:
        assert all(KEY not in value for _, value in one.headers)


@pytest.mark.parametrize("client", ["openai", "anthropic"])
async def test_a_bound_on_output_goes_under_the_name_the_server_knows(client):
    base = House().world.index.snapshot
    for field in ("max_tokens", "max_completion_tokens"):
        providers = tuple(replaced(row, profile=ProfileRow(max_tokens_field=field)) for row in base.providers)
        house = House(providers=providers)
        bound = {"max_completion_tokens": 12} if client == "openai" else {"max_tokens": 12}
        assert (await ask(house, client, "gpt", **bound)).status == 200
        assert json.loads(house.upstream.sent[0].body)[field] == 12
        house = House(providers=providers)
        await house.chat("capped")
        assert json.loads(house.upstream.sent[0].body)[field] == 100


async def test_a_dialect_that_must_have_a_bound_gets_the_entrys_default_or_the_smaller_cap():
    for fields, sent in (
        ({}, 4096),
        ({"default_max_tokens": 77}, 77),
        ({"default_max_tokens": 77, "max_tokens": 50}, 50),
    ):
        house = House(models=(model("claude", ("ant", "claude-sonnet"), **fields),))
        assert (await house.chat("claude")).status == 200
        assert json.loads(house.upstream.sent[0].body)["max_tokens"] == sent


async def test_a_field_that_cannot_be_carried_is_refused_by_name_or_dropped_where_allowed():
    house = House()
    sink = await house.chat("claude", logit_bias={"50256": -100})
    assert sink.status == 400
    assert sink.json["error"]["code"] == Code.REQUEST_UNSUPPORTED
    assert sink.json["error"]["param"] == "logit_bias"
    assert house.upstream.sent == []
    house.check()
    house = House()
    sink = await house.chat("claude", headers={b"x-ostiary-drop-unsupported": b"true"}, logit_bias={"50256": -100})
    assert sink.status == 200
    assert sink.headers[b"x-ostiary-dropped"] == b"logit_bias"
    assert len((await House().chat("claude", **{"k" * 100_000: 1})).body) < 2_000
    assert house.closed.dropped_fields == ("logit_bias",)
    house = House()
    assert (await house.chat("lenient", logit_bias={"50256": -100})).headers[b"x-ostiary-dropped"] == b"logit_bias"


async def test_embeddings_pass_and_are_metered():
    house = House()
    sink = await house.post(b"/v1/embeddings", {"model": "gpt", "input": ["one", "two"]})
    assert sink.status == 200
    assert len(sink.json["data"]) == 2
    assert house.closed.operation == "embeddings"
    assert house.closed.usage.input_tokens > 0
    assert house.closed.usage.output_tokens == 0


async def test_embeddings_of_a_model_without_them_are_refused_before_anything_goes_out():
    house = House()
    sink = await house.post(b"/v1/embeddings", {"model": "claude", "input": "x"})
    assert (sink.status, sink.json["error"]["code"]) == (400, Code.MODEL_UNSUITABLE)
    assert house.upstream.sent == []


async def test_tokens_are_counted_by_the_provider_or_estimated_and_say_so():
    body = {"model": "claude", "messages": [{"role": "user", "content": "How many tokens?"}]}
    house = House()
    sink = await house.post(b"/v1/messages/count_tokens", body)
    assert sink.json["input_tokens"] > 0
    assert b"x-ostiary-estimated" not in sink.headers
    house = House()
    sink = await house.post(b"/v1/messages/count_tokens", {**body, "model": "gpt"})
    assert sink.json["input_tokens"] > 0
    assert sink.headers[b"x-ostiary-estimated"] == b"true"
    assert house.upstream.sent == []
    house.check()


async def test_metadata_and_the_end_user_are_recorded_the_person_only_as_a_digest():
    house = House()
    metadata = json.dumps({"feature": "search", "prompt_id": "p1", "service": "web", "version": "1.2", "commit": "abc"})
    await house.chat(headers={b"x-ostiary-metadata": metadata.encode()}, user="alice@example.com")
    closed = house.closed
    assert (closed.feature, closed.prompt_id, closed.deployment.service) == ("search", "p1", "web")
    assert closed.end_user
    assert "alice" not in str(house.journal.records)


async def test_no_text_of_prompt_or_answer_stands_in_the_journal():
    house = House(behaviour=Behaviour(text="the answer canary"))
    await house.chat(messages=[{"role": "user", "content": "the prompt canary"}])
    assert "canary" not in str(house.journal.records)


# --- models ---------------------------------------------------------------------------------------------------


def test_models_lists_only_what_the_key_may_use_in_the_dialect_asked_for():
    house = House()
    listed = json.loads(house.get(b"/v1/models").body)
    names = {one["id"] for one in listed["data"]}
    assert names == {"gpt", "claude", "gem", "reasoner", "spare", "pair", "capped", "private", "mixed", "lenient"}
    anthropic = json.loads(house.get(b"/v1/models", headers={b"anthropic-version": b"2023-06-01"}).body)
    assert {one["id"] for one in anthropic["data"]} == names
    assert anthropic["data"][0]["type"] == "model"
    as_their_sdk_asks = {b"anthropic-version": b"2023-06-01", b"x-api-key": KEY}
    answer = house.get(b"/v1/models", key=None, headers=as_their_sdk_asks)
    assert {one["id"] for one in json.loads(answer.body)["data"]} == names
    assert dict(answer.headers)[b"request-id"]
    assert json.loads(house.get(b"/v1/models/gpt").body)["id"] == "gpt"
    assert house.get(b"/v1/models/secretive").status == 404
    assert house.get(b"/v1/models/nothing").status == 404
    assert house.get(b"/v1/models/sandboxed").status == 404
    assert house.get(b"/v1/models", key=None).status == 401


def test_a_foreign_model_and_a_missing_one_look_the_same_in_the_list():
    house = House()
    foreign, missing = (house.get(path) for path in (b"/v1/models/secretive", b"/v1/models/secretivf"))
    assert foreign.status == missing.status
    assert foreign.body.replace(b"secretive", b"") == missing.body.replace(b"secretivf", b"")
