"""More texts than a provider takes at once: several requests within one attempt, one answer, one pair of records."""

import asyncio
import base64
import json
import struct

import pytest

from ostiary.core.call import Operation
from ostiary.core.error import Code
from ostiary.core.event import Outcome
from ostiary.core.limit import EMBEDDING_INPUTS_MAX, EMBEDDING_PARTS_MAX
from ostiary.core.usage import Usage
from ostiary.gateway.dialect import Addressed
from ostiary.simulator.behaviour import Behaviour, Piece, Plan, whole
from ostiary.snapshot.tables import ProfileRow
from tests.exchange.harness import House, RecordingSink, model, provider, snapshot

PROVIDERS = {
    "oai": provider("oai", "openai", embedding_inputs_max=3),
    "goo": provider("goo", "gemini", path="/v1beta"),
    "ver": provider("ver", "gemini", path="/v1/p", profile=ProfileRow(vertex_embeddings=True)),
    "coh": provider("coh", "cohere", path=""),
    "aws": provider("aws", "bedrock", path=""),
    "spare": provider("spare", "openai"),
}
NAMES = {
    "oai": "gpt-4o-mini",
    "goo": "embed",
    "ver": "text-embedding-005",
    "coh": "embed-v4.0",
    "aws": "amazon.titan-embed-text-v2:0",
}
PARTS = {"oai": 3, "goo": 100, "ver": 250, "coh": 96, "aws": 1}


class Numbers:
    """A provider whose vector for the text "7" is [7.0], in each dialect; a token for each text. `then` are the answers
    to the requests to come: a status, a document, or None for the right one."""

    def __init__(self):
        self.asked = []
        self.then = []
        self.usage = True

    def plan(self, received):
        body = json.loads(received.body)
        texts = _texts(body)
        self.asked.append(texts)
        other = self.then.pop(0) if self.then else None
        if isinstance(other, dict):
            return whole(Behaviour(), 200, other)
        if other is not None:
            return whole(Behaviour(), other, {"error": {"message": "no"}, "message": "no"})
        return whole(Behaviour(), 200, self._told(body, [[float(text)] for text in texts]))

    def _told(self, body, vectors):
        count = len(vectors)
        if "input" in body:
            if body.get("encoding_format") == "base64":
                vectors = [base64.b64encode(struct.pack("<f", *one)).decode() for one in vectors]
            data = [{"object": "embedding", "index": n, "embedding": one} for n, one in enumerate(vectors)]
            usage = {"usage": {"prompt_tokens": count, "total_tokens": count}} if self.usage else {}
            return {"object": "list", "data": data[::-1], "model": "its-name", **usage}
        if "texts" in body:
            kind = body["embedding_types"][0]
            if kind == "base64":
                vectors = [base64.b64encode(struct.pack("<f", *one)).decode() for one in vectors]
            return {"embeddings": {kind: vectors}, "meta": {"billed_units": {"input_tokens": count}}}
        if "inputText" in body:
            return {"embedding": vectors[0], "inputTextTokenCount": 1}
        if "instances" in body:
            told = [{"embeddings": {"values": one, "statistics": {"token_count": 1}}} for one in vectors]
            return {"predictions": told}
        usage = {"usageMetadata": {"promptTokenCount": count}}
        if "requests" in body:
            return {"embeddings": [{"values": one} for one in vectors], **usage}
        return {"embedding": {"values": vectors[0]}, **usage}


def _texts(body):
    if "requests" in body:
        return [one["content"]["parts"][0]["text"] for one in body["requests"]]
    if "content" in body:
        return [body["content"]["parts"][0]["text"]]
    if "inputText" in body:
        return [body["inputText"]]
    if "instances" in body:
        return [one["content"] for one in body["instances"]]
    found = body.get("input", body.get("texts"))
    return [found] if isinstance(found, str) else found


def house(name, *, spare=False, **fields):
    targets = [(name, NAMES[name])] + ([("spare", "gpt-spare")] if spare else [])
    one = House(providers=tuple(PROVIDERS.values()), models=(model("gpt", *targets, **fields),))
    one.provider = one.upstream._provider = Numbers()
    return one


async def embed(one, count, sink=None, **fields):
    asked = {"model": "gpt", "input": [str(n) for n in range(count)], **fields}
    return await one.post(b"/v1/embeddings", asked, sink=sink)


def listed(sink):
    return [(one["index"], one["embedding"]) for one in sink.json["data"]]


@pytest.mark.parametrize("name", PARTS)
@pytest.mark.parametrize("beyond", [1, 2])
async def test_vectors_keep_their_order_and_the_call_is_one(name, beyond):
    one, most = house(name), PARTS[name]
    count = 2 * most + beyond
    sink = await embed(one, count)
    assert sink.status == 200
    assert listed(sink) == [(n, [float(n)]) for n in range(count)]
    assert [text for part in one.provider.asked for text in part] == [str(n) for n in range(count)]
    assert max(len(part) for part in one.provider.asked) == most
    assert len(one.provider.asked) == -(-count // most)
    closed = one.closed
    assert (closed.outcome, closed.usage) == (Outcome.SUCCEEDED, Usage(count))
    assert sink.json["usage"] == {"prompt_tokens": count, "total_tokens": count}
    assert [(attempt.target, attempt.status) for attempt in closed.attempts] == [(f"{name}/{NAMES[name]}", 200)]
    assert sink.headers[b"x-ostiary-attempts"] == b"1"
    assert len(one.opened) == 1
    one.check()


@pytest.mark.parametrize("name", PARTS)
async def test_as_many_as_are_taken_go_in_one_request_as_before(name):
    one = house(name)
    sink = await embed(one, PARTS[name])
    assert sink.status == 200
    assert len(one.provider.asked) == 1


async def test_every_part_has_what_the_caller_sent_besides_and_the_targets_name():
    one = house("oai")
    asked = b'{"model":"gpt","input":["0","1","2","3","4","5","6"],"dimensions":1,"user":"ann","odd":{"x": 1.50}}'
    await one.post(b"/v1/embeddings", asked)
    bodies = [json.loads(request.body) for request in one.upstream.sent]
    assert [len(body.pop("input")) for body in bodies] == [3, 3, 1]
    assert bodies == [{"model": "gpt-4o-mini", "dimensions": 1, "user": "ann", "odd": {"x": 1.5}}] * 3
    assert b'"x": 1.50' in one.upstream.sent[2].body, "values are not written anew"
    assert {request.target for request in one.upstream.sent} == {b"/v1/embeddings"}


async def test_token_lists_are_split_too_and_one_list_of_tokens_is_one_text():
    one = house("oai")
    one.provider.then = [
        {"data": [{"index": n, "embedding": [n]} for n in range(size)], "model": "m"} for size in (3, 1)
    ]
    sink = await one.post(b"/v1/embeddings", {"model": "gpt", "input": [[1, 2], [3], [4], [5, 6]]})
    assert [json.loads(request.body)["input"] for request in one.upstream.sent] == [[[1, 2], [3], [4]], [[5, 6]]]
    assert listed(sink) == [(0, [0]), (1, [1]), (2, [2]), (3, [0])]
    one = house("oai")
    one.provider.then = [{"data": [{"index": 0, "embedding": [1]}], "model": "m"}]
    await one.post(b"/v1/embeddings", {"model": "gpt", "input": [1, 2, 3, 4]})
    assert len(one.upstream.sent) == 1


@pytest.mark.parametrize("name", PARTS)
async def test_packed_vectors_stay_packed(name):
    one = house(name)
    count = PARTS[name] + 1
    sink = await embed(one, count, encoding_format="base64")
    numbers = [struct.unpack("<f", base64.b64decode(text))[0] for _, text in listed(sink)]
    assert numbers == [float(n) for n in range(count)]


@pytest.mark.parametrize(("name", "most"), [("goo", 100), ("ver", 250), ("oai", 3)])
async def test_a_batch_in_googles_form_is_split_for_google_and_for_others(name, most):
    one = house(name)
    count = most + 2
    asked = {"requests": [{"model": "models/gpt", "content": {"parts": [{"text": str(n)}]}} for n in range(count)]}
    sink = await one.call("gemini", asked, addressed=Addressed("gpt", batch=True), operation=Operation.EMBEDDINGS)
    assert sink.json["embeddings"] == [{"values": [float(n)]} for n in range(count)]
    assert sink.json["usageMetadata"] == {"promptTokenCount": count}
    assert [len(part) for part in one.provider.asked] == [most, 2]
    if name == "goo":
        assert {one["model"] for one in json.loads(one.upstream.sent[1].body)["requests"]} == {"models/embed"}
    one.check()


async def test_a_part_that_fails_fails_the_attempt_and_the_next_target_gets_the_whole_call():
    one = house("oai", spare=True)
    one.provider.then = [None, 500]
    sink = await embed(one, 7)
    assert sorted(listed(sink)) == [(n, [float(n)]) for n in range(7)]
    assert [len(part) for part in one.provider.asked] == [3, 3, 7], "the spare takes them at once"
    closed = one.closed
    assert [(attempt.target, attempt.reason) for attempt in closed.attempts] == [
        ("oai/gpt-4o-mini", Code.UPSTREAM_ERROR),
        ("spare/gpt-spare", ""),
    ]
    assert closed.usage == Usage(3 + 7), "what the first had answered was consumed"
    one.check()


@pytest.mark.parametrize("then", [500, {"data": [], "model": "m"}, {"nonsense": True}, {"data": [1]}])
async def test_one_failure_fails_the_whole_and_nothing_is_told_by_half(then):
    one = house("oai")
    one.provider.then = [None, then]
    sink = await embed(one, 5)
    assert sink.status >= 500
    assert "data" not in sink.json
    assert one.closed.outcome is Outcome.FAILED
    assert len(one.provider.asked) == 2
    one.check()


async def test_a_part_with_more_or_fewer_vectors_than_texts_is_no_answer():
    for size in (2, 4):
        one = house("oai")
        one.provider.then = [{"data": [{"index": n, "embedding": [n]} for n in range(size)], "model": "m"}]
        sink = await embed(one, 5)
        assert (sink.status, sink.json["error"]["code"]) == (502, Code.UPSTREAM_PROTOCOL)


async def test_an_answer_that_closes_an_array_of_its_own_accord_is_no_answer():
    one = house("oai")
    vector = '{"index":0,"embedding":[0]}'
    forged = f'{{"data":[{vector}],"model":"m"}},{{"data":[{vector},{vector}],"model":"m"}}'

    class Forger:
        def __init__(self):
            self.bodies = [forged.encode(), b""]

        def plan(self, received):
            return Plan(200, (), (Piece(self.bodies.pop(0)),))

    one.upstream._provider = Forger()
    sink = await embed(one, 4)
    assert (sink.status, sink.json["error"]["code"]) == (502, Code.UPSTREAM_PROTOCOL)


async def test_the_next_part_is_asked_for_once_the_one_before_is_there():
    one = house("oai")
    flying = []

    async def pause(place):
        flying.append((len(one.upstream.sent), sum(reply.ended for reply in one.upstream.replies)))

    one.upstream.pause = pause
    await embed(one, 9)
    assert all(sent - ended <= 1 for sent, ended in flying)


@pytest.mark.parametrize("part", [0, 1, 2])
async def test_a_client_that_goes_away_ends_the_part_in_flight_and_no_other_is_asked_for(part):
    one = house("oai")
    sink = RecordingSink(one.journal)
    held = asyncio.Event()

    async def pause(place):
        if len(one.upstream.sent) == part + 1 and place == -1:
            held.set()
            await asyncio.Event().wait()

    one.upstream.pause = pause
    call = asyncio.create_task(embed(one, 9, sink=sink))
    await held.wait()
    sink.gone = True
    call.cancel()
    await asyncio.wait([call])
    assert len(one.upstream.sent) == part + 1
    assert one.upstream.cancelled == 1
    closed = one.closed
    assert closed.outcome is Outcome.CANCELLED
    assert closed.usage.input_tokens > 3 * part, "what was answered, and the part in flight by our count"
    assert closed.usage_estimated
    one.check()


async def test_without_usage_of_every_part_the_whole_is_estimated():
    one = house("oai")
    one.provider.usage = False
    await embed(one, 7)
    assert one.closed.usage_estimated
    assert one.closed.usage.input_tokens > 0


async def test_more_parts_than_are_made_are_refused_by_name_before_anything_goes_out():
    one = house("aws")
    sink = await embed(one, EMBEDDING_PARTS_MAX + 1)
    assert (sink.status, sink.json["error"]["code"]) == (400, Code.REQUEST_UNSUPPORTED)
    assert sink.json["error"]["param"] == "input"
    assert f"{EMBEDDING_PARTS_MAX + 1} items; this model takes 1 at once" in sink.json["error"]["message"]
    assert one.upstream.sent == []
    one.check()
    one = house("aws", spare=True)
    assert (await embed(one, EMBEDDING_PARTS_MAX + 1)).status == 200, "another target takes them"
    assert (await embed(house("coh"), EMBEDDING_INPUTS_MAX)).status == 200


async def test_a_provider_that_has_had_enough_in_the_middle_is_left_for_the_next_target():
    one = house("oai", spare=True)
    one.provider.then = [None, 429]
    sink = await embed(one, 4)
    assert sink.status == 200
    assert [attempt.reason for attempt in one.closed.attempts] == [Code.UPSTREAM_RATE_LIMITED, ""]


def test_the_bound_stands_in_the_snapshot():
    assert snapshot(providers=tuple(PROVIDERS.values())).providers[0].embedding_inputs_max == 3
