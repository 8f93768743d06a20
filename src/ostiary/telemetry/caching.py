"""What is counted of kept answers and of providers' prompt caches."""

from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

_SHARES: Final = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 1.0)


class CacheMetrics:
    """The metrics, in one registry."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.kept_answers = Counter(
            "ostiary_kept_answers", "Calls answered from the cache.", ("model", "cache"), registry=registry
        )
        self.comparisons = Counter(
            "ostiary_cache_comparisons",
            "Calls compared with earlier questions.",
            ("model", "outcome"),
            registry=registry,
        )
        self.agreement = Histogram(
            "ostiary_cache_agreement",
            "How alike the model's answer and the one that would have been given are.",
            ("model",),
            buckets=_SHARES,
            registry=registry,
        )
        self.bytes = Gauge(
            "ostiary_cache_bytes",
            "Bytes of kept answers in memory.",
            registry=registry,
            multiprocess_mode="livesum",
        )
        self.answers = Gauge(
            "ostiary_cache_answers", "Kept answers in memory.", registry=registry, multiprocess_mode="livesum"
        )
        self.away = Gauge(
            "ostiary_cache_away",
            "Workers that do without the shared answers.",
            registry=registry,
            multiprocess_mode="livesum",
        )
        self.prompt_tokens = Counter(
            "ostiary_prompt_cache_tokens",
            "Input tokens by whether a provider had them in its prompt cache.",
            ("model", "provider", "kind"),
            registry=registry,
        )
