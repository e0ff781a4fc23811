"""The model and the device that are checked."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import torch

from qwen3_rerank_plugins.device_check.requests import LAYOUTS
from qwen3_rerank_plugins.engine.loading.placement import dtype_name
from qwen3_rerank_plugins.engine.loading.shape import Shape
from qwen3_rerank_plugins.engine.settings import EngineSettings

_BUDGET_ON_A_CPU = 2_048
"""Tokens of a full batch, where the largest automatic budget would take minutes."""


@dataclasses.dataclass(frozen=True, slots=True)
class Subject:
    """A checkpoint with random weights, and where it runs.

    Attributes:
        folder: the checkpoint.
        shape: its sizes.
        label: its name in the results: "" for a small one, else such as "8b".
        device: the device, with its index if it can have several.
        replicas: devices that each get a whole model in the check of replicas; two at least.
        spread: whether one model is spread over all devices too.
        published: whether the shape is that of a published model.
    """

    folder: Path
    shape: Shape
    label: str
    device: torch.device
    replicas: tuple[str, ...]
    spread: bool
    published: bool = False

    def settings(self, dtype: torch.dtype, **others: Any) -> EngineSettings:
        """Return the engine's settings for this model."""
        small = self.device.type != "cuda" and not self.published
        chosen: dict[str, Any] = {
            "device": str(self.device),
            "dtype": dtype_name(dtype),
            "max_batch_tokens": _BUDGET_ON_A_CPU if small else "auto",
            **others,
        }
        return EngineSettings(model=str(self.folder), local_files_only=True, **chosen)

    def name(self, dtype: torch.dtype, what: str) -> str:
        """Return the name of a check."""
        return f"{self.label + ', ' if self.label else ''}{dtype_name(dtype)}, {what}"

    @property
    def layouts(self) -> list[str]:
        """The layouts to run; a CPU leaves out the long document."""
        return [name for name in LAYOUTS if self.device.type == "cuda" or name != "a long document"]
