"""What an engine has done since it was made, and what waits for it."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True, slots=True)
class Stats:
    """The counters of one engine, which all rerankers with equal settings share. None where they are unknown.

    Attributes:
        calls: requests so far, also those that failed. `rank` and `log_odds` make one, `score` one per different query.
        documents: documents of these requests.
        unique_tokens: tokens computed so far.
        passes: forward passes so far.
        waiting_requests: requests in the queue.
        waiting_tokens: tokens of theirs that no pass has begun to compute.
        tokens_per_second: unique tokens a second in the latest passes, all devices together; None before the first one.
        cache_hits, cache_misses: documents whose score was known already, and the others; 0 without a cache.
        memory_bytes: memory that torch has allocated on the CUDA devices of the model; None on other devices.
    """

    calls: int = 0
    documents: int = 0
    unique_tokens: int | None = None
    passes: int | None = None
    waiting_requests: int | None = None
    waiting_tokens: int | None = None
    tokens_per_second: float | None = None
    cache_hits: int = 0
    cache_misses: int = 0
    memory_bytes: int | None = None
