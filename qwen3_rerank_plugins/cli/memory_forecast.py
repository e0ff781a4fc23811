"""The memory that a model will take on each device, predicted before anything is loaded.

Comes in: where and how it will run, its shape. Goes out: one `Need` a device.
Must not know: findings, tables, what becomes of a model that does not fit.
"""

from __future__ import annotations

import dataclasses

import torch

from qwen3_rerank_plugins.engine import memory
from qwen3_rerank_plugins.engine.loading import budget
from qwen3_rerank_plugins.engine.loading.device_map import DeviceMap
from qwen3_rerank_plugins.engine.loading.placement import Placement
from qwen3_rerank_plugins.engine.loading.shape import Shape
from qwen3_rerank_plugins.engine.settings import EngineSettings
from qwen3_rerank_plugins.errors import RerankError


@dataclasses.dataclass(frozen=True, slots=True)
class Need:
    """What one device has to hold, in bytes.

    Attributes:
        device: which.
        models: how many models it will hold, or parts of them.
        weights: of all of them.
        largest_pass: of all of them, at the same time.
        tokens: of the largest pass of one.
        at_most: weights and passes together; the output matrix is there while a model loads, and gone before its first.
        free: what there is.
    """

    device: torch.device
    models: int
    weights: int
    largest_pass: int
    tokens: int
    at_most: int
    free: int

    @property
    def fits(self) -> bool:
        """Whether there is enough."""
        return self.at_most <= self.free


def predict_needs(
    settings: EngineSettings,
    placement: Placement,
    shape: Shape,
    models: int,
    device_map: DeviceMap | None,
    merged: int = 0,
) -> list[Need]:
    """One need a device; several for a model that is spread.

    Args:
        settings: of one model.
        placement: where it runs.
        shape: its sizes.
        models: how many of it share the device.
        device_map: how it is spread.
        merged: bytes of an adapter, which is there while a model loads.
    """
    dtype, rows = placement.dtype, placement.rows_at_once
    whole = shape.weight_bytes(dtype, placement.quantization.name)
    weights = {placement.device: whole} if device_map is None else device_map.weights
    free = {device: memory.free_memory(device) for device in weights}
    # of a spread model it is not counted off: it is on one device, and the passes are on all
    released = shape.output_matrix_bytes(dtype) if len(weights) == 1 else 0
    tokens = settings.max_batch_tokens
    if tokens == "auto":
        left = min(max(0, free[device] - models * held) // models for device, held in weights.items())
        tokens = budget.auto_budget(shape, dtype, rows, left)
    largest_pass = shape.batch_bytes(tokens, dtype, rows)
    return [
        Need(
            device,
            models,
            models * held,
            models * largest_pass,
            tokens,
            models * max(held + merged, held - released + largest_pass),
            free[device],
        )
        for device, held in weights.items()
    ]


_FAMILY = "Qwen/Qwen3-Reranker-"


def warning_about_size(settings: EngineSettings) -> str | None:
    """One line if a published model is too large for a device here; None if it fits, or nobody knows."""
    from qwen3_rerank_plugins.engine.loading.shape import PUBLISHED

    shape = PUBLISHED.get(settings.model)
    if shape is None or settings.device_map:
        return None
    from qwen3_rerank_plugins.cli.memory_forecast import predict_needs
    from qwen3_rerank_plugins.engine.loading.placement import choose_placement, dtype_name

    for replica in dict.fromkeys(settings.replicas):
        try:
            placement = choose_placement(replica)
        except RerankError:
            return None  # loading says it better
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
    """Published sizes of which one fits where another did not, smallest first."""
    from qwen3_rerank_plugins.engine.loading.budget import SMALLEST_AUTO_BUDGET
    from qwen3_rerank_plugins.engine.loading.shape import PUBLISHED

    dtype, mode, rows = placement.dtype, placement.quantization.name, placement.rows_at_once
    return [
        name.removeprefix(_FAMILY)
        for name, shape in PUBLISHED.items()
        if need.models * (shape.weight_bytes(dtype, mode) + shape.batch_bytes(SMALLEST_AUTO_BUDGET, dtype, rows))
        <= need.free
    ]


def size(memory: int) -> str:
    """Bytes as a person reads them."""
    return f"{memory / 2**30:.1f} GiB" if memory >= 2**29 else f"{memory / 2**20:.1f} MiB"
