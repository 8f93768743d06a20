"""Calls handed over to a person: what the caller gets, what is kept, and what a poll of the ticket says."""

import asyncio
import itertools
import json
import os

import msgspec
import pytest

from ostiary.core import limit
from ostiary.core.call import DialectName
from ostiary.core.error import Code
from ostiary.core.event import Kind, Outcome
from ostiary.core.review import Decision, Verdict
from ostiary.gateway.admit.ticket import Tickets
from ostiary.simulator.behaviour import Behaviour
from ostiary.snapshot.tables import (
    BudgetedRow,
    BudgetRow,
    ChecksRow,
    DegradedAnswerRow,
    DegradedRow,
    HandoverRow,
    PoorSign,
    QualityRow,
)
from ostiary.store.reviews import files as review_files
from ostiary.store.reviews.files import DECISION, QUESTION, ReviewFiles
from ostiary.store.reviews.sealed import ReviewSeals
from tests.exchange.harness import PRINCIPAL, House, RecordingSink, model, replaced

KEY = b"k" * 32
CANARY = "canary-7f3a in the request"
SORRY = "Nobody is there."


class Desk:
    """The house with a review desk in files, and a reviewer."""

    def __init__(
        self,
        folder,
        *,
        behaviour=None,
        ttl_seconds=3_600,
        on=(Code.UPSTREAM_ERROR,),
        checks=None,
        target=("oai", "gpt-4o-mini"),
        **fields,
    ):
        numbers = itertools.count(1)
        self.folder = folder
        self.seals = ReviewSeals(KEY, lambda count: next(numbers).to_bytes(count, "big"))
        self.files = ReviewFiles(folder, self.seals)
        row = DegradedRow(on, (DegradedAnswerRow(handover=HandoverRow(ttl_seconds, "app")), DegradedAnswerRow(SORRY)))
        self.house = House(
            models=(model("gpt", target, degraded=row, checks=checks),),
            behaviour=behaviour or Behaviour(status=500),
            tickets=Tickets(KEY, self.files),
            **fields,
        )

    async def ask(self, **fields):
        return await self.house.chat(messages=[{"role": "user", "content": CANARY}], **fields)

    async def poll(self, ticket, **options):
        sink = RecordingSink(self.house.journal)
        verdict = self.house.gateway.accept(self.house.head(f"/v1/reviews/{ticket}".encode(), method="GET", **options))
        await self.house.gateway.serve(verdict, b"", sink)
        return sink

    def left(self):
        return list(self.files.left())

    def decide(self, text, verdict=Verdict.ANSWERED):
        ((review, _),) = self.left()
        decision = Decision(verdict, text, 1_000, review.dialect, review.model, review.request_id)
        sealed = self.seals.seal(review.tenant, review.id, DECISION, msgspec.msgpack.encode(decision))
        self.files.tell(review.tenant, review.id, sealed)


@pytest.fixture
def desk(tmp_path):
    return Desk(tmp_path / "review")


async def test_the_caller_gets_a_ticket_once_the_request_is_kept_and_the_call_is_on_record(desk):
    sink = await desk.ask()
    ticket = sink.json["id"]
    assert sink.status == 202
    assert sink.json["status"] == "waiting"
    assert sink.headers[b"location"] == f"/v1/reviews/{ticket}".encode() == sink.json["poll"].encode()
    assert sink.headers[b"retry-after"] == b"5"
    assert sink.headers[b"x-ostiary-degraded"] == b"true"
    closed = desk.house.closed
    assert (closed.ticket, closed.status, closed.outcome) == (ticket, 202, Outcome.SUCCEEDED)
    assert (closed.degraded, closed.fallback) == (True, Code.UPSTREAM_ERROR)
    assert sink.records_at == [2], "the closing record stands before the ticket leaves"
    ((review, sealed),) = desk.left()
    question = json.loads(desk.seals.open("acme", ticket, QUESTION, sealed))
    assert question["messages"][0]["content"] == CANARY
    assert (review.tenant, review.key_id, review.request_id, review.callback) == ("acme", "key-1", "req-1", "app")
    desk.house.check()


async def test_a_stream_gets_a_ticket_too_and_never_a_stream(desk):
    sink = await desk.ask(stream=True)
    assert (sink.status, sink.streamed) == (202, False)
    assert sink.headers[b"content-type"] == b"application/json"
    assert desk.left()[0][0].stream


async def test_what_is_kept_is_sealed_and_readable_by_its_owner_alone(desk):
    await desk.ask()
    desk.decide("canary-of-the-answer")
    await desk.ask()
    found = [path for path in desk.folder.rglob("*") if path.is_file()]
    assert found
    for path in found:
        assert b"canary" not in path.read_bytes()
        assert path.stat().st_mode & 0o077 == 0
    assert all(path.stat().st_mode & 0o077 == 0 for path in desk.folder.rglob("*") if path.is_dir())


@pytest.mark.parametrize("dialect", ["openai", "anthropic", "openai-responses", "gemini", "openai-completions"])
async def test_a_poll_waits_and_then_gets_the_answer_in_the_dialect_of_the_call(desk, dialect):
    said = {"role": "user", "content": "hello"}
    path, body = {
        "openai": (b"/v1/chat/completions", {"model": "gpt", "messages": [said]}),
        "anthropic": (b"/v1/messages", {"model": "gpt", "max_tokens": 9, "messages": [said]}),
        "openai-responses": (b"/v1/responses", {"model": "gpt", "input": "hello"}),
        "gemini": (
            b"/v1beta/models/gpt:generateContent",
            {"contents": [{"role": "user", "parts": [{"text": "hello"}]}]},
        ),
        "openai-completions": (b"/v1/completions", {"model": "gpt", "prompt": "hello"}),
    }[dialect]
    given = await desk.house.post(path, body)
    assert given.status == 202, given.body
    waiting = await desk.poll(given.json["id"])
    assert (waiting.status, waiting.json["status"], waiting.json["request_id"]) == (202, "waiting", "req-1")
    assert waiting.headers[b"retry-after"] == b"5"
    desk.decide("A person says so.")
    told = await desk.poll(given.json["id"])
    assert told.status == 200
    found = {
        "openai": lambda one: one["choices"][0]["message"]["content"],
        "anthropic": lambda one: one["content"][0]["text"],
        "openai-responses": lambda one: one["output"][0]["content"][0]["text"],
        "gemini": lambda one: one["candidates"][0]["content"]["parts"][0]["text"],
        "openai-completions": lambda one: one["choices"][0]["text"],
    }[dialect](told.json)
    assert found == "A person says so."
    assert DialectName(dialect) in desk.house.world.clients
    again = await desk.poll(given.json["id"])
    assert again.json == told.json, "an answer can be fetched again"


async def test_others_and_what_was_never_there_look_the_same(desk):
    ticket = (await desk.ask()).json["id"]
    desk.decide("For its owner.")
    for stranger in (
        replaced(PRINCIPAL, tenant="other"),
        replaced(PRINCIPAL, key_id="key-2"),
        replaced(PRINCIPAL, tenant="acme\x00key-1"),
    ):
        desk.house.gateway._keys.principal = stranger
        told = await desk.poll(ticket)
        assert (told.status, told.json["error"]["code"]) == (404, Code.OBJECT_NOT_FOUND)
    desk.house.gateway._keys.principal = PRINCIPAL
    missing = [
        await desk.poll(one) for one in (f"{ticket[:-1]}0", "ticket-req-9-99999999999-" + "0" * 32, "x", "..%2f..")
    ]
    messages = {(one.status, one.json["error"]["message"]) for one in [*missing, told]}
    assert len(messages) == 1
    assert (await desk.poll(ticket)).status == 200


async def test_without_a_key_nothing_is_told(desk):
    ticket = (await desk.ask()).json["id"]
    answer = desk.house.gateway.accept(desk.house.head(f"/v1/reviews/{ticket}".encode(), method="GET", key=b"wrong"))
    assert answer.status == 401


async def test_a_ticket_that_nobody_decided_in_time_ends_and_says_so(desk):
    ticket = (await desk.ask()).json["id"]
    desk.house.clock.advance(3_599)
    assert (await desk.poll(ticket)).status == 202
    desk.house.clock.advance(1)
    told = await desk.poll(ticket)
    assert (told.status, told.json["error"]["code"]) == (410, Code.REVIEW_EXPIRED)
    end = str(desk.house.clock.now_ns() // 10**9)
    assert end in ticket
    assert (await desk.poll(ticket.replace(end, str(int(end) + 999)))).status == 404, "nobody else makes it last longer"


async def test_a_call_that_a_person_declined_fails_in_the_callers_dialect(desk):
    given = await desk.house.post(
        b"/v1/messages", {"model": "gpt", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]}
    )
    desk.decide("Not ours to answer.", Verdict.DECLINED)
    told = await desk.poll(given.json["id"])
    assert told.status == 422
    assert told.json["type"] == "error"
    assert "Not ours to answer." in told.json["error"]["message"]


async def test_regulated_data_is_not_kept_and_the_next_answer_is_given(tmp_path):
    desk = Desk(tmp_path, target=("onsite", "tiny"))
    sink = await desk.ask(headers={b"x-ostiary-sensitivity": b"regulated"})
    assert sink.status == 200
    assert sink.json["choices"][0]["message"]["content"] == SORRY
    assert desk.left() == []
    assert (await desk.ask()).status == 202, "other data of the same model is kept"


async def test_a_request_that_is_too_large_is_not_kept(desk, monkeypatch):
    monkeypatch.setattr("ostiary.gateway.handover.REVIEW_BODY_BYTES_MAX", 200)
    assert (await desk.ask()).status == 202
    sink = await desk.ask(user="x" * 200)
    assert (sink.status, len(desk.left())) == (200, 1)


async def test_a_tenants_part_of_the_queue_is_bounded(desk, monkeypatch):
    monkeypatch.setattr(review_files, "REVIEWS_WAITING_COUNT_MAX", 2)
    assert [(await desk.ask()).status for _ in range(3)] == [202, 202, 200]
    for review, _ in desk.left():
        desk.files.queued(review)
    assert (await desk.ask()).status == 200, "what the database has counts as long as it waits"
    desk.house.gateway._keys.principal = replaced(PRINCIPAL, tenant="acme", key_id="key-2")
    assert (await desk.ask()).status == 200, "all keys of a tenant have one part"
    assert limit.REVIEWS_WAITING_COUNT_MAX == 1_000


async def test_where_nothing_can_be_written_the_next_answer_is_given(desk):
    desk.folder.write_text("in the way")
    assert (await desk.ask()).status == 200
    desk.house.check()


async def test_without_a_closing_record_no_ticket_is_given(desk):
    desk.house.journal.fail_at = (2,)
    sink = await desk.ask()
    assert sink.status == 503
    assert sink.json["error"]["code"] == Code.AUDIT_UNAVAILABLE


async def test_a_poor_answer_can_be_handed_over_and_is_paid_for(tmp_path):
    checks = ChecksRow(quality=QualityRow((PoorSign.EMPTY,)))
    desk = Desk(tmp_path, behaviour=Behaviour(text=" "), on=(Code.UPSTREAM_QUALITY,), checks=checks)
    sink = await desk.ask()
    assert sink.status == 202
    assert desk.house.closed.fallback == Code.UPSTREAM_QUALITY
    assert desk.house.closed.cost.nano > 0
    desk.house.check()


async def test_a_call_refused_before_anything_went_out_can_be_handed_over(tmp_path):
    scope = "team/acme/search"
    desk = Desk(tmp_path, on=(Code.BUDGET_EXHAUSTED,), budgets=(BudgetedRow(scope, BudgetRow(nano=10)),))
    sink = await desk.ask()
    assert sink.status == 202
    closed = desk.house.closed
    assert (closed.opened, closed.ticket, closed.fallback) == (-1, sink.json["id"], Code.BUDGET_EXHAUSTED)
    desk.house.check()


async def test_the_same_idempotency_key_gets_the_same_ticket(desk):
    headers = {b"idempotency-key": b"once"}
    first = await desk.ask(headers=headers)
    again = await desk.ask(headers=headers)
    assert (first.status, again.status) == (202, 202)
    assert first.json == again.json
    assert len(desk.left()) == 1
    assert again.headers[b"location"] == first.headers[b"location"]
    assert [one.ticket for one in desk.house.journal.of(Kind.CLOSED)] == [first.json["id"], ""]


async def test_a_sealed_text_opens_only_as_what_it_was_sealed_as():
    seals = ReviewSeals(KEY, os.urandom)
    sealed = seals.seal("acme", "t1", QUESTION, b"text")
    assert seals.open("acme", "t1", QUESTION, sealed) == b"text"
    for tenant, ticket, purpose, data in (
        ("other", "t1", QUESTION, sealed),
        ("acme", "t2", QUESTION, sealed),
        ("acme", "t1", DECISION, sealed),
        ("acme", "t1", QUESTION, sealed[:-1] + bytes([sealed[-1] ^ 1])),
        ("acme", "t1", QUESTION, b""),
    ):
        with pytest.raises(Exception, match="does not open"):
            seals.open(tenant, ticket, purpose, data)
    with pytest.raises(Exception, match="does not open"):
        ReviewSeals(b"x" * 32, os.urandom).open("acme", "t1", QUESTION, sealed)


async def test_a_sweep_removes_what_has_ended_and_nothing_else(desk):
    ticket = (await desk.ask()).json["id"]
    now = desk.house.clock.now_ns() // 10**9
    (folder,) = desk.folder.iterdir()
    (folder / "what.else").write_text("")
    assert desk.files.sweep(now + 3_599) == 1
    assert [path.name for path in folder.iterdir()] == [f"{ticket}.asked"]
    desk.decide("too late?")
    assert desk.files.sweep(now + 3_600) == 1
    assert list(folder.iterdir()) == []
    assert await asyncio.wait_for(desk.files.decision("acme", ticket), 5) is None
