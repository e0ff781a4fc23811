"""Compare expected scores with actual ones, within a tolerance and by their order."""

from __future__ import annotations

import bisect
import dataclasses
import itertools
from collections.abc import Mapping

TOLERANCES: Mapping[str, float] = {"float32": 1e-3, "bfloat16": 0.15, "float16": 0.15}
"""Allowed difference of log-odds by the dtype of the weights, because machines and versions round differently."""


@dataclasses.dataclass(frozen=True, slots=True)
class Comparison:
    """Expected and actual scores of the documents of one question.

    Attributes:
        expected, got: one score per document; -inf for a blank document.
        tolerance: largest allowed difference.
    """

    expected: tuple[float, ...]
    got: tuple[float, ...]
    tolerance: float

    @property
    def differences(self) -> tuple[float, ...]:
        """Absolute difference of each document."""
        pairs = zip(self.expected, self.got, strict=True)
        # test for equality first, because the difference of two infinities is NaN
        return tuple(0.0 if expected == got else abs(expected - got) for expected, got in pairs)

    @property
    def worst(self) -> int | None:
        """Index of the largest difference; None without documents."""
        differences = self.differences
        return differences.index(max(differences)) if differences else None

    @property
    def largest_difference(self) -> float:
        """Largest difference of any document; 0 without documents."""
        return max(self.differences, default=0.0)

    @property
    def order_kept(self) -> bool:
        """Whether all pairs whose expected scores differ by more than the tolerance are still in the same order."""
        ascending = sorted(zip(self.expected, self.got, strict=True))
        expected = [score for score, _ in ascending]
        highest_so_far = list(itertools.accumulate((got for _, got in ascending), max))
        for score, got in ascending:
            clearly_below = bisect.bisect_left(expected, score - self.tolerance)
            if clearly_below and highest_so_far[clearly_below - 1] > got:
                return False
        return True

    @property
    def passed(self) -> bool:
        """Whether every difference is within the tolerance and the order was kept."""
        return self.largest_difference <= self.tolerance and self.order_kept
