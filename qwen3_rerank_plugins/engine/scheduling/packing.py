"""Lengths -> passes under a token budget.

Plain ints only: no ids, tensors or devices. The cost of a pass is its number of unique tokens: each prefix once, each
tail once. A request is split only if it exceeds the budget by itself, because every split computes its prefix again.

Each step takes time in proportion to the pass that it plans, and not to the requests that wait: a request of 100,000
documents is planned in a fraction of a second, spread over its passes.

Bounds: `plan_passes` makes passes of which any two together exceed the budget, unless one of them holds a tail that
exceeds it alone. n passes that `plan_pass` makes, one after the other, cost more than (n - 1) * budget / 2 tokens if
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
    tails: tuple[int, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class Slice:
    """Some tails of one request, which run behind one copy of its prefix.

    Attributes:
        request: position of the request.
        tails: positions of its tails, the longest first: kernels take neighbors of about one length together.
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
        self.put_back(range(len(workload.tails)))

    def next_tokens(self, budget: int) -> int:
        """Prefix and tails, in tokens, of what `take` would take under a budget."""
        if self._next is not None and self._next[0] != budget:
            _, tails, _ = self._next
            self._next = None
            self._keep(tails)
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
        _, tails, _ = self._next
        self._next = None
        self.count -= len(tails)
        return tails

    def put_back(self, tails: Sequence[int]) -> None:
        """Keep tails for a later pass that were taken and have no score."""
        self._keep(tails)
        self.count += len(tails)

    def _keep(self, tails: Sequence[int]) -> None:
        new = set[int]()
        for tail in reversed(tails):
            length = self._workload.tails[tail]
            if length not in self._by_length:
                self._by_length[length] = []
                new.add(length)
            self._by_length[length].append(tail)
        if new:
            self._lengths = sorted([*self._lengths, *new])

    def _choose(self, budget: int) -> tuple[tuple[int, ...], int]:
        tails: list[int] = []
        room = budget - self._workload.prefix
        place = len(self._lengths) - 1
        while place >= 0:
            length = self._lengths[place]
            same = self._by_length[length]
            fitting = min(len(same), max(room // length, 0 if tails else 1))
            tails += reversed(same[-fitting:])
            del same[-fitting:]
            room -= fitting * length
            if not same:
                del self._by_length[length], self._lengths[place]
            place = bisect.bisect_right(self._lengths, room, hi=place) - 1
        return tuple(tails), budget - room


def plan_pass(waiting: Iterable[Remaining], budget: int, company: int | None = None) -> PassPlan:
    """Take the next pass from those who wait: the first of them, and whoever fits beside it.

    Args:
        waiting: what is left of each request, in the order of their turns; those with nothing left are passed over.
        budget: most unique tokens in the pass. Only a pass that holds one single tail may exceed it.
        company: most unique tokens in a pass of several requests; None is the budget.

    Returns:
        A pass whose tails are taken; without slices if nobody has any left.
    """
    slices: list[Slice] = []
    room = budget
    for request, left in enumerate(waiting):
        if not left.count:
            continue
        tokens = left.next_tokens(budget)
        if slices and tokens > room:
            continue
        if not slices and company is not None:
            room = min(budget, company)
        slices.append(Slice(request, left.take(budget), tokens))
        room -= tokens
        if room <= 0:
            break
    return PassPlan(tuple(slices))


def plan_passes(workloads: Sequence[Workload], budget: int) -> list[PassPlan]:
    """Distribute all tails of requests that are there from the start, first come first served.

    Args:
        workloads: one entry a request, in order of arrival.
        budget: most unique tokens in a pass. Only a pass that holds one single tail may exceed it.

    Returns:
        Passes in which every tail of every request stands exactly once.
    """
    passes: list[list[Slice]] = []
    rooms: list[tuple[int, int]] = []  # of each pass and its position, ascending
    for request, workload in enumerate(workloads):
        left = Remaining(workload)
        while left.count:
            tokens = left.next_tokens(budget)
            part = Slice(request, left.take(budget), tokens)
            # the tightest fit; slices of one request never meet again, as two of them together exceed the budget
            place = bisect.bisect_left(rooms, (tokens, 0))
            if place == len(rooms):
                passes.append([part])
                bisect.insort(rooms, (budget - tokens, len(passes) - 1))
            else:
                room, target = rooms.pop(place)
                passes[target].append(part)
                bisect.insort(rooms, (room - tokens, target))
    return [PassPlan(tuple(parts)) for parts in passes]
