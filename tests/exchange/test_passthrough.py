"""Any other path of a provider: the same bytes, on the same road as every call."""

import json

import pytest

from ostiary.core.error import Code
from ostiary.core.event import Kind, Outcome
from ostiary.core.http import Answer
from ostiary.snapshot.tables import TeamRow
from tests.exchange.harness import House, RecordingSink

BODY = b'{"purpose" :  "batch",\n"x":1.50}'


def house(passthrough=("oai",), models=("gpt",)):
    team = TeamRow(
        tenant="acme", name="search", environment="production", models=models, passthrough=tuple(passthrough)
    )
    return House(teams=(team,))


async def call(one, method, path, body=b"", headers=None, *, query=b""):
    sink = RecordingSink(one.journal)
    given = {b"content-type": b"application/json", **(headers or {})}
    verdict = one.gateway.accept(one.head(path, method=method, headers=given, query=query))
    if isinstance(verdict, Answer):
        sink.answer(verdict.status, verdict.headers, verdict.body)
    else:
        await one.gateway.serve(verdict, body, sink)
    one.check()
    return sink


async def test_the_bytes_go_to_the_providers_own_path_and_its_answer_comes_back():
    one = house()
    sink = await call(one, "GET", b"/passthrough/oai/models", query=b"limit=2")
    assert sink.status == 200
    assert sink.json["object"] == "list"
    (sent,) = one.upstream.sent
    assert (sent.method, sent.target) == (b"GET", b"/v1/models?limit=2")


async def test_a_body_and_its_errors_pass_unchanged_and_are_recorded():
    one = house()
    sink = await call(
        one, "POST", b"/passthrough/oai/files", BODY, {b"openai-beta": b"x", b"cookie": b"c", b"x-up": b"y"}
    )
    (sent,) = one.upstream.sent
    assert sent.body == BODY
    names = {name for name, _ in sent.headers}
    assert b"openai-beta" in names
    assert not {b"cookie", b"x-up"} & names
    assert [value for name, value in sent.headers if name == b"authorization"] == [
        b"Bearer sk-upstream-canary-1234567890"
    ]
    assert sink.status == 400
    assert sink.headers[b"content-type"] == b"application/json"
    assert "model" in sink.json["error"]["message"]
    (closed,) = one.journal.of(Kind.CLOSED)
    assert (closed.operation, closed.outcome, closed.status, closed.error) == (
        "passthrough",
        Outcome.FAILED,
        400,
        Code.UPSTREAM_REFUSED,
    )
    assert (closed.provider, closed.original_model) == ("oai", "oai")


@pytest.mark.parametrize(
    "path",
    [
        b"chat/completions",
        b"/chat//completions",
        b"v1/Chat/completions/",
        b"chat%2Fcompletions",
        b"chat%252fcompletions",
        b"messages",
        b"responses",
        b"images/generations",
        b"audio/speech",
        b"models/gemini-pro:generateContent",
        b"models/gemini-pro%3AgenerateContent",
        b"model/x/converse-stream",
    ],
)
async def test_it_is_no_way_around_an_endpoint_of_our_own(path):
    one = house()
    sink = await call(one, "POST", b"/passthrough/oai/" + path, b"{}")
    assert (sink.status, sink.json["error"]["code"]) == (403, Code.POLICY_PASSTHROUGH)
    assert one.upstream.sent == []


@pytest.mark.parametrize(
    "path", [b"../admin", b"a/../../b", b"a/%2e%2e/b", b"a/%252e%252e/b", b"a\\..\\b", b"", b"a%00b"]
)
async def test_it_cannot_leave_the_providers_base_path(path):
    one = house()
    sink = await call(one, "GET", b"/passthrough/oai/" + path)
    assert sink.status == 404
    assert one.upstream.sent == []


async def test_a_team_reaches_only_the_providers_it_names():
    for teams_own, provider in (((), b"oai"), (("oai",), b"spare"), (("*",), b"nowhere"), (("oai",), b"nowhere")):
        one = house(teams_own)
        sink = await call(one, "GET", b"/passthrough/" + provider + b"/files")
        assert (sink.status, sink.json["error"]["code"]) == (403, Code.POLICY_PASSTHROUGH)
        assert one.upstream.sent == []
        (denied,) = one.journal.of(Kind.DENIED)
        assert denied.error == Code.POLICY_PASSTHROUGH


async def test_a_body_names_only_models_the_key_may_use_at_that_provider():
    one = house()
    asked = json.dumps({"model": "gpt-4o-mini", "training_file": "f"}).encode()
    await call(one, "POST", b"/passthrough/oai/fine_tuning/jobs", asked)
    assert len(one.upstream.sent) == 1
    for model in ("gpt-spare", "claude-sonnet", "other"):
        sink = await call(one, "POST", b"/passthrough/oai/fine_tuning/jobs", json.dumps({"model": model}).encode())
        assert (sink.status, sink.json["error"]["code"]) == (403, Code.POLICY_MODEL_NOT_ALLOWED)
    sink = await call(one, "POST", b"/passthrough/oai/x", b'{"model":"gpt-4o-mini","model":"other"}')
    assert sink.json["error"]["code"] == Code.REQUEST_MALFORMED
    assert len(one.upstream.sent) == 1


async def test_regulated_data_does_not_leave_by_it():
    one = house(("*",))
    sink = await call(one, "POST", b"/passthrough/oai/files", BODY, {b"x-ostiary-sensitivity": b"regulated"})
    assert sink.json["error"]["code"] == Code.POLICY_SENSITIVITY
    await call(one, "POST", b"/passthrough/onsite/files", BODY, {b"x-ostiary-sensitivity": b"regulated"})
    assert [sent.origin.host for sent in one.upstream.sent] == ["onsite.test"]


async def test_usage_that_the_answer_shows_is_costed():
    one = house()
    asked = json.dumps({"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "hi"}]}).encode()

    class Shown:
        status = 200
        headers = ((b"content-type", b"application/json"),)

        def __init__(self):
            self.left = [
                b'{"model":"gpt-4o-mini-x","choices":[],"usage":',
                b'{"prompt_tokens":1000,"completion_tokens":10}}',
            ]

        async def chunk(self):
            return self.left.pop(0) if self.left else b""

        async def pour(self, take):
            while take(self.left.pop(0) if self.left else b""):
                pass

        def close(self):
            pass

    async def send(request):
        return Shown()

    one.world.upstream = type("Up", (), {"send": staticmethod(send)})()
    sink = await call(one, "POST", b"/passthrough/oai/beta/thing", asked)
    assert sink.json["model"] == "gpt-4o-mini-x"
    (closed,) = one.journal.of(Kind.CLOSED)
    assert (closed.usage.input_tokens, closed.usage.output_tokens) == (1000, 10)
    assert closed.cost.nano == 1000 * 150 + 10 * 600
    assert not closed.usage_estimated
