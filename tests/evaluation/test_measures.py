"""Measures by hand, and against another library."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import bootstrap
from sklearn.metrics import average_precision_score, ndcg_score

from qwen3_rerank_plugins.errors import SettingsError
from qwen3_rerank_plugins.evaluation import measures as module
from qwen3_rerank_plugins.evaluation.measures import (
    QueryMeasures,
    estimate,
    measure,
    measure_names,
    resample_counts,
    resample_means,
)

rankings = st.lists(st.integers(0, 3), min_size=2, max_size=30).filter(any)


def test_a_perfect_ranking_is_worth_one_in_every_measure() -> None:
    assert measure([[2, 1, 0]], 10) == [QueryMeasures(1.0, 1.0, 1.0, 1.0)]


def test_the_figures_of_a_small_ranking_by_hand() -> None:
    (figures,) = measure([[0, 1, 0, 2]], 3)
    assert figures.ndcg == pytest.approx((1 / math.log2(3)) / (2 + 1 / math.log2(3)))  # gains are linear: 2, not 3
    assert figures.reciprocal_rank == 0.5
    assert figures.recall == 0.5
    assert figures.average_precision == pytest.approx((1 / 2 + 2 / 4) / 2)


def test_a_query_without_anything_relevant_or_without_anything_is_worth_nothing() -> None:
    assert measure([[0, 0], []], 10) == [QueryMeasures(0.0, 0.0, 0.0, 0.0)] * 2


def test_the_order_given_is_the_order_judged_even_in_the_thousands() -> None:
    """trec_eval alone would break ties by name, and compare scores in 32 bits."""
    late = [0] * 2999 + [1]
    assert measure([late, late[::-1]], 10)[0].reciprocal_rank == pytest.approx(1 / 3000)
    assert measure([late, late[::-1]], 10)[1].reciprocal_rank == 1.0


@settings(max_examples=50, deadline=None)
@given(rankings, st.integers(1, 12))
def test_ndcg_is_scikit_learns(ranking: list[int], k: int) -> None:
    ours = measure([ranking], k)[0].ndcg
    assert ours == pytest.approx(ndcg_score([ranking], [list(range(len(ranking), 0, -1))], k=k))


@settings(max_examples=50, deadline=None)
@given(rankings)
def test_average_precision_is_scikit_learns(ranking: list[int]) -> None:
    relevant = np.array(ranking) > 0
    ours = measure([ranking], 10)[0].average_precision
    assert ours == pytest.approx(average_precision_score(relevant, np.arange(len(ranking), 0, -1)))


@settings(max_examples=50, deadline=None)
@given(rankings, st.integers(1, 12))
def test_recall_and_reciprocal_rank_are_what_their_words_say(ranking: list[int], k: int) -> None:
    (figures,) = measure([ranking], k)
    relevant = [place for place, grade in enumerate(ranking, 1) if grade]
    assert figures.reciprocal_rank == pytest.approx(1 / relevant[0])
    assert figures.recall == pytest.approx(sum(place <= k for place in relevant) / len(relevant))


def test_the_names_say_where_k_matters() -> None:
    assert measure_names(5) == ("nDCG@5", "MRR", "recall@5", "MAP")


def test_k_must_be_a_positive_whole_number() -> None:
    with pytest.raises(SettingsError, match="k must be a positive whole number"):
        measure([[1]], 0)


VALUES = np.random.default_rng(7).random((60, 2))


def test_one_seed_gives_one_interval_and_another_gives_another() -> None:
    first, again, other = (resample_means(VALUES, 50, seed) for seed in ((0, 1), (0, 1), (0, 2)))
    assert (first == again).all()
    assert (first != other).any()


def test_every_resample_draws_as_many_rows_as_there_are_however_the_work_is_cut(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "_COUNTS_AT_A_TIME", 200)
    counts = np.concatenate(list(resample_counts(60, 50, (0,))))
    assert counts.shape == (50, 60)
    assert (counts.sum(axis=1) == 60).all()


def test_the_interval_is_scipys_percentile_interval() -> None:
    ours = estimate(VALUES[:, 0].mean(), resample_means(VALUES, 5000, (0,))[:, 0])
    theirs = bootstrap((VALUES[:, 0],), np.mean, method="percentile", n_resamples=5000, rng=1).confidence_interval
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=0.01)
    spread = 1.96 * VALUES[:, 0].std() / math.sqrt(60)
    assert ours.high - ours.low == pytest.approx(2 * spread, rel=0.1)
    assert ours.low < ours.value < ours.high


def test_a_difference_is_that_of_the_same_queries() -> None:
    """Each query gains exactly 0.1: no resample may doubt it, however much the queries differ."""
    means = resample_means(np.stack([VALUES[:, 0], VALUES[:, 0] + 0.1], axis=1), 200, (0,))
    gained = estimate(0.1, means[:, 1] - means[:, 0])
    assert (gained.low, gained.high) == pytest.approx((0.1, 0.1))
