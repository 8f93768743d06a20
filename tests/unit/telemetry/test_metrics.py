from prometheus_client import CollectorRegistry

from ostiary.core.event import Closed, Doubt, Outcome, Timings
from ostiary.core.limit import METRIC_LABEL_VALUES_MAX
from ostiary.core.usage import Cost, Nano, Usage
from ostiary.telemetry.metrics import Metrics, render


def closed(**fields):
    base = {"request_id": "r", "at_ns": 0, "opened": 0, "outcome": Outcome.SUCCEEDED, "operation": "chat"}
    return Closed(**{**base, "original_model": "gpt", "provider": "oai", **fields})


def build():
    registry = CollectorRegistry()
    metrics = Metrics(registry)
    metrics.known_models(frozenset({"gpt"}))
    return metrics, registry


def value(registry, name, **labels):
    return registry.get_sample_value(name, labels)


def test_calls_are_counted_once_they_are_flushed():
    metrics, registry = build()
    for _ in range(3):
        metrics.closed(closed(usage=Usage(10, 5), cost=Cost(Nano(2_000_000_000))))
    metrics.flush()
    metrics.flush()
    labels = {"operation": "chat", "model": "gpt", "provider": "oai", "outcome": "succeeded", "reason": ""}
    assert value(registry, "ostiary_requests_total", **labels) == 3
    assert value(registry, "ostiary_tokens_total", model="gpt", provider="oai", kind="input") == 30
    assert value(registry, "ostiary_cost_usd_total", model="gpt", provider="oai") == 6


def test_durations_added_in_bulk_are_what_the_library_would_have_counted_one_by_one():
    durations = [0.0, 0.004, 0.005, 0.0051, 0.3, 1.0, 59.9, 60.0, 119.0, 500.0]
    metrics, registry = build()
    for seconds in durations:
        metrics.closed(closed(timings=Timings(total_ms=seconds * 1e3)))
    metrics.flush()
    other, reference = build()
    for seconds in durations:
        other.seconds.labels("chat", "succeeded").observe(seconds)
    mine, theirs = (
        [
            line
            for line in render(one).decode().splitlines()
            if line.startswith("ostiary_request_seconds_") and "created" not in line
        ]
        for one in (registry, reference)
    )
    assert [line.rsplit(" ", 1)[0] for line in mine] == [line.rsplit(" ", 1)[0] for line in theirs]
    for left, right in zip(mine, theirs, strict=True):
        assert abs(float(left.rsplit(" ", 1)[1]) - float(right.rsplit(" ", 1)[1])) < 1e-9


def test_at68_names_callers_make_up_never_become_series():
    metrics, registry = build()
    for i in range(5_000):
        metrics.closed(closed(original_model=f"made-up-{i}", outcome=Outcome.DENIED, error="model.not_found"))
    metrics.flush()
    assert len(render(registry)) < 20_000
    assert b"made-up" not in render(registry)
    metrics.known_models(frozenset(f"model-{i}" for i in range(1_000)))
    for i in range(1_000):
        metrics.closed(closed(original_model=f"model-{i}"))
    metrics.flush()
    names = {
        line.split('model="')[1].split('"')[0] for line in render(registry).decode().splitlines() if 'model="' in line
    }
    assert len(names) <= METRIC_LABEL_VALUES_MAX + 2


def test_a_model_that_leaves_the_configuration_is_counted_among_the_others():
    metrics, registry = build()
    metrics.closed(closed())
    metrics.known_models(frozenset({"new"}))
    metrics.closed(closed())
    metrics.closed(closed(original_model="new"))
    metrics.flush()
    labels = {"operation": "chat", "provider": "oai", "outcome": "succeeded", "reason": ""}
    for model in ("gpt", "other", "new"):
        assert value(registry, "ostiary_requests_total", model=model, **labels) == 1


def test_what_is_doubted_is_counted_each_time_and_logged_once_a_minute_for_each_provider(caplog):
    metrics, registry = build()
    for provider in ("oai", "other"):
        for second in (100, 101, 159, 160):
            metrics.closed(closed(provider=provider, at_ns=second * 10**9, doubts=(Doubt.USAGE_MORE,)))
    assert value(registry, "ostiary_doubted_answers_total", provider="oai", doubt="usage_more") == 4
    assert [record.getMessage() for record in caplog.records] == ["answer_doubted"] * 4
