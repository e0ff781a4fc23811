"""What a call cost, and what an engine has done for all calls."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from qwen3_rerank_plugins.engine.call import Call
from qwen3_rerank_plugins.engine.scorer import Scores


@dataclasses.dataclass(frozen=True, slots=True)
class Usage:
    """What one call cost. None where a rerank server or a scorer of your own does not say.

    Attributes:
        documents: documents of the call.
        naive_tokens: tokens of all prompts, each with its own template, instruction and query. Each window of a
            document that is read in windows is a prompt.
        unique_tokens: tokens that were computed: the prefix once per pass, each different document once. In a pass that
            other callers share, only this call's own.
        truncated_tokens: tokens cut from the ends of documents.
        cache_hits: documents whose score was known already.
        passes: forward passes with documents of this call.
        waiting_seconds: time outside of passes, for instance in the queue or while the model was loaded.
        computing_seconds: time in which at least one pass with documents of this call ran. With a rerank server, the
            time in which it worked on at least one HTTP request, its own queue included.
    """

    documents: int
    naive_tokens: int | None
    unique_tokens: int | None
    truncated_tokens: int
    cache_hits: int
    passes: int | None
    waiting_seconds: float
    computing_seconds: float


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


def usage_of(scores: Sequence[Scores], call: Call) -> Usage:
    """Return what a call cost until now, given the scores of all its requests."""
    waited, computed = call.seconds()
    return Usage(
        documents=sum(len(found.log_odds) for found in scores),
        naive_tokens=_total([found.naive_tokens for found in scores]),
        unique_tokens=_total([found.unique_tokens for found in scores]),
        truncated_tokens=sum(sum(found.truncated_tokens) for found in scores),
        cache_hits=sum(found.cache_hits for found in scores),
        passes=_total([found.passes for found in scores]),
        waiting_seconds=waited,
        computing_seconds=computed,
    )


def _total(numbers: list[int | None]) -> int | None:
    return None if None in numbers else sum(filter(None, numbers))
