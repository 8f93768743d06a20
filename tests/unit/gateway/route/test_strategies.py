"""The order in which each strategy tries targets: every target once, by what its name promises."""

from collections import Counter

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ostiary.bootstrap.data import strategies
from ostiary.core.call import DialectName
from ostiary.core.http import Origin
from ostiary.core.usage import Usage
from ostiary.gateway.route.health import Health
from ostiary.gateway.route.plan import Scene
from ostiary.snapshot.index import Target
from ostiary.snapshot.tables import ModelRow, PriceRow, ProviderRow, Rates, TimeoutsRow

MODEL = ModelRow("m", (), TimeoutsRow(1, 1, 1, 1))


class Draw:
    def __init__(self, seed=1):
        self.state = seed

    def random(self):
        self.state = (self.state * 6364136223846793005 + 1442695040888963407) % 2**64
        return self.state / 2**64


def target(name, weight=1, price=None):
    row = ProviderRow(name, DialectName.OPENAI, Origin("http", "x", 1), "/v1")
    prices = () if price is None else (PriceRow("p", "m", Rates(input=price, output=price)),)
    return Target(row, MODEL, "m", weight, f"{name}/m", b"/v1", b"", prices)


def scene(health=None, subject="key-1", draw=None):
    return Scene(draw or Draw(), 0.0, 0, health or Health(), Usage(100, 100), subject)


targets = st.lists(st.tuples(st.integers(0, 5), st.none() | st.integers(0, 9)), min_size=1, max_size=8).map(
    lambda rows: tuple(target(f"t{i}", weight, price) for i, (weight, price) in enumerate(rows))
)


@pytest.mark.parametrize("name", strategies())
@given(given_targets=targets, seed=st.integers(1, 10**6), subject=st.text(max_size=5))
def test_every_target_comes_exactly_once(name, given_targets, seed, subject):
    order = strategies()[name](given_targets, scene(subject=subject, draw=Draw(seed)))
    assert sorted(one.name for one in order) == sorted(one.name for one in given_targets)


def homes(name, given_targets, subjects=range(2_000)):
    return {one: first(name, given_targets, subject=f"subject-{one}") for one in subjects}


@pytest.mark.parametrize("name", ["split", "sticky"])
@given(weights=st.lists(st.integers(1, 20), min_size=2, max_size=5))
@settings(max_examples=20)
def test_each_target_gets_subjects_by_its_weight(name, weights):
    found = Counter(homes(name, tuple(target(f"t{i}", weight) for i, weight in enumerate(weights))).values())
    for i, weight in enumerate(weights):
        share = weight / sum(weights)
        # Five standard deviations of so many independent draws.
        assert abs(found[f"t{i}"] / 2_000 - share) < 5 * (share * (1 - share) / 2_000) ** 0.5


@pytest.mark.parametrize("name", ["split", "sticky"])
@given(weights=st.lists(st.integers(1, 20), min_size=3, max_size=5), more=st.integers(1, 20))
@settings(max_examples=20)
def test_a_change_of_one_target_moves_only_its_own_share(name, weights, more):
    given_targets = tuple(target(f"t{i}", weight) for i, weight in enumerate(weights))
    subjects = range(300)
    before = homes(name, given_targets, subjects)
    without = homes(name, given_targets[1:], subjects)
    assert all(without[one] == home for one, home in before.items() if home != "t0")
    grown = homes(name, (target("t0", weights[0] + more), *given_targets[1:]), subjects)
    assert all(grown[one] in (home, "t0") for one, home in before.items())
    assert all(grown[one] == "t0" for one, home in before.items() if home == "t0")


def test_two_models_split_independently_while_a_caller_stays_at_its_target():
    def of(model):
        row = msgspec.structs.replace(MODEL, name=model)
        return tuple(msgspec.structs.replace(target(name), model=row) for name in ("a", "b"))

    assert homes("split", of("one")) != homes("split", of("two"))
    assert homes("sticky", of("one")) == homes("sticky", of("two"))


def first(name, given_targets, **options):
    return strategies()[name](given_targets, scene(**options))[0].provider.name


def test_priority_is_the_order_of_the_file():
    assert first("priority", (target("b"), target("a"))) == "b"


def test_the_cheapest_comes_first_and_one_without_a_price_last():
    order = strategies()["cheapest"]((target("none"), target("dear", price=9), target("cheap", price=1)), scene())
    assert [one.provider.name for one in order] == ["cheap", "dear", "none"]


def test_least_busy_counts_calls_under_way_by_weight():
    health = Health()
    for _ in range(3):
        health.of("big/m", 0.0).began(0.0, first=True)
    health.of("small/m", 0.0).began(0.0, first=True)
    assert first("least-busy", (target("small", 1), target("big", 4)), health=health) == "big"
    assert first("least-busy", (target("small", 1), target("big", 1)), health=health) == "small"


def test_least_latency_prefers_the_fast_and_tries_the_unknown():
    health = Health()
    for name, seconds in (("fast/m", 0.1), ("slow/m", 2.0)):
        health.of(name, 0.0).began(0.0, first=True)
        health.of(name, 0.0).succeeded(0.0, seconds)
    assert first("least-latency", (target("slow"), target("fast")), health=health) == "fast"
    assert first("least-latency", (target("slow"), target("fast"), target("new")), health=health) == "new"


def test_sticky_keeps_a_subject_and_moves_only_those_of_a_target_that_goes():
    three = (target("a"), target("b"), target("c"))
    before = {str(i): first("sticky", three, subject=str(i)) for i in range(600)}
    assert before == {str(i): first("sticky", three[::-1], subject=str(i)) for i in range(600)}
    after = {str(i): first("sticky", three[:2], subject=str(i)) for i in range(600)}
    assert all(after[one] == before[one] for one in before if before[one] != "c")
    assert min(Counter(before.values()).values()) > 150


def test_shares_of_weighted_and_sticky_follow_the_weights():
    two, draw = (target("a", 3), target("b", 1)), Draw()
    for name in ("weighted", "sticky"):
        counted = Counter(first(name, two, subject=str(i), draw=draw) for i in range(4000))
        assert 0.71 < counted["a"] / 4000 < 0.79
