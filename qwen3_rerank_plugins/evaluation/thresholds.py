"""Propose a threshold from scores and labels, or report that no threshold separates them.

A threshold is chosen on all pairs, so it looks better on them than on new ones. Its precision and recall are therefore
estimated on held-out pairs: the queries are split into five parts, and each part is cut at the threshold that the other
four would choose.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence

import numpy as np

from qwen3_rerank_plugins import _plain_values as plain
from qwen3_rerank_plugins.engine.settings import positive_int
from qwen3_rerank_plugins.errors import RequestError, SettingsError
from qwen3_rerank_plugins.evaluation.measures import Estimate, estimate, resample_counts, resample_sums
from qwen3_rerank_plugins.evaluation.scored_pairs import Outcome, ScoredPairs, gather_pairs

FEWEST = 10
"""Smallest number of relevant and of irrelevant pairs. Fewer can be separated by chance."""
PARTS = 5
RESAMPLES = 1000


@dataclasses.dataclass(frozen=True, slots=True)
class HeldOut:
    """Precision and recall of thresholds, chosen in the same way, on pairs that they were not chosen on."""

    precision: Estimate
    recall: Estimate


@dataclasses.dataclass(frozen=True, slots=True)
class Calibration:
    """A threshold for `min_score`, or the reason why there is none.

    Attributes:
        pairs, relevant, queries: numbers of pairs, relevant pairs and queries.
        unlabelled: candidates without a label, which were not used.
        goal: "best F1" or the precision to reach.
        auc: probability that a relevant pair scores higher than an irrelevant one; guessing gives 0.5.
        threshold: lowest score to keep; None if no threshold separates.
        chosen: effect of the threshold on all pairs.
        held_out: expected effect on new pairs.
        verdict: the result in one or two sentences.
    """

    pairs: int
    relevant: int
    queries: int
    unlabelled: int
    goal: str
    auc: Estimate
    threshold: float | None
    chosen: Outcome | None
    held_out: HeldOut | None
    verdict: str


def propose_threshold(
    scores: Sequence[float],
    labels: Sequence[bool],
    queries: Sequence[int] | Sequence[str] | None = None,
    documents: Sequence[int] | Sequence[str] | None = None,
    *,
    precision: float | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Calibration:
    """Propose a threshold for given scores.

    Args:
        scores: probabilities, as `score` returns them.
        labels: whether each pair is relevant.
        queries: the query of each pair, as its text or a number. Pairs of one query resemble each other, so they are
            held out and resampled together. With fewer than ten queries, each pair is treated separately.
        documents: the document of each pair, as its text or a number. Where pairs are treated separately, pairs with
            the same query and document still stay together, so that no pair is judged by its copy.
        precision: as in `calibrate`.
        resamples: number of bootstrap resamples.
        seed: random seed of the held-out parts and of the bootstrap.

    Raises:
        RequestError: there are too few relevant or irrelevant pairs, or the sequences have different lengths.
        SettingsError: the precision is not above 0 and at most 1.
    """
    precision = check_precision(precision)
    resamples = positive_int("resamples", resamples)
    pairs, query_count = gather_pairs(scores, labels, queries, documents, fewest_queries=2 * PARTS)
    relevant = int(pairs.labels.sum())
    check_counts(relevant, len(pairs.scores) - relevant)
    goal = "best F1" if precision is None else f"precision of at least {precision:g}"
    auc = _estimate_auc(pairs, resamples, (seed, 0))
    found = Calibration(len(pairs.scores), relevant, query_count, 0, goal, auc, None, None, None, "")
    if auc.low <= 0.5:
        verdict = (
            "No threshold separates: a relevant pair scores higher than an irrelevant one in "
            f"{auc.value:.0%} of all cases ({auc.low:.0%}-{auc.high:.0%}), and guessing gives 50%."
        )
        return dataclasses.replace(found, verdict=verdict)
    threshold = pairs.best_threshold(precision)
    if threshold is None:
        best = max(pairs.curve()[0])
        verdict = f"No threshold separates: none reaches a precision of {precision:g}. The best is {best:.3f}."
        return dataclasses.replace(found, verdict=verdict)
    held_out = _hold_out(pairs, precision, resamples, (seed, 1))
    verdict = f"Proposed threshold: {threshold}."
    reached = held_out.precision
    if precision is not None and reached.low < precision:
        verdict += (
            f" Do not count on {precision:g}: on queries it was not chosen on, such a threshold reached a precision of "
            f"{reached.value:.3f} ({reached.low:.3f}-{reached.high:.3f})."
        )
    return dataclasses.replace(
        found, threshold=threshold, chosen=pairs.outcome(threshold), held_out=held_out, verdict=verdict
    )


def check_precision(precision: float | None) -> float | None:
    """Return the precision as a `float`.

    Raises:
        SettingsError: it is not above 0 and at most 1.
    """
    found = plain.number(precision)
    if found is not None and not (isinstance(found, float) and 0 < found <= 1):
        raise SettingsError(f"precision must be above 0 and at most 1, got {precision!r}.")
    return found


def check_counts(relevant: int, irrelevant: int) -> None:
    """Refuse too few relevant or irrelevant pairs."""
    if min(relevant, irrelevant) < FEWEST:
        raise RequestError(
            f"There are {relevant} relevant and {irrelevant} irrelevant pairs, and a threshold needs at least {FEWEST} "
            "of each. Label more pairs."
        )


def _estimate_auc(pairs: ScoredPairs, resamples: int, seed: tuple[int, ...]) -> Estimate:
    units = int(pairs.units.max()) + 1
    resampled = [
        pairs.auc(counts[pairs.units])
        for counts in itertools.chain.from_iterable(resample_counts(units, resamples, seed))
    ]
    return estimate(pairs.auc(np.ones(len(pairs.scores))), np.array(resampled))


def _hold_out(pairs: ScoredPairs, precision: float | None, resamples: int, seed: tuple[int, ...]) -> HeldOut:
    units = int(pairs.units.max()) + 1
    parts = np.random.default_rng(seed).permutation(units) % PARTS
    kept = np.zeros(len(pairs.scores), bool)
    for part in range(PARTS):
        held = parts[pairs.units] == part
        threshold = pairs.subset(~held).best_threshold(precision)
        kept[held] = False if threshold is None else pairs.scores[held] >= threshold
    sums = np.zeros((units, 3))  # pairs of each unit: kept and relevant, kept, relevant
    np.add.at(sums, pairs.units, np.stack([kept & pairs.labels, kept, pairs.labels], axis=1).astype(np.float64))
    total, resampled = sums.sum(axis=0), resample_sums(sums, resamples, seed)
    # if nothing is kept, precision is undefined and counts as 0
    precision_and_recall = (
        estimate(total[0] / max(total[at], 1), resampled[:, 0] / np.maximum(resampled[:, at], 1)) for at in (1, 2)
    )
    return HeldOut(*precision_and_recall)
