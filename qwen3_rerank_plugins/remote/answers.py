"""What a server answers -> log-odds in the order of the documents. Whatever is missing, doubled or odd is an error.

Comes in: the parsed JSON of one answer. Goes out: one log-odds a document, NaN where the server had none.
Must not know: HTTP, templates.
"""

from __future__ import annotations

import math
from typing import Literal

from qwen3_rerank_plugins.errors import RemoteAnswerError
from qwen3_rerank_plugins.remote.dialects import Dialect

Scale = Literal["probability", "logit"]

_CERTAIN, _IMPOSSIBLE = 40.0, -750.0
"""Log-odds of a probability that was rounded to 1 or 0, as those must be finite: beyond those of the floats next to 1
and 0, 36.7 and -744.4, and their own probabilities are exactly 1 and 0 again."""


def read_answer(answer: object, dialect: Dialect, documents: int, scale: Scale) -> tuple[float, ...]:
    """Log-odds by the index that the server gave each of them.

    Args:
        answer: the JSON of the answer.
        dialect: in which fields to look.
        documents: how many were sent.
        scale: what the server's numbers are.

    Raises:
        RemoteAnswerError: it is not an answer, or not one to these documents, or a number is no probability.
    """
    found: dict[int, float] = {}
    for item in _results(answer, dialect):
        index, score = (item.get(name) for name in ("index", dialect.score)) if isinstance(item, dict) else (None, None)
        if not isinstance(index, int) or isinstance(index, bool) or not 0 <= index < documents:
            raise _odd(f"a result without the index of one of the {documents} documents that were sent", item)
        if index in found:
            raise _odd(f"two results for document {index}", answer)
        found[index] = _log_odds(item, score, scale)
    if len(found) != documents:
        raise _odd(f"{len(found)} results for {documents} documents", answer)
    return tuple(found[index] for index in range(documents))


def log_odds_of(probability: float) -> float:
    """log(p / (1 - p)), finite also where p was rounded to 0 or 1: below and above everything else."""
    if probability in (0, 1):
        return _CERTAIN if probability else _IMPOSSIBLE
    return math.log(probability) - math.log1p(-probability)


def _results(answer: object, dialect: Dialect) -> list[object]:
    results = answer
    if dialect.results is not None:
        results = answer.get(dialect.results) if isinstance(answer, dict) else None
    if not isinstance(results, list):
        where = f"no list under {dialect.results!r}" if dialect.results else "no list of results"
        raise _odd(where, answer)
    return results


def _log_odds(item: object, score: object, scale: Scale) -> float:
    if score is None:
        return math.nan  # which JSON has no word for, and writes as null
    if isinstance(score, bool) or not isinstance(score, (int, float)):
        raise _odd("a result without a number for its score", item)
    if scale == "logit" or math.isnan(score):
        return float(score)
    if not 0 <= score <= 1:
        raise _odd("a score that is no probability (if the server sends log-odds, say scores='logit')", item)
    return log_odds_of(score)


def _odd(what: str, shown: object) -> RemoteAnswerError:
    return RemoteAnswerError(f"The server's answer has {what}: {shown!r:.200}. Check remote=URL and protocol=...")
