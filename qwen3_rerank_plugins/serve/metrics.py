"""Numbers about the requests, in the format of Prometheus. They hold no text and no name that a client chose."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from qwen3_rerank_plugins.engine.usage import Stats, Usage

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_PREFIX = "qwen3_rerank_"
_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)


class Metrics:
    """The numbers of one application, since it was made."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._requests = self._counter("requests", "Requests by endpoint and status.", "path", "status")
        self._seconds = self._histogram("request_seconds", "From a request's first byte to its answer.", "path")
        self._waiting_seconds = self._histogram("waiting_seconds", "Time outside of forward passes.")
        self._computing_seconds = self._histogram("computing_seconds", "Time in forward passes.")
        self._documents = self._counter("documents", "Documents scored.")
        self._tokens = self._counter("tokens", "Tokens of all prompts, each with its template and query.")
        self._computed = self._counter("computed_tokens", "Tokens computed, what prompts share only once.")
        self._truncated = self._counter("truncated_tokens", "Tokens of documents that were not read.")
        self._cache_hits = self._counter("cache_hits", "Documents whose score was known already.")
        self._in_progress = self._gauge("requests_in_progress", "Requests that wait for scores now.")
        self._waiting_requests = self._gauge("queue_requests", "Requests in the queue of the engine now.")
        self._waiting_tokens = self._gauge("queue_tokens", "Tokens in the queue of the engine now.")

    def _counter(self, name: str, meaning: str, *labels: str) -> Counter:
        return Counter(f"{_PREFIX}{name}", meaning, labels, registry=self._registry)

    def _gauge(self, name: str, meaning: str) -> Gauge:
        return Gauge(f"{_PREFIX}{name}", meaning, registry=self._registry)

    def _histogram(self, name: str, meaning: str, *labels: str) -> Histogram:
        return Histogram(f"{_PREFIX}{name}", f"Seconds. {meaning}", labels, buckets=_BUCKETS, registry=self._registry)

    def began(self) -> None:
        """Count a request that begins to wait for scores."""
        self._in_progress.inc()

    def ended(self) -> None:
        """Count a request that stops waiting, with or without scores."""
        self._in_progress.dec()

    def answered(self, path: str, status: int, seconds: float) -> None:
        """Count an answer. `path` is that of an endpoint; every other one counts as "other"."""
        self._requests.labels(path, status).inc()
        self._seconds.labels(path).observe(seconds)

    def scored(self, usage: Usage) -> None:
        """Count what a request that got scores cost."""
        self._documents.inc(usage.documents)
        self._tokens.inc(usage.naive_tokens or 0)
        self._computed.inc(usage.unique_tokens or 0)
        self._truncated.inc(usage.truncated_tokens)
        self._cache_hits.inc(usage.cache_hits)
        self._waiting_seconds.observe(usage.waiting_seconds)
        self._computing_seconds.observe(usage.computing_seconds)

    def text(self, stats: Stats) -> bytes:
        """Return all numbers in the text format of Prometheus.

        Args:
            stats: of the engine now.
        """
        self._waiting_requests.set(stats.waiting_requests or 0)
        self._waiting_tokens.set(stats.waiting_tokens or 0)
        return generate_latest(self._registry)
