"""Numbers about the requests, in the format of Prometheus. They hold no text and no name that a client chose."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)


class Metrics:
    """The numbers of one application, since it was made."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "qwen3_rerank_requests", "Requests by endpoint and status.", ["path", "status"], registry=self._registry
        )
        self._seconds = Histogram(
            "qwen3_rerank_request_seconds",
            "Seconds of a request from its first byte to its answer.",
            ["path"],
            buckets=_SECONDS,
            registry=self._registry,
        )
        self._documents = Counter("qwen3_rerank_documents", "Documents scored.", registry=self._registry)
        self._tokens = Counter("qwen3_rerank_tokens", "Tokens of scored prompts.", registry=self._registry)
        self._truncated = Counter(
            "qwen3_rerank_truncated_tokens", "Tokens of documents that were not read.", registry=self._registry
        )
        self._waiting = Gauge(
            "qwen3_rerank_requests_in_progress", "Requests that wait for scores now.", registry=self._registry
        )

    def began(self) -> None:
        """Count a request that begins to wait for scores."""
        self._waiting.inc()

    def ended(self) -> None:
        """Count a request that stops waiting, with or without scores."""
        self._waiting.dec()

    def answered(self, path: str, status: int, seconds: float) -> None:
        """Count an answer. `path` is that of an endpoint; every other one counts as "other"."""
        self._requests.labels(path, status).inc()
        self._seconds.labels(path).observe(seconds)

    def scored(self, documents: int, tokens: int, truncated_tokens: int) -> None:
        """Count the documents of a request that got scores."""
        self._documents.inc(documents)
        self._tokens.inc(tokens)
        self._truncated.inc(truncated_tokens)

    def text(self) -> bytes:
        """Return all numbers in the text format of Prometheus."""
        return generate_latest(self._registry)
