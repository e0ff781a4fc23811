"""The planner: nothing lost, nothing doubled, never over budget without need, few passes."""

from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qwen3_rerank_plugins.engine.packing import PassPlan, Workload, plan_passes

workloads = st.lists(
    # small numbers, so that exact fits and misses by one token are common
    st.builds(Workload, st.integers(1, 6), st.lists(st.integers(1, 8), max_size=15).map(tuple)),
    max_size=8,
)
budgets = st.integers(1, 40)


def cost(plan: PassPlan, work: list[Workload]) -> int:
    return sum(work[part.request].prefix + sum(work[part.request].tails[t] for t in part.tails) for part in plan.slices)


@given(workloads, budgets)
def test_every_tail_stands_in_exactly_one_pass(work: list[Workload], budget: int) -> None:
    planned = [
        (part.request, tail) for plan in plan_passes(work, budget) for part in plan.slices for tail in part.tails
    ]
    assert sorted(planned) == [(r, t) for r, workload in enumerate(work) for t in range(len(workload.tails))]


@given(workloads, budgets)
def test_no_pass_exceeds_the_budget_unless_it_holds_a_single_tail(work: list[Workload], budget: int) -> None:
    for plan in plan_passes(work, budget):
        assert plan.tokens == cost(plan, work)
        assert plan.tokens <= budget or plan.documents == 1


@given(workloads, budgets)
def test_a_prefix_stands_once_in_a_pass_and_tails_longest_first(work: list[Workload], budget: int) -> None:
    for plan in plan_passes(work, budget):
        requests = [part.request for part in plan.slices]
        assert len(set(requests)) == len(requests)
        for part in plan.slices:
            assert part.tails
            lengths = [work[part.request].tails[tail] for tail in part.tails]
            assert lengths == sorted(lengths, reverse=True)


@given(workloads, budgets)
def test_a_request_that_fits_is_never_split(work: list[Workload], budget: int) -> None:
    plans = plan_passes(work, budget)
    for request, workload in enumerate(work):
        if workload.tails and workload.prefix + sum(workload.tails) <= budget:
            assert sum(part.request == request for plan in plans for part in plan.slices) == 1


@given(workloads, budgets)
def test_any_two_passes_together_exceed_the_budget(work: list[Workload], budget: int) -> None:
    """The stated bound: n >= 2 passes hold more than n * budget / 2 tokens."""
    sizes = [plan.tokens for plan in plan_passes(work, budget)]
    assert all(one + other > budget for one, other in itertools.combinations(sizes, 2))
    if len(sizes) > 1:
        assert len(sizes) < 2 * sum(sizes) / budget


@settings(max_examples=60)
@given(st.integers(1, 10), st.lists(st.integers(1, 20), min_size=1, max_size=7), st.integers(11, 50))
def test_one_request_takes_at_most_a_third_more_passes_than_the_best_plan(
    prefix: int, tails: list[int], budget: int
) -> None:
    """First-fit-decreasing needs at most 11/9 of the optimum plus 2/3 of a bin (Dosa 2007)."""
    capacity = budget - prefix
    fitting = [tail for tail in tails if tail <= capacity]
    oversized = len(tails) - len(fitting)
    plans = plan_passes([Workload(prefix, tuple(tails))], budget)
    best = fewest_bins(tuple(fitting), capacity) + oversized
    assert best <= len(plans) <= 11 / 9 * best + 2 / 3


def fewest_bins(sizes: tuple[int, ...], capacity: int) -> int:
    """Brute force over assignments."""
    for bins in range(len(sizes) + 1):
        for assignment in itertools.product(range(bins), repeat=len(sizes)):
            loads = [0] * bins
            for size, target in zip(sizes, assignment, strict=True):
                loads[target] += size
            if all(load <= capacity for load in loads):
                return bins
    return math.inf  # type: ignore[return-value]


def test_small_requests_share_a_pass() -> None:
    work = [Workload(10, (5, 5)), Workload(10, (5,)), Workload(10, (60,))]
    assert [[part.request for part in plan.slices] for plan in plan_passes(work, 100)] == [[0, 1], [2]] or len(
        plan_passes(work, 100)
    ) == 2


def test_the_first_request_is_always_in_the_first_pass() -> None:
    work = [Workload(10, (50,)), Workload(10, (500,)), Workload(1, (1,))]
    assert plan_passes(work, 100)[0].slices[0].request == 0


@pytest.mark.parametrize("budget", [1, 1000])
def test_nothing_to_do_is_no_pass(budget: int) -> None:
    assert plan_passes([], budget) == []
    assert plan_passes([Workload(5, ())], budget) == []
