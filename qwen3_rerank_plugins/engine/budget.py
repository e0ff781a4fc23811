"""How much memory a model takes, and how many tokens of one pass fit beside it.

Comes in: a checkpoint's config, a dtype and free memory. Goes out: bytes and tokens.
Must not know: requests.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

import psutil
import torch

from qwen3_rerank_plugins.engine.weights import LoadedModel

LARGEST_AUTO_BUDGET = 16_384
"""Tokens. Matrix products are at full speed long before; more would only take memory."""
SMALLEST_AUTO_BUDGET = 512
_SHARE_OF_FREE_MEMORY = 0.5


@dataclasses.dataclass(frozen=True, slots=True)
class Shape:
    """The sizes of a Qwen3 model, as its config.json names them."""

    hidden: int
    layers: int
    heads: int
    key_value_heads: int
    head_dim: int
    intermediate: int
    vocabulary: int
    tied: bool

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Shape:
        """Read the sizes from a parsed config.json."""
        heads = config["num_attention_heads"]
        return cls(
            hidden=config["hidden_size"],
            layers=config["num_hidden_layers"],
            heads=heads,
            key_value_heads=config["num_key_value_heads"],
            head_dim=config.get("head_dim") or config["hidden_size"] // heads,
            intermediate=config["intermediate_size"],
            vocabulary=config["vocab_size"],
            tied=bool(config.get("tie_word_embeddings")),
        )

    @property
    def parameters(self) -> int:
        """Parameters in all, the output matrix included where it is not tied to the input."""
        embeddings = self.vocabulary * self.hidden * (1 if self.tied else 2)
        return self.layer_parameters + embeddings + self.hidden

    @property
    def layer_parameters(self) -> int:
        """Parameters of all layers, norms included."""
        attention = self.hidden * self.head_dim * (2 * self.heads + 2 * self.key_value_heads) + 2 * self.head_dim
        return self.layers * (attention + 3 * self.hidden * self.intermediate + 2 * self.hidden)

    def weight_bytes(self, dtype: torch.dtype) -> int:
        """Memory of the loaded weights."""
        return self.parameters * dtype.itemsize

    def token_bytes(self, dtype: torch.dtype) -> int:
        """Peak memory of one more token in a pass: residual, normalised copy (float32 inside), and the wider of MLP and
        attention.
        """
        mlp = 3 * self.intermediate
        attention = self.head_dim * (2 * self.heads + 4 * self.key_value_heads)
        return (3 * self.hidden + max(mlp, attention)) * dtype.itemsize + 2 * self.hidden * 4


def choose_budget(asked: int | Literal["auto"], loaded: LoadedModel) -> int:
    """Unique tokens a pass may hold: what was asked, or what half of the free memory holds, within fixed limits."""
    if asked != "auto":
        return asked
    shape = Shape.from_config(loaded.causal_lm.config.to_dict())
    return auto_budget(shape, loaded.placement.dtype, free_memory(loaded.placement.device))


def auto_budget(shape: Shape, dtype: torch.dtype, free: int) -> int:
    """The budget that `free` bytes allow beside weights that are already there."""
    fitting = int(free * _SHARE_OF_FREE_MEMORY) // shape.token_bytes(dtype)
    return max(SMALLEST_AUTO_BUDGET, min(LARGEST_AUTO_BUDGET, fitting))


def free_memory(device: torch.device) -> int:
    """Free bytes of the device; for CPU and MPS, of the machine."""
    if device.type == "cuda":
        free: int = torch.cuda.mem_get_info(device)[0]
        return free
    available: int = psutil.virtual_memory().available
    return available
