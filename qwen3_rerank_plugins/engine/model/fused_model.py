"""The packed forward pass for a GPU: few kernels a layer, each of which reads and writes its data once.

It computes what `PackedModel` computes. Between two matrix products there is one kernel: the residual addition with the
norm after it; the norms and the rotation of queries and keys; the product of SiLU(gate) and up. So a layer adds the
output of the layer before it. The projections of queries, keys and values are one product, and so are gate and up.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from qwen3_rerank_plugins.engine.kernels.layer_kernels import LayerKernels
from qwen3_rerank_plugins.engine.model.attention import Attention
from qwen3_rerank_plugins.engine.model.batch import PackedBatch
from qwen3_rerank_plugins.engine.model.linear import is_matrix
from qwen3_rerank_plugins.engine.model.rotary import Rotary, Rotation


@dataclasses.dataclass(slots=True)
class _Activations:
    """The data of one pass. It changes from layer to layer, so that a tensor is freed as soon as it was used.

    Attributes:
        hidden: [R, hidden] float32, the residual stream without `delta`.
        delta: [R, hidden] in the model's dtype, which the next norm adds to `hidden`; None if there is nothing to add.
        rotation: cosines and sines of the positions, [R, 1, D] each.
        batch: the batch, on the same device.
    """

    hidden: Tensor
    rotation: Rotation
    batch: PackedBatch
    delta: Tensor | None = None

    def move_to(self, device: torch.device) -> None:
        """Move everything to the device of the next layer, and make a GPU current, because kernels run on that one."""
        if device == self.hidden.device:
            return
        if device.type == "cuda":
            torch.cuda.set_device(device)
        self.hidden = self.hidden.to(device)
        self.rotation = (self.rotation[0].to(device), self.rotation[1].to(device))
        self.batch = self.batch.to(device)
        self.delta = None if self.delta is None else self.delta.to(device)

    def keep_rows(self, rows: Tensor) -> None:
        """Keep only some rows of the residual stream and the rotation. Nothing may be left to add."""
        self.hidden = self.hidden.index_select(0, rows)
        self.rotation = (self.rotation[0].index_select(0, rows), self.rotation[1].index_select(0, rows))


class FusedModel:
    """Runs packed batches through the backbone of a Qwen3ForCausalLM (its `.model`).

    Args:
        backbone: the loaded Qwen3Model. Its parameters keep their values; see `fuse`.
        attention: the attention kernel.
        kernels: what runs between matrix products and attention.
    """

    def __init__(self, backbone: Any, attention: Attention, kernels: LayerKernels) -> None:
        self._backbone = backbone
        self._rotary = Rotary(backbone)
        self._attention = attention
        self._kernels = kernels
        self._layers = [_FusedLayer(layer) for layer in backbone.layers]

    def __call__(self, batch: PackedBatch) -> Tensor:
        """Return [N, hidden] float32: the final-norm hidden states of the documents' last tokens, in plan order."""
        state = self._embed(batch)
        for layer in self._layers[:-1]:
            state.move_to(layer.device)
            self._attend(layer, state)
            self._run_mlp(layer, state)
        layer = self._layers[-1]
        state.move_to(layer.device)
        self._attend_last(layer, state)
        self._run_mlp(layer, state)
        norm = self._backbone.norm
        state.move_to(norm.weight.device)
        return self._normalize(state, norm, torch.float32)  # in float32, so scores are not rounded to 16 bits

    def _embed(self, batch: PackedBatch) -> _Activations:
        embedded = self._backbone.embed_tokens(batch.input_ids)
        return _Activations(embedded.float(), self._rotary(embedded, batch), batch)

    def _attend(self, layer: _FusedLayer, state: _Activations) -> None:
        """Compute attention and its output projection."""
        query, key, value = layer.project_qkv(self._normalize(state, layer.input_norm, layer.dtype))
        self._rotate(layer, query, key, state.rotation)
        attended = self._attention(query, key, value, state.batch.layout, layer.scale)
        del query, key, value
        state.delta = layer.output(attended.flatten(1))

    def _attend_last(self, layer: _FusedLayer, state: _Activations) -> None:
        """Do the same for the last token of each document only, with the keys and values of all tokens."""
        normalized = self._normalize(state, layer.input_norm, layer.dtype)
        key, value = layer.project_kv(normalized)
        self._rotate(layer, None, key, state.rotation)
        rows = state.batch.last_token_indices
        query = layer.project_q(normalized.index_select(0, rows))
        state.keep_rows(rows)
        self._rotate(layer, query, None, state.rotation)
        attended = self._attention(query, key, value, state.batch.last_layout, layer.scale)
        state.delta = layer.output(attended.flatten(1))

    def _run_mlp(self, layer: _FusedLayer, state: _Activations) -> None:
        gate, up = layer.project_gate_up(self._normalize(state, layer.mlp_norm, layer.dtype))
        state.delta = layer.down(self._kernels.gate(gate, up))

    def _normalize(self, state: _Activations, norm: Any, dtype: torch.dtype) -> Tensor:
        """Add what is left to add, and return the norm of the residual stream."""
        delta, state.delta = state.delta, None
        return self._kernels.add_and_normalize(state.hidden, delta, norm.weight, norm.variance_epsilon, dtype)

    def _rotate(self, layer: _FusedLayer, query: Tensor | None, key: Tensor | None, rotation: Rotation) -> None:
        of_queries, of_keys = layer.attention.q_norm, layer.attention.k_norm
        self._kernels.normalize_and_rotate(
            query, key, of_queries.weight, of_keys.weight, of_queries.variance_epsilon, *rotation
        )


class _FusedLayer:
    """A decoder layer of transformers. Products with the same input are one product where they are only matrices."""

    def __init__(self, layer: Any) -> None:
        self.attention, self._mlp = layer.self_attn, layer.mlp
        self.input_norm, self.mlp_norm = layer.input_layernorm, layer.post_attention_layernorm
        self.device, self.dtype = self.input_norm.weight.device, self.input_norm.weight.dtype
        self.scale: float = self.attention.scaling
        self._qkv = fuse((self.attention.q_proj, self.attention.k_proj, self.attention.v_proj))
        self._gate_up = fuse((self._mlp.gate_proj, self._mlp.up_proj))
        self.output, self.down = self.attention.o_proj, self._mlp.down_proj

    def project_qkv(self, normalized: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """[R, hidden] to queries [R, H, D], keys [R, G, D] and values [R, G, D], neither normalized nor rotated."""
        if self._qkv is None:
            return self.project_q(normalized), *self.project_kv(normalized)
        heads = self._heads(functional.linear(normalized, self._qkv))
        queries, keys = self._head_counts
        query, key, value = torch.split(heads, [queries, keys, keys], dim=1)
        return query, key, value

    def project_q(self, normalized: Tensor) -> Tensor:
        """Return only the queries."""
        return self._heads(self.attention.q_proj(normalized))

    def project_kv(self, normalized: Tensor) -> tuple[Tensor, Tensor]:
        """Return only the keys and the values."""
        if self._qkv is None:
            return self._heads(self.attention.k_proj(normalized)), self._heads(self.attention.v_proj(normalized))
        queries, _ = self._head_counts
        heads = self._heads(functional.linear(normalized, self._qkv[queries * self.attention.head_dim :]))
        key, value = heads.chunk(2, dim=1)
        return key, value

    def project_gate_up(self, normalized: Tensor) -> tuple[Tensor, Tensor]:
        """[R, hidden] to gate and up, [R, intermediate] each."""
        if self._gate_up is None:
            return self._mlp.gate_proj(normalized), self._mlp.up_proj(normalized)
        gate, up = functional.linear(normalized, self._gate_up).chunk(2, dim=1)
        return gate, up

    def _heads(self, product: Tensor) -> Tensor:
        return torch.unflatten(product, -1, (-1, self.attention.head_dim))

    @property
    def _head_counts(self) -> tuple[int, int]:
        """H and G."""
        queries, keys = self.attention.q_proj, self.attention.k_proj
        return len(queries.weight) // self.attention.head_dim, len(keys.weight) // self.attention.head_dim


def fuse(linears: Sequence[nn.Linear]) -> Tensor | None:
    """Join the weights of linear layers with the same input, [sum of outputs, input]; None if they are not matrices.

    The layers then hold views of the joined weight, so it takes no memory besides them. Meanwhile there is a second
    copy of these weights only.
    """
    if not all(map(is_matrix, linears)) or len({linear.weight.dtype for linear in linears}) > 1:
        return None
    joined = torch.cat([linear.weight.data for linear in linears])
    for linear, part in zip(linears, torch.split(joined, [len(linear.weight) for linear in linears]), strict=True):
        linear.weight.data = part
    return joined
