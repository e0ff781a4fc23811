"""A batch whose documents were taken from the queued requests, until they get scores or are put back."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from qwen3_rerank_plugins.engine.scheduling.fair_share import take_turns
from qwen3_rerank_plugins.engine.scheduling.packing import BatchPlan, plan_batch
from qwen3_rerank_plugins.engine.scheduling.queued_request import QueuedRequest
from qwen3_rerank_plugins.engine.text.tokenizer import TokenizedRequest


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class PlannedBatch:
    """One forward pass over documents of queued requests.

    Attributes:
        waiting: the queued requests that the plan was made from.
        plan: the documents of the batch; its slices count requests in `waiting`.
        head: the request that was first in the queue.
    """

    waiting: Sequence[QueuedRequest]
    plan: BatchPlan
    head: QueuedRequest

    @classmethod
    def take(cls, waiting: Iterable[QueuedRequest], budget: int, max_merged_tokens: int | None) -> PlannedBatch | None:
        """Take the documents of the next batch; None if no request has any left. See `take_turns` and `plan_batch`."""
        with_documents = [queued for queued in waiting if queued.remaining.count]
        if not with_documents:
            return None
        head, remaining = with_documents[0], [queued.remaining for queued in with_documents]
        turn = take_turns(remaining, budget, max_merged_tokens, may_overtake=not head.overtaken)
        ordered = [with_documents[position] for position in turn.order]
        in_turn = (queued.remaining for queued in ordered)
        return cls(ordered, plan_batch(in_turn, turn.budget, max_merged_tokens, turn.first_budget), head)

    @property
    def requests(self) -> list[TokenizedRequest]:
        """The token IDs of all waiting requests."""
        return [queued.request for queued in self.waiting]

    @property
    def batched(self) -> list[QueuedRequest]:
        """The requests of each slice, in order."""
        return [self.waiting[part.request] for part in self.plan.slices]

    def put_back(self) -> None:
        """Return all documents to their requests."""
        for queued, part in zip(self.batched, self.plan.slices, strict=True):
            queued.remaining.put_back(part.documents)

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Mark whose turn it is, and count the time inside as computing time of every call in the batch."""
        batched = self.batched
        self.head.overtaken = True
        for queued in batched:
            queued.overtaken = False
        calls = {queued.meter.call for queued in batched}
        for call in calls:
            call.pass_begins()
        try:
            yield
        finally:
            for call in calls:
                call.pass_ends()

    def store(self, log_odds: Sequence[float]) -> None:
        """Store the scores of all documents in their requests.

        Raises:
            ValueError: there are more or fewer scores than documents.
        """
        if len(log_odds) != self.plan.document_count:
            raise ValueError(f"{len(log_odds)} scores for {self.plan.document_count} documents")
        found = iter(log_odds)
        for queued, part in zip(self.batched, self.plan.slices, strict=True):
            for document in part.documents:
                queued.scores[document] = next(found)
            queued.unscored -= len(part.documents)
            queued.meter.count_pass(part.tokens)


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class PreparedBatch:
    """A batch that was planned, and whose tensors were built, while the batch before it ran.

    Attributes:
        batch: the plan.
        tensors: what the pipeline's `prepare` returned.
        arrivals: how many requests had been submitted when it was planned.
        budget: the token budget at that time.
    """

    batch: PlannedBatch
    tensors: Any
    arrivals: int
    budget: int

    def is_current(self, arrivals: int, budget: int) -> bool:
        """Whether the same batch would be planned now: nobody came, left, failed or is late; the budget is the same."""
        unchanged = (self.arrivals, self.budget) == (arrivals, budget)
        return unchanged and all(queued.waits for queued in self.batch.batched)
