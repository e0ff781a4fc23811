"""nDCG, MRR, recall and MAP of rankings, computed by trec_eval, and bootstrap intervals of their means."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytrec_eval
from numpy.typing import NDArray

from qwen3_rerank_plugins.engine.settings import positive_int

CONFIDENCE = 0.95
RESAMPLES = 2000
_COUNTS_AT_A_TIME = 2_000_000

Numbers = NDArray[np.floating[Any]]


@dataclasses.dataclass(frozen=True, slots=True)
class QueryMeasures:
    """The measures of one ranking of one query, each between 0 and 1.

    Attributes:
        ndcg: discounted gain of the first k as a share of the best possible; the gain is the grade itself (linear).
        reciprocal_rank: 1 / rank of the first relevant candidate.
        recall: share of the relevant candidates that are among the first k.
        average_precision: mean, over the relevant candidates, of the precision at the rank of each.
    """

    ndcg: float
    reciprocal_rank: float
    recall: float
    average_precision: float


@dataclasses.dataclass(frozen=True, slots=True)
class Estimate:
    """A value with its 95% bootstrap interval."""

    value: float
    low: float
    high: float


def measure_names(k: int) -> tuple[str, ...]:
    """Return the names of the measures' means, in the order of `QueryMeasures`."""
    return (f"nDCG@{k}", "MRR", f"recall@{k}", "MAP")


def measure(
    rankings: Sequence[Sequence[int]], k: int = 10, lost: Sequence[Sequence[int]] | None = None
) -> list[QueryMeasures]:
    """Measure each ranking with trec_eval.

    Args:
        rankings: for each query, the grades of its candidates, best-ranked first. Grades above 0 are relevant.
        k: cutoff rank of nDCG and recall. MRR and MAP have no cutoff.
        lost: for each query, the grades of candidates that its ranking lacks. The best possible ranking has them.
    """
    k = positive_int("k", k)
    names = (f"ndcg_cut_{k}", "recip_rank", f"recall_{k}", "map")
    requested = {f"ndcg_cut.{k}", "recip_rank", f"recall.{k}", "map"}
    lost = lost or [()] * len(rankings)
    # Each candidate is named by its rank and scored by the negative of that rank. trec_eval rounds scores to 32 bits
    # and breaks ties by name, so real scores could produce another order than the one to measure.
    grades = {
        str(query): {str(rank): grade for rank, grade in enumerate([*ranking, *rest])}
        for query, (ranking, rest) in enumerate(zip(rankings, lost, strict=True))
    }
    scores = {
        str(query): {str(rank): -float(rank) for rank in range(len(ranking))} for query, ranking in enumerate(rankings)
    }
    found = pytrec_eval.RelevanceEvaluator(grades, requested).evaluate(scores)
    return [
        QueryMeasures(*(float(found[str(query)][name]) if ranking else 0.0 for name in names))
        for query, ranking in enumerate(rankings)
    ]


def resample_counts(rows: int, resamples: int, seed: tuple[int, ...]) -> Iterator[NDArray[np.int64]]:
    """Yield how often each row is drawn, in arrays (some resamples, rows) that have `resamples` rows in total."""
    random = np.random.default_rng(seed)
    at_a_time = max(1, _COUNTS_AT_A_TIME // rows)
    for start in range(0, resamples, at_a_time):
        yield random.multinomial(rows, np.full(rows, 1 / rows), size=min(at_a_time, resamples - start))


def resample_sums(values: Numbers, resamples: int, seed: tuple[int, ...]) -> Numbers:
    """Return the column sums, (resamples, columns), of resampled rows of `values`, (rows, columns)."""
    return np.concatenate([counts @ values for counts in resample_counts(len(values), resamples, seed)])


def resample_means(values: Numbers, resamples: int, seed: tuple[int, ...]) -> Numbers:
    """Return the column means, (resamples, columns), of resampled rows of `values`, (rows, columns)."""
    return resample_sums(values, resamples, seed) / len(values)


def estimate(value: float, resampled: Numbers) -> Estimate:
    """Return the value of all rows with the percentile interval of the resampled values, (resamples,)."""
    outside = (1 - CONFIDENCE) / 2
    low, high = np.quantile(resampled, [outside, 1 - outside])
    return Estimate(float(value), float(low), float(high))
