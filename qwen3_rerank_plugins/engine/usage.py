"""What a call cost."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence

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


def usage_of(scores: Sequence[Scores], call: Call) -> Usage:
    """Return what a call cost until now, given the scores of all its requests."""
    waited, computed = call.seconds()
    return Usage(
        documents=sum(len(found.log_odds) for found in scores),
        naive_tokens=_total(found.naive_tokens for found in scores),
        unique_tokens=_total(found.unique_tokens for found in scores),
        truncated_tokens=sum(sum(found.truncated_tokens) for found in scores),
        cache_hits=sum(found.cache_hits for found in scores),
        passes=_total(found.passes for found in scores),
        waiting_seconds=waited,
        computing_seconds=computed,
    )


def _total(numbers: Iterable[int | None]) -> int | None:
    known = list(numbers)
    return None if None in known else sum(number for number in known if number is not None)
