"""What providers say of their own limits."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ostiary.core.limit import QUOTA_REST_SECONDS, QUOTA_REST_SECONDS_MAX
from ostiary.gateway.route.quota import told, used_up_seconds

NOW = 1_700_000_000.0


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, 0.0),
        ({"x-ratelimit-remaining-requests": "1", "x-ratelimit-reset-requests": "6s"}, 0.0),
        ({"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "6s"}, 6.0),
        ({"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "120ms"}, 0.12),
        ({"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "1m0.5s"}, 60.0),
        ({"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "0m7.66s"}, 7.66),
        ({"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "6m0s"}, QUOTA_REST_SECONDS_MAX),
        ({"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "3"}, 3.0),
        ({"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": str(int(NOW) + 4)}, 4.0),
        ({"x-ratelimit-remaining-requests": "0"}, QUOTA_REST_SECONDS),
        ({"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "soon"}, QUOTA_REST_SECONDS),
        ({"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": ""}, QUOTA_REST_SECONDS),
        ({"x-ratelimit-limit-requests": "0", "x-ratelimit-reset-requests": "6s"}, 0.0),
        (
            {
                "anthropic-ratelimit-requests-remaining": "0",
                "anthropic-ratelimit-requests-reset": "2023-11-14T22:13:29Z",
                "anthropic-ratelimit-tokens-remaining": "7",
                "anthropic-ratelimit-tokens-reset": "2023-11-14T22:13:59Z",
            },
            9.0,
        ),
        (
            {"anthropic-ratelimit-tokens-remaining": "0", "anthropic-ratelimit-tokens-reset": "2020-01-01T00:00:00Z"},
            0.0,
        ),
    ],
)
def test_a_quota_is_used_up_until_it_is_reset(headers, seconds):
    pairs = [(name.encode(), value.encode()) for name, value in headers.items()]
    assert used_up_seconds(pairs, NOW) == pytest.approx(seconds)


@given(st.binary(max_size=40), st.binary(max_size=40))
def test_whatever_a_provider_says_the_rest_is_bounded(remaining, reset):
    headers = [(b"x-ratelimit-remaining-requests", remaining), (b"x-ratelimit-reset-requests", reset)]
    assert 0.0 <= used_up_seconds(headers, NOW) <= QUOTA_REST_SECONDS_MAX


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["x-ratelimit-", "anthropic-ratelimit-", "x-"]),
            st.sampled_from(
                ["remaining-requests", "requests-remaining", "reset-requests", "limit-tokens", "remainder"]
            ),
            st.sampled_from([b"0", b"1", b"6s", b""]),
        ),
        max_size=6,
    )
)
def test_of_an_answer_that_tells_nothing_no_quota_is_used_up(fields):
    headers = [((family + name).encode(), value) for family, name, value in fields]
    assert told(headers) is any(b"remaining" in name for name, _ in headers)
    if not told(headers):
        assert used_up_seconds(headers, NOW) == 0.0
