"""Run one batch: build its tensors, run the model and the head, and translate out-of-memory errors."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import TypeVar

import torch

from qwen3_rerank_plugins._plurals import counted
from qwen3_rerank_plugins.engine.memory import is_out_of_memory
from qwen3_rerank_plugins.engine.model.batch import PackedBatch, build_batch
from qwen3_rerank_plugins.engine.model.head import YesNoHead
from qwen3_rerank_plugins.engine.model.varlen import varlen_calls
from qwen3_rerank_plugins.engine.scheduling.packing import BatchPlan
from qwen3_rerank_plugins.engine.text.tokenizer import TokenizedRequest
from qwen3_rerank_plugins.errors import DeviceMemoryError

T = TypeVar("T")
Model = Callable[[PackedBatch], torch.Tensor]
"""A packed forward pass: `PackedModel` or `FusedModel`."""


@dataclasses.dataclass(frozen=True, slots=True)
class HostBatch:
    """A batch in host memory, and its plan."""

    tensors: PackedBatch
    plan: BatchPlan


class ModelRunner:
    """Runs one batch at a time on one device.

    Args:
        model: the packed forward pass.
        head: computes the log-odds from its output.
        device: where both are.
        varlen: whether attention takes the arguments of `varlen_calls`.
        check_memory: called with the tokens of a batch before it runs; raises DeviceMemoryError if they do not fit.
    """

    def __init__(
        self,
        model: Model,
        head: YesNoHead,
        device: torch.device,
        *,
        varlen: bool = False,
        check_memory: Callable[[int], None] | None = None,
    ) -> None:
        self._model = model
        self._head = head
        self._device = device
        self._varlen = varlen
        self._check_memory = check_memory

    def __call__(self, requests: Sequence[TokenizedRequest], plan: BatchPlan) -> list[float]:
        """Return the log-odds of a plan's documents, in plan order.

        Raises:
            DeviceMemoryError: the device or the machine has too little memory. The batch's tensors are freed.
        """
        return self.start(self.prepare(requests, plan))()

    def prepare(self, requests: Sequence[TokenizedRequest], plan: BatchPlan) -> HostBatch:
        """Build the tensors of a batch in host memory. The device is not used."""
        batch = build_batch(requests, plan)
        if self._varlen:
            batch.layout.derive(varlen_calls)
            batch.last_layout.derive(varlen_calls)
        return HostBatch(batch, plan)

    def start(self, batch: HostBatch) -> Callable[[], list[float]]:
        """Start a pass, and return a function that waits for its log-odds.

        A GPU is given all its work here, without any wait in between, and goes on by itself.

        Raises:
            DeviceMemoryError: as for a call.
        """
        if self._check_memory:
            self._check_memory(batch.plan.tokens)
        fetch = self._translating(batch.plan, lambda: self._launch(batch.tensors))
        return lambda: self._translating(batch.plan, fetch)

    @torch.inference_mode()
    def _launch(self, batch: PackedBatch) -> Callable[[], list[float]]:
        if self._device.type == "cuda":
            torch.cuda.set_device(self._device)  # a model spread over several GPUs leaves that of its last layer
        return _fetch(self._head(self._model(batch.to(self._device))))

    def _translating(self, plan: BatchPlan, compute: Callable[[], T]) -> T:
        """Return `compute()`; translate out-of-memory errors, and free what the batch still holds on the device."""
        try:
            return compute()
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            message = (str(error).splitlines() or ["no more details"])[0]
        # outside the handler, whose traceback would keep the batch's tensors alive
        if self._device.type == "cuda":
            torch.cuda.empty_cache()
        raise DeviceMemoryError(
            f"A batch of {counted(plan.tokens, 'token')} for {counted(plan.document_count, 'document')} ran out of "
            f"device memory: {message.rstrip('.')}. Lower max_length, or free memory on the device."
        )


def _fetch(log_odds: torch.Tensor) -> Callable[[], list[float]]:
    """Copy scores, [N], to host memory, and return a function that waits for the copy and returns them."""
    if not log_odds.is_cuda:
        return log_odds.tolist
    on_host = torch.empty(log_odds.shape, dtype=log_odds.dtype, pin_memory=True)
    on_host.copy_(log_odds, non_blocking=True)
    copied = torch.cuda.Event()  # type: ignore[no-untyped-call]
    copied.record(torch.cuda.current_stream(log_odds.device))

    def wait() -> list[float]:
        copied.synchronize()
        scores: list[float] = on_host.tolist()
        return scores

    return wait
