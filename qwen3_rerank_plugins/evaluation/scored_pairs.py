"""Scored and labeled pairs as arrays: their AUC, their precision and recall, and their best threshold."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qwen3_rerank_plugins.errors import RequestError
from qwen3_rerank_plugins.evaluation.measures import Numbers


@dataclasses.dataclass(frozen=True, slots=True)
class Outcome:
    """The effect of a threshold on the pairs that it was chosen on.

    Attributes:
        kept: pairs with a score of at least the threshold.
        precision: share of the kept pairs that are relevant.
        recall: share of the relevant pairs that are kept.
        f1: harmonic mean of precision and recall.
    """

    kept: int
    precision: float
    recall: float
    f1: float


@dataclasses.dataclass(frozen=True, slots=True)
class ScoredPairs:
    """Pairs to choose a threshold on.

    Attributes:
        scores: probabilities, (pairs,).
        labels: whether each pair is relevant, (pairs,).
        units: the unit that each pair belongs to, (pairs,), counted from 0. Pairs of a unit are resampled and held out
            together.
    """

    scores: Numbers
    labels: NDArray[np.bool_]
    units: NDArray[np.int64]

    def subset(self, chosen: NDArray[np.bool_]) -> ScoredPairs:
        """Return the chosen pairs, (pairs,)."""
        return ScoredPairs(self.scores[chosen], self.labels[chosen], self.units[chosen])

    def auc(self, weights: NDArray[Any]) -> float:
        """Return the probability that a relevant pair scores higher than an irrelevant one, weighted by (pairs,).

        Ties count half, and it is 0.5 without relevant or without irrelevant pairs. It equals scikit-learn's
        `roc_auc_score`, which is too slow to call a thousand times because it validates its arguments.
        """
        ranks = np.unique(self.scores, return_inverse=True)[1]
        relevant, irrelevant = np.bincount(ranks, weights * self.labels), np.bincount(ranks, weights * ~self.labels)
        below = np.cumsum(irrelevant) - irrelevant
        pairs = relevant.sum() * irrelevant.sum()
        return float((relevant * (below + irrelevant / 2)).sum() / pairs) if pairs else 0.5

    def curve(self) -> tuple[Numbers, Numbers, Numbers]:
        """Return precision and recall for each distinct score as a threshold, and these scores in ascending order."""
        from sklearn.metrics import precision_recall_curve

        curve: Any = precision_recall_curve(self.labels, self.scores)
        return curve[0][:-1], curve[1][:-1], curve[2]  # the last precision and recall belong to no threshold

    def best_threshold(self, precision: float | None) -> float | None:
        """Return the lowest threshold that reaches a precision, or the one with the best F1 if that is None.

        Return None if no threshold reaches the precision, or if no pair is relevant.
        """
        if not self.labels.any():
            return None
        precisions, recalls, thresholds = self.curve()
        if precision is None:
            best = int(np.argmax(precisions * recalls / np.maximum(precisions + recalls, 1e-12)))
        else:
            reached = np.flatnonzero(precisions >= precision)
            if not len(reached):
                return None
            best = int(reached[0])
        return _shortest_between(float(thresholds[best - 1]) if best else -1.0, float(thresholds[best]))

    def outcome(self, threshold: float) -> Outcome:
        """Return the effect of a threshold on these pairs."""
        kept = self.scores >= threshold
        right = int((kept & self.labels).sum())
        precision, recall = right / max(1, int(kept.sum())), right / int(self.labels.sum())
        return Outcome(int(kept.sum()), precision, recall, 2 * precision * recall / max(precision + recall, 1e-12))


def gather_pairs(
    scores: Sequence[float],
    labels: Sequence[bool],
    queries: Sequence[int] | Sequence[str] | None,
    documents: Sequence[int] | Sequence[str] | None,
    fewest_queries: int,
) -> tuple[ScoredPairs, int]:
    """Return the pairs and the number of queries.

    The queries are the units. With fewer than `fewest_queries`, the distinct pairs are.

    Raises:
        RequestError: the sequences have different lengths.
    """
    for given, name in ((labels, "labels"), (queries, "queries"), (documents, "documents")):
        if given is not None and len(given) != len(scores):
            raise RequestError(f"There are {len(scores)} scores and {len(given)} {name}. Pass one for each score.")
    positions = range(len(scores))
    asked: Sequence[object] = positions if queries is None else queries
    count, units = _enumerate_distinct(asked)
    if count < fewest_queries:
        _, units = _enumerate_distinct(positions if documents is None else [*zip(asked, documents, strict=True)])
    return ScoredPairs(np.asarray(scores, np.float64), np.asarray(labels, bool), units), count


def _enumerate_distinct(names: Sequence[object]) -> tuple[int, NDArray[np.int64]]:
    """Return the number of distinct names, and the number of each name in the order of their first occurrence."""
    numbers = {name: number for number, name in enumerate(dict.fromkeys(names))}
    return len(numbers), np.array([numbers[name] for name in names], np.int64)


def _shortest_between(dropped: float, kept: float) -> float:
    """Return the number with the fewest digits, near the middle, that keeps one score and drops the next lower one."""
    middle = (max(dropped, 0.0) + kept) / 2
    for digits in range(1, 17):
        short = round(middle, digits)
        if dropped < short <= kept:
            return short
    return kept
