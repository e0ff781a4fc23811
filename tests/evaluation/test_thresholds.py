"""Thresholds: the best one, the lowest one, none, and what they may be trusted to do."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import f1_score, roc_auc_score

from qwen3_rerank_plugins.errors import RequestError, SettingsError
from qwen3_rerank_plugins.evaluation import propose_threshold

scores_and_labels = st.lists(
    st.tuples(st.floats(0, 1).map(lambda x: round(x, 2)), st.booleans()), min_size=40, max_size=80
).filter(lambda pairs: 10 <= sum(label for _, label in pairs) <= len(pairs) - 10)

EASY = [0.9] * 20 + [0.1] * 60
EASY_LABELS = [True] * 20 + [False] * 60


def overlapping(seed: int, pairs: int = 400, apart: float = 1.5) -> tuple[list[float], list[bool]]:
    random = np.random.default_rng(seed)
    labels = random.random(pairs) < 0.3
    return (1 / (1 + np.exp(-random.normal(labels * apart, 1)))).tolist(), labels.tolist()


def test_what_is_clearly_apart_is_cut_in_the_middle_with_few_digits() -> None:
    found = propose_threshold(EASY, EASY_LABELS, resamples=100)
    assert found.threshold == 0.5
    assert found.chosen is not None
    assert found.held_out is not None
    assert (found.chosen.kept, found.chosen.precision, found.chosen.recall, found.chosen.f1) == (20, 1.0, 1.0, 1.0)
    assert (found.held_out.precision.value, found.held_out.recall.value) == (1.0, 1.0)
    assert (found.auc.value, found.auc.low) == (1.0, 1.0)
    assert found.verdict == "Proposed threshold: 0.5."


@settings(max_examples=30, deadline=None)
@given(scores_and_labels)
def test_no_threshold_has_a_better_f1_than_the_proposed_one(pairs: list[tuple[float, bool]]) -> None:
    scores, labels = map(list, zip(*pairs, strict=True))
    found = propose_threshold(scores, labels, resamples=20)
    assert found.auc.value == pytest.approx(roc_auc_score(labels, scores))
    if found.threshold is None or found.chosen is None:
        assert found.auc.low <= 0.5
        return
    kept = np.array(scores) >= found.threshold
    assert found.chosen.kept == kept.sum()
    assert found.chosen.f1 == pytest.approx(f1_score(labels, kept))
    assert found.chosen.f1 >= max(f1_score(labels, np.array(scores) >= cut) for cut in set(scores)) - 1e-9


@settings(max_examples=30, deadline=None)
@given(scores_and_labels, st.sampled_from([0.3, 0.5, 0.8, 1.0]))
def test_the_proposed_threshold_is_the_lowest_that_reaches_the_precision(
    pairs: list[tuple[float, bool]], precision: float
) -> None:
    scores, labels = map(list, zip(*pairs, strict=True))
    found = propose_threshold(scores, labels, precision=precision, resamples=20)
    if found.chosen is None or found.threshold is None:
        return
    assert found.chosen.precision >= precision
    for cut in scores:
        if cut < found.threshold:
            kept = np.array(scores) >= cut
            assert np.array(labels)[kept].mean() < precision


def test_scores_that_are_noise_have_no_threshold_and_it_says_so() -> None:
    scores, labels = overlapping(3, apart=0.0)
    found = propose_threshold(scores, labels)
    assert (found.threshold, found.chosen, found.held_out) == (None, None, None)
    assert found.auc.low <= 0.5 <= found.auc.high
    assert found.verdict.startswith("No threshold separates: ")


def test_scores_that_are_upside_down_have_no_threshold() -> None:
    found = propose_threshold(EASY, [not label for label in EASY_LABELS], resamples=100)
    assert found.threshold is None


def test_a_precision_out_of_reach_is_said_with_the_best_there_is() -> None:
    scores, labels = [0.9] * 30 + [0.1] * 30, [True] * 20 + [False] * 10 + [True] * 5 + [False] * 25
    found = propose_threshold(scores, labels, precision=0.9, resamples=100)
    assert found.threshold is None
    assert found.verdict == "No threshold separates: none reaches a precision of 0.9. The best is 0.667."


def test_held_out_figures_promise_what_new_pairs_keep_and_the_others_more() -> None:
    """Over many small draws, judged on twenty thousand new pairs."""
    fresh_scores, fresh_labels = overlapping(1000, pairs=20_000, apart=1.0)
    flattering, honest, true = [], [], []
    for seed in range(40):
        scores, labels = overlapping(seed, pairs=60, apart=1.0)
        found = propose_threshold(scores, labels, resamples=20)
        if found.threshold is None or found.chosen is None or found.held_out is None:
            continue
        precision, recall = found.held_out.precision.value, found.held_out.recall.value
        flattering.append(found.chosen.f1)
        honest.append(2 * precision * recall / (precision + recall))
        true.append(f1_score(fresh_labels, np.array(fresh_scores) >= found.threshold))
    assert len(true) > 30
    assert np.mean(flattering) > np.mean(true) + 0.05
    assert np.mean(honest) == pytest.approx(np.mean(true), abs=0.02)


def test_a_precision_that_does_not_hold_is_not_promised() -> None:
    scores, labels = overlapping(1, pairs=150, apart=1.0)
    found = propose_threshold(scores, labels, precision=0.6)
    assert "Do not count on 0.6: on queries it was not chosen on" in found.verdict


def test_pairs_of_one_query_are_dealt_out_and_drawn_together() -> None:
    """Copies of a pair add no knowledge: the interval must not shrink for them."""
    scores, labels = overlapping(5, pairs=80)
    once = propose_threshold(scores, labels, list(range(80)), resamples=400)
    queries = [query for query in range(80) for _ in range(10)]
    repeated = propose_threshold(
        [scores[query] for query in queries], [labels[query] for query in queries], queries, resamples=400
    )
    alone = propose_threshold([scores[q] for q in queries], [labels[q] for q in queries], resamples=400)
    width = once.auc.high - once.auc.low
    assert repeated.auc.high - repeated.auc.low == pytest.approx(width, rel=0.15)
    assert alone.auc.high - alone.auc.low < width / 2
    assert repeated.queries == 80


def test_one_seed_gives_one_calibration() -> None:
    scores, labels = overlapping(2)
    first, again, other = (propose_threshold(scores, labels, seed=seed, resamples=50) for seed in (0, 0, 1))
    assert first == again
    assert first != other
    assert first.threshold == other.threshold


def test_too_few_pairs_of_a_kind_are_refused() -> None:
    with pytest.raises(RequestError, match="9 relevant and 60 irrelevant pairs, and a threshold needs at least 10"):
        propose_threshold(EASY[:9] + EASY[20:], EASY_LABELS[:9] + EASY_LABELS[20:])


def test_lists_of_different_lengths_and_impossible_precisions_are_refused() -> None:
    with pytest.raises(RequestError, match="80 scores and 79 labels"):
        propose_threshold(EASY, EASY_LABELS[1:])
    for precision in (0.0, 1.5, float("nan")):
        with pytest.raises(SettingsError, match="precision must be above 0"):
            propose_threshold(EASY, EASY_LABELS, precision=precision)


def test_scores_next_to_one_are_told_apart() -> None:
    scores = [1 - 1e-12] * 20 + [1 - 1e-10] * 20
    found = propose_threshold(scores, [True] * 20 + [False] * 20, resamples=50)
    assert found.threshold is not None
    assert 1 - 1e-10 < found.threshold <= 1 - 1e-12


@pytest.mark.parametrize("few", [True, False], ids=["few-queries", "many-queries"])
def test_equal_pairs_never_stand_on_both_sides_of_a_split(few: bool) -> None:
    """Each pair is there four times; judged by its own copy, a memorized score would look like a good threshold."""
    from qwen3_rerank_plugins.evaluation.scored_pairs import gather_pairs
    from qwen3_rerank_plugins.evaluation.thresholds import PARTS, _hold_out

    count = 3 if few else 30
    pairs = [(f"q{number % count}", f"d{number}") for number in range(30)] * 4
    scores = [(number % 30) / 30 for number in range(120)]
    labels = [number % 30 >= 15 for number in range(120)]
    queries, documents = map(list, zip(*pairs, strict=True))
    scored, counted = gather_pairs(scores, labels, queries, documents, 2 * PARTS)
    assert counted == count
    units: dict[tuple[str, str], set[int]] = {}
    for pair, unit in zip(pairs, scored.units.tolist(), strict=True):
        units.setdefault(pair, set()).add(unit)
    assert all(len(found) == 1 for found in units.values())
    assert len(set(scored.units.tolist())) == 30
    _hold_out(scored, None, 10, (0, 1))


def test_queries_and_documents_may_be_texts_and_each_score_needs_its_own() -> None:
    scores, labels = [n / 40 for n in range(40)], [n >= 20 for n in range(40)]
    texts = [f"q{n % 12}" for n in range(40)]
    by_text = propose_threshold(scores, labels, texts, resamples=10)
    by_number = propose_threshold(scores, labels, [n % 12 for n in range(40)], resamples=10)
    assert by_text == by_number
    with pytest.raises(RequestError, match="There are 40 scores and 1 documents"):
        propose_threshold(scores, labels, texts, ["d"])
