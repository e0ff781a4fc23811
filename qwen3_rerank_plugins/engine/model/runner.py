"""Run one batch: build its tensors, run the model and the head, and translate out-of-memory errors."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from qwen3_rerank_plugins._plurals import counted
from qwen3_rerank_plugins.engine.memory import is_out_of_memory
from qwen3_rerank_plugins.engine.model.batch import build_batch
from qwen3_rerank_plugins.engine.model.head import YesNoHead
from qwen3_rerank_plugins.engine.model.packed_model import PackedModel
from qwen3_rerank_plugins.engine.scheduling.packing import BatchPlan
from qwen3_rerank_plugins.engine.text.tokenizer import TokenizedRequest
from qwen3_rerank_plugins.errors import DeviceMemoryError


class ModelRunner:
    """Runs one batch at a time on one device.

    Args:
        model: the packed forward pass.
        head: computes the log-odds from its output.
        device: where both are.
        check_memory: called with the tokens of a batch before it runs; raises DeviceMemoryError if they do not fit.
    """

    def __init__(
        self,
        model: PackedModel,
        head: YesNoHead,
        device: torch.device,
        check_memory: Callable[[int], None] | None = None,
    ) -> None:
        self._model = model
        self._head = head
        self._device = device
        self._check_memory = check_memory

    @torch.inference_mode()
    def __call__(self, requests: Sequence[TokenizedRequest], plan: BatchPlan) -> list[float]:
        """Return the log-odds of a plan's documents, in plan order.

        Raises:
            DeviceMemoryError: the device or the machine has too little memory. The batch's tensors are freed.
        """
        if self._check_memory:
            self._check_memory(plan.tokens)
        try:
            batch = build_batch(requests, plan, self._device)
            hidden = self._model(batch)
            log_odds: list[float] = self._head(hidden).tolist()
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            message = (str(error).splitlines() or ["no more details"])[0]
        else:
            return log_odds
        # outside the handler, whose traceback would keep the batch's tensors alive
        if self._device.type == "cuda":
            torch.cuda.empty_cache()
        raise DeviceMemoryError(
            f"A batch of {counted(plan.tokens, 'token')} for {counted(plan.document_count, 'document')} ran out of "
            f"device memory: {message.rstrip('.')}. Lower max_length, or free memory on the device."
        )
