"""Intervals: seeded, paired, and as wide as the theory says."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import bootstrap

from qwen3_rerank_plugins.evaluation import bootstrap as module
from qwen3_rerank_plugins.evaluation.bootstrap import estimate, resample_counts, resample_means

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
