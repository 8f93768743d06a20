"""What a primary that fails costs: the calls that go on to its fallback, and those of everybody else."""

import json
import statistics

from quantile import quantiles
from subject import BROKEN, Running, body

RATE, ROUNDS = 200, 8
CHAT = "/v1/chat/completions"
KINDS = {"refuse": "answers 500", "silent": "answers nothing"}


def measure_failing(bench, running: Running) -> dict:
    """Half of the load goes to a model whose primary fails, half to another model, whose provider takes 20 ms. The same load
    with a primary that is well is measured in turns with it, so that what else the machine does falls on both, and the
    times of all rounds are taken together: a 99th percentile of few calls is the machine's. The first moments of a failure,
    before the breaker opens, are counted apart: each call that waits for the primary then costs a failed attempt."""
    found = {}
    well, other = body("bench-well", 1000), body("bench-steady", 1000)
    for kind, told in KINDS.items():
        model = f"bench-{kind}"
        before = counted(bench, kind)
        opening = load(bench, running, body(model, 1000), other, seconds=2.0)
        opened = counted(bench, kind)
        with_failure, without = [], []
        for _ in range(ROUNDS):
            without.append(load(bench, running, well, other))
            with_failure.append(load(bench, running, body(model, 1000), other))
        calls = sum(one["beside"]["done"] for one in with_failure)
        extra = (counted(bench, kind) - opened) / max(calls, 1)
        p99 = {
            name: quantiles([took for one in many for took in one["took"]])["p99_ms"]
            for name, many in (("well", without), ("failing", with_failure))
        }
        found[f"failing: the primary {told}"] = {
            "failed_attempts_before_the_breaker_opened": opened - before,
            "errors_before": errors(opening),
            "errors": errors(*with_failure, *without),
            "failed_attempts_per_call": round(extra, 4),
            "aim_failed_attempts_per_call": 1.0,
            "own_p99_ms": statistics.median(one["beside"]["p99_ms"] for one in with_failure),
            "others_p99_ms": p99["failing"],
            "others_p99_ms_without": p99["well"],
            "others_p99_change": round(p99["failing"] / p99["well"] - 1, 3),
            "aim_others_p99_change": 0.2,
        }
    return found


def load(bench, running: Running, failing: bytes, other: bytes, seconds: float = 0.0) -> dict:
    """RATE calls a second of the other model, and as many `beside` them of the one that may fail."""
    return bench.client(
        "latency",
        running.url(CHAT),
        other,
        beside=failing,
        rate=2 * RATE,
        seconds=seconds or max(bench.seconds, 1.0),
        raw=1,
    )


def errors(*told: dict) -> int:
    return sum(one["errors"] + one["beside"]["errors"] for one in told)


def counted(bench, kind: str) -> int:
    return json.loads(bench.get(BROKEN, "/count")).get(kind, 0)
