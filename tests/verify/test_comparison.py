"""Expected against got: distances, order, infinities."""

from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qwen3_rerank_plugins.verify.comparison import Comparison

rows = st.integers(0, 7).flatmap(
    lambda length: st.tuples(*[st.lists(st.integers(-4, 4), min_size=length, max_size=length)] * 2)
)


@given(rows, st.integers(0, 5))
def test_the_order_is_kept_unless_two_clearly_apart_have_changed_places(
    figures: tuple[list[int], list[int]], tolerance: int
) -> None:
    """The fast search against the definition, pair by pair."""
    expected, got = figures
    kept = not any(
        expected[one] - expected[other] > tolerance and got[one] < got[other]
        for one, other in itertools.permutations(range(len(expected)), 2)
    )
    assert Comparison(tuple(expected), tuple(got), tolerance).order_kept == kept


def test_a_difference_as_large_as_the_tolerance_passes_and_a_larger_one_does_not() -> None:
    assert Comparison((1.0, 3.0), (1.5, 3.0), 0.5).passed
    failed = Comparison((1.0, 3.0, 2.0), (1.0, 3.625, 2.5), 0.5)
    assert (failed.passed, failed.worst, failed.largest_difference) == (False, 1, 0.625)


def test_two_that_pass_each_other_do_not_pass_though_neither_has_moved_far() -> None:
    swapped = Comparison((1.0, 1.2), (1.125, 1.075), 0.15)
    assert swapped.largest_difference < 0.15
    assert not swapped.order_kept
    assert not swapped.passed


def test_a_blank_document_is_expected_to_be_blank() -> None:
    assert Comparison((-math.inf, 1.0), (-math.inf, 1.0), 0.0).passed
    for expected, got in ((-math.inf, 1.0), (1.0, -math.inf)):
        assert not Comparison((expected,), (got,), 100.0).passed


def test_nothing_to_compare_passes() -> None:
    empty = Comparison((), (), 0.1)
    assert (empty.passed, empty.worst, empty.largest_difference) == (True, None, 0.0)


def test_rows_of_different_lengths_are_a_mistake() -> None:
    with pytest.raises(ValueError, match="zip"):
        _ = Comparison((1.0,), (1.0, 2.0), 0.1).passed
