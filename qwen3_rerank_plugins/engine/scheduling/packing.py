"""Lengths -> passes under a token budget.

Plain ints only: no ids, tensors or devices. The cost of a pass is its number of unique tokens: each prefix once, each
tail once. A request is split only if it exceeds the budget by itself, because every split computes its prefix again.

Each step takes time in proportion to the pass that it plans, and not to the requests that wait: a request of 100,000
documents is planned in a fraction of a second, spread over its passes.

Bounds: `plan_batches` makes passes of which any two together exceed the budget, unless one of them holds a tail that
exceeds it alone. n passes that `plan_batch` makes, one after the other, cost more than (n - 1) * budget / 2 tokens if
nobody joins meanwhile. Either way there are hardly ever twice as many passes as the tokens call for.
"""

from __future__ import annotations

import bisect
import dataclasses
from collections.abc import Iterable, Sequence

LOOKAHEAD = 1024
"""Requests that are considered for a pass. A pass of the largest automatic budget has room for about 250."""


@dataclasses.dataclass(frozen=True, slots=True)
class Workload:
    """The lengths of one tokenized request, in tokens; those of tails are 1 at least."""

    prefix: int
    document_lengths: tuple[int, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class RequestSlice:
    """Some tails of one request, which run behind one copy of its prefix.

    Attributes:
        request: position of the request.
        tails: positions of its tails, the longest first: kernels take neighbors of about one length together.
        tokens: prefix and tails, in tokens.
    """

    request: int
    documents: tuple[int, ...]
    tokens: int


@dataclasses.dataclass(frozen=True, slots=True)
class BatchPlan:
    """One forward pass: slices of different requests, and their unique tokens in all."""

    slices: tuple[RequestSlice, ...]

    @property
    def tokens(self) -> int:
        """Unique tokens of the pass."""
        return sum(part.tokens for part in self.slices)

    @property
    def document_count(self) -> int:
        """Tails of the pass."""
        return sum(len(part.documents) for part in self.slices)


class Remaining:
    """The tails of one request that no pass has taken yet.

    Args:
        workload: the lengths of the request.

    Attributes:
        count: how many tails there are.
    """

    def __init__(self, workload: Workload) -> None:
        self._workload = workload
        self._by_length: dict[int, list[int]] = {}  # tails of one length; the next one stands last
        self._lengths: list[int] = []  # ascending
        self._next: tuple[int, tuple[int, ...], int] | None = None  # a budget, the next tails under it, their tokens
        self.count = 0
        self.put_back(range(len(workload.document_lengths)))

    def next_tokens(self, budget: int) -> int:
        """Prefix and tails, in tokens, of what `take` would take under a budget."""
        if self._next is not None and self._next[0] != budget:
            _, documents, _ = self._next
            self._next = None
            self._keep(documents)
        if self._next is None:
            self._next = (budget, *self._choose(budget))
        return self._next[2]

    def take(self, budget: int) -> tuple[int, ...]:
        """The longest tails that fit into the budget with the prefix, as first-fit-decreasing fills a bin.

        Args:
            budget: most tokens of prefix and tails; one tail alone may exceed it.

        Returns:
            Positions of tails, the longest first; at least one.
        """
        self.next_tokens(budget)
        assert self._next is not None
        _, documents, _ = self._next
        self._next = None
        self.count -= len(documents)
        return documents

    def put_back(self, documents: Sequence[int]) -> None:
        """Keep tails for a later pass that were taken and have no score."""
        self._keep(documents)
        self.count += len(documents)

    def _keep(self, documents: Sequence[int]) -> None:
        new = set[int]()
        for document in reversed(documents):
            length = self._workload.document_lengths[document]
            if length not in self._by_length:
                self._by_length[length] = []
                new.add(length)
            self._by_length[length].append(document)
        if new:
            self._lengths = sorted([*self._lengths, *new])

    def _choose(self, budget: int) -> tuple[tuple[int, ...], int]:
        documents: list[int] = []
        room = budget - self._workload.prefix
        place = len(self._lengths) - 1
        while place >= 0:
            length = self._lengths[place]
            same = self._by_length[length]
            fitting = min(len(same), max(room // length, 0 if documents else 1))
            documents += reversed(same[-fitting:])
            del same[-fitting:]
            room -= fitting * length
            if not same:
                del self._by_length[length], self._lengths[place]
            place = bisect.bisect_right(self._lengths, room, hi=place) - 1
        return tuple(documents), budget - room


def plan_batch(waiting: Iterable[Remaining], budget: int, max_merged_tokens: int | None = None) -> BatchPlan:
    """Take the next pass from those who wait: the first of them, and whoever fits beside it.

    Args:
        waiting: what is left of each request, in the order of their turns; those with nothing left are passed over.
        budget: most unique tokens in the pass. Only a pass that holds one single tail may exceed it.
        max_merged_tokens: most unique tokens in a pass of several requests; None is the budget.

    Returns:
        A pass whose tails are taken; without slices if nobody has any left.
    """
    slices: list[RequestSlice] = []
    room = budget
    for request, left in enumerate(waiting):
        if not left.count:
            continue
        tokens = left.next_tokens(budget)
        if slices and tokens > room:
            continue
        if not slices and max_merged_tokens is not None:
            room = min(budget, max_merged_tokens)
        slices.append(RequestSlice(request, left.take(budget), tokens))
        room -= tokens
        if room <= 0:
            break
    return BatchPlan(tuple(slices))


def plan_batches(workloads: Sequence[Workload], budget: int) -> list[BatchPlan]:
    """Distribute all tails of requests that are there from the start, first come first served.

    Args:
        workloads: one entry a request, in order of arrival.
        budget: most unique tokens in a pass. Only a pass that holds one single tail may exceed it.

    Returns:
        Passes in which every tail of every request stands exactly once.
    """
    passes: list[list[RequestSlice]] = []
    rooms: list[tuple[int, int]] = []  # of each pass and its position, ascending
    for request, workload in enumerate(workloads):
        left = Remaining(workload)
        while left.count:
            tokens = left.next_tokens(budget)
            part = RequestSlice(request, left.take(budget), tokens)
            # the tightest fit; slices of one request never meet again, as two of them together exceed the budget
            place = bisect.bisect_left(rooms, (tokens, 0))
            if place == len(rooms):
                passes.append([part])
                bisect.insort(rooms, (budget - tokens, len(passes) - 1))
            else:
                room, target = rooms.pop(place)
                passes[target].append(part)
                bisect.insort(rooms, (room - tokens, target))
    return [BatchPlan(tuple(parts)) for parts in passes]
