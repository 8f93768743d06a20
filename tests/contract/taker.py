"""A worker that asks for more than a shared limit lets through, as long as it is told to; for tests in processes of their
own. Prints how much it got, and the server's time before its first call and after its last."""

import asyncio
import sys

import redis
from ostiary.bootstrap.system import SystemClock, SystemRandom
from ostiary.core.error import CallerError
from ostiary.gateway.counting.shared import SharedCounters
from ostiary.snapshot.tables import LimitedRow, LimitRow
from ostiary.store.redis.counters import RedisCounters
from tests.exchange.test_shared_counters import Watching

ROW = LimitedRow("team/a/b", LimitRow(requests_per_minute=60_000, request_burst=100))


async def main(url, names, worker, seconds):
    clock = SystemClock()
    counters = RedisCounters(url, worker, prefix=names, seconds_max=10.0, rebuild_seconds=0.0)
    shared = SharedCounters(
        counters, worker, clock=clock, random=SystemRandom(), observer=Watching(), alerted=lambda alert: None
    )
    await shared.start()
    task = asyncio.get_running_loop().create_task(shared.run())
    server = redis.Redis.from_url(url)
    got = 0
    first = server.time()
    end = clock.monotonic() + seconds
    while clock.monotonic() < end:
        for said in await asyncio.gather(
            *(shared.limits.take([ROW], 0, clock.monotonic()) for _ in range(20)), return_exceptions=True
        ):
            if not isinstance(said, CallerError):
                shared.limits.end(said, 0, clock.monotonic())
                got += 1
    print(got, *first, *server.time(), shared.limits.taken_alone)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await shared.aclose()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], sys.argv[3], float(sys.argv[4])))
