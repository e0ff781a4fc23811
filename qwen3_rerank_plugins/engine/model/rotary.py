"""Compute the cosines and sines that rotate queries and keys, from the positions of a batch.

The formulas are those of transformers, which takes the frequencies of dynamic and longrope RoPE from the longest prompt
of a batch. A score would then depend on the other prompts. Here each prompt has the frequencies that it has alone.
"""

from __future__ import annotations

from typing import Any

import torch

from qwen3_rerank_plugins.engine.checkpoints.rope import read_rope
from qwen3_rerank_plugins.engine.model.batch import PackedBatch

Rotation = tuple[torch.Tensor, torch.Tensor]


class Rotary:
    """The rotary position embedding of a backbone.

    Args:
        backbone: the loaded Qwen3Model or its `Float32Backbone`.
    """

    def __init__(self, backbone: Any) -> None:
        self._module = backbone.rotary_emb
        self._config = backbone.config
        self._rope = read_rope(str(self._config.name_or_path), self._config.to_dict())

    def __call__(self, embedded: torch.Tensor, batch: PackedBatch) -> Rotation:
        """Return cosines and sines, [T, 1, D] each, in the dtype of the batch's embeddings, [T, hidden]."""
        if not self._rope.varies:
            cos, sin = self._module(embedded[None], batch.positions[None])  # [1, T, D] each
            return cos[0, :, None], sin[0, :, None]
        frequencies = [
            self._frequencies(lengths, embedded.device).expand(tokens, -1) for tokens, lengths in batch.prompt_lengths
        ]
        angles = batch.positions[:, None].float() * torch.cat(frequencies)  # [T, D / 2]
        angles = torch.cat((angles, angles), dim=-1)[:, None]
        scale = self._module.attention_scaling
        return (angles.cos() * scale).to(embedded.dtype), (angles.sin() * scale).to(embedded.dtype)

    def _frequencies(self, lengths: range, device: torch.device) -> torch.Tensor:
        """Return [D / 2] float32 for prompts of these lengths, which share the keys of their prefix."""
        from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

        if self._rope.regime(lengths[0]) != self._rope.regime(lengths[-1]):
            raise ValueError(f"prompts of {lengths[0]} and {lengths[-1]} tokens share a prefix but not frequencies")
        # a tensor as in transformers, because the logarithm of a Python number would be rounded differently
        longest = torch.tensor(lengths[-1], device=device)
        frequencies: torch.Tensor = ROPE_INIT_FUNCTIONS[self._rope.type](self._config, device, seq_len=longest)[0]
        return frequencies
