"""Which target a call goes to while some of them fail, and how often it is tried."""

import msgspec
import pytest

from ostiary.core.error import Code, UpstreamError
from ostiary.core.event import Kind, Skipped
from ostiary.core.limit import EJECT_AFTER_FAILURES, EJECT_SECONDS, RETRIES_RESERVED, RETRIES_SHARE, TARGETS_SKIPPED_MAX
from ostiary.simulator.behaviour import Behaviour, Fault
from ostiary.snapshot.index import Index
from ostiary.snapshot.tables import Subject, TeamRow
from tests.exchange.harness import House, fallback, model

DOWN = Behaviour(status=500)
WELL = Behaviour()
MODELS = (
    model("gpt", ("oai", "gpt-4o-mini"), attempts=3),
    model("once", ("oai", "gpt-4o-mini"), attempts=1),
    model("both", ("oai", "first"), ("spare", "second"), strategy="priority", attempts=3),
    model("spare", ("spare", "gpt-spare")),
)


def house(**fields):
    team = TeamRow(tenant="acme", name="search", environment="production", models=("*",))
    return House(models=MODELS, teams=(team,), **fields)


def hosts(one):
    return [sent.origin.host.removesuffix(".test") for sent in one.upstream.sent]


async def test_a_target_alone_is_tried_again_after_a_pause():
    one = house(script=[DOWN, DOWN, WELL], draw=0.5)
    sink = await one.chat("gpt")
    one.check()
    assert sink.status == 200
    assert sink.headers[b"x-ostiary-attempts"] == b"3"
    assert one.slept == [0.125, 0.25]
    (closed,) = one.journal.of(Kind.CLOSED)
    assert [attempt.reason for attempt in closed.attempts] == [Code.UPSTREAM_ERROR, Code.UPSTREAM_ERROR, ""]


async def test_no_more_attempts_are_made_than_the_model_allows():
    one = house(script=[DOWN] * 9)
    assert (await one.chat("gpt")).status == 502
    assert len(one.upstream.sent) == 3
    assert (await one.chat("once")).status == 502
    assert len(one.upstream.sent) == 4
    one.check()


async def test_what_the_provider_asks_for_is_waited_for():
    one = house(script=[Behaviour(status=429, retry_after="7"), WELL])
    sink = await one.chat("gpt")
    assert sink.status == 200
    assert one.slept == [7.0]


async def test_nothing_waits_beyond_the_calls_own_deadline():
    one = house(script=[Behaviour(status=429, retry_after="50")] * 9)
    for _ in range(3):
        sink = await one.chat("gpt")
        assert sink.status == 429
    assert sum(one.slept) < 120
    one.check()


@pytest.mark.parametrize("status", [400, 404, 413, 422])
async def test_a_refused_request_is_not_tried_again(status):
    one = house(script=[Behaviour(status=status)] * 9)
    await one.chat("both")
    assert len(one.upstream.sent) == 1


async def test_the_next_target_is_tried_at_once_and_an_ejected_one_is_passed_over():
    one = house(script=lambda request: DOWN if b"first" in request.body else None)
    for _ in range(EJECT_AFTER_FAILURES):
        assert (await one.chat("both")).status == 200
    assert hosts(one) == ["oai", "spare"] * EJECT_AFTER_FAILURES
    assert one.slept == []
    sink = await one.chat("both")
    assert (sink.status, sink.headers[b"x-ostiary-attempts"]) == (200, b"1")
    assert hosts(one)[-1] == "spare"
    one.clock.advance(EJECT_SECONDS)
    await one.chat("both")
    assert hosts(one)[-2:] == ["oai", "spare"], "one call finds out whether it is back"
    await one.chat("both")
    assert hosts(one)[-1] == "spare"
    one.check()


async def test_where_every_target_rests_the_client_hears_at_once_when_to_come_back():
    one = house(script=[Behaviour(status=429, retry_after="30")] * 9)
    await one.chat("once")
    before = len(one.upstream.sent)
    sink = await one.chat("once")
    assert (sink.status, sink.json["error"]["code"]) == (429, Code.UPSTREAM_RATE_LIMITED)
    assert 29 <= int(sink.headers[b"retry-after"]) <= 30
    assert len(one.upstream.sent) == before
    one.check()


async def test_a_sole_target_that_says_no_once_is_asked_again_by_the_next_call():
    one = house(script=[Behaviour(status=503)])
    assert (await one.chat("once")).status == 503
    assert (await one.chat("once")).status == 200
    one.check()


async def test_a_target_that_says_no_is_passed_over_while_another_can_take_the_call():
    one = house(script=lambda request: Behaviour(status=429) if b"first" in request.body else None)
    for _ in range(3):
        assert (await one.chat("both")).status == 200
    assert hosts(one) == ["oai", "spare", "spare", "spare"]


async def test_a_target_that_says_its_quota_is_used_up_is_passed_over_before_it_refuses():
    one = house()
    sent = one.upstream.send

    async def send(request):
        reply = await sent(request)
        if request.origin.host == "oai.test":
            reply.headers = (
                *reply.headers,
                (b"x-ratelimit-remaining-requests", b"0"),
                (b"x-ratelimit-reset-requests", b"7s"),
            )
        return reply

    one.upstream.send = send
    for _ in range(3):
        assert (await one.chat("both")).status == 200
    assert hosts(one) == ["oai", "spare", "spare"]
    one.clock.advance(7)
    await one.chat("both")
    assert hosts(one)[-1] == "oai"
    await one.chat("once")
    assert hosts(one)[-1] == "oai", "where no other can take the call it is asked all the same"


async def test_a_refused_credential_is_named_until_it_is_tried_again_or_replaced():
    one = house(script=[Behaviour(status=401)])
    for _ in range(2):
        sink = await one.chat("once")
        assert (sink.status, sink.json["error"]["code"]) == (502, Code.UPSTREAM_CREDENTIAL)
    assert len(one.upstream.sent) == 1
    provider = one.world.index.snapshot.providers[0]
    replaced = msgspec.structs.replace(provider, headers=(("x-project", "other"),))
    snapshot = one.world.index.snapshot
    one.world.swap(Index(msgspec.structs.replace(snapshot, providers=(replaced, *snapshot.providers[1:]))))
    assert (await one.chat("once")).status == 200
    one.check()


async def test_where_every_target_is_ejected_the_answer_is_a_fast_503():
    one = house(script=[DOWN] * 99)
    for _ in range(EJECT_AFTER_FAILURES):
        await one.chat("once")
    sink = await one.chat("once")
    assert (sink.status, sink.json["error"]["code"]) == (503, Code.UPSTREAM_UNAVAILABLE)
    assert len(one.upstream.sent) == EJECT_AFTER_FAILURES
    (denied,) = one.journal.of(Kind.DENIED)
    assert denied.error == Code.UPSTREAM_UNAVAILABLE
    one.check()


async def test_fd06_a_storm_of_failures_is_not_answered_with_more_load():
    one = house(script=lambda request: DOWN)
    calls = 200
    for _ in range(calls):
        await one.chat("both")
        one.clock.advance(0.05)
    assert len(one.upstream.sent) <= calls * (1 + RETRIES_SHARE) + 2 * RETRIES_RESERVED
    one.check()


async def test_fd06_a_third_of_failures_is_hidden_within_the_budget():
    seen = iter(range(10**6))
    one = house(script=lambda request: DOWN if next(seen) % 10 == 0 else None, draw=0.0)
    answered = [(await one.chat("both")).status for _ in range(300)]
    assert answered.count(200) == 300
    assert len(one.upstream.sent) <= 300 * (1 + RETRIES_SHARE) + RETRIES_RESERVED


async def test_a_refused_credential_sends_calls_elsewhere_without_blaming_the_host():
    one = house(script=lambda request: Behaviour(status=401) if b"first" in request.body else None)
    assert (await one.chat("both")).status == 200
    assert (await one.chat("both")).status == 200
    assert hosts(one) == ["oai", "spare", "spare"]
    assert not one.world.health.of("oai/first", one.clock.monotonic()).ejected_until


async def test_nothing_is_tried_again_once_the_client_has_seen_content():
    one = house(script=[Behaviour(fault=Fault.CUT, after=3), WELL])
    sink = await one.chat("gpt", stream=True)
    assert len(one.upstream.sent) == 1
    assert b'"error"' in sink.body
    one.check()


CHAIN = (
    model("gpt", ("oai", "gpt-4o-mini"), fallbacks=(fallback("long", Code.UPSTREAM_CONTEXT_WINDOW), fallback("spare"))),
    model("long", ("ant", "claude-sonnet")),
    model("spare", ("spare", "gpt-spare")),
)


@pytest.mark.parametrize(
    ("behaviour", "expected", "reason"),
    [
        (Behaviour(status=500), ["oai", "spare"], Code.UPSTREAM_ERROR),
        (Behaviour(status=429), ["oai", "spare"], Code.UPSTREAM_RATE_LIMITED),
        (Behaviour(status=422), ["oai"], None),
    ],
)
async def test_each_fallback_is_tried_after_the_failures_it_stands_for(behaviour, expected, reason):
    one = House(models=CHAIN)
    one.upstream.then(behaviour)
    sink = await one.chat("gpt")
    assert hosts(one) == expected
    assert sink.headers.get(b"x-ostiary-fallback") == (reason.encode() if reason else None)
    one.check()


async def test_a_request_too_long_for_a_model_goes_to_the_one_that_stands_ready_for_it():
    one = House(
        models=CHAIN,
        teams=(TeamRow(tenant="acme", name="search", environment="production", models=("gpt", "long")),),
    )
    sent = one.upstream.send

    async def send(request):
        if request.origin.host == "oai.test":
            one.upstream.sent.append(request)
            raise UpstreamError(Code.UPSTREAM_CONTEXT_WINDOW, "too long")
        return await sent(request)

    one.upstream.send = send
    sink = await one.chat("gpt")
    assert (sink.status, hosts(one)) == (200, ["oai", "ant"])
    assert sink.headers[b"x-ostiary-fallback"] == Code.UPSTREAM_CONTEXT_WINDOW.encode()
    one.check()


async def test_a_fallback_the_key_may_not_use_is_never_tried():
    team = TeamRow(tenant="acme", name="search", environment="production", models=("gpt", "long"))
    one = House(models=CHAIN, teams=(team,), script=lambda request: DOWN)
    assert (await one.chat("gpt")).status == 502
    assert hosts(one) == ["oai"]


async def test_a_fallback_for_other_failures_does_not_stand_in_for_a_target_that_rests():
    models = (
        model("gpt", ("oai", "gpt-4o-mini"), fallbacks=(fallback("long", Code.UPSTREAM_CONTEXT_WINDOW),)),
        *CHAIN[1:],
    )
    one = House(models=models, script=[Behaviour(status=429, retry_after="30")])
    for _ in range(2):
        assert (await one.chat("gpt")).status == 429
    assert hosts(one) == ["oai"]


async def test_where_a_models_own_targets_rest_the_fallback_answers_and_says_so():
    one = House(models=CHAIN, script=lambda request: DOWN if b"gpt-4o-mini" in request.body else None)
    for _ in range(EJECT_AFTER_FAILURES):
        await one.chat("gpt")
    sink = await one.chat("gpt")
    assert (sink.status, hosts(one)[-1]) == (200, "spare")
    assert sink.headers[b"x-ostiary-attempts"] == b"1"
    assert sink.headers[b"x-ostiary-fallback"] == Code.UPSTREAM_UNAVAILABLE.encode()


async def test_a_record_names_the_targets_that_a_call_was_kept_from_and_why():
    one = house(script=lambda request: Behaviour(status=429) if b"first" in request.body else None)
    for _ in range(2):
        assert (await one.chat("both")).status == 200
    well, second = one.journal.of(Kind.CLOSED)
    assert (well.route, well.strategy) == ((), "")
    assert second.route == (Skipped("oai/first", "resting"),)
    assert second.strategy == "priority"


async def test_a_record_names_what_kept_a_call_from_every_target():
    one = house(script=[Behaviour(status=429, retry_after="30")])
    for _ in range(2):
        await one.chat("once")
    (denied,) = one.journal.of(Kind.DENIED)
    assert [skipped.reason for skipped in denied.route] == ["resting"]


async def test_a_record_holds_no_more_skipped_targets_than_it_has_room_for():
    names = [f"m{i}" for i in range(TARGETS_SKIPPED_MAX + 8)]
    wide = model("wide", *(("oai", name) for name in names), ("onsite", "tiny"))
    team = TeamRow(tenant="acme", name="search", environment="production", models=("*",))
    one = House(models=(wide,), teams=(team,))
    assert (await one.chat("wide", headers={b"x-ostiary-sensitivity": b"regulated"})).status == 200
    assert len(one.closed.route) == TARGETS_SKIPPED_MAX
    assert {skipped.reason for skipped in one.closed.route} == {"not private"}


def split_by(subject):
    team = TeamRow(tenant="acme", name="search", environment="production", models=("*",))
    targets = tuple(("oai", f"m{i}") for i in range(8))
    return House(models=(model("test", *targets, strategy="split", subject=subject),), teams=(team,))


async def served(one, **options):
    sink = await one.chat("test", **options)
    one.check()
    return sink.headers[b"x-ostiary-target"].partition(b"@")[0]


async def test_a_session_stays_at_its_target_and_sessions_are_spread():
    one = split_by(Subject.SESSION)
    sessions = [{b"x-ostiary-session": b"s-%d" % number} for number in range(12)]
    found = [await served(one, headers=headers) for headers in sessions]
    assert [await served(one, headers=headers) for headers in sessions] == found
    assert len(set(found)) > 1


async def test_an_end_user_stays_at_its_target_and_one_without_a_name_with_its_key():
    one = split_by(Subject.END_USER)
    found = [await served(one, user=f"u-{number}") for number in range(12)]
    assert [await served(one, user=f"u-{number}") for number in range(12)] == found
    assert len(set(found)) > 1
    assert len({await served(one) for _ in range(12)}) == 1


async def test_a_key_is_the_subject_unless_the_model_says_otherwise():
    one = split_by(Subject.KEY)
    assert len({await served(one, headers={b"x-ostiary-session": b"s-%d" % i}, user=f"u-{i}") for i in range(12)}) == 1
