"""When a target is called, rests, is ejected and comes back; and how many retries it may cause."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ostiary.core.error import Code, UpstreamError
from ostiary.core.limit import (
    CREDENTIAL_REST_SECONDS,
    EJECT_AFTER_FAILURES,
    EJECT_SECONDS,
    EJECT_SECONDS_MAX,
    QUOTA_REST_SECONDS,
    QUOTA_REST_SECONDS_MAX,
    RETRIES_RESERVED,
    RETRIES_SHARE,
    TARGETS_SEEN_MAX,
)
from ostiary.gateway.route.health import Health, Standing, TargetHealth

DOWN = UpstreamError(Code.UPSTREAM_UNREACHABLE, "down")


def call(one, now, error=None, seconds=0.1):
    one.began(now, first=True)
    if error is None:
        one.succeeded(now, seconds)
        return False
    return one.failed(now, error)


def ejected(now=0.0):
    one = TargetHealth(now)
    for _ in range(EJECT_AFTER_FAILURES):
        call(one, now, DOWN)
    return one


def test_failures_in_a_row_eject_a_target_and_only_the_last_says_so():
    one = TargetHealth(0.0)
    assert [call(one, 0.0, DOWN) for _ in range(EJECT_AFTER_FAILURES)] == [False] * (EJECT_AFTER_FAILURES - 1) + [True]
    assert one.standing(EJECT_SECONDS - 0.01) is Standing.EJECTED
    assert one.standing(EJECT_SECONDS) is Standing.PROBE


def test_a_success_between_failures_keeps_a_target_in_but_half_failing_does_not():
    one = TargetHealth(0.0)
    for _ in range(9):
        call(one, 0.0, DOWN)
        call(one, 0.0)
    assert one.standing(0.0) is Standing.WELL
    call(one, 0.0)
    assert call(one, 0.0, DOWN)
    assert one.standing(0.0) is Standing.EJECTED


def test_a_call_that_fails_again_is_one_witness_where_the_fault_may_be_its_own():
    refused, stalled = TargetHealth(0.0), TargetHealth(0.0)
    for one, code in ((refused, Code.UPSTREAM_ERROR), (stalled, Code.UPSTREAM_UNREACHABLE)):
        for again in [False, *[True] * EJECT_AFTER_FAILURES]:
            one.began(0.0, first=not again)
            one.failed(0.0, UpstreamError(code, "no"), again=again)
    assert refused.standing(0.0) is Standing.WELL
    assert stalled.standing(0.0) is Standing.EJECTED
    for _ in range(EJECT_AFTER_FAILURES - 1):
        call(refused, 0.0, UpstreamError(Code.UPSTREAM_ERROR, "no"))
    assert refused.standing(0.0) is Standing.EJECTED


def test_one_call_probes_and_the_others_wait_for_it():
    one = ejected()
    now = EJECT_SECONDS
    one.began(now, first=True)
    assert one.standing(now) is Standing.EJECTED
    one.succeeded(now, 0.1)
    assert one.standing(now) is Standing.WELL


def test_a_failed_probe_ejects_for_longer_each_time_up_to_a_bound():
    one, now, lengths = ejected(), 0.0, []
    for _ in range(12):
        lengths.append(one.ejected_until - now)
        now = one.ejected_until
        call(one, now, DOWN)
    assert lengths[:4] == [EJECT_SECONDS, 2 * EJECT_SECONDS, 4 * EJECT_SECONDS, 8 * EJECT_SECONDS]
    assert lengths[-1] == EJECT_SECONDS_MAX


def test_a_probe_whose_client_went_away_leaves_room_for_the_next():
    one = ejected()
    one.began(EJECT_SECONDS, first=True)
    one.left()
    assert one.standing(EJECT_SECONDS) is Standing.PROBE


@pytest.mark.parametrize(("asked", "rest"), [(2.5, 2.5), (0.0, 0.0), (-1.0, 0.0), (1e9, QUOTA_REST_SECONDS_MAX)])
def test_a_used_up_quota_rests_as_long_as_asked_and_is_no_failure_of_the_host(asked, rest):
    one = TargetHealth(0.0)
    for _ in range(2 * EJECT_AFTER_FAILURES):
        call(one, 0.0, UpstreamError(Code.UPSTREAM_RATE_LIMITED, "slow", retry_after_seconds=asked))
    assert one.standing(rest) is Standing.WELL
    if rest:
        assert one.standing(rest - 0.01) is Standing.RESTING


def test_a_used_up_quota_without_a_word_on_when_is_spared_until_a_call_succeeds():
    one = TargetHealth(0.0)
    for _ in range(2 * EJECT_AFTER_FAILURES):
        call(one, 0.0, UpstreamError(Code.UPSTREAM_RATE_LIMITED, "slow"))
    assert one.standing(QUOTA_REST_SECONDS - 0.01) is Standing.SPARED
    assert one.standing(QUOTA_REST_SECONDS) is Standing.WELL
    call(one, 1.0, UpstreamError(Code.UPSTREAM_RATE_LIMITED, "slow"))
    call(one, 1.0)
    assert one.standing(1.0) is Standing.WELL


def test_a_target_that_stays_overloaded_is_ejected_unless_it_says_when_to_come_back():
    silent, telling = TargetHealth(0.0), TargetHealth(0.0)
    for _ in range(EJECT_AFTER_FAILURES):
        call(silent, 0.0, UpstreamError(Code.UPSTREAM_OVERLOADED, "busy"))
        call(telling, 0.0, UpstreamError(Code.UPSTREAM_OVERLOADED, "busy", retry_after_seconds=1.0))
    assert silent.standing(0.0) is Standing.EJECTED
    assert (telling.standing(0.0), telling.standing(1.0)) == (Standing.RESTING, Standing.WELL)


def test_a_provider_that_is_another_one_now_starts_anew_and_the_others_do_not():
    health = Health()
    for name in ("a/x", "a/busy", "b/x"):
        one = health.of(name, 0.0)
        one.began(0.0, first=True)
        if name == "a/busy":
            one.began(0.0, first=True)
        health.failed(name, 0.0, UpstreamError(Code.UPSTREAM_CREDENTIAL, "no"))
    health.renew("a")
    assert [health.standing(name, 0.0) for name in ("a/x", "a/busy", "b/x")] == [
        Standing.WELL,
        Standing.WELL,
        Standing.CREDENTIAL,
    ]
    assert health.of("a/busy", 0.0).in_flight == 1


def test_a_refused_credential_rests_and_is_no_failure_of_the_host():
    one = TargetHealth(0.0)
    call(one, 0.0, UpstreamError(Code.UPSTREAM_CREDENTIAL, "no"))
    assert one.standing(CREDENTIAL_REST_SECONDS - 0.01) is Standing.CREDENTIAL
    assert one.standing(CREDENTIAL_REST_SECONDS) is Standing.WELL


def test_a_refused_request_says_that_the_host_is_well():
    one = ejected()
    call(one, EJECT_SECONDS, UpstreamError(Code.UPSTREAM_REFUSED, "bad request"))
    assert one.standing(EJECT_SECONDS) is Standing.WELL


@given(st.integers(0, 500))
def test_retries_stay_within_their_share_of_the_calls(calls):
    one = TargetHealth(0.0)
    retries = 0
    for _ in range(calls):
        call(one, 0.0, DOWN)
        retries += one.may_retry(0.0)
    assert retries <= calls * RETRIES_SHARE + RETRIES_RESERVED


def test_an_idle_target_gets_its_reserve_back():
    one = TargetHealth(0.0)
    while one.may_retry(0.0):
        pass
    assert not one.may_retry(1.0)
    assert one.may_retry(60.0)


@given(st.lists(st.floats(0.01, 10.0), min_size=200, max_size=400))
def test_latency_stays_between_the_least_and_the_most_seen(seen):
    one = TargetHealth(0.0)
    for seconds in seen:
        call(one, 0.0, seconds=seconds)
    assert min(seen) * 0.99 <= one.latency_seconds <= max(seen) * 1.01


def test_latency_follows_a_change():
    one = TargetHealth(0.0)
    for _ in range(200):
        call(one, 0.0, seconds=0.1)
    for _ in range(50):
        call(one, 0.0, seconds=2.0)
    assert one.latency_seconds > 1.5
    for _ in range(800):
        call(one, 0.0, seconds=0.1)
    assert one.latency_seconds < 0.2


def test_no_more_targets_are_remembered_than_the_bound_and_busy_ones_stay():
    health = Health()
    busy = health.of("busy", 0.0)
    busy.began(0.0, first=True)
    for number in range(3 * TARGETS_SEEN_MAX):
        health.of(f"made-up-{number}", 0.0)
    assert len(health._targets) <= TARGETS_SEEN_MAX + 1
    assert health.of("busy", 0.0) is busy
