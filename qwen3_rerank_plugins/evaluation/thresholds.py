"""Scores and labels -> the threshold to cut at, with what it may be trusted to do; or that none separates.

Comes in: scores, labels, and which query each is of. Goes out: `Calibration`.
Must not know: models, files, tables.

A threshold is chosen on all pairs. What it is worth is judged on pairs it was not chosen on: the queries are dealt into
five parts, and each part is cut at the threshold that the other four would choose.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qwen3_rerank_plugins import _plain_values as plain
from qwen3_rerank_plugins.engine.settings import positive_int
from qwen3_rerank_plugins.errors import RequestError, SettingsError
from qwen3_rerank_plugins.evaluation.measures import Estimate, Numbers, estimate, resample_counts, resample_sums

FEWEST = 10
"""Relevant pairs, and irrelevant ones, below which nothing is said: two and two can be told apart by luck."""
PARTS = 5
RESAMPLES = 1000


@dataclasses.dataclass(frozen=True, slots=True)
class Outcome:
    """What a threshold does to the pairs it was chosen on.

    Attributes:
        kept: pairs with a score at or above it.
        precision: share of the kept that are relevant.
        recall: share of the relevant that are kept.
        f1: harmonic mean of both.
    """

    kept: int
    precision: float
    recall: float
    f1: float


@dataclasses.dataclass(frozen=True, slots=True)
class HeldOut:
    """What thresholds chosen in the same way do to pairs they were not chosen on."""

    precision: Estimate
    recall: Estimate


@dataclasses.dataclass(frozen=True, slots=True)
class Calibration:
    """A threshold for `min_score`, or the reason that there is none.

    Attributes:
        pairs, relevant, queries: what there was.
        unlabelled: candidates that nobody labelled, and that were not used.
        goal: what was looked for.
        auc: chance that a relevant pair scores higher than an irrelevant one; 0.5 is what guessing gives.
        threshold: the lowest score to keep; None where none separates.
        chosen: what it does on all pairs.
        held_out: what it may be trusted to do.
        verdict: what that comes to, in words.
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


@dataclasses.dataclass(frozen=True, slots=True)
class _Scored:
    """Scores (pairs,), labels (pairs,), and the unit (pairs,) that each was drawn with, counted from 0."""

    scores: Numbers
    labels: NDArray[np.bool_]
    units: NDArray[np.int64]

    def part(self, chosen: NDArray[np.bool_]) -> _Scored:
        return _Scored(self.scores[chosen], self.labels[chosen], self.units[chosen])


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
    """The threshold for scores that are there already.

    Args:
        scores: probabilities, as `score` gives them.
        labels: whether each pair is relevant.
        queries: which query each pair is of, by its text or a number. Pairs of one query resemble each other, so they
            are dealt out and drawn again together; with fewer than ten queries each pair is taken by itself.
        documents: which document each pair has, by its text or a number. Where pairs are taken by themselves, those
            with the same query and the same document still go together, so that none is judged by its own copy.
        precision: as in `calibrate`.
        resamples: of the bootstrap.
        seed: of the parts and the bootstrap.

    Raises:
        RequestError: there are too few pairs of one kind.
        SettingsError: the precision is none.
    """
    precision = check_precision(precision)
    resamples = positive_int("resamples", resamples)
    scored, counted = _gather(scores, labels, queries, documents)
    relevant = int(scored.labels.sum())
    check_counts(relevant, len(scored.scores) - relevant)
    goal = "best F1" if precision is None else f"precision of at least {precision:g}"
    auc = _auc(scored, resamples, (seed, 0))
    found = Calibration(len(scored.scores), relevant, counted, 0, goal, auc, None, None, None, "")
    if auc.low <= 0.5:
        return dataclasses.replace(found, verdict=_NOT_SEPARATED.format(auc=auc))
    threshold = _choose(scored, precision)
    if threshold is None:
        best = max(_curve(scored)[0][:-1])
        verdict = f"No threshold separates: none reaches a precision of {precision:g}. The best is {best:.3f}."
        return dataclasses.replace(found, verdict=verdict)
    held_out = _hold_out(scored, precision, resamples, (seed, 1))
    return dataclasses.replace(
        found,
        threshold=threshold,
        chosen=_outcome(scored, threshold),
        held_out=held_out,
        verdict=_describe(threshold, held_out, precision),
    )


def check_precision(precision: float | None) -> float | None:
    """The precision as a `float`, if it can be one."""
    found = plain.number(precision)
    if found is not None and not (isinstance(found, float) and 0 < found <= 1):
        raise SettingsError(f"precision must be above 0 and at most 1, got {precision!r}.")
    return found


def check_counts(relevant: int, irrelevant: int) -> None:
    """Refuse too few pairs of one kind."""
    if min(relevant, irrelevant) < FEWEST:
        raise RequestError(
            f"There are {relevant} relevant and {irrelevant} irrelevant pairs, and a threshold needs at least {FEWEST} "
            "of each: label more."
        )


_NOT_SEPARATED = (
    "No threshold separates: a relevant pair scores higher than an irrelevant one in {auc.value:.0%} of all cases "
    "({auc.low:.0%}-{auc.high:.0%}), and guessing gives 50%."
)


def _gather(
    scores: Sequence[float],
    labels: Sequence[bool],
    queries: Sequence[int] | Sequence[str] | None,
    documents: Sequence[int] | Sequence[str] | None,
) -> tuple[_Scored, int]:
    for given, what in ((labels, "labels"), (queries, "queries"), (documents, "documents")):
        if given is not None and len(given) != len(scores):
            raise RequestError(f"There are {len(scores)} scores and {len(given)} {what}: each score needs its own.")
    each = range(len(scores))
    asked: Sequence[object] = each if queries is None else queries
    counted, units = _number(asked)
    if counted < 2 * PARTS:
        pairs = each if documents is None else list(zip(asked, documents, strict=True))
        _, units = _number(pairs)
    return _Scored(np.asarray(scores, np.float64), np.asarray(labels, bool), units), counted


def _number(names: Sequence[object]) -> tuple[int, NDArray[np.int64]]:
    """How many different ones there are, and the number of each, in the order in which they first come."""
    numbers: dict[object, int] = {}
    units = np.array([numbers.setdefault(name, len(numbers)) for name in names], np.int64)
    return len(numbers), units


def _auc(scored: _Scored, resamples: int, seed: tuple[int, ...]) -> Estimate:
    units = int(scored.units.max()) + 1
    drawn = [
        weighted_auc(scored.scores, scored.labels, counts[scored.units])
        for counts in itertools.chain.from_iterable(resample_counts(units, resamples, seed))
    ]
    value = weighted_auc(scored.scores, scored.labels, np.ones(len(scored.scores)))
    return estimate(value, np.array(drawn))


def weighted_auc(scores: Numbers, labels: NDArray[np.bool_], weights: NDArray[Any]) -> float:
    """Chance that a relevant pair scores higher than an irrelevant one, ties half; 0.5 where there is none of a kind.

    It is scikit-learn's `roc_auc_score`, whose checks of its arguments take longer than the figure, a thousand times.
    """
    places = np.unique(scores, return_inverse=True)[1]
    relevant, irrelevant = np.bincount(places, weights * labels), np.bincount(places, weights * ~labels)
    below = np.cumsum(irrelevant) - irrelevant
    pairs = relevant.sum() * irrelevant.sum()
    return float((relevant * (below + irrelevant / 2)).sum() / pairs) if pairs else 0.5


def _curve(scored: _Scored) -> tuple[Numbers, Numbers, Numbers]:
    """Precision and recall at every score there is, lowest first; both have one more entry, for keeping nothing."""
    from sklearn.metrics import precision_recall_curve

    curve: Any = precision_recall_curve(scored.labels, scored.scores)
    return curve[0], curve[1], curve[2]


def _choose(scored: _Scored, precision: float | None) -> float | None:
    """The best threshold for the goal, or None where the goal is out of reach or nothing is relevant."""
    if not scored.labels.any():
        return None
    precisions, recalls, cuts = _curve(scored)
    precisions, recalls = precisions[:-1], recalls[:-1]
    if precision is None:
        best = int(np.argmax(precisions * recalls / np.maximum(precisions + recalls, 1e-12)))
    else:
        reached = np.flatnonzero(precisions >= precision)
        if not len(reached):
            return None
        best = int(reached[0])
    return _short_between(float(cuts[best - 1]) if best else -1.0, float(cuts[best]))


def _short_between(dropped: float, kept: float) -> float:
    """The number with the fewest digits, near the middle, that keeps one score and drops the next lower."""
    middle = (max(dropped, 0.0) + kept) / 2
    for digits in range(1, 17):
        short = round(middle, digits)
        if dropped < short <= kept:
            return short
    return kept


def _outcome(scored: _Scored, threshold: float) -> Outcome:
    kept = scored.scores >= threshold
    right = int((kept & scored.labels).sum())
    precision, recall = right / max(1, int(kept.sum())), right / int(scored.labels.sum())
    return Outcome(int(kept.sum()), precision, recall, 2 * precision * recall / max(precision + recall, 1e-12))


def _hold_out(scored: _Scored, precision: float | None, resamples: int, seed: tuple[int, ...]) -> HeldOut:
    units = int(scored.units.max()) + 1
    parts = np.random.default_rng(seed).permutation(units) % PARTS
    kept = np.zeros(len(scored.scores), bool)
    for part in range(PARTS):
        held = parts[scored.units] == part
        threshold = _choose(scored.part(~held), precision)
        kept[held] = False if threshold is None else scored.scores[held] >= threshold
    columns = np.stack([kept & scored.labels, kept, scored.labels], axis=1).astype(np.float64)
    sums = np.zeros((units, 3))
    np.add.at(sums, scored.units, columns)
    return HeldOut(*_shares(sums.sum(axis=0), resample_sums(sums, resamples, seed)))


def _shares(total: Numbers, drawn: Numbers) -> tuple[Estimate, Estimate]:
    """Precision and recall of (right, kept, relevant); a cut that keeps nothing has no precision, and counts as 0."""
    return (
        estimate(total[0] / max(total[1], 1), drawn[:, 0] / np.maximum(drawn[:, 1], 1)),
        estimate(total[0] / max(total[2], 1), drawn[:, 0] / np.maximum(drawn[:, 2], 1)),
    )


def _describe(threshold: float, held_out: HeldOut, precision: float | None) -> str:
    found = held_out.precision
    verdict = f"Proposed threshold: {threshold}."
    if precision is not None and found.low < precision:
        verdict += (
            f" Do not count on {precision:g}: on queries it was not chosen on, such a threshold reached a precision of "
            f"{found.value:.3f} ({found.low:.3f}-{found.high:.3f})."
        )
    return verdict
