"""Rankings -> nDCG, MRR, recall and MAP of every query, computed by trec_eval.

Comes in: the grades of each query's candidates, best-ranked first. Goes out: `Figures`.
Must not know: where the order came from.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytrec_eval
from numpy.typing import NDArray

from qwen3_rerank_plugins.engine.settings import positive_int


@dataclasses.dataclass(frozen=True, slots=True)
class Figures:
    """What one ranking of one query is worth, each figure between 0 and 1.

    Attributes:
        ndcg: discounted gain of the first k as a share of the best possible; the gain is the grade itself (linear).
        reciprocal_rank: 1 / place of the first relevant candidate.
        recall: share of the relevant candidates that are among the first k.
        average_precision: mean, over the relevant candidates, of the precision at the place of each.
    """

    ndcg: float
    reciprocal_rank: float
    recall: float
    average_precision: float


def measure_names(k: int) -> tuple[str, ...]:
    """What the means of the figures are called, in the order of `Figures`."""
    return (f"nDCG@{k}", "MRR", f"recall@{k}", "MAP")


def measure(
    rankings: Sequence[Sequence[int]], k: int = 10, lost: Sequence[Sequence[int]] | None = None
) -> list[Figures]:
    """Judge each ranking by itself.

    Args:
        rankings: for each query, its candidates' grades from the first place to the last; above 0 is relevant.
        k: how many places nDCG and recall look at. MRR and MAP look at all.
        lost: for each query, the grades of candidates that its ranking lacks; the best possible ranking has them.
    """
    k = positive_int("k", k)
    names = (f"ndcg_cut_{k}", "recip_rank", f"recall_{k}", "map")
    asked = {f"ndcg_cut.{k}", "recip_rank", f"recall.{k}", "map"}
    lost = lost or [()] * len(rankings)
    # Places stand for candidates, and their negatives for scores: trec_eval rounds scores to 32 bits and breaks ties by
    # name, so that real scores could come out in another order than the one that is to be judged.
    graded = zip(rankings, lost, strict=True)
    grades = {str(query): dict(_by_place([*ranking, *rest])) for query, (ranking, rest) in enumerate(graded)}
    scores = {
        str(query): {str(place): -float(place) for place in range(len(ranking))}
        for query, ranking in enumerate(rankings)
    }
    found = pytrec_eval.RelevanceEvaluator(grades, asked).evaluate(scores)
    return [
        Figures(*(float(found[str(query)][name]) for name in names)) if ranking else Figures(0.0, 0.0, 0.0, 0.0)
        for query, ranking in enumerate(rankings)
    ]


def _by_place(ranking: Sequence[int]) -> list[tuple[str, int]]:
    return [(str(place), grade) for place, grade in enumerate(ranking)]


CONFIDENCE = 0.95
RESAMPLES = 2000
_COUNTS_AT_A_TIME = 2_000_000

Numbers = NDArray[np.floating[Any]]


@dataclasses.dataclass(frozen=True, slots=True)
class Estimate:
    """A figure, and the interval of its bootstrap at 95 %."""

    value: float
    low: float
    high: float


def resample_counts(rows: int, resamples: int, seed: tuple[int, ...]) -> Iterator[NDArray[np.int64]]:
    """How often each row was drawn: arrays (some resamples, rows), `resamples` in all."""
    random = np.random.default_rng(seed)
    at_a_time = max(1, _COUNTS_AT_A_TIME // rows)
    for start in range(0, resamples, at_a_time):
        yield random.multinomial(rows, np.full(rows, 1 / rows), size=min(at_a_time, resamples - start))


def resample_sums(values: Numbers, resamples: int, seed: tuple[int, ...]) -> Numbers:
    """Sums of the columns, (resamples, columns), of values (rows, columns)."""
    return np.concatenate([counts @ values for counts in resample_counts(len(values), resamples, seed)])


def resample_means(values: Numbers, resamples: int, seed: tuple[int, ...]) -> Numbers:
    """Means of the columns, (resamples, columns), of values (rows, columns)."""
    return resample_sums(values, resamples, seed) / len(values)


def estimate(value: float, resampled: Numbers) -> Estimate:
    """The figure of all rows, with the interval of those of the resamples."""
    outside = (1 - CONFIDENCE) / 2
    low, high = np.quantile(resampled, [outside, 1 - outside])
    return Estimate(float(value), float(low), float(high))
