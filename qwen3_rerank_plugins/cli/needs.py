"""The memory that a model will take on each device, predicted before anything is loaded.

Comes in: where and how it will run, its shape. Goes out: one `Need` a device.
Must not know: findings, tables, what becomes of a model that does not fit.
"""

from __future__ import annotations

import dataclasses

import torch

from qwen3_rerank_plugins.engine import budget
from qwen3_rerank_plugins.engine.device_map import DeviceMap
from qwen3_rerank_plugins.engine.placement import Placement
from qwen3_rerank_plugins.engine.settings import EngineSettings
from qwen3_rerank_plugins.engine.shape import Shape


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
    free = {device: budget.free_memory(device) for device in weights}
    # of a spread model it is not counted off: it is on one device, and the passes are on all
    released = shape.output_matrix_bytes(dtype) if len(weights) == 1 else 0
    tokens = settings.max_batch_tokens
    if tokens == "auto":
        left = min(max(0, free[device] - models * held) // models for device, held in weights.items())
        tokens = budget.auto_budget(shape, dtype, rows, left)
    largest_pass = shape.pass_bytes(tokens, dtype, rows)
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
