"""Shared counters on a real server: what workers see of one another, what holds for budgets and rates, what is made of a
server that fails."""

import asyncio
import contextlib
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
import trustme
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

import redis
from ostiary.core.error import Code, GatewayError
from ostiary.gateway.meter.escrow import Escrow, Need
from ostiary.gateway.meter.hold import Exhausted, Hold
from ostiary.gateway.ports import BudgetBatch, LimitBatch, LimitTake, Other, RateCell, Slot, Stated, Want
from ostiary.snapshot.tables import BudgetedRow, BudgetRow, Period
from ostiary.store.redis.counters import RedisCounters
from tests.redis import Server, any_server, forget, free_port, prefix

ROOT = Path(__file__).parents[2]
DAY = 86_400
NOW = 30_000 * DAY  # far enough ahead that the server keeps what ends then


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    with any_server(tmp_path_factory.mktemp("redis")) as found:
        yield found


@pytest.fixture
async def connect(url):
    """Counters of any number of workers, with names of this test's own."""
    mine, made = prefix(), []

    def one(worker="w1", **options):
        given = {"prefix": mine, "seconds_max": 5.0, "rebuild_seconds": 0.0, **options}
        made.append(RedisCounters(given.pop("url", url), worker, **given))
        return made[-1]

    one.prefix = mine
    yield one
    for counters in made:
        await counters.aclose()
    forget(url, mine)


def take(*cells, slots=()):
    return LimitTake(tuple(RateCell(*one) for one in cells), tuple(Slot(*one) for one in slots))


async def limits(counters, *takes, corrections=(), opened=(), beat=False):
    answer, _ = await counters.exchange(LimitBatch(takes, tuple(corrections), tuple(opened), beat), None)
    return answer


async def budgets(counters, *stated, wants=(), generation=None):
    if generation is None:
        _, first = await counters.exchange(None, BudgetBatch("", (), ()))
        generation = first.generation
    _, answer = await counters.exchange(None, BudgetBatch(generation, stated, tuple(wants)))
    return answer


# --- limits -------------------------------------------------------------------------------------------------


async def test_what_one_scope_refuses_is_charged_to_none(connect):
    counters = connect()
    wide, narrow = ("requests tenant/a", 60.0, 100, 1), ("requests key/a/k", 60.0, 1, 1)
    said = await limits(counters, take(wide, narrow), take(wide, narrow), take(wide, narrow))
    assert [one.refused for one in said.verdicts] == [-1, 1, 1]
    said = await limits(counters, take(wide))
    assert said.verdicts[0].reset_seconds[0] == pytest.approx(120.0, abs=1.0), "two were charged, not four"


async def test_workers_share_a_rate_and_what_was_estimated_too_high_is_given_back(connect):
    one, two = connect("w1"), connect("w2")
    cell = ("tokens team/a/b", 1.0, 100, 60)
    assert (await limits(one, take(cell))).verdicts[0].refused == -1
    refused = (await limits(two, take(cell))).verdicts[0]
    assert refused.refused == 0
    assert refused.wait_seconds == pytest.approx(20.0, abs=1.0)
    assert (await limits(two, take(cell), corrections=[("tokens team/a/b", -50.0)])).verdicts[0].refused == -1


async def test_open_calls_are_counted_by_worker_and_stated_anew(connect):
    one, two = connect("w1"), connect("w2")
    call = take(slots=[("team/a/b", 3)])
    assert [v.refused for v in (await limits(one, call, call)).verdicts] == [-1, -1]
    assert [v.refused for v in (await limits(two, call, call)).verdicts] == [-1, 0]
    assert (await limits(two, call, opened=[("team/a/b", 0)])).verdicts[0].refused == -1, "its own statement holds"
    assert [v.refused for v in (await limits(one, call, call, opened=[("team/a/b", 1)])).verdicts] == [-1, 0]


async def test_a_beat_counts_the_workers(connect):
    one, two = connect("w1"), connect("w2")
    assert (await limits(one, beat=True)).workers == 1
    assert (await limits(two, beat=True)).workers == 2


async def test_a_thousand_calls_of_many_users_fit_into_one_exchange(connect):
    calls = [take((f"requests user/{i}", 1.0, 1, 1), slots=[(f"user/{i}", 1)]) for i in range(1_000)]
    said = await limits(connect(), *calls, *calls)
    assert [one.refused for one in said.verdicts] == [-1] * 1_000 + [0] * 1_000


def test_three_processes_together_get_what_the_limit_says_within_a_hundredth(url):
    mine = prefix()
    try:
        workers = [
            subprocess.Popen(
                [sys.executable, "-m", "tests.contract.taker", url, mine, f"w{i}", "3"],
                stdout=subprocess.PIPE,
                text=True,
                cwd=ROOT,
            )
            for i in range(3)
        ]
        said = [list(map(int, one.communicate(timeout=60)[0].split())) for one in workers]
    finally:
        forget(url, mine)
    began = min(first + micro / 1e6 for _, first, micro, *_ in said)
    ended = max(last + micro / 1e6 for _, _, _, last, micro, _ in said)
    assert [one[-1] for one in said] == [0, 0, 0], "none decided alone"
    allowed = 100 + 1_000 * (ended - began)
    assert 0.99 * allowed <= sum(one[0] for one in said) <= allowed + 1


# --- budgets ------------------------------------------------------------------------------------------------


async def test_a_lease_is_what_is_lacking_or_a_hundredth_of_what_remains(connect):
    counters = connect()
    account = Stated("team/a/b", NOW, NOW + DAY, budget_nano=100_000)
    said = await budgets(counters, account, wants=[Want(10, 0, (0,))])
    assert said.accounts[0].lease_nano == 1_000
    said = await budgets(connect("w2"), account, wants=[Want(50_000, 0, (0,)), Want(50_000, 0, (0,))])
    assert said.accounts[0].lease_nano == 50_000
    assert [one.refused for one in said.wants] == [-1, 0]
    assert said.wants[1].remaining_nano == 49_000


async def test_nested_budgets_lend_all_or_nothing(connect):
    counters = connect()
    tenant = Stated("tenant/a", NOW, NOW + DAY, budget_nano=10_000)
    key = Stated("key/a/k", NOW, NOW + DAY, budget_nano=100, budget_tokens=5)
    said = await budgets(counters, tenant, key, wants=[Want(90, 6, (0, 1)), Want(90, 5, (0, 1))])
    assert [one.refused for one in said.wants] == [1, -1]
    assert [one.lease_nano for one in said.accounts] == [100, 90]


async def test_a_statement_may_be_repeated_and_is_never_taken_back(connect):
    counters = connect()
    account = Stated("team/a/b", NOW, NOW + DAY, 2**53 + 3, 7, 40, 0, budget_nano=2**60)
    for _ in range(3):
        await budgets(counters, account)
    (other,) = (await budgets(connect("w2"), Stated("team/a/b", NOW, NOW + DAY))).accounts[0].others
    assert other == Other("w1", 2**53 + 3, 7, 40, 0), "to the nano-unit, beyond what a double holds"
    await budgets(counters, Stated("team/a/b", NOW, NOW + DAY, 5, 0))
    (other,) = (await budgets(connect("w2"), Stated("team/a/b", NOW, NOW + DAY))).accounts[0].others
    assert (other.spent_nano, other.lease_nano) == (2**53 + 3, 0)


async def test_at31_workers_whose_clocks_differ_across_an_edge_share_each_period_and_neither_starts_it_again(connect):
    one, two = connect("w1"), connect("w2")
    ended, begun = (lambda spent: Stated("team/a/b", NOW, NOW + DAY, spent, budget_nano=100)), NOW + DAY
    assert (await budgets(one, ended(60))).accounts[0].others == ()
    # The second is two seconds ahead, and in the next period already; the first still spends in the one before.
    said = await budgets(two, Stated("team/a/b", begun, begun + DAY, budget_nano=100), wants=[Want(80, 0, (0,))])
    assert (said.accounts[0].lease_nano, said.wants[0].refused) == (80, -1)
    said = await budgets(one, ended(60), wants=[Want(50, 0, (0,)), Want(40, 0, (0,))])
    assert [one.refused for one in said.wants] == [0, -1], (
        "of the period before 40 are left, whatever the next one has lent"
    )
    # Then it gets there too: what was lent there meanwhile still is.
    said = await budgets(one, Stated("team/a/b", begun, begun + DAY, budget_nano=100), wants=[Want(30, 0, (0,))])
    assert (said.wants[0].refused, said.wants[0].remaining_nano) == (0, 20)


async def test_a_share_is_told_to_one_worker_once(connect):
    one, two = connect("w1"), connect("w2")
    said = await budgets(one, Stated("team/a/b", NOW, NOW + DAY, 60, budget_nano=100, alerts=(0.5, 1.0)))
    assert said.accounts[0].crossed == (0.5,)
    said = await budgets(two, Stated("team/a/b", NOW, NOW + DAY, 30, budget_nano=100, alerts=(0.5, 1.0)))
    assert said.accounts[0].crossed == ()
    said = await budgets(two, Stated("team/a/b", NOW, NOW + DAY, 50, budget_nano=100, alerts=(0.5, 1.0)))
    assert said.accounts[0].crossed == (1.0,)


async def test_an_empty_server_lends_nothing_until_everybody_has_spoken(connect):
    one, two = connect("w1", rebuild_seconds=60.0), connect("w2", rebuild_seconds=60.0)
    account = Stated("team/a/b", NOW, NOW + DAY, budget_nano=100)
    said = await budgets(one, account, wants=[Want(1, 0, (0,))])
    assert said.rebuilding_seconds > 50
    assert said.wants[0].refused == -2
    again = await budgets(two, account, wants=[Want(1, 0, (0,))])
    assert (again.generation, again.wants[0].refused) == (said.generation, -2)


async def test_a_worker_that_has_not_said_everything_is_lent_nothing(connect):
    counters = connect()
    account = Stated("team/a/b", NOW, NOW + DAY, budget_nano=100)
    assert (await budgets(counters, account, wants=[Want(1, 0, (0,))], generation="x")).wants[0].refused == -2


async def test_what_a_worker_knew_of_the_others_stands_where_it_was_lost(connect):
    one = connect("w1")
    gone = Other("w9", 70, 0, 10, 0)
    said = await budgets(
        one, Stated("team/a/b", NOW, NOW + DAY, budget_nano=100, others=(gone,)), wants=[Want(21, 0, (0,))]
    )
    assert said.wants[0].refused == 0
    assert said.wants[0].remaining_nano == 20
    final = Stated("team/a/b", NOW, others=(Other("w9", 75, 0, 0, 0, final=True),), mine=False)
    await budgets(one, final)
    said = await budgets(
        one, Stated("team/a/b", NOW, NOW + DAY, budget_nano=100), wants=[Want(25, 0, (0,)), Want(1, 0, (0,))]
    )
    assert [w.refused for w in said.wants] == [-1, 0]


async def test_leases_are_found_again_by_the_name_of_their_worker(connect):
    counters = connect()
    await budgets(counters, Stated("team/a/b", NOW, NOW + DAY, budget_nano=100), wants=[Want(10, 0, (0,))])
    assert await connect("w2").leased("w1") == (("team/a/b", NOW),)
    await budgets(counters, Stated("team/a/b", NOW, NOW + DAY, 10, budget_nano=100))
    assert await connect("w2").leased("w1") == ()


# --- holds against the model, on the server -----------------------------------------------------------------

TEAM = BudgetedRow("team/a/b", BudgetRow(nano=1_000, tokens=500, period=Period.DAY))
KEY = BudgetedRow("key/a/k", BudgetRow(nano=400, period=Period.DAY))
SOFT = BudgetedRow("tenant/a", BudgetRow(nano=10, period=Period.DAY, hard=False))
BOUNDS = {"team/a/b": (1_000, 500), "key/a/k": (400, 10**9)}


class SharedHoldMachine(RuleBasedStateMachine):
    """Two workers on one server. The model: per scope, what both have spent and hold. One that is refused although the
    model has room was refused for what the other has leased: after that gave back, it is not."""

    held_open = Bundle("held_open")
    url = ""

    def __init__(self):
        super().__init__()
        self.runner = asyncio.Runner()
        self.prefix = prefix()
        self.workers = [Escrow(), Escrow()]
        self.counters = [
            RedisCounters(self.url, f"w{i}", prefix=self.prefix, seconds_max=5.0, rebuild_seconds=0.0) for i in (0, 1)
        ]
        self.now = NOW
        self.spent = {scope: [0, 0] for scope in BOUNDS}
        self.held = {scope: [0, 0] for scope in BOUNDS}
        for who in (0, 1):
            self.say(who)
            self.say(who)

    def say(self, who, *needs, heard=True):
        sent = self.workers[who].batch(needs, self.now, beat=True)
        _, answer = self.runner.run(self.counters[who].exchange(None, sent.batch))
        if not heard:
            self.workers[who].unheard(sent)
            return None
        return self.workers[who].heard(sent, answer, self.now)

    def reserve_at(self, who, nano, tokens):
        got = self.workers[who].reserve(nano, tokens, (SOFT, TEAM, KEY), self.now)
        for _ in range(4):
            if got is not None:
                break
            said = self.say(who, Need(nano, tokens, (SOFT, TEAM, KEY)))
            got = said[0] if said else None
        assert got is not None
        return got

    def fits(self, nano, tokens):
        return all(
            need <= max(bound - self.spent[scope][kind] - self.held[scope][kind], 0)
            for scope, bounds in BOUNDS.items()
            for kind, (need, bound) in enumerate(zip((nano, tokens), bounds, strict=True))
        )

    @rule(target=held_open, who=st.integers(0, 1), nano=st.integers(0, 300), tokens=st.integers(0, 200))
    def reserve(self, who, nano, tokens):
        expected = self.fits(nano, tokens)
        got = self.reserve_at(who, nano, tokens)
        if isinstance(got, Exhausted) and expected:
            for _ in range(2):
                self.workers[1 - who].give_back()
            self.say(1 - who)
            self.say(1 - who)
            got = self.reserve_at(who, nano, tokens)
        assert isinstance(got, Hold) is expected
        if not expected:
            return None
        for scope in self.held:
            self.held[scope][0] += nano
            self.held[scope][1] += tokens
        return who, got

    @rule(hold=consumes(held_open), nano=st.integers(0, 300), tokens=st.integers(0, 200))
    def settle(self, hold, nano, tokens):
        if hold is None:
            return
        who, one = hold
        nano, tokens = min(nano, one.nano), min(tokens, one.tokens)
        self.workers[who].settle(one, nano, tokens, self.now)
        for scope in self.held:
            self.held[scope][0] -= one.nano
            self.held[scope][1] -= one.tokens
            self.spent[scope][0] += nano
            self.spent[scope][1] += tokens
        with pytest.raises(ValueError, match="once"):
            self.workers[who].settle(one, nano, tokens, self.now)

    @rule(who=st.integers(0, 1))
    def a_beat(self, who):
        self.workers[who].give_back()
        self.say(who)

    @rule(who=st.integers(0, 1))
    def an_answer_is_lost(self, who):
        self.say(who, Need(50, 10, (TEAM, KEY)), heard=False)

    @rule()
    def the_server_loses_everything(self):
        forget(self.url, self.prefix)
        for who in (0, 1, 0, 1):
            self.say(who)

    @invariant()
    def no_more_is_spent_and_held_than_there_is(self):
        for scope, bounds in BOUNDS.items():
            for kind, bound in enumerate(bounds):
                assert self.spent[scope][kind] + self.held[scope][kind] <= bound

    def teardown(self):
        for who in (0, 1):
            for _ in range(3):
                self.say(who)
        with redis.Redis.from_url(self.url, socket_timeout=5) as client:
            for scope, (nano, tokens) in self.spent.items():
                fields = client.hgetall("{" + self.prefix + "}:" + f"budget:{NOW}:{scope}")
                stated = [value.split() for name, value in fields.items() if name != b"told"]
                assert sum(int(one[0]) for one in stated) == nano
                assert sum(int(one[1]) for one in stated) == tokens
        for counters in self.counters:
            self.runner.run(counters.aclose())
        self.runner.close()
        forget(self.url, self.prefix)


def test_holds_of_two_workers_are_those_of_the_model(url):
    machine = type("Machine", (SharedHoldMachine,), {"url": url})
    case = machine.TestCase
    case.settings = settings(max_examples=25, stateful_step_count=25, deadline=None)
    case("runTest").runTest()


# --- a server that fails ------------------------------------------------------------------------------------


@pytest.fixture
def server(tmp_path):
    one = Server(tmp_path)
    yield one
    one.stop()


async def fails(counters):
    with pytest.raises(GatewayError) as caught:
        await limits(counters, take(("requests team/a", 1.0, 1, 1), slots=[("team/a", 1)]))
    assert caught.value.code is Code.COUNTERS_UNAVAILABLE
    return caught.value.message


async def works(counters):
    assert (await limits(counters, take(("requests tenant/a", 1.0, 10**6, 1)))).verdicts[0].refused == -1


async def test_scripts_that_the_server_has_forgotten_are_sent_again(server, connect):
    counters = connect(url=server.url)
    await works(counters)
    server.client.script_flush()
    await works(counters)


async def test_fd18_a_server_that_stops_is_told_and_found_again(server, connect):
    counters = connect(url=server.url)
    await works(counters)
    server.stop()
    assert "ConnectionError" in await fails(counters)
    server.start()
    await works(counters)


async def test_fd19_a_server_that_does_not_answer_costs_no_more_than_the_bound(server, connect):
    counters = connect(url=server.url, seconds_max=0.05)
    with contextlib.suppress(GatewayError):
        await works(counters)
    server.client.execute_command("CLIENT", "PAUSE", "60000", "ALL")
    loop = asyncio.get_running_loop()
    began = loop.time()
    assert "no answer in time" in await fails(counters)
    assert loop.time() - began < 1.0, "the bound is 0.05; the machine may be slow"
    server.stop()


@pytest.mark.parametrize(
    ("change", "back", "told"),
    [
        (("REPLICAOF", "127.0.0.1", "1"), ("REPLICAOF", "NO", "ONE"), "ReadOnlyError"),
        (("CONFIG", "SET", "maxmemory", "1"), ("CONFIG", "SET", "maxmemory", "0"), "OutOfMemoryError"),
    ],
)
async def test_fd21_a_server_that_takes_no_writes_is_as_good_as_none(server, connect, change, back, told):
    counters = connect(url=server.url)
    await works(counters)
    server.client.execute_command(*change)
    assert told in await fails(counters)
    server.client.execute_command(*back)
    await works(counters)


async def test_fd21_keys_of_another_type_do_no_harm_to_limits_and_open_no_budget(server, connect):
    counters = connect(url=server.url)
    tag = "{" + connect.prefix + "}:"
    server.client.lpush(f"{tag}rate:requests team/a", "x")
    server.client.set(f"{tag}slots:team/a", "x")
    server.client.set(f"{tag}budget:{NOW}:team/a", "x")
    said = await limits(counters, take(("requests team/a", 1.0, 1, 1), slots=[("team/a", 1)]))
    assert said.verdicts[0].refused == -1
    with pytest.raises(GatewayError):
        await budgets(counters, Stated("team/a", NOW, NOW + DAY, budget_nano=5), wants=[Want(1, 0, (0,))])


async def test_a_password_is_in_no_message(server, connect):
    server.client.config_set("requirepass", "another")
    counters = connect(url=f"redis://:hunter2-canary@127.0.0.1:{server.port}/0")
    message = await fails(counters)
    assert "hunter2-canary" not in message


async def test_a_socket_of_this_machine_will_do(tmp_path, connect):
    with tempfile.TemporaryDirectory() as short:  # the path of a socket has at most 107 bytes
        server = Server(tmp_path, "--unixsocket", f"{short}/redis.sock")
        try:
            await works(connect(url=f"unix://{short}/redis.sock"))
        finally:
            server.stop()


async def test_tls_is_verified(tmp_path, connect):
    authority = trustme.CA()
    issued = authority.issue_cert("localhost", "127.0.0.1")
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    issued.private_key_pem.write_to_path(tmp_path / "key.pem")
    issued.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
    files = ("--tls-cert-file", "cert.pem", "--tls-key-file", "key.pem", "--tls-auth-clients", "no")
    port = free_port()
    server = Server(tmp_path, "--tls-port", str(port), "--tls-ca-cert-file", "ca.pem", *files)
    try:
        await works(connect(url=f"rediss://localhost:{port}/0?ssl_ca_certs={tmp_path / 'ca.pem'}"))
        await fails(connect(url=f"rediss://localhost:{port}/0"))
    finally:
        server.stop()


async def test_in_a_cluster_the_node_that_has_the_slot_is_found(tmp_path, connect):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    buses = free_port(), free_port()
    one, two = (
        Server(tmp_path / name, "--cluster-enabled", "yes", "--cluster-port", str(bus))
        for name, bus in zip("ab", buses, strict=True)
    )
    try:
        one.client.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 8191)
        two.client.execute_command("CLUSTER", "ADDSLOTSRANGE", 8192, 16383)
        one.client.execute_command("CLUSTER", "MEET", "127.0.0.1", two.port, buses[1])
        for node in (one, two):
            while node.client.cluster("INFO")["cluster_state"] != "ok":
                await asyncio.sleep(0.05)
        for node in (one, two):
            counters = connect(url=node.url)
            await works(counters)
            await works(counters)
    finally:
        one.stop()
        two.stop()
