"""What a model says instead of a failure, where its entry asks for that."""

import asyncio
import json

import msgspec
import pytest

from ostiary.bootstrap.degraded import degraded_row
from ostiary.core.error import Code, UpstreamError
from ostiary.core.event import Kind, Outcome
from ostiary.settings import DegradedSettings
from ostiary.simulator.behaviour import Behaviour, Fault
from ostiary.snapshot.tables import BudgetedRow, BudgetRow, KeyRow, LimitedRow, LimitRow, Residency, SecretRef
from tests.exchange.harness import UPSTREAM_KEY, House, RecordingSink, model, provider, replaced, snapshot

HOURS = "We are open from nine to five."
SORRY = "Nobody can answer just now ({reason}, {request_id}, {model}, {retry_after_seconds})."
FAQ = {"questions": ["When are you open?", "What are your opening hours"], "text": HOURS}


def house(*answers, behaviour=None, fields=None, **settings):
    given = {"answers": list(answers) or [{"text": SORRY}], **settings}
    row = degraded_row((), msgspec.convert(given, DegradedSettings), refuse, ("helper",))
    return House(models=(model("gpt", ("oai", "gpt-4o-mini"), degraded=row),), behaviour=behaviour, **(fields or {}))


def refuse(path, reason):
    return ValueError(f"{path}: {reason}")


def ask(text):
    return {"messages": [{"role": "system", "content": "Be kind."}, {"role": "user", "content": text}]}


async def test_a_ready_answer_is_given_instead_of_a_failure_and_recorded_as_what_it_is():
    one = house(behaviour=Behaviour(status=500))
    sink = await one.chat()
    assert sink.status == 200
    request_id = one.closed.request_id
    assert sink.json["choices"][0]["message"]["content"] == (
        f"Nobody can answer just now (upstream.error, {request_id}, gpt, 0)."
    )
    assert sink.json["model"] == "gpt"
    assert sink.headers[b"x-ostiary-degraded"] == b"true"
    assert sink.headers[b"x-ostiary-fallback"] == b"upstream.error"
    closed = one.closed
    assert (closed.outcome, closed.status, closed.degraded) == (Outcome.SUCCEEDED, 200, True)
    assert (closed.fallback, closed.error, closed.provider) == (Code.UPSTREAM_ERROR, "", "")
    assert closed.attempts, "the attempts that failed stand in the record"
    assert closed.cost.nano == 0
    one.check()


@pytest.mark.parametrize("path", [b"/v1/chat/completions", b"/v1/messages", b"/v1/responses"])
@pytest.mark.parametrize("stream", [False, True])
async def test_it_is_told_in_every_dialect_plain_and_as_a_whole_stream(path, stream):
    one = house({"text": HOURS}, behaviour=Behaviour(status=503))
    body = {"model": "gpt", "stream": stream}
    if path == b"/v1/responses":
        body["input"] = "hello"
    else:
        body |= {"max_tokens": 9, "messages": [{"role": "user", "content": "hello"}]}
    sink = await one.post(path, body)
    assert sink.status == 200
    text = sink.body.decode()
    assert HOURS in text
    if stream:
        assert sink.headers[b"content-type"].startswith(b"text/event-stream")
        last = [json.loads(line[6:]) for line in text.split("\n") if line.startswith("data: {")][-1]
        ends = {b"/v1/messages": "message_stop", b"/v1/responses": "response.completed"}
        assert text.endswith("data: [DONE]\n\n") if path not in ends else last["type"] == ends[path]
    one.check()


async def test_a_ready_answer_that_cannot_be_recorded_is_not_given_and_the_client_is_told():
    one = house(behaviour=Behaviour(status=500))
    one.journal.fail_at = (2,)
    sink = await one.chat()
    assert (sink.status, sink.json["error"]["code"]) == (503, Code.AUDIT_UNAVAILABLE)
    assert len(one.journal.deferred) == 1


async def test_where_a_ready_answer_cannot_be_chosen_the_failure_itself_is_told():
    one = house(FAQ, behaviour=Behaviour(status=500))
    sink = await one.chat(messages=[{"role": "user", "content": [{"type": "mystery", "mystery": "?"}]}])
    assert (sink.status, sink.json["error"]["code"]) == (502, Code.UPSTREAM_ERROR)
    one.check()


async def test_nothing_stands_in_once_content_has_been_sent():
    one = house(behaviour=Behaviour(tokens=20, fault=Fault.CUT, after=5))
    sink = await one.chat(stream=True)
    assert b"Nobody can answer" not in sink.body
    assert b"upstream.cut" in sink.body
    assert not one.closed.degraded
    one.check()


async def test_a_failure_before_the_first_content_of_a_stream_is_stood_in_for():
    one = house(behaviour=Behaviour(tokens=20, fault=Fault.CUT, after=0))
    sink = await one.chat(stream=True)
    assert b"Nobody can answer just now (upstream.cut" in sink.body
    assert one.closed.degraded
    one.check()


@pytest.mark.parametrize(
    ("question", "told"),
    [
        ("When are you open?", HOURS),
        ("when are YOU open", HOURS),
        ("what are your opening hours?!", HOURS),
        ("When are you closed?", None),
        ("When are you open on 24 December?", None),
        ("", None),
    ],
)
async def test_an_answer_for_questions_is_given_to_these_alone(question, told):
    one = house(FAQ, behaviour=Behaviour(status=500))
    sink = await one.chat(**ask(question))
    if told is None:
        assert sink.json["error"]["code"] == Code.UPSTREAM_ERROR
    else:
        assert sink.json["choices"][0]["message"]["content"] == told
    one.check()


async def test_numbers_make_another_question():
    one = house(
        {"questions": ["what does plan 1 cost me in one whole year of use"], "text": "10"},
        behaviour=Behaviour(status=500),
    )
    assert (await one.chat(**ask("What does plan 1 cost me in one whole year of use?"))).status == 200
    assert (await one.chat(**ask("What does plan 2 cost me in one whole year of use?"))).status == 502
    one.check()


async def test_the_first_answer_that_fits_is_given():
    one = house(
        {"when": 'principal.team == "other"', "text": "for others"},
        {"when": 'request.metadata.tier == "free"', "text": "for free"},
        {"text": "for all"},
        behaviour=Behaviour(status=500),
    )
    assert b"for all" in (await one.chat()).body
    free = await one.chat(headers={b"x-ostiary-metadata": b'{"tier": "free"}'})
    assert b"for free" in free.body
    one.check()


async def test_only_the_failures_it_is_for_are_stood_in_for():
    one = house(behaviour=Behaviour(status=400), on=["error"])
    assert (await one.chat()).status == 400
    limited = house(behaviour=Behaviour(status=429), on=["error"])
    assert (await limited.chat()).status == 429
    limited = house(behaviour=Behaviour(status=429), on=["rate_limit"])
    assert (await limited.chat()).status == 200
    for each in (one, limited):
        each.check()


async def test_a_refusal_for_want_of_budget_may_be_stood_in_for_and_costs_nothing():
    scope = "team/acme/search"
    fields = {"budgets": (BudgetedRow(scope, BudgetRow(nano=10)),)}
    assert (await house(fields=fields).chat(max_tokens=50)).status == 402
    one = house(fields=fields, on=["budget"])
    sink = await one.chat(max_tokens=50)
    assert sink.status == 200
    assert one.upstream.sent == []
    assert one.world.holds.spent()[scope].nano == 0
    assert one.closed.fallback == Code.BUDGET_EXHAUSTED
    one.check()


async def test_a_refusal_for_a_limit_may_be_stood_in_for():
    fields = {"limits": (LimitedRow("team/acme/search", LimitRow(requests_per_minute=1, request_burst=1)),)}
    one = house(fields=fields, on=["limit"])
    await one.chat()
    sink = await one.chat()
    assert sink.status == 200
    assert sink.headers[b"x-ostiary-degraded"] == b"true"
    one.check()


async def test_a_key_without_the_model_gets_no_answer_of_its():
    one = house(behaviour=Behaviour(status=500))
    sink = await one.chat("secretive")
    assert sink.status == 404
    assert one.journal.of(Kind.DENIED)


async def test_what_stood_in_is_not_what_a_repetition_gets():
    one = house()
    one.upstream.then(Behaviour(status=500))
    headers = {b"idempotency-key": b"once"}
    first = await one.chat(headers=headers)
    assert first.headers[b"x-ostiary-degraded"] == b"true"
    again = await one.chat(headers=headers)
    assert b"x-ostiary-degraded" not in again.headers
    assert again.status == 200
    one.check()


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ({"text": "sorry, {name}"}, "nothing fills `{name}`"),
        ({"text": "x", "when": "principal.tema == 'a'"}, "did you mean `team`"),
        ({"text": "x", "when": "1 +"}, "is no expression"),
    ],
)
def test_what_cannot_work_is_refused_with_its_place(answer, reason):
    with pytest.raises(ValueError, match="degraded.*answers.*0") as caught:
        house(answer)
    assert reason in str(caught.value)


async def test_a_text_is_given_as_it_stands_whatever_it_looks_like():
    one = house({"text": 'a "quoted" {{reason}} \\n </script> é'}, behaviour=Behaviour(status=500))
    told = (await one.chat()).json["choices"][0]["message"]["content"]
    assert told == 'a "quoted" {upstream.error} \\n </script> é'


# --- the application's own webhook ------------------------------------------------------------------------------

HOOK = {"webhook": {"provider": "helper", "path": "/answer", "timeout_seconds": 3}}


class Helped:
    """An upstream of which one host is the application's own; everything else fails."""

    def __init__(self, inner, answer):
        self.inner = inner
        self.answer = answer
        self.asked = []

    async def send(self, request):
        if request.origin.host != "helper.test":
            return await self.inner.send(request)
        self.asked.append(request)
        if isinstance(self.answer, Exception):
            raise self.answer
        if self.answer is asyncio.CancelledError:
            raise asyncio.CancelledError
        return Hooked(*self.answer)


class Hooked:
    def __init__(self, status, body):
        self.status, self.body, self.headers = status, body, ()
        self.closed = False

    async def read(self, bytes_max):
        if len(self.body) > bytes_max:
            raise UpstreamError(Code.UPSTREAM_PROTOCOL, "too much")
        return self.body

    def close(self):
        self.closed = True


def helped(answer, *answers, residency=Residency.HOSTED, **fields):
    base = snapshot()
    helper = replaced(provider("helper", "openai"), auth=base.providers[0].auth, residency=residency)
    fields = {"providers": (*base.providers, helper), **fields}
    one = house(HOOK, *answers, behaviour=Behaviour(status=500), fields=fields)
    one.world.upstream = Helped(one.upstream, answer)
    return one


async def test_the_applications_webhook_is_asked_what_to_say():
    one = helped((200, b'{"text": "from the application"}'))
    sink = await one.chat(**ask("where is my parcel?"), headers={b"x-ostiary-metadata": b'{"tier": "gold"}'})
    assert sink.json["choices"][0]["message"]["content"] == "from the application"
    (asked,) = one.world.upstream.asked
    assert (asked.method, asked.target) == (b"POST", b"/v1/answer")
    assert (b"authorization", b"Bearer " + UPSTREAM_KEY.encode()) in asked.headers
    told = json.loads(asked.body)
    assert told == {
        "reason": "upstream.error",
        "request_id": one.closed.request_id,
        "model": "gpt",
        "tenant": "acme",
        "team": "search",
        "metadata": {"tier": "gold"},
        "question": "where is my parcel?",
    }
    assert one.closed.degraded
    one.check()


@pytest.mark.parametrize(
    "answer",
    [
        (204, b""),
        (200, b""),
        (200, b"[]"),
        (200, b'{"text": 3}'),
        (200, b'{"text": "' + b"x" * 70_000 + b'"}'),
        (200, b'{"text": "\xff"}'),
        (500, b'{"text": "no"}'),
        UpstreamError(Code.UPSTREAM_TIMEOUT, "slow"),
    ],
)
async def test_where_it_says_nothing_of_use_the_next_answer_is_given(answer):
    one = helped(answer, {"text": HOURS})
    assert (await one.chat()).json["choices"][0]["message"]["content"] == HOURS
    one.check()
    alone = helped(answer)
    assert (await alone.chat()).json["error"]["code"] == Code.UPSTREAM_ERROR
    alone.check()


@pytest.mark.parametrize(("residency", "asked"), [(Residency.HOSTED, 0), (Residency.PRIVATE, 1)])
async def test_regulated_data_reaches_no_webhook_that_is_not_private(residency, asked):
    base = snapshot()
    onsite = tuple(replaced(one, residency=Residency.PRIVATE) if one.name == "oai" else one for one in base.providers)
    one = helped((200, b'{"text": "x"}'), residency=residency)
    helper = one.world.index.providers["helper"]
    one = helped((200, b'{"text": "x"}'), residency=residency, providers=(*onsite, helper))
    sink = await one.chat(headers={b"x-ostiary-sensitivity": b"regulated"})
    assert len(one.world.upstream.asked) == asked
    assert (sink.status == 200) is bool(asked)
    one.check()


async def test_a_webhook_behind_several_secrets_is_asked_with_one_of_them():
    base = snapshot()
    auth = base.providers[0].auth
    keys = (KeyRow("first", SecretRef("env", "X")), KeyRow("second", SecretRef("env", "X")))
    helper = replaced(provider("helper", "openai"), auth=replaced(auth, secret=None, keys=keys))
    one = helped((200, b'{"text": "x"}'), providers=(*base.providers, helper))
    assert (await one.chat()).status == 200
    (asked,) = one.world.upstream.asked
    assert (b"authorization", b"Bearer " + UPSTREAM_KEY.encode()) in asked.headers
    one.check()


async def test_a_client_that_leaves_while_the_webhook_is_asked_is_recorded():
    one = helped(asyncio.CancelledError)
    sink = RecordingSink(one.journal)
    sink.gone = True
    await one.chat(sink=sink)
    assert one.closed.outcome is Outcome.CANCELLED
    one.check()


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ({"webhook": {"provider": "helpr"}}, "did you mean `helper`"),
        ({"text": "x", "webhook": {"provider": "helper"}}, "a `text`, a `webhook` or a `handover`"),
        ({"when": "true"}, "a `text`, a `webhook` or a `handover`"),
    ],
)
def test_a_webhook_that_cannot_be_asked_is_refused_with_its_place(answer, reason):
    with pytest.raises(ValueError, match=r"degraded.*answers.*0") as caught:
        house(answer)
    assert reason in str(caught.value)
