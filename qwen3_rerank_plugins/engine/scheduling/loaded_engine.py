"""What the scheduler needs of a loaded model: a function that runs a batch, and how large a batch may be."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from qwen3_rerank_plugins.engine.scheduling.packing import BatchPlan
from qwen3_rerank_plugins.engine.text.tokenizer import TokenizedRequest


class RunBatch(Protocol):
    """One forward pass."""

    def __call__(self, requests: Sequence[TokenizedRequest], plan: BatchPlan) -> list[float]:
        """Return the log-odds of the plan's documents, in plan order."""
        ...


class BatchPipeline(Protocol):
    """A forward pass in two steps, for a device that computes while this thread goes on."""

    def prepare(self, requests: Sequence[TokenizedRequest], plan: BatchPlan) -> Any:
        """Return the tensors of a batch, in host memory. The device is not used."""
        ...

    def start(self, prepared: Any) -> Callable[[], list[float]]:
        """Start the pass, and return a function that waits for its log-odds, in plan order."""
        ...


@dataclasses.dataclass(frozen=True, slots=True)
class LoadedEngine:
    """The parts of a loaded model that the scheduler needs.

    Attributes:
        run: runs one batch.
        budget: unique tokens that fit in one batch.
        max_merged_tokens: unique tokens in a batch that holds several requests; None allows as many as fit. Once a
            batch is large enough for the device to work at full speed, merging more requests only delays them all.
        float32_fallback: runs one batch in float32, for scores that overflowed in 16 bits; None where the model runs in
            float32 already.
        allocated: returns the bytes that torch has allocated on the devices of the model; None where it does not count.
        pipeline: replaces `run` on a device that computes while the host prepares the next batch.
    """

    run: RunBatch
    budget: int
    max_merged_tokens: int | None = None
    float32_fallback: RunBatch | None = None
    pipeline: BatchPipeline | None = None
    allocated: Callable[[], int] | None = None
