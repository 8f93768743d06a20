"""Prometheus metrics of the data plane; implements the port `Observer`.

Label values come from closed vocabularies or from the configuration; names a caller makes up are folded into
"other", so that the number of series stays bounded. With PROMETHEUS_MULTIPROC_DIR set, workers write to shared files
and the ops process renders the sum of all.
"""

import contextlib
from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from ostiary.core.event import CONDITION_FAILED, Closed, Outcome
from ostiary.core.limit import METRIC_LABEL_VALUES_MAX
from ostiary.telemetry.caching import CacheMetrics
from ostiary.telemetry.log import Log

_SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0)
_DOUBT_LOG_NS: Final = 60_000_000_000
_OTHER: Final = "other"
_log: Final = Log("calls")


_Key = tuple[str, str, str, str, str]
"""Operation, model, provider, outcome, reason."""


class _Bound:
    """The metric children of one combination of labels, looked up once, and what is not yet added to them.

    Adding to a shared file costs microseconds; so calls only add to numbers here, and `flush` passes them on.
    """

    __slots__ = (
        "cost",
        "input",
        "output",
        "pending_input",
        "pending_nano",
        "pending_output",
        "pending_read",
        "pending_requests",
        "pending_seconds",
        "pending_sum",
        "pending_written",
        "read",
        "requests",
        "seconds",
        "uncached",
        "written",
    )

    def __init__(self, metrics: "Metrics", key: _Key) -> None:
        operation, model, provider, outcome, _ = key
        self.requests = metrics.requests.labels(*key)
        self.seconds = metrics.seconds.labels(operation, outcome)
        self.input = metrics.tokens.labels(model, provider, "input")
        self.read = metrics.cache.prompt_tokens.labels(model, provider, "read")
        self.written = metrics.cache.prompt_tokens.labels(model, provider, "written")
        self.uncached = metrics.cache.prompt_tokens.labels(model, provider, "uncached")
        self.output = metrics.tokens.labels(model, provider, "output")
        self.cost = metrics.cost.labels(model, provider)
        self.pending_requests = self.pending_input = self.pending_output = self.pending_nano = 0
        self.pending_read = self.pending_written = 0
        self.pending_seconds = [0] * (len(_SECONDS) + 1)
        self.pending_sum = 0.0

    def flush(self) -> None:
        """Pass on what is pending. The histogram's own `observe` takes one value at a time; its parts take sums."""
        for i, count in enumerate(self.pending_seconds):
            if count:
                self.seconds._buckets[i].inc(count)  # noqa: SLF001 - see above; a test holds it to `observe`
        self.seconds._sum.inc(self.pending_sum)  # noqa: SLF001 - same
        self.pending_seconds = [0] * (len(_SECONDS) + 1)
        self.pending_sum = 0.0
        self.requests.inc(self.pending_requests)
        self.input.inc(self.pending_input)
        self.uncached.inc(self.pending_input - self.pending_read - self.pending_written)
        if self.pending_read or self.pending_written:
            self.read.inc(self.pending_read)
            self.written.inc(self.pending_written)
            self.pending_read = self.pending_written = 0
        self.output.inc(self.pending_output)
        self.cost.inc(self.pending_nano / 1e9)
        self.pending_requests = self.pending_input = self.pending_output = self.pending_nano = 0


class Metrics:
    """What is counted. `known_models` names the models of the configuration, to tell them from a caller's fancies."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.requests = Counter(
            "ostiary_requests",
            "Calls by outcome.",
            ("operation", "model", "provider", "outcome", "reason"),
            registry=registry,
        )
        self.seconds = Histogram(
            "ostiary_request_seconds",
            "Duration of calls.",
            ("operation", "outcome"),
            buckets=_SECONDS,
            registry=registry,
        )
        self.tokens = Counter("ostiary_tokens", "Tokens used.", ("model", "provider", "kind"), registry=registry)
        self.cost = Counter("ostiary_cost_usd", "Cost in US dollars.", ("model", "provider"), registry=registry)
        self.unauthenticated_total = Counter(
            "ostiary_unauthenticated", "Requests refused before a caller was known.", ("reason",), registry=registry
        )
        self.budget_alerts = Counter(
            "ostiary_budget_alerts", "Shares of budgets reached.", ("scope",), registry=registry
        )
        self.cache = CacheMetrics(registry)
        self.conditions_failed = Counter(
            "ostiary_conditions_failed",
            "Targets left out for a condition without an answer.",
            ("model",),
            registry=registry,
        )
        self.shadows_dropped = Counter(
            "ostiary_shadows_dropped", "Calls not mirrored for lack of room.", registry=registry
        )
        self.open_streams = Gauge(
            "ostiary_open_streams", "Streams being relayed.", registry=registry, multiprocess_mode="livesum"
        )
        self.connections = Gauge(
            "ostiary_connections", "Open client connections.", registry=registry, multiprocess_mode="livesum"
        )
        self.loop_lag = Gauge(
            "ostiary_loop_lag_seconds", "How late the event loop runs.", registry=registry, multiprocess_mode="livemax"
        )
        self.unsynced_bytes = Gauge(
            "ostiary_journal_unsynced_bytes",
            "Journal bytes not yet on the device.",
            registry=registry,
            multiprocess_mode="livesum",
        )
        self.sync_seconds = Gauge(
            "ostiary_journal_sync_seconds",
            "The longest the device took to sync the journal since the last look: what latencies are to be held against.",
            registry=registry,
            multiprocess_mode="livemax",
        )
        self.counter_exchanges = Counter(
            "ostiary_counter_exchanges", "Exchanges with shared counters.", ("outcome",), registry=registry
        )
        self.counters_away = Gauge(
            "ostiary_counters_away",
            "Workers that go on without the shared counters.",
            registry=registry,
            multiprocess_mode="livesum",
        )
        self._measure_providers(registry)
        self._measure_gates(registry)
        self._shed: dict[tuple[str, str, str], int] = {}
        self._kept: dict[tuple[str, str], int] = {}
        self._gates: set[str] = set()
        self._exchanged = [0, 0]
        self._away = False
        self._bound: dict[_Key, _Bound] = {}
        self._models: frozenset[str] = frozenset()
        self._pending: list[_Bound] = []

    def _measure_providers(self, registry: CollectorRegistry) -> None:
        self.credentials_refused = Counter(
            "ostiary_credentials_refused",
            "Credentials of ours that a provider refused.",
            ("provider", "credential"),
            registry=registry,
        )
        self.doubted_answers = Counter(
            "ostiary_doubted_answers",
            "Answers of which the provider says what can hardly be so.",
            ("provider", "doubt"),
            registry=registry,
        )
        self._doubted_at: dict[tuple[str, str], int] = {}

    def _measure_gates(self, registry: CollectorRegistry) -> None:
        self.shed_calls = Counter(
            "ostiary_shed_calls",
            "Calls refused for overload.",
            ("target", "reason", "priority"),
            registry=registry,
        )
        self.calls_in_flight = Gauge(
            "ostiary_calls_in_flight",
            "Calls that have a place.",
            ("target",),
            registry=registry,
            multiprocess_mode="livesum",
        )
        self.calls_waiting = Gauge(
            "ostiary_calls_waiting",
            "Calls that wait for a place.",
            ("target",),
            registry=registry,
            multiprocess_mode="livesum",
        )
        self.places = Gauge(
            "ostiary_places",
            "Places for calls in flight.",
            ("target",),
            registry=registry,
            multiprocess_mode="livesum",
        )

    def flush(self) -> None:
        """Make what was counted visible; called a few times a second."""
        pending, self._pending = self._pending, []
        for bound in pending:
            bound.flush()
        exchanged, self._exchanged = self._exchanged, [0, 0]
        for outcome, count in zip(("done", "failed"), exchanged, strict=True):
            if count:
                self.counter_exchanges.labels(outcome).inc(count)
        self.counters_away.set(self._away)
        kept, self._kept = self._kept, {}
        for given, number in kept.items():
            self.cache.kept_answers.labels(*given).inc(number)
        shed, self._shed = self._shed, {}
        for labels, number in shed.items():
            self.shed_calls.labels(*labels).inc(number)

    def gates(self, standing: Mapping[str, tuple[int, int, int]]) -> None:
        """Calls in flight, calls waiting and places, of the worker ("") and of each target that has a bound."""
        for name in self._gates - standing.keys():
            for gauge in (self.calls_in_flight, self.calls_waiting, self.places):
                gauge.labels(name).set(0)
        self._gates = set(standing)
        for name, (in_flight, waiting, places) in standing.items():
            self.calls_in_flight.labels(name).set(in_flight)
            self.calls_waiting.labels(name).set(waiting)
            self.places.labels(name).set(places)

    def credential_refused(self, provider: str, key: str) -> None:
        """Count and log a credential that a provider refused: somebody must renew it."""
        _log.error("credential_refused", provider=provider, credential=key)
        with contextlib.suppress(OSError):  # as in `closed`
            self.credentials_refused.labels(provider, key).inc()

    def shed(self, gate: str, reason: str, priority: str) -> None:
        """Count a call refused for overload; it is passed on by `flush`, since there may be thousands a second."""
        key = (gate, reason, priority)
        self._shed[key] = self._shed.get(key, 0) + 1

    def known_models(self, names: frozenset[str]) -> None:
        """Take the configuration's model names; beyond the bound the rest are "other"."""
        self._models = frozenset(sorted(names)[:METRIC_LABEL_VALUES_MAX])
        self._bound = {}  # by name only those known: what of it is pending is passed on all the same

    def closed(self, record: Closed) -> None:
        """Count a finished call; one that failed is logged with its request id."""
        try:  # noqa: SIM105 - every call comes by here, and `suppress` is an object and three calls
            self._count(record)
        except OSError:
            pass  # a new series may find no room on a full disk; the call must not fail for it
        if record.outcome is not Outcome.SUCCEEDED:
            _log.info(
                "call_ended",
                request_id=record.request_id,
                outcome=record.outcome,
                reason=record.error,
                error_class=record.error_class,
                team=record.team,
                key_id=record.key_id,
                model=record.original_model,
                provider=record.provider,
                status=record.status,
            )

    def _count(self, record: Closed) -> None:
        bound = self._bound.get(
            (record.operation, record.original_model, record.provider, record.outcome, record.error)
        ) or self._bind(record)
        if not bound.pending_requests:
            self._pending.append(bound)
        bound.pending_requests += 1
        seconds = record.timings.total_ms / 1e3
        bound.pending_seconds[bisect_left(_SECONDS, seconds)] += 1
        bound.pending_sum += seconds
        usage = record.usage
        bound.pending_input += usage.input_tokens
        bound.pending_output += usage.output_tokens
        if usage.cached_tokens or usage.cache_write_tokens:
            read = min(usage.cached_tokens, usage.input_tokens)  # whatever a provider says
            bound.pending_read += read
            bound.pending_written += min(usage.cache_write_tokens, usage.input_tokens - read)
        cost = record.cost
        if cost is not None:
            bound.pending_nano += cost.nano
        if record.route or record.cache:
            self._count_route(record)
        if record.doubts:
            self._doubted(record)

    def _bind(self, record: Closed) -> _Bound:
        """Where a call is counted whose model is not known, or the first of its kind."""
        key: _Key = (record.operation, self._known(record), record.provider, record.outcome, record.error)
        bound = self._bound.get(key)
        if bound is None:
            bound = self._bound[key] = _Bound(self, key)
        return bound

    def _known(self, record: Closed) -> str:
        return record.original_model if record.original_model in self._models else _OTHER

    def _count_route(self, record: Closed) -> None:
        """What few calls have: targets they were kept from, an answer that was kept."""
        model = self._known(record)
        for one in record.route:
            if one.reason == CONDITION_FAILED:
                self.conditions_failed.labels(model).inc()
        if record.cache:
            given = (model, record.cache)
            self._kept[given] = self._kept.get(given, 0) + 1

    def _doubted(self, record: Closed) -> None:
        """Count what is doubted; of each provider it is logged once in a while, since it may be all it answers."""
        for doubt in record.doubts:
            self.doubted_answers.labels(record.provider, doubt).inc()
            told = (record.provider, doubt)
            if record.at_ns - self._doubted_at.get(told, -_DOUBT_LOG_NS) >= _DOUBT_LOG_NS:
                self._doubted_at[told] = record.at_ns
                _log.warning(
                    "answer_doubted",
                    doubt=doubt,
                    request_id=record.request_id,
                    provider=record.provider,
                    request_model=record.request_model,
                    response_model=record.response_model,
                    output_tokens=record.usage.output_tokens,
                )

    def unauthenticated(self, code: str) -> None:
        """Count a refused credential."""
        with contextlib.suppress(OSError):  # as in `closed`
            self.unauthenticated_total.labels(code).inc()

    def alerted(self, scope: str, share: float) -> None:
        """Count and log that a share of a budget was reached. What kind of scope it is labels the metric, the log
        names it."""
        _log.warning("budget_share_reached", scope=scope, share=share)
        with contextlib.suppress(OSError):  # as in `closed`
            self.budget_alerts.labels(scope.partition("/")[0]).inc()

    def compared(self, model: str, outcome: str, similarity: float | None) -> None:
        """Count a comparison; how alike two answers are goes into a histogram."""
        name = model if model in self._models else _OTHER
        with contextlib.suppress(OSError):  # as in `closed`
            self.cache.comparisons.labels(name, outcome).inc()
            if similarity is not None:
                self.cache.agreement.labels(name).observe(similarity)

    def counted(self, *, away: bool, reason: str) -> None:
        """Count an exchange with shared counters; losing them and having them back is logged, each once."""
        self._exchanged[away] += 1
        if away is not self._away:
            self._away = away
            if away:
                _log.error("counters_away", reason=reason)
            else:
                _log.warning("counters_back")

    def streams(self, open_count: int) -> None:
        """How many streams are being relayed."""
        self.open_streams.set(open_count)


def render_all(looked_at: Iterable["LookedAt"]) -> bytes:
    """The metrics of all processes that share the directory, and those of the one that renders them, in Prometheus's text
    form."""
    registry = CollectorRegistry()
    MultiProcessCollector(registry)  # type: ignore[no-untyped-call]  # the library has no annotation here
    for one in looked_at:
        registry.register(one)
    return generate_latest(registry)


class LookedAt(Collector):
    """A gauge that is looked at when it is asked for, so that it stands in no shared file."""

    def __init__(self, name: str, text: str, look: Callable[[], float]) -> None:
        self._name = name
        self._text = text
        self._look = look

    def describe(self) -> list[Metric]:
        """The metric without a value."""
        return [GaugeMetricFamily(self._name, self._text)]

    def collect(self) -> list[Metric]:
        """The metric."""
        (family,) = self.describe()
        family.add_sample(family.name, {}, self._look())
        return [family]


def unshipped(look: Callable[[], float]) -> LookedAt:
    """How much of the journal the store does not have."""
    return LookedAt("ostiary_journal_unshipped_bytes", "Journal bytes not yet in the store.", look)


def configuration(refused: Callable[[], bool], price_age_seconds: Callable[[], float]) -> tuple[LookedAt, LookedAt]:
    """Whether what the file or the database says is not what runs, and how old the shipped prices are."""
    return (
        LookedAt(
            "ostiary_configuration_refused", "Whether the configuration is refused and an older one runs.", refused
        ),
        LookedAt("ostiary_price_list_age_seconds", "Since the newest price of the shipped lists.", price_age_seconds),
    )


def reviews_waiting(count: Callable[[], float], oldest_seconds: Callable[[], float]) -> tuple[LookedAt, LookedAt]:
    """How many calls wait for a person, and how long the first of them has."""
    return (
        LookedAt("ostiary_reviews_waiting", "Calls handed over that wait for somebody.", count),
        LookedAt("ostiary_reviews_oldest_seconds", "How long the one that waits longest has.", oldest_seconds),
    )


def render(registry: CollectorRegistry) -> bytes:
    """The metrics of one registry."""
    return generate_latest(registry)
