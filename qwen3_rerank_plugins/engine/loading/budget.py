"""How many tokens of one pass fit in the memory that is free.

Comes in: a `Shape`, a device. Goes out: tokens.
Must not know: requests.
"""

from __future__ import annotations

import bisect
import dataclasses
from typing import Literal

import psutil
import torch

from qwen3_rerank_plugins._printable import shown
from qwen3_rerank_plugins.engine.control_groups import cgroup_memory
from qwen3_rerank_plugins.engine.loading.loader import LoadedModel
from qwen3_rerank_plugins.engine.loading.placement import Placement, dtype_name
from qwen3_rerank_plugins.engine.loading.shape import Shape
from qwen3_rerank_plugins.engine.memory import free_memory, trim_malloc
from qwen3_rerank_plugins.errors import DeviceMemoryError

LARGEST_AUTO_BUDGET = 16_384
"""Tokens. Matrix products are at full speed long before; more would only take memory."""
SMALLEST_AUTO_BUDGET = 512
_SHARE_OF_FREE_MEMORY = 0.5
_SHARE_OF_A_PASS = 0.9
"""Of the memory that is free; the rest is for what no formula counts, such as buffers of matrix products."""
_SMALL_PASS = 16 * 2**20
"""Bytes. Looking for so little would cost more than it is worth."""


def choose_budget(asked: int | Literal["auto"], loaded: LoadedModel, *, sharing: int = 1) -> int:
    """Unique tokens a pass may hold: what was asked, or what half of the free memory holds, within fixed limits.

    Args:
        asked: as of the settings.
        loaded: the model. Of one that is spread over several devices, the device with the least free memory counts.
        sharing: how many models run on the device, at the same time.
    """
    if asked != "auto":
        return asked
    shape, placement = Shape.from_config(loaded.causal_lm.config.to_dict()), loaded.placement
    free = min(map(free_memory, loaded.devices)) // sharing
    return auto_budget(shape, placement.dtype, placement.rows_at_once, free)


def auto_budget(shape: Shape, dtype: torch.dtype, rows_at_once: int | None, free: int) -> int:
    """The budget that half of `free` bytes allow, beside weights that are already there."""
    allowed = free * _SHARE_OF_FREE_MEMORY
    sizes = range(SMALLEST_AUTO_BUDGET, LARGEST_AUTO_BUDGET + 1)
    fitting = bisect.bisect_right(sizes, allowed, key=lambda tokens: shape.pass_bytes(tokens, dtype, rows_at_once))
    return sizes[max(0, fitting - 1)]


@dataclasses.dataclass(frozen=True, slots=True)
class MemoryCheck:
    """Whether one more pass fits in the memory that is free now.

    A GPU answers for itself, with an error that can be caught. A CPU does not: the system ends the whole process.

    Attributes:
        shape: of the model.
        dtype: of its passes.
        rows_at_once: see `model.rows_at_once`.
        device: where they run; only on a CPU is anything checked.
    """

    shape: Shape
    dtype: torch.dtype
    rows_at_once: int | None
    device: torch.device

    def __call__(self, tokens: int) -> None:
        """Refuse a pass before it takes any memory.

        Args:
            tokens: unique tokens of the pass.

        Raises:
            DeviceMemoryError: it needs more than is free; the message says how many tokens fit.
        """
        needed = self._bytes(tokens)
        if self.device.type != "cpu" or needed <= _SMALL_PASS or needed <= self._free():
            return
        trim_malloc()  # of earlier passes, which the C library may still keep
        free = self._free()
        if needed <= free:
            return
        most = max(0, bisect.bisect_right(range(tokens + 1), free, key=self._bytes) - 1)
        raise DeviceMemoryError(
            f"A pass of {tokens:,} tokens needs about {needed / 2**20:,.0f} MiB, and {free / 2**20:,.0f} MiB are free "
            f"for it on the CPU: about {most:,} tokens fit, template and query included. Lower max_length to that, and "
            "add long_documents='windows' where nothing may be left unread; or give the process more memory."
        )

    def _bytes(self, tokens: int) -> int:
        return self.shape.pass_bytes(tokens, self.dtype, self.rows_at_once)

    def _free(self) -> int:
        return int(free_memory(self.device) * _SHARE_OF_A_PASS)


def check_weights_fit(name: str, shape: Shape, placement: Placement) -> None:
    """Refuse a model that is larger than the memory of a CPU before any of it is read.

    Raises:
        DeviceMemoryError: it is.
    """
    needed = shape.weight_bytes(placement.dtype, placement.quantization.name)
    free = min(psutil.virtual_memory().available + psutil.swap_memory().free, cgroup_memory())
    if placement.device.type == "cpu" and needed > free:
        raise DeviceMemoryError(
            f"The weights of {shown(name)} take {needed / 2**20:,.0f} MiB as {dtype_name(placement.dtype)}, and "
            f"{free / 2**20:,.0f} MiB are free for this process. Free memory, use a smaller model or quantization, or "
            "see what fits with `qwen3-rerank doctor`."
        )
