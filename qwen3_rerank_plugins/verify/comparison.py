"""Expected figures against those that came out -> a verdict.

Comes in: two rows of figures and a tolerance. Goes out: `Comparison`.
Must not know: models, files, or what the figures measure.
"""

from __future__ import annotations

import bisect
import dataclasses
import itertools
from collections.abc import Mapping

TOLERANCES: Mapping[str, float] = {"float32": 1e-3, "bfloat16": 0.15, "float16": 0.15}
"""How far log-odds may move, by the dtype of the weights: another machine or version rounds differently."""


@dataclasses.dataclass(frozen=True, slots=True)
class Comparison:
    """The documents of one question: what was expected, what came out.

    Attributes:
        expected, got: one figure a document; -inf for a document with nothing to read.
        tolerance: how far apart the two may be.
    """

    expected: tuple[float, ...]
    got: tuple[float, ...]
    tolerance: float

    @property
    def differences(self) -> tuple[float, ...]:
        """Absolute, one a document."""
        pairs = zip(self.expected, self.got, strict=True)
        # equal ones first: the difference of two infinities is not a number
        return tuple(0.0 if expected == got else abs(expected - got) for expected, got in pairs)

    @property
    def worst(self) -> int | None:
        """Position of the largest difference; None without documents."""
        differences = self.differences
        return differences.index(max(differences)) if differences else None

    @property
    def largest_difference(self) -> float:
        """Of any document; 0 without documents."""
        return max(self.differences, default=0.0)

    @property
    def order_kept(self) -> bool:
        """Whether no two documents that were expected to lie further apart than the tolerance have changed places."""
        ascending = sorted(zip(self.expected, self.got, strict=True))
        expected = [figure for figure, _ in ascending]
        highest_so_far = list(itertools.accumulate((got for _, got in ascending), max))
        for figure, got in ascending:
            clearly_below = bisect.bisect_left(expected, figure - self.tolerance)
            if clearly_below and highest_so_far[clearly_below - 1] > got:
                return False
        return True

    @property
    def passed(self) -> bool:
        """Nothing is further off than the tolerance, and the order was kept."""
        return self.largest_difference <= self.tolerance and self.order_kept
