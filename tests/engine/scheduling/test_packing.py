"""The planner: nothing lost, nothing doubled, never over budget without need, few passes."""

from __future__ import annotations

import dataclasses
import itertools
import math
import random
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qwen3_rerank_plugins.engine.scheduling.packing import (
    LOOKAHEAD,
    BatchPlan,
    Remaining,
    Workload,
    plan_batch,
    plan_batches,
)

workloads = st.lists(
    # small numbers, so that exact fits and misses by one token are common
    st.builds(Workload, st.integers(1, 6), st.lists(st.integers(1, 8), max_size=15).map(tuple)),
    max_size=8,
)
budgets = st.integers(1, 40)


def cost(plan: BatchPlan, work: list[Workload]) -> int:
    return sum(
        work[part.request].prefix + sum(work[part.request].document_lengths[t] for t in part.documents)
        for part in plan.slices
    )


@given(workloads, budgets)
def test_every_tail_stands_in_exactly_one_pass(work: list[Workload], budget: int) -> None:
    planned = [
        (part.request, tail) for plan in plan_batches(work, budget) for part in plan.slices for tail in part.documents
    ]
    assert sorted(planned) == [(r, t) for r, workload in enumerate(work) for t in range(len(workload.document_lengths))]


@given(workloads, budgets)
def test_no_pass_exceeds_the_budget_unless_it_holds_a_single_tail(work: list[Workload], budget: int) -> None:
    for plan in plan_batches(work, budget):
        assert plan.tokens == cost(plan, work)
        assert plan.tokens <= budget or plan.document_count == 1


@given(workloads, budgets)
def test_a_prefix_stands_once_in_a_pass_and_tails_longest_first(work: list[Workload], budget: int) -> None:
    for plan in plan_batches(work, budget):
        requests = [part.request for part in plan.slices]
        assert len(set(requests)) == len(requests)
        for part in plan.slices:
            assert part.documents
            lengths = [work[part.request].document_lengths[tail] for tail in part.documents]
            assert lengths == sorted(lengths, reverse=True)


@given(workloads, budgets)
def test_a_request_that_fits_is_never_split(work: list[Workload], budget: int) -> None:
    plans = plan_batches(work, budget)
    for request, workload in enumerate(work):
        if workload.document_lengths and workload.prefix + sum(workload.document_lengths) <= budget:
            assert sum(part.request == request for plan in plans for part in plan.slices) == 1


@given(workloads, budgets)
def test_any_two_passes_together_exceed_the_budget(work: list[Workload], budget: int) -> None:
    """The stated bound: n >= 2 passes hold more than n * budget / 2 tokens."""
    sizes = [plan.tokens for plan in plan_batches(work, budget)]
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
    plans = plan_batches([Workload(prefix, tuple(tails))], budget)
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
    plans = plan_batches(work, 100)
    assert [[part.request for part in plan.slices] for plan in plans] == [[0, 1], [2]]
    assert [plan.tokens for plan in plans] == [35, 70]


def test_the_first_request_is_always_in_the_first_pass() -> None:
    work = [Workload(10, (50,)), Workload(10, (500,)), Workload(1, (1,))]
    assert plan_batches(work, 100)[0].slices[0].request == 0


@pytest.mark.parametrize("budget", [1, 1000])
def test_nothing_to_do_is_no_pass(budget: int) -> None:
    assert plan_batches([], budget) == []
    assert plan_batches([Workload(5, ())], budget) == []


def one_after_another(work: list[Workload], budget: int, max_merged_tokens: int | None = None) -> list[BatchPlan]:
    """Passes as the worker makes them, where nobody joins and whoever was served goes to the end of the line."""
    left = [Remaining(workload) for workload in work]
    line, plans = list(range(len(work))), []
    while True:
        plan = plan_batch([left[request] for request in line], budget, max_merged_tokens)
        if not plan.slices:
            assert not any(one.count for one in left)
            return plans
        named = [dataclasses.replace(part, request=line[part.request]) for part in plan.slices]
        plans.append(BatchPlan(tuple(named)))
        served = [part.request for part in named]
        line = [request for request in line if request not in served] + served


companies = st.none() | st.integers(1, 40)


@given(workloads, budgets, companies)
def test_pass_by_pass_every_tail_is_taken_once_and_nothing_exceeds_the_budget_without_need(
    work: list[Workload], budget: int, max_merged_tokens: int | None
) -> None:
    plans = one_after_another(work, budget, max_merged_tokens)
    planned = [(part.request, tail) for plan in plans for part in plan.slices for tail in part.documents]
    assert sorted(planned) == [(r, t) for r, workload in enumerate(work) for t in range(len(workload.document_lengths))]
    for plan in plans:
        assert plan.tokens == cost(plan, work)
        assert plan.tokens <= budget or plan.document_count == 1
        assert len(plan.slices) == 1 or max_merged_tokens is None or plan.tokens <= max_merged_tokens
        for part in plan.slices:
            lengths = [work[part.request].document_lengths[tail] for tail in part.documents]
            assert lengths == sorted(lengths, reverse=True)


@given(workloads, budgets)
def test_pass_by_pass_there_are_hardly_twice_as_many_as_the_tokens_call_for(work: list[Workload], budget: int) -> None:
    """The stated bound: n passes hold more than (n - 1) * budget / 2 tokens."""
    sizes = [plan.tokens for plan in one_after_another(work, budget)]
    assert len(sizes) <= 1 or (len(sizes) - 1) * budget < 2 * sum(sizes)


@given(workloads, budgets)
def test_one_request_alone_is_planned_alike_pass_by_pass_and_at_once(work: list[Workload], budget: int) -> None:
    for workload in work:
        assert one_after_another([workload], budget) == plan_batches([workload], budget)


@given(workloads, budgets, budgets, st.data())
def test_tails_that_were_put_back_are_planned_again_under_another_budget(
    work: list[Workload], budget: int, lower: int, data: st.DataObject
) -> None:
    for workload in work:
        left, found = Remaining(workload), list[int]()
        while left.count:
            current = data.draw(st.sampled_from([budget, lower]))
            expected = left.next_tokens(current)
            tails = left.take(current)
            assert expected == workload.prefix + sum(workload.document_lengths[tail] for tail in tails)
            if data.draw(st.booleans()) and len(tails) > 1:
                left.put_back(tails)
                budget = max(1, budget // 2)
            else:
                found += tails
        assert sorted(found) == list(range(len(workload.document_lengths)))


@given(workloads, budgets)
def test_whoever_is_first_in_line_is_served(work: list[Workload], budget: int) -> None:
    left = [Remaining(workload) for workload in work]
    plan = plan_batch(left, budget)
    waiting = [request for request, workload in enumerate(work) if workload.document_lengths]
    assert [part.request for part in plan.slices][:1] == waiting[:1]


class Counted(int):
    """A length that counts how often it is compared, subtracted or hashed."""

    operations = 0


def count(name: str) -> Callable[..., Any]:
    plain = getattr(int, name)

    def operate(one: int, *others: Any) -> Any:
        Counted.operations += 1
        return plain(one, *others)

    return operate


for operation in (
    "lt",
    "le",
    "gt",
    "ge",
    "eq",
    "hash",
    "add",
    "radd",
    "sub",
    "rsub",
    "mul",
    "rmul",
    "neg",
    "rfloordiv",
):
    setattr(Counted, f"__{operation}__", count(f"__{operation}__"))


@pytest.mark.parametrize("budget", [600, 16_384])
@pytest.mark.parametrize("kind", ["equal", "different"])
def test_the_work_of_planning_grows_with_the_documents_and_not_with_their_square(budget: int, kind: str) -> None:
    """In operations on lengths. Ten times the documents are about ten times the work; they used to be a thousand."""

    def operations(count: int) -> int:
        dice = random.Random(0)
        lengths = (400 if kind == "equal" else dice.randint(20, 800) for _ in range(count))
        left = Remaining(Workload(80, tuple(map(Counted, lengths))))
        Counted.operations = 0
        while left.count:
            plan_batch([left], budget)
        return Counted.operations

    few, many = operations(1_000), operations(10_000)
    assert many <= 15 * few
    assert many <= 40 * 10_000


def test_a_hundred_thousand_documents_are_planned_with_a_few_operations_each() -> None:
    dice = random.Random(0)
    lengths = tuple(Counted(dice.randint(20, 800)) for _ in range(100_000))
    Counted.operations = 0
    assert sum(plan.document_count for plan in plan_batches([Workload(80, lengths)], 16_384)) == 100_000
    assert Counted.operations <= 40 * 100_000


def test_no_more_than_a_few_of_those_who_wait_are_looked_at_for_a_pass() -> None:
    assert LOOKAHEAD >= 16_384 // 65, "a full pass of the smallest requests"
    looked_at = 0

    class Watched(Remaining):
        def next_tokens(self, budget: int) -> int:
            nonlocal looked_at
            looked_at += 1
            return super().next_tokens(budget)

    waiting = [Watched(Workload(10, (90,))) for _ in range(10_000)]
    assert plan_batch(waiting, 1000).document_count == 10
    assert looked_at == 10
