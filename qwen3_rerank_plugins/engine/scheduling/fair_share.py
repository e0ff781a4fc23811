"""Decide whose turn it is, so that a request of thousands of documents does not hold up one of twenty.

A request is small if all that is left of it fits in half of a batch. If the first request of the queue is large and
small ones wait behind it, up to half of the batch is kept for them, in the order of their arrival, and the large one
gets the rest. Where both cannot share a batch, the small ones go first, but only once per turn of the large one. So
every second batch at least serves the head of the queue, and every second batch at least serves the first small
request. Without small requests, a large one gets whole batches.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from qwen3_rerank_plugins.engine.scheduling.packing import Remaining

MERGED_PER_SLICE = 4
"""Where merged batches have a limit, because the device is slow, a batch of one large request may have this many times
as many tokens. More would save hardly any prefixes, and everybody else waits for a batch that runs."""


@dataclasses.dataclass(frozen=True, slots=True)
class Turn:
    """The order in which requests are considered for the next batch.

    Attributes:
        order: positions of the requests.
        budget: most unique tokens of the batch.
        first_budget: most unique tokens of the request that comes first.
    """

    order: tuple[int, ...]
    budget: int
    first_budget: int


def largest_small(budget: int, max_merged_tokens: int | None) -> int:
    """Return the most tokens of a small request: half of what a batch of one request may have."""
    return _of_one_request(budget, max_merged_tokens) // 2


def _of_one_request(budget: int, max_merged_tokens: int | None) -> int:
    return budget if max_merged_tokens is None else min(budget, MERGED_PER_SLICE * max_merged_tokens)


def take_turns(
    waiting: Sequence[Remaining], budget: int, max_merged_tokens: int | None, *, may_overtake: bool = True
) -> Turn:
    """Return whose turn it is.

    Args:
        waiting: what is left of each request, in the order of the queue; at least one, and each with documents.
        budget: as `plan_batch`.
        max_merged_tokens: as `plan_batch`.
        may_overtake: whether small requests may go before the first request, if it is large.
    """
    share, budget = largest_small(budget, max_merged_tokens), _of_one_request(budget, max_merged_tokens)
    everyone = range(len(waiting))
    in_order = Turn(tuple(everyone), budget, budget)
    small = [position for position in everyone if waiting[position].tokens <= share]
    if not small or small[0] == 0:
        return in_order
    kept = 0
    for position in small:
        if kept + waiting[position].tokens <= share:
            kept += waiting[position].tokens
    present = set(small)
    large = [position for position in everyone if position not in present]
    most = budget if max_merged_tokens is None else min(budget, max_merged_tokens)
    if waiting[0].next_tokens(budget - kept) + kept <= most:
        return Turn((0, *small, *large[1:]), budget, budget - kept)
    return Turn((*small, *large), budget, budget) if may_overtake else in_order
