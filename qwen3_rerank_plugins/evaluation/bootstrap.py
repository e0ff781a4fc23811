"""Figures of queries -> their mean, and how far it may be off because just these queries were asked.

Comes in: one row a query (or another unit that was drawn). Goes out: `Estimate`s.
Must not know: what the figures mean.

Rows are drawn again with replacement, as often as there are rows; the middle 95 % of the means are the interval. A row
keeps its columns together, so that a difference of two columns is that of the same queries.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

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
