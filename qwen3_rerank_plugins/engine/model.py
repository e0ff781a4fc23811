"""The packed forward pass, over the modules that transformers loaded.

Comes in: `PackedBatch`. Goes out: the normalised last hidden state of every tail.
Must not know: where the weights came from, or what the hidden states will be used for.

Two things make it differ from the modules' own forward, both exact: tails share their prefix's keys and values, and the
last layer computes queries, output projection and MLP for the last token of each tail only. A third makes it more exact
in 16 bits: the residual stream is float32, so that only what a layer computes is rounded, never the sum of all layers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from qwen3_rerank_plugins.engine.attention import Attention, AttentionLayout
from qwen3_rerank_plugins.engine.batch import PackedBatch

Rotation = tuple[torch.Tensor, torch.Tensor]


class PackedModel:
    """Runs packed batches through the backbone of a Qwen3ForCausalLM (its `.model`).

    Args:
        backbone: the loaded Qwen3Model; its parameters are read, never changed.
        attention: the kernel.
        compile: compile the token-wise halves of a layer; the first call takes a minute, later ones are faster.
    """

    def __init__(self, backbone: Any, attention: Attention, *, compile: bool = False) -> None:
        self._backbone = backbone
        self.attention = attention
        # one compiled function serves every layer and every length; attention stays outside, its shapes vary freely
        wrap: Callable[[Any], Any] = (lambda f: torch.compile(f, dynamic=True)) if compile else (lambda f: f)
        self._queries, self._keys_values, self._finish = wrap(_queries), wrap(_keys_values), wrap(_finish)

    def __call__(self, batch: PackedBatch) -> torch.Tensor:
        """Returns [N, hidden] float32: final-norm hidden states of the tails' last tokens, in plan order."""
        hidden, rotation = self._embed(batch)
        *inner, last = self._backbone.layers
        for layer in inner:
            hidden = self._layer(layer, hidden, hidden, rotation, rotation, batch.layout)
        rows = batch.last_rows
        last_rotation = (rotation[0][rows], rotation[1][rows])
        hidden = self._layer(last, hidden[rows], hidden, last_rotation, rotation, batch.last_layout)
        normalised: torch.Tensor = self._backbone.norm(hidden)  # float32 to the end: no 16-bit grid of scores
        return normalised

    def _embed(self, batch: PackedBatch) -> tuple[torch.Tensor, Rotation]:
        """[T, hidden] float32, and the cosines and sines of the positions in the model's dtype."""
        embedded = self._backbone.embed_tokens(batch.input_ids)
        cos, sin = self._backbone.rotary_emb(embedded[None], batch.positions[None])  # [1, T, D] each
        return embedded.float(), (cos[0, :, None], sin[0, :, None])  # [T, 1, D]: the same for every head

    def _layer(
        self,
        layer: Any,
        hidden: torch.Tensor,
        everyone: torch.Tensor,
        rotation: Rotation,
        everyones_rotation: Rotation,
        layout: AttentionLayout,
    ) -> torch.Tensor:
        """One decoder layer for the rows in `hidden`, attending to the rows in `everyone`."""
        query = self._queries(layer, hidden, *rotation)
        key, value = self._keys_values(layer, everyone, *everyones_rotation)
        attended = self.attention(query, key, value, layout, layer.self_attn.scaling)
        finished: torch.Tensor = self._finish(layer, hidden, attended)
        return finished


def _queries(layer: Any, hidden: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """[R, hidden] float32 -> [R, H, D], normalised per head and rotated."""
    attention = layer.self_attn
    query = attention.q_proj(layer.input_layernorm(hidden).to(cos.dtype)).unflatten(-1, (-1, attention.head_dim))
    return _rotate(attention.q_norm(query), cos, sin)


def _keys_values(
    layer: Any, hidden: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """[R, hidden] float32 -> two [R, G, D]: keys normalised per head and rotated, values plain."""
    attention = layer.self_attn
    normalised = layer.input_layernorm(hidden).to(cos.dtype)
    key = attention.k_proj(normalised).unflatten(-1, (-1, attention.head_dim))
    value = attention.v_proj(normalised).unflatten(-1, (-1, attention.head_dim))
    return _rotate(attention.k_norm(key), cos, sin), value


def _finish(layer: Any, hidden: torch.Tensor, attended: torch.Tensor) -> torch.Tensor:
    """[R, hidden] float32, [R, H, D] -> [R, hidden] float32: output projection and MLP, each with its residual."""
    hidden = hidden + layer.self_attn.o_proj(attended.flatten(1))
    finished: torch.Tensor = hidden + layer.mlp(layer.post_attention_layernorm(hidden).to(attended.dtype))
    return finished


def _rotate(heads: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """Rotary position embedding in the half-split convention: pairs are (i, i + D/2)."""
    first, second = heads.chunk(2, dim=-1)
    return heads * cos + torch.cat((-second, first), dim=-1) * sin
