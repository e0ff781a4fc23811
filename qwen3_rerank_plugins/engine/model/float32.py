"""Run a 16-bit backbone in float32, one layer at a time.

The weights keep their values, but everything computed from them has float32's range. At most one layer exists in
float32 beside the model: 0.7 GiB for the 8B model.
"""

from __future__ import annotations

import copy
from typing import Any

import torch


class Float32Backbone:
    """Takes the place of a Qwen3Model in `PackedModel`, and converts each module to float32 when it is accessed.

    Args:
        backbone: the loaded Qwen3Model; never changed.
    """

    def __init__(self, backbone: Any) -> None:
        self._backbone = backbone
        self.config = backbone.config
        self.layers = _Layers(backbone.layers)
        self.rotary_emb = backbone.rotary_emb

    def embed_tokens(self, ids: torch.Tensor) -> torch.Tensor:
        """Return the embeddings of [T] IDs as [T, hidden] float32."""
        embedded: torch.Tensor = self._backbone.embed_tokens(ids)
        return embedded.float()

    @property
    def norm(self) -> Any:
        """The final norm in float32."""
        return _as_float32(self._backbone.norm)


class _Layers:
    def __init__(self, layers: Any) -> None:
        self._layers = layers

    def __len__(self) -> int:
        return len(self._layers)

    def __getitem__(self, index: int) -> Any:
        return _as_float32(self._layers[index])


def _as_float32(module: Any) -> Any:
    return copy.deepcopy(module).float()
