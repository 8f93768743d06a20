"""Sums of calls by day against what adding them one by one gives."""

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from ostiary.core.event import Outcome
from ostiary.govern.usage.daily import daily
from ostiary.govern.usage.model import CallRow

CALLS = st.builds(
    CallRow,
    origin=st.just("r1.0"),
    sequence=st.integers(0, 99),
    at_ns=st.just(1),
    day=st.sampled_from(["2026-01-01", "2026-01-02"]),
    tenant=st.sampled_from(["acme", "other"]),
    environment=st.just("production"),
    team=st.sampled_from(["ads", "search"]),
    key_id=st.just("k"),
    asked=st.sampled_from(["chat", "x"]),
    served=st.just("m"),
    provider=st.just("p"),
    operation=st.just("chat"),
    outcome=st.sampled_from([*Outcome, *map(str, Outcome)]),
    input_tokens=st.integers(0, 2**40),
    output_tokens=st.integers(0, 2**40),
    cached_tokens=st.integers(0, 9),
    cache_write_tokens=st.integers(0, 9),
    reasoning_tokens=st.integers(0, 9),
    cost_nano=st.integers(0, 2**53),
    currency=st.sampled_from(["", "USD"]),
    project=st.sampled_from(["", "a", "b"]),
)


def added(calls, *more):
    sums = {}
    for call in calls:
        name = (call.tenant, call.day, call.environment, call.team, call.key_id, call.asked, call.served)
        name += (call.provider, call.currency, *(getattr(call, field) for field in more))
        tokens = (call.input_tokens, call.output_tokens, call.cached_tokens, call.cache_write_tokens)
        outcomes = [call.outcome == outcome for outcome in ("succeeded", "failed", "denied", "cancelled", "aborted")]
        values = (1, *outcomes, *tokens, call.reasoning_tokens, call.cost_nano)
        sums[name] = [old + new for old, new in zip(sums.get(name, [0] * 12), values, strict=True)]
    return [(*name, *values) for name, values in sorted(sums.items())]


@given(st.lists(CALLS, max_size=30))
def test_rows_are_what_adding_call_by_call_gives_in_the_order_of_their_names(calls):
    days, projects = daily([msgspec.structs.astuple(call) for call in calls])
    assert days == added(calls)
    assert projects == added([call for call in calls if call.project], "project")
