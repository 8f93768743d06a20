"""Which of several secrets a call is sent with."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ostiary.core.call import DialectName
from ostiary.core.error import Code, UpstreamError
from ostiary.core.http import Origin
from ostiary.core.limit import CREDENTIAL_REST_SECONDS, QUOTA_REST_SECONDS, QUOTA_REST_SECONDS_MAX
from ostiary.gateway.route.keys import Keys, each_alone, of_providers
from ostiary.snapshot.tables import AuthRow, KeyRow, ProviderRow, SecretRef

REFUSED = UpstreamError(Code.UPSTREAM_CREDENTIAL, "no")
BUSY = UpstreamError(Code.UPSTREAM_RATE_LIMITED, "later")


def provider(*weights, name="oai"):
    keys = tuple(KeyRow(str(i), SecretRef("env", f"K{i}"), weight) for i, weight in enumerate(weights))
    return ProviderRow(
        name, DialectName.OPENAI, Origin("http", "oai.test", 80), "/v1", AuthRow("bearer", None, keys=keys)
    )


@given(weights=st.lists(st.integers(1, 9), min_size=1, max_size=5), rounds=st.integers(1, 6))
def test_calls_one_after_the_other_are_spread_by_weight(weights, rounds):
    keys = Keys(provider(*weights))
    had = Counter()
    for _ in range(rounds * sum(weights)):
        one = keys.pick(0.0)
        keys.began(one)
        one.left()
        had[one.name] += 1
    for i, weight in enumerate(weights):
        assert abs(had[str(i)] - rounds * weight) <= len(weights)


@given(weights=st.lists(st.integers(1, 9), min_size=1, max_size=5), calls=st.integers(1, 60))
def test_open_calls_are_spread_by_weight(weights, calls):
    keys = Keys(provider(*weights))
    for _ in range(calls):
        keys.began(keys.pick(0.0))
    for key in keys.keys:
        assert abs(key.in_flight - calls * key.weight / sum(weights)) <= len(weights)


def test_a_refused_secret_rests_for_itself_alone():
    keys = Keys(provider(1, 1))
    first, second = keys.keys
    assert first.failed(10.0, REFUSED)
    assert [keys.pick(10.0 + i) for i in range(3)] == [second] * 3
    assert keys.pick(10.0 + CREDENTIAL_REST_SECONDS, tried=[second]) is first


@pytest.mark.parametrize(
    ("asked", "rests"), [(7.0, 7.0), (None, QUOTA_REST_SECONDS), (1e9, QUOTA_REST_SECONDS_MAX), (-5.0, 0.0)]
)
def test_a_used_up_quota_cools_its_own_secret_for_as_long_as_was_asked_within_bounds(asked, rests):
    keys = Keys(provider(1, 1))
    first, second = keys.keys
    first.failed(10.0, UpstreamError(Code.UPSTREAM_RATE_LIMITED, "later", retry_after_seconds=asked))
    assert keys.pick(10.0 + rests, tried=[second]) is first
    if rests:
        assert keys.pick(10.0 + rests - 0.01, tried=[second]) is None


@pytest.mark.parametrize(
    "code", [Code.UPSTREAM_ERROR, Code.UPSTREAM_TIMEOUT, Code.UPSTREAM_REFUSED, Code.UPSTREAM_OVERLOADED]
)
def test_failures_of_the_host_or_the_request_are_no_secrets_fault(code):
    keys = Keys(provider(1, 1))
    assert not keys.keys[0].failed(10.0, UpstreamError(code, "x"))
    assert keys.pick(10.0, tried=[keys.keys[1]]) is keys.keys[0]


def test_one_that_says_its_quota_is_used_up_is_passed_over_while_another_is_there():
    keys = Keys(provider(1, 1))
    keys.keys[0].scarce_until = 20.0
    keys.keys[1].in_flight = 100
    assert keys.pick(10.0) is keys.keys[1]
    assert keys.pick(10.0, tried=[keys.keys[1]]) is keys.keys[0]


def test_where_none_is_left_the_failure_is_that_of_the_one_that_is_back_first():
    keys = Keys(provider(1, 1))
    first, second = keys.keys
    first.failed(10.0, REFUSED)
    second.failed(10.0, UpstreamError(Code.UPSTREAM_RATE_LIMITED, "later", retry_after_seconds=3.0))
    error = keys.exhausted(11.0, REFUSED)
    assert (error.code, error.retry_after_seconds) == (Code.UPSTREAM_RATE_LIMITED, 2.0)
    second.failed(11.0, REFUSED)
    second.rests_until = 60.0
    assert keys.exhausted(12.0).code is Code.UPSTREAM_CREDENTIAL


def test_what_is_known_of_secrets_outlives_a_snapshot_unless_they_changed():
    rows = (provider(1, 1), provider(1, 1, name="other"))
    before = of_providers(rows, {})
    after = of_providers(rows, before, {"other"})
    assert after["oai"] is before["oai"]
    assert after["other"] is not before["other"]
    assert of_providers((), after) == {}


def test_each_secret_makes_a_provider_of_its_own():
    rows = each_alone((provider(1, 1),))
    assert [row.auth.secret for row in rows] == [SecretRef("env", "K0"), SecretRef("env", "K1")]
    assert all(row.auth.keys == () for row in rows)


def test_one_that_rested_for_long_does_not_make_up_for_it():
    keys = Keys(provider(1, 1))
    first, second = keys.keys
    first.rests_until = 100.0
    for _ in range(500):
        keys.began(keys.pick(0.0))
        second.left()
    had = []
    for _ in range(10):
        one = keys.pick(100.0)
        keys.began(one)
        one.left()
        had.append(one)
    assert had.count(first) <= 6
