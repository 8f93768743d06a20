"""What holds of every store of usage."""

import msgspec
import pytest

from ostiary.core.event import Gap, Outcome, Recovered, Unauthenticated
from ostiary.core.usage import Usage
from ostiary.govern.usage.model import Batch, CallRow, Dimension, OpenCall, Place, UsageQuery
from tests.contract.backends import Sqlite


def batch(calls=(), **fields):
    made = Batch(list(calls), {}, [], [], [], [], [])
    return msgspec.structs.replace(made, **fields)


def call(sequence, **fields):
    given = {
        "at_ns": 1,
        "day": "2026-01-02",
        "tenant": "acme",
        "environment": "production",
        "team": "search",
        "key_id": "k1",
        "asked": "chat",
        "served": "tiny",
        "provider": "local",
        "operation": "chat",
        "outcome": Outcome.SUCCEEDED,
        "input_tokens": 10,
        "output_tokens": 5,
        "cost_nano": 1_000,
        "currency": "USD",
        "total_ms": float(sequence),
        **fields,
    }
    return CallRow(origin=given.pop("origin", "r1.0"), sequence=sequence, **given)


def add(stores, calls, origin="r1.0", **fields):
    before = stores.usage.place("usage", origin)
    after = Place(before.segment, before.offset + 1, before.sequence + 1)
    assert stores.usage.apply("usage", origin, before, after, batch(calls, **fields))


def report(stores, *by, **bounds):
    return {line.group: line for line in stores.usage.report(UsageQuery(by, **bounds))}


def test_a_consumer_begins_at_the_beginning_and_each_has_its_own_place(stores):
    assert stores.usage.place("usage", "r1.0") == Place()
    assert stores.usage.apply("usage", "r1.0", Place(), Place(1, 2, 3), batch())
    stores.reopen()
    assert stores.usage.place("usage", "r1.0") == Place(1, 2, 3)
    assert stores.usage.place("usage", "r1.1") == Place()
    assert stores.usage.place("other", "r1.0") == Place()


def test_a_batch_counts_once_whoever_applies_it(stores):
    first = (Place(), Place(0, 9, 1), batch([call(0)]))
    assert stores.usage.apply("usage", "r1.0", *first)
    assert not stores.usage.apply("usage", "r1.0", *first)
    assert report(stores, Dimension.TEAM)[("search",)].requests == 1


def test_a_batch_that_fails_leaves_nothing(stores):
    add(stores, [call(0)])
    before = stores.usage.place("usage", "r1.0")
    doubled = batch([call(5), call(0)])
    with pytest.raises(Exception):
        stores.usage.apply("usage", "r1.0", before, Place(9, 9, 9), doubled)
    assert stores.usage.place("usage", "r1.0") == before
    assert report(stores, Dimension.TEAM)[("search",)].requests == 1


def test_sums_by_every_dimension(stores):
    add(stores, [call(0), call(1, team="ads", served="big", cost_nano=5, currency="EUR", cached_tokens=3)])
    add(stores, [call(2, tenant="globex", day="2026-01-03", asked="=x", reasoning_tokens=4, cache_write_tokens=1)])
    for dimension in Dimension:
        assert sum(line.requests for line in report(stores, dimension).values()) == 3
    lines = report(stores, Dimension.TENANT, Dimension.TEAM)
    assert list(lines) == [("acme", "ads"), ("acme", "search"), ("globex", "search")]
    ads = lines["acme", "ads"]
    assert (ads.input_tokens, ads.output_tokens, ads.cached_tokens, ads.cost_nano) == (10, 5, 3, {"EUR": 5})
    assert (lines["globex", "search"].reasoning_tokens, lines["globex", "search"].cache_write_tokens) == (4, 1)
    assert report(stores, Dimension.TENANT)[("acme",)].cost_nano == {"USD": 1_000, "EUR": 5}


def test_outcomes_are_told_apart_and_unpriced_calls_cost_nothing(stores):
    outcomes = list(Outcome)
    add(stores, [call(n, outcome=outcome, cost_nano=0, currency="") for n, outcome in enumerate(outcomes)])
    (line,) = report(stores, Dimension.KEY).values()
    assert (line.requests, line.succeeded, line.errors, line.denied, line.cancelled) == (5, 1, 2, 1, 1)
    assert line.cost_nano == {}


def test_bounds_of_a_report(stores):
    days = ["2026-01-01", "2026-01-02", "2026-01-03"]
    add(stores, [call(n, day=day) for n, day in enumerate(days)])
    add(stores, [call(7, tenant="globex", team="ads")])
    assert list(report(stores, Dimension.DAY, since="2026-01-02")) == [("2026-01-02",), ("2026-01-03",)]
    assert list(report(stores, Dimension.DAY, until="2026-01-01")) == [("2026-01-01",)]
    assert list(report(stores, Dimension.TEAM, tenant="globex")) == [("ads",)]
    assert list(report(stores, Dimension.TENANT, team="search")) == [("acme",)]
    assert report(stores, Dimension.TENANT, tenant="' OR 1=1 --") == {}


def test_percentiles_are_those_of_the_calls_that_succeeded(stores):
    add(stores, [call(n, total_ms=float(n + 1)) for n in range(100)])
    add(stores, [call(500, total_ms=10_000.0, outcome=Outcome.FAILED)])
    (line,) = report(stores, Dimension.TEAM).values()
    assert (line.p50_ms, line.p95_ms) == (50.0, 95.0)
    add(stores, [call(600, team="ads", outcome=Outcome.DENIED)])
    assert report(stores, Dimension.TEAM)[("ads",)].p50_ms is None


def test_large_sums_stay_exact(stores):
    for number in range(5):
        add(stores, [call(number, input_tokens=2**40, cost_nano=2**53)])
    (line,) = report(stores, Dimension.TEAM).values()
    assert line.input_tokens == 5 * 2**40
    assert line.cost_nano == {"USD": 5 * 2**53}


def test_everything_else_a_journal_holds(stores):
    opened = {4: OpenCall(4, 1, "acme", "search", "k", "chat", "r")}
    add(
        stores,
        [],
        opened=opened,
        refusals=[Unauthenticated(1, "s", "c", 2), Unauthenticated(1, "s", "c", 3)],
        gaps=[(5, Gap(1, 2, 3, "x"))],
        recoveries=[(6, Recovered(1, 2, 3))],
        unreadable=[(7, 2)],
    )
    with stores.database.read() as tx:
        assert tx.rows("SELECT minute, source, code, count FROM refusals") == [(1, "s", "c", 5)]
        assert tx.rows("SELECT sequence, from_ns, to_ns, calls, reason FROM gaps") == [(5, 1, 2, 3, "x")]
        assert tx.rows("SELECT sequence, at_ns, bytes_cut, aborted FROM recoveries") == [(6, 1, 2, 3)]
        assert tx.rows("SELECT sequence, kind FROM unreadable") == [(7, 2)]
        assert tx.rows("SELECT sequence, tenant_id, request_id FROM open_calls") == [(4, "acme", "r")]
    add(stores, [call(8)], closed=[4])
    with stores.database.read() as tx:
        assert tx.rows("SELECT sequence FROM open_calls") == []


def test_what_calls_consumed_is_told_by_what_they_have_in_common(stores):
    add(
        stores,
        [
            call(0),
            call(1),
            call(2, images=2, audio_milliseconds=7, output_image_tokens=3, whole=True),
            call(3, team="ads", day="2026-01-03"),
            call(4, currency="", cost_nano=0),
        ],
    )
    rows = stores.usage.consumed(UsageQuery((Dimension.TEAM,)))
    assert [(row.group, row.calls, row.cost_nano, row.whole) for row in rows] == [
        (("ads",), 1, 1_000, False),
        (("search",), 2, 2_000, False),
        (("search",), 1, 1_000, True),
    ]
    assert rows[1].usage == Usage(10, 5)
    assert rows[2].usage == Usage(10, 5, images=2, audio_milliseconds=7, output_image_tokens=3)
    (row,) = stores.usage.consumed(UsageQuery((), since="2026-01-03"))
    assert (row.group, row.calls) == ((), 1)
    assert stores.usage.consumed(UsageQuery((), tenant="globex")) == []


def test_a_place_that_was_never_reached_is_not_moved_from(stores):
    assert not stores.usage.apply("usage", "r1.0", Place(0, 5, 5), Place(0, 6, 6), batch([call(0)]))
    assert stores.usage.place("usage", "r1.0") == Place()
    assert report(stores, Dimension.TEAM) == {}


def test_calls_of_days_that_are_not_kept_are_given_up_and_their_sums_stay(stores):
    days = ["2025-12-31", "2026-01-01", "2026-01-02", "2026-01-03"]
    add(stores, [call(n, day=day) for n, day in enumerate(days)])
    stores.usage.keep("2026-01-03", "")
    assert len(stores.usage.consumed(UsageQuery((Dimension.DAY,)))) == 4
    stores.usage.keep("2026-01-03", "2026-01-02")
    assert [row.day for row in stores.usage.consumed(UsageQuery((Dimension.DAY,)))] == days[2:]
    lines = report(stores, Dimension.DAY)
    assert [group[0] for group in lines] == days
    assert [line.p50_ms is None for line in lines.values()] == [True, True, False, False]
    # What comes late of a day that was given up is counted all the same.
    add(stores, [call(9, day=days[0])])
    assert report(stores, Dimension.DAY)[(days[0],)].requests == 2


@pytest.mark.parametrize("count", [1, 2, 3, 19, 20, 21, 40, 60, 100, 140, 220])
def test_a_percentile_is_the_smallest_value_that_so_many_do_not_exceed(stores, count):
    add(stores, [call(n, total_ms=float(n + 1)) for n in range(count)])
    (line,) = report(stores, Dimension.TEAM).values()
    assert (line.p50_ms, line.p95_ms) == (-(-count * 50 // 100), -(-count * 95 // 100))


def test_usage_by_project_feature_and_end_user(stores):
    add(stores, [call(0, project="alpha", feature="search", end_user="p1"), call(1, project="alpha", end_user="p2")])
    add(stores, [call(2), call(3, project="beta", feature="search", outcome=Outcome.FAILED, currency="", cost_nano=0)])
    lines = report(stores, Dimension.PROJECT)
    told = {group[0]: (line.requests, line.errors, line.input_tokens, line.cost_nano) for group, line in lines.items()}
    assert told == {
        "": (1, 0, 10, {"USD": 1_000}),
        "alpha": (2, 0, 20, {"USD": 2_000}),
        "beta": (1, 1, 10, {}),
    }
    assert lines[("alpha",)].p95_ms == 1.0
    assert {group: line.requests for group, line in report(stores, Dimension.FEATURE).items()} == {
        ("",): 2,
        ("search",): 2,
    }
    people = report(stores, Dimension.END_USER, Dimension.PROJECT)
    assert {group: line.requests for group, line in people.items()} == {
        ("", ""): 1,
        ("", "beta"): 1,
        ("p1", "alpha"): 1,
        ("p2", "alpha"): 1,
    }
    by_call = report(stores, Dimension.FEATURE, Dimension.TEAM)
    assert (by_call["", "search"].succeeded, by_call["search", "search"].errors) == (2, 1)
    (row,) = stores.usage.consumed(UsageQuery((Dimension.PROJECT,), tenant="acme", team="search"))[1:]
    assert (row.group, row.calls) == (("alpha",), 2)


@pytest.mark.parametrize("dimension", list(Dimension))
def test_whatever_it_is_grouped_by_a_report_has_the_same_sums(stores, dimension):
    projects, outcomes = ("", "alpha", "beta"), list(Outcome)
    calls = [
        call(
            n, project=projects[n % 3], outcome=outcomes[n % 5], currency=("USD", "EUR", "")[n % 3], feature=f"f{n % 4}"
        )
        for n in range(30)
    ]
    add(stores, calls)
    lines = report(stores, dimension).values()
    assert [sum(getattr(line, name) for line in lines) for name in ("requests", "succeeded", "errors", "denied")] == [
        30,
        6,
        12,
        6,
    ]
    assert sum(line.cost_nano.get("EUR", 0) for line in lines) == 10_000


OLDER_CALL = (
    "INSERT INTO calls (origin, sequence, at_ns, day, tenant_id, environment, team, key_id, asked, served, provider, "
    "operation, outcome, status, error, stream, input_tokens, output_tokens, cached_tokens, cache_write_tokens, "
    "reasoning_tokens, estimated, cost_nano, currency, total_ms, first_content_ms, request_id, cache_write_1h_tokens, "
    "input_audio_tokens, output_audio_tokens, input_image_tokens, output_image_tokens, images, audio_milliseconds, "
    "characters, search_units, whole) VALUES ('r0.9', 1, 1, '2026-01-02', 'acme', 'production', 'search', 'k1', 'chat', "
    "'tiny', 'local', 'chat', 'succeeded', 200, '', {no}, 10, 5, 0, 0, 0, {no}, 1000, 'USD', 1.0, 0.0, 'r', 0, 0, 0, 0, 0, "
    "0, 0, 0, 0, {yes})"
)
OLDER_DAY = (
    "INSERT INTO usage_daily AS d (tenant_id, day, environment, team, key_id, asked, served, provider, currency, requests, "
    "succeeded, failed, denied, cancelled, aborted, input_tokens, output_tokens, cached_tokens, cache_write_tokens, "
    "reasoning_tokens, cost_nano) VALUES ('acme', '2026-01-02', 'production', 'search', 'k1', 'chat', 'tiny', 'local', "
    "'USD', 1, 1, 0, 0, 0, 0, 10, 5, 0, 0, 0, 1000) "
    "ON CONFLICT (day, tenant_id, environment, team, key_id, asked, served, provider, currency) DO UPDATE SET "
    "requests = d.requests + 1, succeeded = d.succeeded + 1, cost_nano = d.cost_nano + 1000"
)


def test_what_a_program_without_projects_adds_beside_one_with_them_is_of_no_project(stores):
    """Its statements, as they were: it adds to the same rows of the same day, and finds the sums of both."""
    add(stores, [call(0, project="alpha")])
    words = {"no": "0", "yes": "1"} if isinstance(stores, Sqlite) else {"no": "false", "yes": "true"}
    with stores.database.write() as tx:
        tx.run(OLDER_CALL.format(**words))
        tx.run(OLDER_DAY)
    add(stores, [call(2, project="alpha")])
    assert {group: line.requests for group, line in report(stores, Dimension.PROJECT).items()} == {
        ("",): 1,
        ("alpha",): 2,
    }
    assert report(stores, Dimension.PROJECT)[("",)].cost_nano == {"USD": 1_000}
    with stores.database.read() as tx:
        assert tx.rows("SELECT requests, cost_nano FROM usage_daily") == [(3, 3_000)]
