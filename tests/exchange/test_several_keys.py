"""Several secrets of one provider through whole calls (FD-07, FD-46)."""

import asyncio

import pytest

from ostiary.core.error import Code
from ostiary.core.event import Kind, Outcome
from ostiary.core.limit import CREDENTIAL_REST_SECONDS
from ostiary.core.secret import Secret
from ostiary.net.credentials import ProviderCredentials
from ostiary.simulator.behaviour import Behaviour, Fault
from ostiary.snapshot.index import Index
from ostiary.snapshot.tables import AuthRow, KeyRow, SecretRef, TeamRow
from tests.exchange.harness import House, model, provider, replaced, snapshot
from tests.exchange.test_realtime import begin, item, opened, refused

TEAM = TeamRow(tenant="acme", name="search", environment="production", models=("*",))


def keys(*names):
    return AuthRow("bearer", None, keys=tuple(KeyRow(name, SecretRef("env", name)) for name in names))


def providers(*names, **fields):
    return (provider("oai", "openai", auth=keys(*names), **fields), provider("spare", "openai"))


MODELS = (
    model("gpt", ("oai", "gpt-4o-mini"), attempts=1),
    model("both", ("oai", "first"), ("spare", "second"), strategy="priority", attempts=2),
)


class Named:
    """Secrets that say what they are."""

    def get(self, ref):
        return Secret(f"sk-{ref.name}")


def sent_with(request):
    return dict(request.headers)[b"authorization"].decode().removeprefix("Bearer sk-")


class Keyed(House):
    """A gateway whose provider refuses what `refuses` says of each secret: a status, or 0."""

    def __init__(self, *names, refuses=lambda name: 0, most=None, **fields):
        self.refuses = refuses
        self.used = []

        given = providers(*names, embedding_inputs_max=most)
        super().__init__(providers=given, models=MODELS, teams=(TEAM,), script=self._answer, **fields)
        self.world.credentials = ProviderCredentials(self.upstream, self.upstream, Named(), self.clock)

    def _answer(self, request):
        name = dict(request.headers)[b"authorization"].decode().removeprefix("Bearer sk-")
        self.used.append(name)
        status = self.refuses(name)
        return Behaviour(status=status) if status else None


async def test_calls_are_spread_over_the_secrets():
    one = Keyed("a", "b")
    for _ in range(6):
        assert (await one.chat()).status == 200
    assert sorted(one.used) == ["a"] * 3 + ["b"] * 3
    one.check()


async def test_a_call_in_parts_keeps_to_one_secret_and_begins_anew_with_the_next():
    count = 0

    def refuses(name):
        nonlocal count
        count += 1
        return 429 if count == 3 else 0

    one = Keyed("a", "b", refuses=refuses, most=3)
    sink = await one.post(b"/v1/embeddings", {"model": "gpt", "input": [str(n) for n in range(7)]})
    assert sink.status == 200
    assert len(sink.json["data"]) == 7
    first, second = one.used[0], one.used[3]
    assert first != second
    assert one.used == [first] * 3 + [second] * 3
    (closed,) = one.journal.of(Kind.CLOSED)
    assert [attempt.credential for attempt in closed.attempts] == [first, second]
    one.check()


@pytest.mark.parametrize("status", [401, 403, 429])
@pytest.mark.parametrize("stream", [False, True])
async def test_fd07_a_refused_secret_is_replaced_by_another_within_the_call(status, stream):
    one = Keyed("bad", "good", refuses=lambda name: status if name == "bad" else 0)
    for _ in range(5):
        assert (await one.chat(stream=stream)).status == 200
    assert one.used.count("bad") == 1, "it is left alone from then on"
    first = one.journal.of(Kind.CLOSED)[0]
    assert [(attempt.credential, bool(attempt.reason)) for attempt in first.attempts] == [
        ("bad", True),
        ("good", False),
    ]
    assert one.observer.credentials == ([] if status == 429 else [("oai", "bad")])
    assert not one.world.health.troubled, "the host is not blamed"
    one.check()


async def test_fd07_a_refused_secret_is_tried_again_after_its_rest():
    one = Keyed("bad", "good", refuses=lambda name: 401 if name == "bad" else 0)
    await one.chat()
    await one.chat()
    one.refuses = lambda name: 0
    one.clock.advance(CREDENTIAL_REST_SECONDS)
    for _ in range(4):
        await one.chat()
    assert one.used.count("bad") >= 2


async def test_fd07_where_every_secret_is_refused_the_next_target_helps_and_the_target_rests():
    one = Keyed("a", "b", refuses=lambda name: 401 if name in ("a", "b") else 0)
    assert (await one.chat("both")).status == 200
    assert one.used == ["a", "b", "X"]
    assert (await one.chat("both")).status == 200
    assert one.used == ["a", "b", "X", "X"]
    sink = await one.chat("gpt")
    assert (sink.status, sink.json["error"]["code"]) == (502, Code.UPSTREAM_CREDENTIAL)
    one.check()


async def test_a_rate_limit_of_every_secret_is_told_with_the_time_at_which_the_first_is_back():
    one = Keyed("a", "b")
    one.upstream.then(Behaviour(status=429, retry_after="30"), Behaviour(status=429, retry_after="9"))
    sink = await one.chat()
    assert (sink.status, sink.json["error"]["code"]) == (429, Code.UPSTREAM_RATE_LIMITED)
    assert int(sink.headers[b"retry-after"]) == 9
    one.clock.advance(9)
    assert (await one.chat()).status == 200
    assert len(set(one.used)) == 1
    one.check()


async def test_what_one_secret_says_of_its_quota_keeps_no_other_from_being_used():
    one = Keyed("a", "b")
    sent = one.upstream.send

    async def send(request):
        reply = await sent(request)
        if sent_with(request) == "a":
            reply.headers = (
                *reply.headers,
                (b"x-ratelimit-remaining-requests", b"0"),
                (b"x-ratelimit-reset-requests", b"7s"),
            )
        return reply

    one.upstream.send = send
    for _ in range(4):
        await one.chat()
    assert one.used == ["a", "b", "b", "b"]
    assert not one.world.health.troubled


async def test_a_failure_of_the_host_is_not_answered_with_another_secret():
    one = Keyed("a", "b", refuses=lambda name: 500)
    assert (await one.chat()).status == 502
    assert len(one.used) == 1
    one.check()


async def test_nothing_is_sent_again_with_another_secret_once_the_client_has_seen_content():
    one = Keyed("a", "b")
    one.upstream.then(Behaviour(fault=Fault.ERROR_EVENT, after=3))
    await one.chat(stream=True)
    assert len(one.upstream.sent) == 1
    one.check()


@pytest.mark.parametrize("status", [401, 429])
async def test_a_path_of_the_providers_own_is_asked_with_another_secret_too(status):
    team = replaced(TEAM, passthrough=("oai",))
    one = House(providers=providers("bad", "good"), models=MODELS, teams=(team,))
    one.world.credentials = ProviderCredentials(one.upstream, one.upstream, Named(), one.clock)
    sent = one.upstream.send

    async def send(request):
        reply = await sent(request)
        if sent_with(request) == "bad":
            reply.status = status
        return reply

    one.upstream.send = send
    for _ in range(3):
        sink = await one.post(b"/passthrough/oai/v1/whatever", {})
        assert sink.status != status
    assert [sent_with(request) for request in one.upstream.sent].count("bad") == 1
    one.check()


async def test_fd46_a_rotation_with_overlap_fails_no_call():
    """old alone; old and new; the provider revokes old; new alone."""
    valid = {"old"}
    one = Keyed("old", refuses=lambda name: 0 if name in valid else 401)
    statuses = []

    async def calls():
        statuses.extend([(await one.chat(stream=i % 2 == 0)).status for i in range(6)])

    def take(*names):
        one.world.swap(Index(snapshot(providers=providers(*names), models=MODELS, teams=(TEAM,))))

    await calls()
    valid.add("new")
    take("old", "new")
    await calls()
    valid.discard("old")
    revoked = len(one.used)
    await calls()
    assert one.used[revoked:].count("old") <= 1
    take("new")
    removed = len(one.used)
    await calls()
    assert "old" not in one.used[removed:]
    assert statuses == [200] * 24
    one.check()


# --- realtime sessions --------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [401, 403, 429])
async def test_fd07_a_secret_refused_at_the_handshake_of_a_session_is_replaced_by_another_and_rests(status):
    one = Keyed("bad", "good", refuses=lambda name: status if name == "bad" else 0)
    for _ in range(3):
        call = await opened(one, b"model=gpt")
        assert (await call.respond(item()))["response"]["status"] == "completed"
        await call.leave()
    assert one.used == ["bad", "good", "good", "good"]
    assert [sent_with(request) for request in one.upstream.sent] == one.used
    first = session_records(one)[0]
    assert [(attempt.credential, bool(attempt.reason)) for attempt in first.attempts] == [
        ("bad", True),
        ("good", False),
    ]
    assert first.outcome is Outcome.SUCCEEDED
    assert one.observer.credentials == ([] if status == 429 else [("oai", "bad")])
    assert not one.world.health.troubled, "the host is not blamed"
    one.check()


async def test_fd07_a_secret_that_rested_opens_sessions_again():
    one = Keyed("bad", "good", refuses=lambda name: 401 if name == "bad" else 0)
    await (await opened(one, b"model=gpt")).leave()
    one.refuses = lambda name: 0
    one.clock.advance(CREDENTIAL_REST_SECONDS)
    for _ in range(4):
        await (await opened(one, b"model=gpt")).leave()
    assert one.used.count("bad") >= 2
    one.check()


async def test_what_a_session_learned_of_a_secret_holds_for_calls_and_the_other_way_round():
    one = Keyed("bad", "good", refuses=lambda name: 401 if name == "bad" else 0)
    await (await opened(one, b"model=gpt")).leave()
    assert (await one.chat()).status == 200
    assert one.used == ["bad", "good", "good"]
    one = Keyed("bad", "good", refuses=lambda name: 401 if name == "bad" else 0)
    assert (await one.chat()).status == 200
    await (await opened(one, b"model=gpt")).leave()
    assert one.used == ["bad", "good", "good"]
    one.check()


async def test_fd07_where_every_secret_is_refused_a_session_goes_to_the_next_target():
    one = Keyed("a", "b", refuses=lambda name: 401 if name in ("a", "b") else 0)
    await (await opened(one, b"model=both")).leave()
    assert one.used == ["a", "b", "X"]
    assert await refused(one, b"model=gpt") == (502, Code.UPSTREAM_CREDENTIAL)
    assert one.used == ["a", "b", "X"], "while they rest they are not even tried"
    one.check()


async def test_a_session_refused_by_the_rate_limit_of_every_secret_hears_when_the_first_is_back():
    one = Keyed("a", "b")
    one.upstream.then(Behaviour(status=429, retry_after="30"), Behaviour(status=429, retry_after="9"))
    sink = begin(one, b"model=gpt").sink
    async with asyncio.timeout(5):
        while not sink.begun:
            await asyncio.sleep(0)
    assert (sink.status, sink.json["error"]["code"]) == (429, Code.UPSTREAM_RATE_LIMITED)
    assert int(sink.headers[b"retry-after"]) == 9
    one.clock.advance(9)
    await (await opened(one, b"model=gpt")).leave()
    one.check()


async def test_sessions_are_spread_over_the_secrets():
    one = Keyed("a", "b")
    calls = [await opened(one, b"model=gpt") for _ in range(6)]
    assert sorted(one.used) == ["a"] * 3 + ["b"] * 3
    for call in calls:
        call.client.leave()
        await call.over()
    one.check()


def session_records(house):
    return [one for one in house.journal.of(Kind.CLOSED) if one.operation == "realtime"]
