"""Choose how many tokens one batch may have, and refuse models and batches that do not fit in free memory."""

from __future__ import annotations

import bisect
import dataclasses
from typing import Literal

import psutil
import torch

from qwen3_rerank_plugins._printable import shown
from qwen3_rerank_plugins.engine.control_groups import cgroup_memory
from qwen3_rerank_plugins.engine.loading.batch_memory import BatchMemory
from qwen3_rerank_plugins.engine.loading.loader import LoadedModel
from qwen3_rerank_plugins.engine.loading.placement import Placement, dtype_name
from qwen3_rerank_plugins.engine.loading.shape import Shape
from qwen3_rerank_plugins.engine.memory import free_memory, trim_malloc
from qwen3_rerank_plugins.errors import DeviceMemoryError

LARGEST_AUTO_BUDGET = 16_384
"""Tokens. Matrix products reach full speed with far fewer; more would only use memory."""
SMALLEST_AUTO_BUDGET = 512
_SHARE_FOR_BUDGET = 0.5
_SHARE_FOR_BATCH = 0.75
"""Share of free memory for one batch; the rest is for what no formula counts: buffers of matrix products, and the gaps
that the C library leaves between blocks. A document of 31,276 tokens was seen to take a fifth more than its tensors."""
_SMALL_BATCH = 16 * 2**20
"""Bytes. For a smaller batch, measuring free memory would cost more than it is worth."""


def choose_budget(asked: int | Literal["auto"], loaded: LoadedModel, *, sharing: int = 1) -> int:
    """Return the unique tokens that a batch may have.

    "auto" is what half of the free memory holds, from `SMALLEST_AUTO_BUDGET` to `LARGEST_AUTO_BUDGET`.

    Args:
        asked: as in the settings.
        loaded: the model. If it is spread over several devices, the one with the least free memory counts.
        sharing: how many models run on the device at the same time.
    """
    if asked != "auto":
        return asked
    batch_memory = BatchMemory.of(Shape.from_config(loaded.causal_lm.config.to_dict()), loaded.placement)
    return auto_budget(batch_memory, min(map(free_memory, loaded.devices)) // sharing)


def auto_budget(batch_memory: BatchMemory, free: int) -> int:
    """Return the "auto" budget in tokens, with `free` bytes of memory after the weights were loaded."""
    sizes = range(SMALLEST_AUTO_BUDGET, LARGEST_AUTO_BUDGET + 1)
    fitting = bisect.bisect_right(sizes, free * _SHARE_FOR_BUDGET, key=batch_memory.bytes)
    return sizes[max(0, fitting - 1)]


@dataclasses.dataclass(frozen=True, slots=True)
class MemoryCheck:
    """Checks on a CPU whether one more batch fits in the memory that is free now.

    Other devices raise an error that can be caught. On a CPU, the operating system kills the whole process.

    Attributes:
        batch_memory: what batches of the model need.
        device: where batches run.
        included: parts of the prompt or the batch that count as tokens, for the error's message.
        lower: settings to lower, for the error's message.
    """

    batch_memory: BatchMemory
    device: torch.device
    included: str = "template and query"
    lower: str = "max_length to that, and add long_documents='windows' to read whole documents"

    def __call__(self, tokens: int) -> None:
        """Refuse a batch before it uses any memory.

        Args:
            tokens: unique tokens of the batch.

        Raises:
            DeviceMemoryError: it needs more memory than is free; the message says how many tokens fit.
        """
        needed = self.batch_memory.bytes(tokens)
        if self.device.type != "cpu" or needed <= _SMALL_BATCH or needed <= self._free():
            return
        trim_malloc()  # the C library may still keep memory of earlier batches
        free = self._free()
        if needed <= free:
            return
        most = max(0, bisect.bisect_right(range(tokens + 1), free, key=self.batch_memory.bytes) - 1)
        raise DeviceMemoryError(
            f"A batch of {tokens:,} tokens needs about {needed / 2**20:,.0f} MiB, and {free / 2**20:,.0f} MiB are free "
            f"for it on the CPU: about {most:,} tokens fit, {self.included} included. Lower {self.lower}; or give the "
            "process more memory."
        )

    def _free(self) -> int:
        return int(free_memory(self.device) * _SHARE_FOR_BATCH)


def check_weights_fit(name: str, shape: Shape, placement: Placement) -> None:
    """Refuse a model that is larger than the free memory of a CPU before any of it is read.

    Raises:
        DeviceMemoryError: it is larger.
    """
    needed = shape.weight_bytes(placement.dtype, placement.quantization.name)
    free = min(psutil.virtual_memory().available + psutil.swap_memory().free, cgroup_memory())
    if placement.device.type == "cpu" and needed > free:
        raise DeviceMemoryError(
            f"The weights of {shown(name)} take {needed / 2**20:,.0f} MiB as {dtype_name(placement.dtype)}, and "
            f"{free / 2**20:,.0f} MiB are free for this process. Free memory, use a smaller model or quantization, or "
            "see what fits with `qwen3-rerank doctor`."
        )
