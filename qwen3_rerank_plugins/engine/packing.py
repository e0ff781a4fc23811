"""Lengths -> passes under a token budget.

Comes in: for each request, the length of its prefix and of its tails. Goes out: `PassPlan`s of indices.
Must not know: ids, tensors, devices. Plain ints only.

The cost of a pass is its number of unique tokens: each prefix once, each tail once. Requests are never split unless
they exceed the budget by themselves, because every split computes a prefix again.

Bound: of any two passes that hold no oversized tail, the costs together exceed the budget. Hence n such passes
(n >= 2) cost more than n * budget / 2 tokens in all: never twice as many passes as the tokens call for.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence


@dataclasses.dataclass(frozen=True, slots=True)
class Workload:
    """The lengths of one tokenised request, in tokens."""

    prefix: int
    tails: tuple[int, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class Slice:
    """Some tails of one request, which run behind one copy of its prefix.

    Attributes:
        request: position of the request.
        tails: positions of its tails, the longest first: kernels take neighbours of about one length together.
        tokens: prefix and tails, in tokens.
    """

    request: int
    tails: tuple[int, ...]
    tokens: int


@dataclasses.dataclass(frozen=True, slots=True)
class PassPlan:
    """One forward pass: slices of different requests, and their unique tokens in all."""

    slices: tuple[Slice, ...]

    @property
    def tokens(self) -> int:
        """Unique tokens of the pass."""
        return sum(part.tokens for part in self.slices)

    @property
    def documents(self) -> int:
        """Tails of the pass."""
        return sum(len(part.tails) for part in self.slices)


def plan_passes(workloads: Sequence[Workload], budget: int) -> list[PassPlan]:
    """Distribute all tails over passes, first come first served.

    Args:
        workloads: one entry a request, in order of arrival.
        budget: most unique tokens in a pass. Only a pass that holds one single tail may exceed it.

    Returns:
        Passes in which every tail of every request stands exactly once.
    """
    passes: list[list[Slice]] = []
    rooms: list[int] = []
    for request, workload in enumerate(workloads):
        for part in _slice_request(request, workload, budget):
            # first fit; slices of one request never meet again in a pass, as two of them together exceed the budget
            target = next((index for index, room in enumerate(rooms) if part.tokens <= room), None)
            if target is None:
                passes.append([part])
                rooms.append(budget - part.tokens)
            else:
                passes[target].append(part)
                rooms[target] -= part.tokens
    return [PassPlan(tuple(parts)) for parts in passes]


def _slice_request(request: int, workload: Workload, budget: int) -> list[Slice]:
    """The fewest slices that first-fit-decreasing finds, each within the budget unless one tail alone exceeds it."""
    bins: list[list[int]] = []
    rooms: list[int] = []
    capacity = budget - workload.prefix
    for tail in sorted(range(len(workload.tails)), key=lambda tail: -workload.tails[tail]):
        length = workload.tails[tail]
        target = next((index for index, room in enumerate(rooms) if length <= room), None)
        if target is None:
            bins.append([tail])
            rooms.append(capacity - length)
        else:
            bins[target].append(tail)
            rooms[target] -= length
    return [
        Slice(request, tuple(tails), workload.prefix + sum(workload.tails[tail] for tail in tails)) for tails in bins
    ]
