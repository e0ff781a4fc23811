"""A 16-bit backbone as a float32 one, a layer at a time.

Comes in: the loaded Qwen3Model. Goes out: something `PackedModel` runs as if it were one in float32.
Must not know: which scores it will be asked for.

The weights are the same numbers; only what is computed from them gets float32's range. Beside the model there is never
more than one layer in float32: 0.7 GiB for the 8B.
"""

from __future__ import annotations

import copy
from typing import Any

import torch


class Float32Backbone:
    """Embeddings, layers and norm of a backbone, each turned into float32 when it is asked for.

    Args:
        backbone: read, never changed.
    """

    def __init__(self, backbone: Any) -> None:
        self._backbone = backbone
        self.config = backbone.config
        self.layers = _Layers(backbone.layers)
        self.rotary_emb = backbone.rotary_emb

    def embed_tokens(self, ids: torch.Tensor) -> torch.Tensor:
        """[T] -> [T, hidden] float32."""
        embedded: torch.Tensor = self._backbone.embed_tokens(ids)
        return embedded.float()

    @property
    def norm(self) -> Any:
        """The final norm."""
        return _widened(self._backbone.norm)


class _Layers:
    def __init__(self, layers: Any) -> None:
        self._layers = layers

    def __len__(self) -> int:
        return len(self._layers)

    def __getitem__(self, index: int) -> Any:
        return _widened(self._layers[index])


def _widened(module: Any) -> Any:
    return copy.deepcopy(module).float()
