"""Two workers as they are deployed, on counters they share: budgets through parallel calls and deaths, limits, and what
happens while the server is away."""

import json
import os
import random
import signal

import pytest

import redis
from tests.process.house import House, until
from tests.redis import Server, any_server, forget, prefix

KEY = "a-key-of-the-budgeted-team-0123456789"
BUDGET_NANO = 400_000
TEAM = """\
      - name: thrifty
        models: ["*"]
        budget: {amount: "0.0004", alerts: [0.5]}
        keys: [{name: app, secret: "${env:THRIFTY_KEY}"}]
      - name: limited
        models: ["*"]
        limits: {requests_per_minute: 60, request_burst: 20}
        keys: [{name: app, secret: "${env:LIMITED_KEY}"}]
"""
LIMITED_KEY = "a-key-of-the-limited-team-0123456789"


def house(folder, provider, url, names, **fields):
    return House(
        folder,
        provider.port,
        workers=2,
        tenants=TEAM,
        top=f'counters: {{url: "${{env:COUNTERS_URL}}", prefix: {names}}}',
        environment={"THRIFTY_KEY": KEY, "LIMITED_KEY": LIMITED_KEY, "COUNTERS_URL": url},
        **fields,
    )


@pytest.fixture
def names():
    return prefix()


@pytest.fixture
def shared(tmp_path, provider, names):
    with any_server(tmp_path) as url:
        with house(tmp_path, provider, url, names) as one:
            one.url = url
            yield one
        forget(url, names)


def recorded(one):
    """What the journals say was spent, by origin."""
    found = {}
    for line in one.records("closed"):
        call = line["record"]
        if call["team"] == "thrifty" and "cost" in call:
            found[line["origin"]] = found.get(line["origin"], 0) + call["cost"]["nano"]
    return found


def counted(url, names):
    """What the counters say was spent, by origin, and what is leased."""
    spent, leased = {}, 0
    with redis.Redis.from_url(url, socket_timeout=5, decode_responses=True) as client:
        for key in client.scan_iter("{" + names + "}:budget:*", count=1_000):
            for field, text in client.hgetall(key).items():
                if field.startswith("w:"):
                    nano, _, lease, _ = map(int, text.split())
                    origin = field.partition(".")[2]
                    spent[origin] = spent.get(origin, 0) + nano
                    leased += lease
    return {origin: nano for origin, nano in spent.items() if nano}, leased


def agree(one, url, names):
    """The journal, the usage tables and the counters say the same, to the nano-unit; what that is."""
    try:
        until(lambda: counted(url, names) == (recorded(one), 0), 15, "agreement of counters and journal")
    except AssertionError as error:
        raise AssertionError((counted(url, names), recorded(one), one.err[-10:])) from error
    spent = sum(recorded(one).values())
    until(lambda: used(one) == spent, 15, "agreement of the usage tables")
    return spent


def used(one):
    lines = json.loads(one.command("usage", "--by", "team", "--json"))
    return sum(line["cost_nano"].get("USD", 0) for line in lines if line["team"] == "thrifty")


@pytest.mark.parametrize("seed", range(20 if os.environ.get("OSTIARY_DRILL") else 2))
def test_at25_a_thousand_calls_on_two_workers_and_a_death_among_them_spend_no_more_than_the_budget(shared, names, seed):
    chance = random.Random(seed)
    killed_at, slot = chance.randrange(20, 400), chance.randrange(2)

    def call(i):
        if i == killed_at:
            pid = shared.worker(slot)
            if pid is not None:
                os.kill(pid, signal.SIGKILL)
        return shared.chat(key=KEY, max_tokens=chance.choice((20, 50, 100))).status

    answers = shared.many(call, 1_000, threads=24)
    statuses = {one for one in answers if isinstance(one, int)}
    assert statuses <= {200, 402, 503}, statuses
    assert 402 in statuses, "the budget was used up"
    until(lambda: shared.worker(slot), 20, "the worker's successor")
    until(lambda: shared.chat(key=KEY, max_tokens=100).status in (200, 402), 20, "an answer")
    spent = agree(shared, shared.url, names)
    assert BUDGET_NANO // 2 < spent <= BUDGET_NANO


def test_both_workers_go_by_one_limit(shared):
    answers = shared.many(lambda _: shared.chat(key=LIMITED_KEY).status, 80)
    assert 20 <= answers.count(200) <= 25, "a burst, and one for each second it took"
    assert set(answers) == {200, 429}


def test_the_server_goes_and_comes_back_empty(tmp_path, provider, names):
    server = Server(tmp_path)
    try:
        with house(tmp_path, provider, server.url, names) as one:
            assert one.chat(key=KEY, max_tokens=20).status == 200
            server.stop()
            until(lambda: one.chat(key=KEY, max_tokens=100).status == 503, 10, "a refusal")
            refused = one.chat(key=KEY, max_tokens=100)
            assert (refused.status, refused.json["error"]["code"]) == (503, "counters.unavailable")
            assert refused.headers["retry-after"] == "1"
            assert one.chat().status == 200, "what has no budget goes on"
            answers = one.many(lambda _: one.chat(key=LIMITED_KEY).status, 60)
            assert answers.count(200) <= 25, "each worker lets through its share"
            assert answers.count(200) >= 2
            until(lambda: one.metric("ostiary_counters_away") == 2.0, 10, "the metric")
            assert one.ask("GET", "/readyz", key=None).body.startswith(b"ready; the shared counters")
            server.start()
            until(lambda: one.metric("ostiary_counters_away") == 0.0, 10, "the metric")
            until(lambda: one.chat(key=KEY, max_tokens=100).status == 200, 10, "an answer")
            for _ in range(100):
                if one.chat(key=KEY, max_tokens=100).status == 402:
                    break
            spent = agree(one, server.url, names)
            assert BUDGET_NANO // 2 < spent <= BUDGET_NANO, "what was spent before the server was empty is in it"
            assert server.url not in "".join(one.err)
    finally:
        server.stop()


def test_a_worker_less_at_the_next_start_takes_no_spend_with_it(shared, names):
    for _ in range(6):
        assert shared.chat(key=KEY, max_tokens=20).status == 200
    spent = agree(shared, shared.url, names)
    shared.stop()
    forget(shared.url, names)
    shared.write(workers=1)
    shared.start()
    assert agree(shared, shared.url, names) == spent


def test_two_replicas_spend_one_budget_and_remember_each_other_for_a_server_that_forgets(tmp_path, provider, names):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    with any_server(tmp_path) as url:
        with house(tmp_path / "b", provider, url, names) as other, house(tmp_path / "a", provider, url, names) as one:
            for each in (one, other, one):
                assert each.chat(key=KEY, max_tokens=20).status == 200
            own, others = sum(recorded(one).values()), sum(recorded(other).values())
            until(lambda: total(url, names) == own + others > 0, what="both in the counters")
            other.stop()
            beats = one.metric("ostiary_counter_exchanges_total")
            until(
                lambda: one.metric("ostiary_counter_exchanges_total") >= beats + 12,
                what="beats, with which it hears of the other",
            )
            forget(url, names)
            until(lambda: total(url, names) == own + others, 15, "what is told anew")
            until(lambda: one.chat(key=KEY, max_tokens=20).status == 200, what="an answer")
            for _ in range(100):
                if one.chat(key=KEY, max_tokens=20).status == 402:
                    break
            own = sum(recorded(one).values())
            assert BUDGET_NANO // 2 < own + others <= BUDGET_NANO
        forget(url, names)


def total(url, names):
    return sum(counted(url, names)[0].values())


def test_without_the_extra_or_with_a_url_of_something_else_nothing_starts(tmp_path, provider, names):
    one = house(tmp_path, provider, "http://:hunter2-canary@127.0.0.1/", names)
    told = str(one.command("check", code=1))
    assert "redis://" in told
    assert "hunter2-canary" not in told
