"""What limits, budgets and routing strategies cost a plain request, with counters in memory and in Redis."""

import os
import statistics
import uuid

try:
    import redis
except ImportError:  # an optional extra
    redis = None

from subject import OURS, SUBJECTS, Running, Subject, body

REDIS = os.environ.get("BENCH_REDIS", "redis://127.0.0.1:6379/0")
STRATEGIES = ("weighted", "priority", "cheapest", "least-busy", "least-latency", "sticky", "split")
RATE, ROUNDS = 200, 3
CHAT = "/v1/chat/completions"

TARGETS = "targets: [{{provider: plain, model: gpt-4o-mini}}, {{provider: plain, model: gpt-4o, weight: 2}}]"
LIMITS = "limits: {{requests_per_minute: 100000000, tokens_per_minute: 1000000000, concurrent_requests: 100000}}"
BUDGET = 'budget: {{amount: "999999999", tokens: 1000000000000, alerts: [0.5, 0.8, 1.0]}}'
TENANTS = f"""
tiers: [{{{{name: gold, {LIMITS}}}}}]
tenants:
  - name: bench
    {LIMITS}
    {BUDGET}
    teams:
      - name: bench
        models: ["*"]
        tier: gold
        {LIMITS}
        {BUDGET}
        each_user: {{{{{LIMITS}, {BUDGET}}}}}
        projects: [{{{{name: bench, {LIMITS}, {BUDGET}}}}}]
        keys: [{{{{name: bench, secret: "${{{{env:BENCH_KEY}}}}", project: bench, {LIMITS}, {BUDGET}}}}}]
      - {{{{name: urgent, models: ["*"], keys: [{{{{name: urgent, secret: "${{{{env:BENCH_URGENT_KEY}}}}"}}}}]}}}}
"""
"""Every scope there is has limits, and each but the tier a budget: none is ever reached."""

FILE = (
    OURS.partition("\ntenants:")[0]
    + "".join(f"\n  bench-{one}: {{{{strategy: {one}, {TARGETS}, {LIMITS}}}}}" for one in STRATEGIES)
    + TENANTS
)


def subject(name: str, port: int, counters: str = "") -> Subject:
    """The gateway with limits and budgets everywhere; `counters` are lines of its file."""
    command = next(one for one in SUBJECTS if one.name == "ostiary").command
    return Subject(name, port, command, {"ostiary.yaml": counters + FILE}, note="limits, budgets, strategies")


def request(strategy: str) -> bytes:
    """A plain request of about 1 KB in the name of an end user."""
    return body(f"bench-{strategy}", 1000, user="person-7")


def measure_limits(bench, core: int, sections: set[str]) -> dict:
    """The CPU of a plain request by strategy; with Redis also the latency beside that with counters in memory, both
    gateways up, in turns."""
    found: dict = {}
    memory = Running(subject("ostiary-limits", 9450), bench.work, core)
    try:
        if "limits" in sections:
            for strategy in STRATEGIES:
                found[f"limits, {strategy}"] = {**bench.wrk(memory, CHAT, request(strategy)), "aim_n": 10}
        if "redis" in sections:
            missing = redis_missing()
            if missing:
                found["redis"] = {"skipped": missing}
            else:
                found.update(measure_redis(bench, memory, core))
    finally:
        memory.stop()
    return found


def measure_redis(bench, memory: Running, core: int) -> dict:
    prefix = f"ostiary-bench-{uuid.uuid4().hex[:12]}"
    shared = Running(
        subject("ostiary-redis", 9460, f'counters: {{{{url: "{REDIS}", prefix: {prefix}}}}}\n'), bench.work, core
    )
    try:
        bench.settle(shared, CHAT, request("weighted"))
        found = {"limits in Redis": {**bench.wrk(shared, CHAT, request("weighted")), "aim_n": 15}}
        told: dict[str, list[dict]] = {"memory": [], "redis": []}
        for _ in range(ROUNDS):
            for name, running in (("memory", memory), ("redis", shared)):
                told[name].append(
                    bench.client(
                        "latency", running.url(CHAT), request("weighted"), rate=RATE, seconds=max(bench.seconds, 1.0)
                    )
                )
        errors = sum(one["errors"] for many in told.values() for one in many)
        p50 = {name: statistics.median(one["p50_ms"] for one in many) for name, many in told.items()}
        p99 = {name: statistics.median(one["p99_ms"] for one in many) for name, many in told.items()}
        found["latency with Redis"] = {
            "rate": RATE,
            "errors": errors,
            "memory_p50_ms": p50["memory"],
            "redis_p50_ms": p50["redis"],
            "added_p50_ms": round(p50["redis"] - p50["memory"], 3),
            "aim_added_p50_ms": 1.0,
            "memory_p99_ms": p99["memory"],
            "redis_p99_ms": p99["redis"],
        }
        return found
    finally:
        shared.stop()
        forget(prefix)


def redis_missing() -> str:
    """Why there is nothing to measure with, or empty."""
    if redis is None:
        return "the package redis is not installed (pip install 'ostiary[redis]')"
    try:
        with redis.Redis.from_url(REDIS, socket_timeout=2) as client:
            client.ping()
    except (redis.RedisError, OSError):
        return f"no Redis answers at {REDIS.rpartition('@')[2]} (BENCH_REDIS names another)"
    return ""


def forget(prefix: str) -> None:
    """Take away what the run left in Redis."""
    with redis.Redis.from_url(REDIS, socket_timeout=5) as client:
        for key in client.scan_iter("{" + prefix + "}:*", count=1_000):
            client.delete(key)
