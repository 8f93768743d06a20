"""What every place for answers must do, and what besides is true of the one that workers share."""

import asyncio
import subprocess

import msgspec
import pytest

import redis
from ostiary.core.call import DialectName, Operation
from ostiary.core.limit import ANSWERS_WAITING_BYTES_MAX, CACHE_ENTRY_BYTES_MAX, SHARED_ANSWER_BYTES_MAX
from ostiary.gateway.cache.answers import MemoryAnswers
from ostiary.gateway.ports import CacheKey, Kept
from ostiary.store.redis.answers import RedisAnswers
from ostiary.testing.clock import FakeClock
from tests.exchange.harness import Always
from tests.redis import Server, any_server, forget, free_port, prefix

SEAL = b"s" * 32
CANARY = b"what-the-model-said-5b1c"
KEY = CacheKey("acme", "", "snap-1", ("oai/gpt",), Operation.CHAT, DialectName.OPENAI, "internal", b"\x01" * 32)


def kept(clock, *pieces, life=60, **fields):
    now = clock.now_ns() // 1_000_000_000
    return Kept(
        headers=((b"content-type", b"application/json"),),
        pieces=pieces or (CANARY,),
        streamed=len(pieces) > 1,
        keepalive=b": \n\n",
        target="oai/gpt",
        response_model="gpt-1",
        finish_reason="stop",
        at=now,
        until=now + life,
        last=now + life,
        **{"tags": ("model:gpt", "tag:docs"), "purge": 7, **fields},
    )


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    with any_server(tmp_path_factory.mktemp("redis")) as found:
        yield found


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
async def connect(url, clock):
    mine, made = prefix(), []

    def one(**options):
        given = {"clock": clock, "random": Always(), "prefix": mine, "seconds_max": 5.0, **options}
        made.append(RedisAnswers(given.pop("url", url), given.pop("seal", SEAL), **given))
        return made[-1]

    one.prefix = mine
    yield one
    for answers in made:
        await answers.aclose()
    forget(url, mine)


@pytest.fixture(params=["memory", "redis"])
def answers(request, connect):
    return MemoryAnswers(4 * CACHE_ENTRY_BYTES_MAX) if request.param == "memory" else connect()


async def test_an_answer_comes_back_as_it_was_kept(answers, clock):
    for one in (kept(clock), kept(clock, b"data: a\n\n", b"data: b\n\n")):
        await answers.keep(KEY, one)
        await answers.settled()
        assert await answers.find(KEY) == one


@pytest.mark.parametrize("field", CacheKey.__struct_fields__)
async def test_a_key_that_differs_in_any_part_finds_nothing(answers, clock, field):
    await answers.keep(KEY, kept(clock))
    await answers.settled()
    other = {"targets": ("oai/other",), "operation": Operation.EMBEDDINGS, "dialect": DialectName.ANTHROPIC}
    value = other.get(field, b"\x02" * 32 if field == "fingerprint" else "another")
    assert await answers.find(msgspec.structs.replace(KEY, **{field: value})) is None


async def test_what_is_too_large_is_not_kept(answers, clock):
    await answers.keep(KEY, kept(clock, b"x" * (CACHE_ENTRY_BYTES_MAX + 1)))
    await answers.settled()
    assert await answers.find(KEY) is None


async def test_an_unknown_key_finds_nothing(answers):
    assert await answers.find(KEY) is None
    assert not answers.away


# --- what workers share -------------------------------------------------------------------------------------


async def test_another_worker_finds_it_and_another_installation_does_not(connect, clock):
    one = connect()
    await one.keep(KEY, kept(clock))
    await one.settled()
    assert await connect().find(KEY) == kept(clock)
    assert await connect(seal=b"t" * 32).find(KEY) is None
    assert await connect(prefix=prefix()).find(KEY) is None


async def test_the_server_sees_neither_question_nor_answer_and_forgets_in_time(connect, clock, url):
    one = connect()
    await one.keep(KEY, kept(clock, life=90))
    await one.settled()
    with redis.Redis.from_url(url) as client:
        (name,) = client.keys("{" + connect.prefix + "}:*")
        value = client.get(name)
        assert 80 < client.ttl(name) <= 90
    assert b":answer:1:" in name, "versions that write differently do not meet"
    for word in (CANARY, b"acme", b"gpt", b"docs"):
        assert word not in name + value


async def test_an_answer_that_was_changed_or_moved_is_nobodys(connect, clock, url):
    one, other = connect(), msgspec.structs.replace(KEY, tenant="evil")
    await one.keep(KEY, kept(clock))
    await one.keep(other, kept(clock, b"poison"))
    await one.settled()
    with redis.Redis.from_url(url) as client:
        names = {one._name(KEY): one._name(other)}
        for name, foreign in names.items():
            client.set(name, client.get(foreign))
            assert await one.find(KEY) is None, "a value opens only under its own name"
        for value in (b"", b"x" * 20, b"x" * 200):
            client.set(one._name(KEY), value)
            assert await one.find(KEY) is None
    assert one.failures == 0


async def test_a_shared_answer_has_a_bound_of_its_own_and_so_has_what_waits_to_be_written(connect, clock):
    one = connect()
    await one.keep(KEY, kept(clock, b"x" * (SHARED_ANSWER_BYTES_MAX + 1)))
    assert not one._writing
    for number in range(100):
        key = msgspec.structs.replace(KEY, tenant=str(number))
        await one.keep(key, kept(clock, b"x" * (SHARED_ANSWER_BYTES_MAX - 2_000)))
    assert 0 < one._waiting_bytes <= ANSWERS_WAITING_BYTES_MAX
    await one.settled()
    assert one._waiting_bytes == 0


async def test_a_server_that_is_away_has_nothing_and_is_left_alone(connect, clock):
    one = connect(url=f"redis://127.0.0.1:{free_port()}/0")
    assert await one.find(KEY) is None
    assert (one.away, one.failures) == (True, 1)
    for _ in range(10):
        assert await one.find(KEY) is None
        await one.keep(KEY, kept(clock))
    assert one.failures == 1, "nobody waits for it"
    clock.advance(1.0)
    assert await one.find(KEY) is None
    assert one.failures == 2, "every now and then one asks"


async def test_a_server_that_comes_back_is_used_again(tmp_path, connect, clock):
    server = Server(tmp_path)
    try:
        one = connect(url=server.url)
        await one.keep(KEY, kept(clock))
        await one.settled()
        server.stop()
        assert await one.find(KEY) is None
        assert one.away
        server.start()
        clock.advance(5.0)
        assert await one.find(KEY) is None, "it was empty"
        assert not one.away
        await one.keep(KEY, kept(clock))
        await one.settled()
        assert await one.find(KEY) is not None
    finally:
        if isinstance(server.process, subprocess.Popen):
            server.stop()


async def test_a_server_that_does_not_answer_costs_the_time_allowed_and_no_more(connect, clock):
    gone = asyncio.Event()

    async def silent(reader, writer):
        await reader.read()
        writer.close()
        gone.set()

    listening = await asyncio.start_server(silent, "127.0.0.1", 0)
    port = listening.sockets[0].getsockname()[1]
    one = connect(url=f"redis://127.0.0.1:{port}/0", seconds_max=0.05)
    before = asyncio.get_running_loop().time()
    assert await one.find(KEY) is None
    assert asyncio.get_running_loop().time() - before < 2.0
    assert one.away
    await gone.wait()
    listening.close()
    await listening.wait_closed()
