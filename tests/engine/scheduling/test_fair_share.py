"""Whose turn it is: small requests get half of a batch, large ones the rest, and nobody starves, whoever arrives."""

from __future__ import annotations

import dataclasses
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qwen3_rerank_plugins.engine.scheduling.fair_share import MERGED_PER_SLICE, largest_small, take_turns
from qwen3_rerank_plugins.engine.scheduling.packing import Remaining, Workload
from qwen3_rerank_plugins.engine.scheduling.planned_batch import PlannedBatch
from qwen3_rerank_plugins.engine.scheduling.queued_request import QueuedRequest
from qwen3_rerank_plugins.engine.scheduling.request_queue import RequestQueue
from tests.engine.scheduling.test_scheduler import request


@dataclasses.dataclass
class Pass:
    """What one pass saw and served, by the numbers of the requests."""

    waiting: list[int]
    small: list[int]
    served: list[int]
    tokens: int


def run(arrivals: list[list[tuple[int, ...]]], budget: int, merged: int | None = None) -> list[Pass]:
    """Serve requests, given as lengths of documents, that arrive before each pass, and return all passes."""
    queue, numbers = RequestQueue(), dict[QueuedRequest, int]()
    passes: list[Pass] = []
    coming = iter(arrivals)
    while True:
        arrived = next(coming, None)
        for lengths in arrived or ():
            queued = QueuedRequest(request(1, *lengths), lambda scores, _: scores)
            numbers[queued] = len(numbers)
            queue.add(queued)
        waiting = list(queue.requests)
        share = largest_small(budget, merged)
        small = [numbers[queued] for queued in waiting if queued.remaining.tokens <= share]
        batch = PlannedBatch.take(waiting, budget, merged)
        if batch is None:
            if arrived is None:
                break
            continue
        with batch.running():
            served = [numbers[queued] for queued in batch.batched]
        batch.store([0.0] * batch.plan.document_count)
        for queued in batch.batched:
            if not queued.unscored:
                queued.finish("a pass")
        queue.settle(waiting, batch.batched)
        passes.append(Pass([numbers[queued] for queued in waiting], small, served, batch.plan.tokens))
    assert all(queued.future.done() and not any(map(math.isnan, queued.scores)) for queued in numbers)
    return passes


documents = st.lists(st.integers(1, 30), min_size=1, max_size=40).map(tuple)
few = st.lists(st.integers(1, 8), min_size=1, max_size=3).map(tuple)
arrivals = st.lists(st.lists(documents | few, max_size=4), min_size=1, max_size=12)
merging = st.none() | st.integers(5, 40)


@given(arrivals, st.integers(40, 120), merging)
def test_nobody_starves_whoever_arrives(work: list[list[tuple[int, ...]]], budget: int, merged: int | None) -> None:
    """Between two turns of a request, everybody ahead of it has at most two passes."""
    bound: dict[int, int] = {}
    for number, done in enumerate(run(work, budget, merged)):
        for place, waiting in enumerate(done.waiting):
            bound.setdefault(waiting, number + 2 * place + 1)
        for waiting in done.waiting:
            assert number <= bound[waiting], "it waited for more than two passes of each request ahead"
        for served in done.served:
            bound.pop(served)


@given(arrivals, st.integers(40, 120), merging)
def test_the_first_small_request_waits_for_at_most_one_pass_of_others(
    work: list[list[tuple[int, ...]]], budget: int, merged: int | None
) -> None:
    passes = run(work, budget, merged)
    for one, following in zip(passes, passes[1:], strict=False):
        if one.small:
            assert one.small[0] in one.served + following.served


def cost(number: int, work: list[list[tuple[int, ...]]]) -> int:
    """Tokens of a request that has not run, with a prefix of three."""
    return 3 + sum([lengths for arrived in work for lengths in arrived][number])


@given(
    st.lists(st.lists(st.just((30,) * 40) | st.just((6, 6)), max_size=4), min_size=1, max_size=12),
    st.integers(40, 120),
    merging,
)
def test_requests_of_one_size_are_first_served_in_the_order_of_their_arrival(
    work: list[list[tuple[int, ...]]], budget: int, merged: int | None
) -> None:
    order = list(dict.fromkeys(number for done in run(work, budget, merged) for number in done.served))
    small = largest_small(budget, merged)
    for kind in (True, False):
        same = [number for number in order if (cost(number, work) <= small) == kind]
        assert same == sorted(same)


def test_a_small_request_runs_at_once_however_many_large_ones_wait() -> None:
    passes = run([[(90,) * 50] * 10, [(10, 10)]], 1000)
    assert [10 in done.served for done in passes[:3]] == [False, True, False]
    assert len(passes[1].served) == 2, "beside a large one"


def test_where_requests_hardly_share_a_batch_a_small_one_overtakes_one_large_one() -> None:
    passes = run([[(90,) * 50] * 10, [(10, 10)], [(10, 10)], [(10, 10)]], 1000, merged=100)
    assert [done.served for done in passes[:6]] == [[0], [10], [1], [11, 12], [2], [3]]
    assert all(done.tokens <= MERGED_PER_SLICE * 100 for done in passes)


def test_a_large_request_alone_fills_its_batches() -> None:
    assert {done.tokens for done in run([[(91,) * 50]], 1000)} == {913}


def test_no_more_than_half_of_a_batch_is_kept_for_small_requests() -> None:
    large, small = Remaining(Workload(10, (10,) * 1000)), [Remaining(Workload(10, (90,))) for _ in range(20)]
    turn = take_turns([large, *small], 1000, None)
    assert (turn.budget, turn.first_budget) == (1000, 500)
    assert take_turns([large], 1000, None).first_budget == 1000


@pytest.mark.parametrize(("merged", "expected"), [(None, 500), (50, 100), (1000, 500)])
def test_a_small_request_is_half_of_a_batch_of_one_request(merged: int | None, expected: int) -> None:
    assert largest_small(1000, merged) == expected
