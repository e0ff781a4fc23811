"""Predict the memory that a model needs on each device, before anything is loaded.

Torch is imported inside functions, so `doctor` can report a torch that cannot be imported.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from qwen3_rerank_plugins.engine import memory
from qwen3_rerank_plugins.engine.settings import EngineSettings
from qwen3_rerank_plugins.errors import RerankError

if TYPE_CHECKING:
    import torch

    from qwen3_rerank_plugins.engine.loading.device_map import DeviceMap
    from qwen3_rerank_plugins.engine.loading.placement import Placement
    from qwen3_rerank_plugins.engine.loading.shape import Shape

_FAMILY = "Qwen/Qwen3-Reranker-"


@dataclasses.dataclass(frozen=True, slots=True)
class Need:
    """The memory needed on one device, in bytes.

    Attributes:
        device: the device.
        models: number of models, or parts of models, on the device.
        weights: bytes of the weights of all models.
        largest_batch: bytes of the largest batches of all models at the same time.
        tokens: tokens in the largest batch of one model.
        at_most: peak bytes of weights and batches. The output matrix counts only during loading; it is released before
            the first batch.
        free: free bytes.
    """

    device: torch.device
    models: int
    weights: int
    largest_batch: int
    tokens: int
    at_most: int
    free: int

    @property
    def fits(self) -> bool:
        """Whether the free memory is sufficient."""
        return self.at_most <= self.free


def predict_needs(
    settings: EngineSettings,
    placement: Placement,
    shape: Shape,
    models: int,
    device_map: DeviceMap | None,
    merged: int = 0,
) -> list[Need]:
    """Return one need, or one per device for a model that is spread over several.

    Args:
        settings: settings of one model.
        placement: its device and dtype.
        shape: its sizes.
        models: number of copies that share the device.
        device_map: devices of the layers, if the model is spread.
        merged: bytes of an adapter, which is in memory during loading.
    """
    from qwen3_rerank_plugins.engine.loading import budget
    from qwen3_rerank_plugins.engine.loading.batch_memory import BatchMemory

    dtype, batch_memory = placement.dtype, BatchMemory.of(shape, placement)
    whole = shape.weight_bytes(dtype, placement.quantization.name)
    weights = {placement.device: whole} if device_map is None else device_map.weights
    free = {device: memory.free_memory(device) for device in weights}
    # a spread model has its output matrix on one device only, so it is not subtracted
    released = shape.output_matrix_bytes(dtype) if len(weights) == 1 else 0
    tokens = settings.max_batch_tokens
    if tokens == "auto":
        left = min(max(0, free[device] - models * held) // models for device, held in weights.items())
        tokens = budget.auto_budget(batch_memory, left)
    largest_batch = batch_memory.bytes(tokens)
    return [
        Need(
            device,
            models,
            models * held,
            models * largest_batch,
            tokens,
            models * max(held + merged, held - released + largest_batch),
            free[device],
        )
        for device, held in weights.items()
    ]


def warning_about_size(settings: EngineSettings) -> str | None:
    """Return one line if a published model is too large for a device here; None if it fits or its size is unknown."""
    from qwen3_rerank_plugins.engine.loading.placement import choose_placement, dtype_name
    from qwen3_rerank_plugins.engine.loading.shape import PUBLISHED

    shape = PUBLISHED.get(settings.model)
    if shape is None or settings.device_map:
        return None
    for replica in dict.fromkeys(settings.replicas):
        try:
            placement = choose_placement(replica)
        except RerankError:
            return None  # loading raises it
        (need,) = predict_needs(replica, placement, shape, settings.replicas.count(replica), None)
        if not need.fits:
            fitting = fitting_sizes(need, placement)
            remedy = (
                f"Take a smaller one with --model {_FAMILY}{fitting[-1]}, or see qwen3-rerank doctor."
                if fitting
                else "No published size fits: see qwen3-rerank doctor, and --remote for a server elsewhere."
            )
            return (
                f"{settings.model} needs {size(need.at_most)} in {dtype_name(placement.dtype)} on {need.device}, where "
                f"{size(need.free)} is free: it will probably not fit. {remedy}"
            )
    return None


def fitting_sizes(need: Need, placement: Placement) -> list[str]:
    """Return the published sizes that fit where another did not, smallest first."""
    from qwen3_rerank_plugins.engine.loading.batch_memory import BatchMemory
    from qwen3_rerank_plugins.engine.loading.budget import SMALLEST_AUTO_BUDGET
    from qwen3_rerank_plugins.engine.loading.shape import PUBLISHED

    dtype, mode = placement.dtype, placement.quantization.name
    return [
        name.removeprefix(_FAMILY)
        for name, shape in PUBLISHED.items()
        if need.models
        * (shape.weight_bytes(dtype, mode) + BatchMemory.of(shape, placement).bytes(SMALLEST_AUTO_BUDGET))
        <= need.free
    ]


def size(memory: int) -> str:
    """Return bytes in GiB or MiB."""
    return f"{memory / 2**30:.1f} GiB" if memory >= 2**29 else f"{memory / 2**20:.1f} MiB"
