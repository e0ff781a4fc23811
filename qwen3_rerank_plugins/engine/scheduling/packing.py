"""Plan batches under a token budget, in plain integers.

The cost of a batch is its number of unique tokens: each prefix once, each document once. A request is split only if it
exceeds the budget by itself, because every split computes its prefix again.

Planning a batch takes time in proportion to that batch, not to the queue, so a request of 100,000 documents is planned
in a fraction of a second that is spread over its batches.

Bounds: any two batches of `plan_batches` together exceed the budget, unless one of them holds a document that exceeds
it alone. n successive batches of `plan_batch` cost more than (n - 1) * budget / 2 tokens if no request arrives
meanwhile. In both cases there are hardly ever twice as many batches as the tokens require.
"""

from __future__ import annotations

import bisect
import dataclasses
from collections.abc import Iterable, Sequence

from qwen3_rerank_plugins.engine.text.tokenizer import TokenizedRequest

LOOKAHEAD = 1024
"""Requests that are considered for a batch. A batch of the largest automatic budget holds about 250."""


@dataclasses.dataclass(frozen=True, slots=True)
class Workload:
    """The lengths of one tokenized request, in tokens; each document has at least one."""

    prefix: int
    document_lengths: tuple[int, ...]

    @classmethod
    def of(cls, request: TokenizedRequest) -> Workload:
        """Return the lengths of a request."""
        return cls(len(request.prefix), tuple(map(len, request.document_ids)))


@dataclasses.dataclass(frozen=True, slots=True)
class RequestSlice:
    """Documents of one request that run behind one copy of its prefix.

    Attributes:
        request: position of the request.
        documents: their positions, the longest first, because kernels batch neighbors of about the same length.
        tokens: prefix and documents, in tokens.
    """

    request: int
    documents: tuple[int, ...]
    tokens: int


@dataclasses.dataclass(frozen=True, slots=True)
class BatchPlan:
    """One forward pass: slices of different requests."""

    slices: tuple[RequestSlice, ...]

    @property
    def tokens(self) -> int:
        """Unique tokens of the batch."""
        return sum(part.tokens for part in self.slices)

    @property
    def document_count(self) -> int:
        """Documents of the batch."""
        return sum(len(part.documents) for part in self.slices)


class Remaining:
    """The documents of one request that no batch has taken yet.

    Args:
        workload: the lengths of the request.

    Attributes:
        count: how many documents there are.
    """

    def __init__(self, workload: Workload) -> None:
        self._workload = workload
        self._by_length: dict[int, list[int]] = {}  # documents of each length, the next one last
        self._lengths: list[int] = []  # ascending
        self._next: tuple[int, tuple[int, ...], int] | None = None  # a budget, its next documents, their tokens
        self.count = 0
        self._document_tokens = 0
        self.put_back(range(len(workload.document_lengths)))

    @property
    def tokens(self) -> int:
        """Tokens of the documents and their prefix; 0 without documents."""
        return self._workload.prefix + self._document_tokens if self.count else 0

    def next_tokens(self, budget: int) -> int:
        """Return the tokens of prefix and documents that `take` would take under a budget."""
        return self._choose(budget)[2]

    def take(self, budget: int) -> tuple[int, ...]:
        """Take the longest documents that fit into the budget with the prefix, by first-fit-decreasing.

        Args:
            budget: most tokens of prefix and documents; a single document may exceed it.

        Returns:
            Positions of at least one document, the longest first.
        """
        _, documents, tokens = self._choose(budget)
        self._next = None
        self.count -= len(documents)
        self._document_tokens -= tokens - self._workload.prefix
        return documents

    def put_back(self, documents: Sequence[int]) -> None:
        """Return documents that were taken but have no score."""
        self._keep(documents)
        self.count += len(documents)
        self._document_tokens += sum(self._workload.document_lengths[document] for document in documents)

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

    def _choose(self, budget: int) -> tuple[int, tuple[int, ...], int]:
        """Choose the next documents, unless those for this budget are chosen already."""
        if self._next is not None:
            if self._next[0] == budget:
                return self._next
            self._keep(self._next[1])
        documents: list[int] = []
        left = budget - self._workload.prefix
        index = len(self._lengths) - 1
        while index >= 0:
            length = self._lengths[index]
            same = self._by_length[length]
            fitting = min(len(same), max(left // length, 0 if documents else 1))
            documents += reversed(same[-fitting:])
            del same[-fitting:]
            left -= fitting * length
            if not same:
                del self._by_length[length], self._lengths[index]
            index = bisect.bisect_right(self._lengths, left, hi=index) - 1
        self._next = (budget, tuple(documents), budget - left)
        return self._next


def plan_batch(
    waiting: Iterable[Remaining], budget: int, max_merged_tokens: int | None = None, first_budget: int | None = None
) -> BatchPlan:
    """Plan the next batch from the first waiting request and those after it that fit beside it.

    Args:
        waiting: the remaining documents of each request, in queue order; requests without any are skipped.
        budget: most unique tokens in the batch. Only a batch of a single document may exceed it.
        max_merged_tokens: most unique tokens in a batch of several requests; None is the budget.
        first_budget: most unique tokens of the first request, to leave room for others; None is the budget.

    Returns:
        A batch whose documents are taken; without slices if no request has any left.
    """
    slices: list[RequestSlice] = []
    left = budget
    for request, remaining in enumerate(waiting):
        if not remaining.count:
            continue
        allowed = budget if slices or first_budget is None else first_budget
        tokens = remaining.next_tokens(allowed)
        if slices and tokens > left:
            continue
        if not slices and max_merged_tokens is not None:
            left = min(budget, max_merged_tokens)
        slices.append(RequestSlice(request, remaining.take(allowed), tokens))
        left -= tokens
        if left <= 0:
            break
    return BatchPlan(tuple(slices))


def plan_batches(workloads: Sequence[Workload], budget: int) -> list[BatchPlan]:
    """Distribute all documents of requests that are known from the start, first come, first served.

    Args:
        workloads: one entry per request, in order of arrival.
        budget: most unique tokens in a batch. Only a batch of a single document may exceed it.

    Returns:
        Batches that hold every document of every request exactly once.
    """
    batches: list[list[RequestSlice]] = []
    free: list[tuple[int, int]] = []  # tokens left in each batch and its position, ascending
    for request, workload in enumerate(workloads):
        remaining = Remaining(workload)
        while remaining.count:
            tokens = remaining.next_tokens(budget)
            part = RequestSlice(request, remaining.take(budget), tokens)
            # the tightest fit; two slices of one request never share a batch, because together they exceed the budget
            index = bisect.bisect_left(free, (tokens, 0))
            if index == len(free):
                batches.append([part])
                bisect.insort(free, (budget - tokens, len(batches) - 1))
            else:
                left, target = free.pop(index)
                batches[target].append(part)
                bisect.insort(free, (left - tokens, target))
    return [BatchPlan(tuple(parts)) for parts in batches]
