"""Kept answers as they are deployed: two workers that share them in Redis, and purges that reach both."""

import json
from collections import Counter

import pytest

from tests.process.house import House, until
from tests.redis import Server, any_server, forget, prefix

MODELS = """\
  kept: {targets: [{provider: sim, model: gpt-4o-mini}], cache: {ttl_seconds: 600, tags: [all]}}
  near: {targets: [{provider: sim, model: gpt-4o-mini}], cache: {ttl_seconds: 600, semantic: {mode: serve}}}
"""


def house(folder, provider, url, names, **fields):
    return House(
        folder,
        provider.port,
        workers=2,
        models=MODELS,
        top=f'cache: {{url: "${{env:CACHE_URL}}", prefix: {names}}}',
        environment={"CACHE_URL": url},
        **fields,
    )


@pytest.fixture
def names():
    return prefix()


@pytest.fixture
def shared(tmp_path, provider, names):
    with any_server(tmp_path) as url:
        with house(tmp_path, provider, url, names) as one:
            yield one
        forget(url, names)


def said(one, text="Hello", model="kept"):
    answer = one.chat(model=model, messages=[{"role": "user", "content": text}])
    assert answer.status == 200, answer.body
    return answer.headers["x-ostiary-cache"]


def hits(one):
    """How many hits each worker has recorded."""
    return Counter(line["origin"] for line in one.records("closed") if line["record"].get("cache") == "hit")


def hit_by_both(one, text):
    """Asks on new connections until both workers have given the answer once more."""
    before = hits(one)

    def both():
        for _ in range(8):
            said(one, text)
        return len(hits(one) - before) == 2

    until(both, 30, "hits by both workers")


def test_workers_share_answers_and_a_purge_reaches_both(shared):
    assert said(shared, "shared") == "miss"
    hit_by_both(shared, "shared")
    done = json.loads(shared.command("cache", "purge", "--tag", "all", "--json"))
    assert done["tag"] == "tag:all"
    until(lambda: said(shared, "shared") == "miss", 10, "the purge at one worker")
    until(lambda: shared.metric('ostiary_kept_answers_total{cache="hit",model="kept"}') >= 2, 10, "hits in the metrics")
    hit_by_both(shared, "shared")


def test_a_question_in_other_words_is_answered_by_the_worker_that_was_asked(shared):
    seen = {said(shared, "What is the capital of France?", "near") for _ in range(4)}
    assert "miss" in seen
    until(lambda: said(shared, "what's the capital of france", "near") == "hit", 10, "a near hit")


def test_without_the_server_everything_is_answered(tmp_path, provider, names):
    server = Server(tmp_path)
    with house(tmp_path, provider, server.url, names) as one:
        try:
            assert said(one, "before") == "miss"
        finally:
            server.stop()
        for number in range(10):
            assert said(one, f"without {number}") == "miss"
        until(lambda: one.metric("ostiary_cache_away") > 0, 10, "the gauge")
        hit_by_both(one, "before")
