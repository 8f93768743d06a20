"""Answers given to questions that say the same in other words: when, to whom, and what is only measured."""

import asyncio
import base64
import json
import struct

import msgspec
import pytest

from ostiary.core.event import Kind
from ostiary.core.limit import SEMANTIC_NEIGHBOURS_MAX, SEMANTIC_TEXT_CHARS_MAX
from ostiary.gateway.embedder import FEATURE
from ostiary.simulator.behaviour import Behaviour
from ostiary.snapshot.index import Index
from ostiary.snapshot.purges import Purges
from ostiary.snapshot.tables import BudgetedRow, BudgetRow, CacheRow, SemanticRow, TeamRow
from tests.exchange.harness import House, model
from tests.exchange.test_cache import Gate, as_, said

ASKED = "What is the capital of France?"
AGAIN = "what's the capital of france"


def kept(mode="serve", floor=0.9, embedder="builtin", **fields):
    return CacheRow(60, semantic=SemanticRow(mode == "serve", floor, embedder), **fields)


MODELS = (
    model("near", ("oai", "gpt-4o-mini"), cache=kept(), attempts=1),
    model("stale", ("oai", "gpt-4o-mini"), cache=kept(stale_if_error_seconds=600), attempts=1),
    model("shadow", ("oai", "gpt-4o-mini"), cache=kept("shadow"), attempts=1),
    model("plain", ("oai", "gpt-4o-mini"), cache=CacheRow(60)),
    model("meaning", ("oai", "gpt-4o-mini"), cache=kept(embedder="vectors")),
    model("vectors", ("spare", "embed")),
)
TEAMS = tuple(
    TeamRow(tenant=tenant, name=team, environment="production", models=models)
    for tenant in ("acme", "evil")
    for team, models in (("search", ("*",)), ("sales", ("near", "meaning")))
)


def house(**fields):
    return House(**{"models": MODELS, "teams": TEAMS, **fields})


async def ask(one, text, name="near", *, before=(), headers=None, **fields):
    return await one.chat(name, messages=[*before, {"role": "user", "content": text}], headers=headers, **fields)


@pytest.mark.parametrize("stream", [False, True])
async def test_a_question_in_other_words_gets_the_answer_and_is_told_how_near_it_is(stream):
    one = house()
    first = await ask(one, ASKED, stream=stream)
    again = await ask(one, AGAIN, stream=stream)
    assert (said(first), said(again), again.body, again.streamed) == ("miss", "hit", first.body, stream)
    assert again.headers[b"x-ostiary-cache-similarity"] == b"1.000"
    assert b"x-ostiary-cache-similarity" not in first.headers
    closed = one.journal.of(Kind.CLOSED)[-1]
    assert (closed.cache, closed.cost.nano) == ("semantic", 0)
    assert one.observer.comparisons == [("near", "miss", None), ("near", "hit", None)]
    assert len(one.upstream.sent) == 1
    one.check()


async def test_a_model_that_does_not_ask_for_it_compares_nothing():
    one = house()
    await ask(one, ASKED, "plain")
    assert said(await ask(one, AGAIN, "plain")) == "miss"
    assert one.observer.comparisons == []
    assert len(one.world.neighbours) == 0


@pytest.mark.parametrize(
    "change",
    [
        {"temperature": 0.5},
        {"seed": 7},
        {"user": "somebody-else"},
        {"stream": True},
        {"max_tokens": 5},
        {"response_format": {"type": "json_object"}},
        {"tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]},
        {"before": [{"role": "system", "content": "Answer in German."}]},
        {"before": [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Hi."}]},
        {"headers": {b"x-ostiary-sensitivity": b"public"}},
        {"headers": {b"openai-beta": b"x=1"}},
        {"name": "shadow"},
    ],
)
async def test_everything_but_the_last_words_must_be_equal(change):
    one = house()
    await ask(one, ASKED)
    assert said(await ask(one, AGAIN, **change)) == "miss"
    assert ("near", "hit", None) not in one.observer.comparisons


async def test_the_conversation_before_the_last_words_may_be_long_as_long_as_it_is_the_same():
    one, before = house(), [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Hi."}]
    await ask(one, ASKED, before=before)
    assert said(await ask(one, AGAIN, before=before)) == "hit"


async def test_where_a_tool_or_the_model_spoke_last_nothing_is_compared():
    one = house()
    for text in (ASKED, AGAIN):
        turns = [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": text}]
        assert said(await one.chat("near", messages=turns)) == "miss"
    assert one.observer.comparisons == []


async def test_images_beside_the_words_are_part_of_what_must_be_equal():
    one = house()

    async def see(text, url):
        parts = [{"type": "image_url", "image_url": {"url": url}}, {"type": "text", "text": text}]
        return said(await ask(one, parts))

    assert await see("Describe it.", "https://a.example/1.png") == "miss"
    assert await see("Describe it.", "https://a.example/2.png") == "miss"
    assert await see("describe it", "https://a.example/2.png") == "hit"


@pytest.mark.parametrize("dialect", ["anthropic", "gemini", "openai-responses", "openai-completions"])
async def test_every_dialect_has_last_words(dialect):
    one = house()
    bodies = {
        "anthropic": lambda text: {"max_tokens": 900, "messages": [{"role": "user", "content": text}]},
        "gemini": lambda text: {"contents": [{"role": "user", "parts": [{"text": text}]}]},
        "openai-responses": lambda text: {"input": text},
        "openai-completions": lambda text: {"prompt": text},
    }
    paths = {
        "anthropic": b"/v1/messages",
        "gemini": b"/v1beta/models/near:generateContent",
        "openai-responses": b"/v1/responses",
        "openai-completions": b"/v1/completions",
    }
    for text in (ASKED, AGAIN):
        body = {"model": "near", **bodies[dialect](text)}
        if dialect == "gemini":
            del body["model"]
        sink = await one.post(paths[dialect], body)
        assert sink.status == 200, sink.body
    assert [outcome for _, outcome, _ in one.observer.comparisons] == ["miss", "hit"]
    assert said(sink) == "hit"


@pytest.mark.parametrize(
    ("value", "expected"),
    [(b"0.1", "hit"), (b"0", "hit"), (b"1", "hit"), (b"exact", "miss"), (b"0.95", "hit")],
)
async def test_a_caller_may_ask_for_more_than_the_entry_and_never_for_less(value, expected):
    one = house()
    await ask(one, ASKED)
    assert said(await ask(one, AGAIN, headers={b"x-ostiary-cache-similarity": value})) == expected


@pytest.mark.parametrize("value", [b"-1", b"1.5", b"nan", b"inf", b"", b"0,9", b"1e-3", b"0.1.2"])
async def test_what_is_no_similarity_is_refused(value):
    one = house()
    sink = await ask(one, ASKED, headers={b"x-ostiary-cache-similarity": value})
    assert (sink.status, sink.json["error"]["param"]) == (400, "x-ostiary-cache-similarity")


@pytest.mark.parametrize("value", [b"no-store", b"no-cache"])
async def test_who_wants_nothing_kept_gets_nothing_near(value):
    one = house()
    await ask(one, ASKED)
    assert said(await ask(one, AGAIN, headers={b"cache-control": value})) == "bypass"
    assert len(one.observer.comparisons) == 1


async def test_only_if_cached_takes_a_near_answer_too():
    one = house()
    only = {b"cache-control": b"only-if-cached"}
    assert (await ask(one, AGAIN, headers=only)).status == 504
    await ask(one, ASKED)
    assert said(await ask(one, AGAIN, headers=only)) == "hit"


async def test_a_near_answer_is_as_old_as_it_is_and_goes_when_it_is_purged():
    one = house()
    await ask(one, ASKED)
    one.clock.advance(40)
    assert (await ask(one, AGAIN)).headers[b"age"] == b"40"
    assert said(await ask(one, AGAIN, headers={b"cache-control": b"max-age=30"})) == "miss"
    one = house()
    await ask(one, ASKED)
    await ask(one, AGAIN)
    one.world.answers.purge(Purges(1, (("", "model:near", 1),)))
    assert said(await ask(one, AGAIN)) == "miss"
    one.clock.advance(61)
    assert said(await ask(one, ASKED)) == "miss"


async def test_nobody_finds_a_third_question_by_a_near_one():
    """Neighbours of neighbours drift: only what the model answered itself is remembered as a question."""
    one = house()
    await ask(one, ASKED)
    await ask(one, AGAIN)
    assert len(one.world.neighbours) == 1


async def test_a_near_hit_is_found_at_once_the_next_time_and_obeys_the_caller_who_wants_its_own():
    one = house()
    await ask(one, ASKED)
    await ask(one, AGAIN)
    again = await ask(one, AGAIN)
    assert (said(again), again.headers[b"x-ostiary-cache-similarity"]) == ("hit", b"1.000")
    assert len(one.observer.comparisons) == 2, "nothing was compared the third time"
    assert said(await ask(one, AGAIN, headers={b"x-ostiary-cache-similarity": b"exact"})) == "miss"
    assert b"x-ostiary-cache-similarity" not in (await ask(one, AGAIN)).headers, "it has an answer of its own now"


async def test_an_old_near_answer_stands_in_for_a_failure_and_says_how_near_it_is():
    one = house()
    await ask(one, ASKED, "stale")
    await ask(one, AGAIN, "stale")
    one.clock.advance(100)
    one.upstream.then(Behaviour(status=500))
    sink = await ask(one, AGAIN, "stale")
    assert (said(sink), sink.headers[b"x-ostiary-cache-similarity"]) == ("stale", b"1.000")


async def test_of_many_that_ask_nearly_the_same_at_once_all_are_answered():
    one = house()
    await ask(one, ASKED)
    sinks = await asyncio.gather(*(ask(one, AGAIN) for _ in range(50)))
    assert {said(sink) for sink in sinks} == {"hit"}
    assert len(one.upstream.sent) == 1
    assert one.world.flights.open_count == 0


@pytest.mark.parametrize("text", ["x" * (SEMANTIC_TEXT_CHARS_MAX + 1), "Run `ls`.", "pass\u200bword"])
async def test_what_cannot_be_compared_is_asked(text):
    one = house()
    await ask(one, text)
    assert said(await ask(one, text + " ")) == "miss"
    assert {outcome for _, outcome, _ in one.observer.comparisons} == {"not_compared"}


async def test_the_index_is_bounded():
    one = house()
    for number in range(SEMANTIC_NEIGHBOURS_MAX + 20):
        await ask(one, f"What is the square of {number}?")
    assert len(one.world.neighbours) == SEMANTIC_NEIGHBOURS_MAX
    held = one.world.neighbours
    held._bytes_max = held.bytes // 2
    await ask(one, ASKED, before=[{"role": "system", "content": "Be brief."}])
    assert held.bytes <= held._bytes_max


async def test_a_change_of_the_rules_forgets():
    one = house()
    await ask(one, ASKED)
    told = one.world.index.snapshot
    teams = tuple(msgspec.structs.replace(team, tool_depth=3) for team in told.teams)
    one.world.swap(Index(msgspec.structs.replace(told, id="another", teams=teams)))
    assert said(await ask(one, AGAIN)) == "miss"


# --- measuring without serving ------------------------------------------------------------------------------


@pytest.mark.parametrize("stream", [False, True])
async def test_in_shadow_mode_the_model_is_asked_and_its_answer_held_against_the_one_kept(stream):
    one = house()
    await ask(one, ASKED, "shadow", stream=stream)
    second = await ask(one, AGAIN, "shadow", stream=stream)
    assert (said(second), len(one.upstream.sent)) == ("miss", 2)
    assert b"x-ostiary-cache-similarity" not in second.headers
    (_, first, _), (name, outcome, alike) = one.observer.comparisons
    assert (first, name, outcome) == ("miss", "shadow", "would_hit")
    assert 0.0 <= alike <= 1.001
    assert said(await ask(one, ASKED, "shadow", stream=stream)) == "hit", "the same question is no comparison"
    one.check()


async def test_in_shadow_mode_answers_that_say_the_same_measure_as_the_same():
    text = "Paris is the capital of France."
    one = house(behaviour=Behaviour(text=text))
    await ask(one, ASKED, "shadow")
    await ask(one, AGAIN, "shadow")
    assert one.observer.comparisons[-1][2] == pytest.approx(1.0, abs=0.001)
    one = house(script=[Behaviour(text=text), Behaviour(text="Bananas grow in warm places only.")])
    await ask(one, ASKED, "shadow")
    await ask(one, AGAIN, "shadow")
    assert one.observer.comparisons[-1][2] < 0.5


# --- a model of this gateway that embeds --------------------------------------------------------------------


def vectors(one, *, status=200):
    """Makes the embeddings model place texts about capitals together and others apart; gives what it was asked."""
    asked, send = [], one.upstream.send

    async def sent(request):
        if b"/embeddings" not in request.target:
            return await send(request)
        text = json.loads(request.body)["input"]
        asked.append(text)
        place = [3.0, 4.0] if "capital" in text.lower() else [0.0, 2.0]
        body = {
            "object": "list",
            "data": [{"object": "embedding", "index": 0, "embedding": place}],
            "model": "embed",
            "usage": {"prompt_tokens": 5, "total_tokens": 5},
        }
        if json.loads(request.body).get("encoding_format") == "base64":
            body["data"][0]["embedding"] = base64.b64encode(struct.pack("<2f", *place)).decode()
        reply = await send(request)
        pieces = [json.dumps(body).encode() if status == 200 else b"{}"]

        async def chunk():
            return pieces.pop() if pieces else b""

        async def read(bytes_max):
            return await chunk()

        reply.status, reply.chunk, reply.read = status, chunk, read
        return reply

    one.upstream.send = sent
    return asked


async def test_a_model_embeds_in_the_callers_name_recorded_and_paid_for():
    one = house()
    asked = vectors(one)
    await ask(one, ASKED, "meaning")
    assert said(await ask(one, "Please tell me what the capital of France is", "meaning")) in ("hit", "miss")
    assert said(await ask(one, AGAIN, "meaning")) == "hit"
    assert asked[0] == ASKED
    embedded = [record for record in one.journal.of(Kind.CLOSED) if record.operation == "embeddings"]
    assert len(embedded) == len(asked) == 3
    assert {(record.tenant, record.team, record.key_id) for record in embedded} == {("acme", "search", "key-1")}
    assert all(record.feature == FEATURE and record.cost is not None for record in embedded)
    assert all(record.usage.input_tokens == 5 for record in embedded)
    one.check()


async def test_by_meaning_too_what_differs_in_a_name_or_number_is_asked():
    one = house()
    vectors(one)
    await ask(one, ASKED, "meaning")
    for other in (
        "What is the capital of Italy?",
        "What is not the capital of France?",
        "Who is the capital of France?",
    ):
        assert said(await ask(one, other, "meaning")) == "miss", other


async def test_what_is_far_is_asked():
    one = house()
    vectors(one)
    await ask(one, "How do I cancel my subscription?", "meaning")
    assert said(await ask(one, "What is the process for cancelling my subscription?", "meaning")) == "hit"
    one = house()
    vectors(one)
    await ask(one, "How do I cancel my capital subscription?", "meaning")
    assert said(await ask(one, "What is the process for cancelling my Capital subscription?", "meaning")) == "miss"


async def test_a_team_that_may_not_use_the_embedding_model_compares_nothing():
    one = house()
    asked = vectors(one)
    as_(one, team="sales")
    for text in (ASKED, AGAIN):
        sink = await ask(one, text, "meaning")
        assert (sink.status, said(sink)) == (200, "miss")
    assert asked == []
    assert {outcome for _, outcome, _ in one.observer.comparisons} == {"not_compared"}
    one.check()


async def test_an_embedding_model_that_fails_makes_a_miss():
    one = house()
    vectors(one, status=500)
    for text in (ASKED, AGAIN):
        sink = await ask(one, text, "meaning")
        assert (sink.status, said(sink)) == (200, "miss")
    one.check()


async def test_embeddings_count_against_the_callers_budget():
    one = house(budgets=(BudgetedRow("team/acme/search", BudgetRow(nano=10**9)),))
    vectors(one)
    await ask(one, ASKED, "meaning")
    paid = sum(record.cost.nano for record in one.journal.of(Kind.CLOSED))
    assert paid > one.journal.of(Kind.CLOSED)[-1].cost.nano
    one.check()


async def test_a_caller_that_leaves_while_its_words_are_embedded_leaves_nothing_behind():
    one = house()
    gate = Gate(one)
    call = asyncio.ensure_future(ask(one, ASKED, "meaning"))
    await gate.waiting.wait()
    call.cancel()
    await call
    gate.open.set()
    while one.world.open_calls:
        await asyncio.sleep(0)
    assert one.world.flights.open_count == 0
    one.check()
