"""The token budget on a simulated device whose free memory changes: it is lowered, recovers, and does not oscillate."""

from __future__ import annotations

import itertools
import logging
import random
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qwen3_rerank_plugins.engine.scheduling.adaptive_budget import (
    LONGEST_PATIENCE,
    SHORTEST_PATIENCE,
    AdaptiveBudget,
)

FULL = 16_384
ENOUGH = 10**9
Size = Callable[[int], int]
"""The budget -> tokens of the next pass."""


def run(budget: AdaptiveBudget, memory: Callable[[int], int], passes: int, size: Size = lambda tokens: tokens) -> int:
    """Passes on a device that has so many tokens' worth of memory at each pass; how many of them failed."""
    failed = 0
    for number in range(passes):
        tokens = size(budget.tokens)
        if tokens > memory(number) and tokens > 1:
            budget.ran_out(tokens)
            failed += 1
        else:
            budget.ran(tokens)
    return failed


def messages(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]


def test_after_a_shortage_the_budget_rises_step_by_step_until_it_is_full(caplog: pytest.LogCaptureFixture) -> None:
    budget = AdaptiveBudget(FULL, " on cuda:1")
    assert run(budget, lambda _: 100, 8) == 8
    seen = [budget.tokens]
    while budget.tokens < FULL:
        assert run(budget, lambda _: ENOUGH, 1) == 0
        seen.append(budget.tokens)
    run(budget, lambda _: ENOUGH, 3)
    steps = [tokens for tokens, _ in itertools.groupby(seen)]
    assert steps == [64 * 2**step for step in range(9)]
    assert len(seen) <= 9 * SHORTEST_PATIENCE
    lowered, recovered = messages(caplog)
    assert lowered.startswith(
        "A batch of 16384 tokens on cuda:1 ran out of memory. The token budget of a batch is lowered "
    )
    assert "from 16384 to 8192" in lowered
    assert recovered == "Memory suffices again on cuda:1. The token budget of a batch is back at 16384."


def test_a_failed_pass_is_halved_and_not_the_budget() -> None:
    budget = AdaptiveBudget(FULL)
    budget.ran_out(3000)
    assert budget.tokens == 1500
    budget.ran_out(2)
    assert budget.tokens == 1
    budget.ran_out(1)
    assert budget.tokens == 1


def test_small_passes_are_no_sign_of_memory_and_raise_nothing() -> None:
    budget = AdaptiveBudget(FULL)
    budget.ran_out(FULL)
    run(budget, lambda _: ENOUGH, 1000, lambda tokens: tokens // 2)
    assert budget.tokens == FULL // 2
    run(budget, lambda _: ENOUGH, SHORTEST_PATIENCE, lambda tokens: tokens // 2 + 1)
    assert budget.tokens == FULL


def test_the_budget_is_full_again_once_a_pass_fits_that_did_not() -> None:
    """Whoever ran out of memory in a small pass knows no more about large ones than before."""
    budget = AdaptiveBudget(FULL)
    budget.ran_out(2000)
    run(budget, lambda _: ENOUGH, SHORTEST_PATIENCE)
    assert budget.tokens == 2000
    budget.ran(2000)
    assert budget.tokens == FULL


@pytest.mark.parametrize("share", [0.01, 0.3, 0.5, 0.8, 0.999])
@pytest.mark.parametrize("sizes", ["full", "mixed"])
def test_where_memory_stays_short_hardly_a_pass_is_wasted(
    share: float, sizes: str, caplog: pytest.LogCaptureFixture
) -> None:
    dice = random.Random(1)
    budget, memory = AdaptiveBudget(FULL), int(share * FULL)
    size: Size = (lambda tokens: tokens) if sizes == "full" else lambda tokens: dice.randint(tokens // 2 + 1, tokens)
    first = run(budget, lambda _: memory, 5000, size)
    assert first < 5000 / 100
    assert run(budget, lambda _: memory, 100 * LONGEST_PATIENCE, size) <= 130, "it oscillates for ever"
    assert len(messages(caplog)) <= 1 + 2 * 130 * (sizes == "mixed")
    if sizes == "full":
        assert len(messages(caplog)) == 1


@given(
    st.randoms(use_true_random=False), st.lists(st.tuples(st.integers(1, 300), st.integers(0, FULL + 9)), max_size=9)
)
def test_however_memory_comes_and_goes_the_budget_stays_in_bounds_and_recovers_once_it_suffices(
    dice: random.Random, phases: list[tuple[int, int]]
) -> None:
    budget = AdaptiveBudget(FULL)
    size: Size = lambda tokens: dice.randint(1, max(1, tokens))  # noqa: E731
    for passes, memory in phases:
        failed = run(budget, lambda _, memory=memory: memory, passes, size)
        assert failed <= 15 + passes / SHORTEST_PATIENCE
        assert 1 <= budget.tokens <= FULL
    run(budget, lambda _: ENOUGH, 16 * LONGEST_PATIENCE)
    assert budget.tokens == FULL


@given(st.integers(1, 600), st.integers(1, 600), st.integers(1, FULL - 1))
def test_where_memory_comes_and_goes_quickly_few_passes_are_wasted(short: int, enough: int, memory: int) -> None:
    budget = AdaptiveBudget(FULL)
    flapping = lambda number: memory if number % (short + enough) < short else ENOUGH  # noqa: E731
    failed = run(budget, flapping, 4000)
    assert failed <= 15 + 4000 / SHORTEST_PATIENCE
    assert run(budget, lambda _: ENOUGH, 16 * LONGEST_PATIENCE) == 0
    assert budget.tokens == FULL


def test_after_a_long_shortage_the_budget_recovers_as_quickly_as_after_a_short_one() -> None:
    budget = AdaptiveBudget(FULL)
    run(budget, lambda _: 100, 10 * LONGEST_PATIENCE)
    run(budget, lambda _: ENOUGH, LONGEST_PATIENCE)  # the first attempt
    run(budget, lambda _: ENOUGH, 8 * SHORTEST_PATIENCE)
    assert budget.tokens == FULL
