"""The packed forward pass, over the modules that transformers loaded.

It differs from the modules' forward in three ways. Two save work and are exact: documents share the keys and values of
their prefix, and the last layer computes queries, output projection and MLP for the last token of each document only.
The third is more exact in 16 bits: the residual stream is float32, so each layer's output is rounded, but never their
sum.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from qwen3_rerank_plugins.engine.model.attention import Attention
from qwen3_rerank_plugins.engine.model.batch import PackedBatch
from qwen3_rerank_plugins.engine.model.layer import (
    Tensors,
    add_attention_and_mlp,
    project_kv,
    project_q,
    project_qkv,
    rms_norm,
)
from qwen3_rerank_plugins.engine.model.layout import LayoutPart, count_parts
from qwen3_rerank_plugins.engine.model.linear import PackedLinear
from qwen3_rerank_plugins.engine.model.rotary import Rotary, Rotation

CPU_ROWS_AT_ONCE = 1024
"""The data of so many rows between two matrix products fits in the CPU's cache and never causes the memory peak."""


def rows_at_once(device: torch.device, *, quantized: bool) -> int | None:
    """Return roughly how many tokens a layer processes at a time, apart from keys and values; None means all.

    A GPU prefers few, large kernels, and a quantized matrix is unpacked for every part.
    """
    return CPU_ROWS_AT_ONCE if device.type == "cpu" and not quantized else None


@dataclasses.dataclass(frozen=True, slots=True)
class _ForwardState:
    """The data that a layer passes to the next.

    Attributes:
        hidden: [T, hidden] float32, the residual stream.
        rotation: cosines and sines of the positions, [T, 1, D] in the model's dtype, the same for every head.
        batch: the batch with its attention layout.
        parts: the tokens that a layer processes at a time.
        mlp_buffer: memory that the MLP of every layer overwrites, see `add_attention_and_mlp`; None allocates per call.
        kv_buffer: keys and values of the layer before, [T, G, D] each, which the next layer overwrites; or empty.
    """

    hidden: Tensor
    rotation: Rotation
    batch: PackedBatch
    parts: tuple[LayoutPart, ...]
    mlp_buffer: Tensor | None = None
    kv_buffer: Tensors = ()

    def at(self, layer: Any) -> _ForwardState:
        """Return a copy on the device of a layer, or this object if it is there already."""
        device = layer.input_layernorm.weight.device
        if device == self.hidden.device:
            return self
        cos, sin = self.rotation
        parts = tuple(part.to(device) for part in self.parts)
        return _ForwardState(self.hidden.to(device), (cos.to(device), sin.to(device)), self.batch.to(device), parts)


class PackedModel:
    """Runs packed batches through the backbone of a Qwen3ForCausalLM (its `.model`).

    Args:
        backbone: the loaded Qwen3Model; its parameters are never changed.
        attention: the kernel.
        compile: compile the parts of a layer before and after attention. The first call takes longer, later ones are
            faster.
        rows_at_once: roughly how many tokens a layer processes at a time; None means all.
    """

    def __init__(
        self, backbone: Any, attention: Attention, *, compile: bool = False, rows_at_once: int | None = None
    ) -> None:
        self._backbone = backbone
        self._rotary = Rotary(backbone)
        self._attention = attention
        self._rows_at_once = rows_at_once
        self._reuses_memory = bool(rows_at_once) and not compile
        # one compiled function serves all layers and lengths; attention is not compiled, because its shapes vary freely
        wrap: Callable[[Any], Any] = (lambda f: torch.compile(f, dynamic=True)) if compile else (lambda f: f)
        self._project_qkv, self._project_q, self._project_kv = wrap(project_qkv), wrap(project_q), wrap(project_kv)
        self._add_attention_and_mlp = wrap(add_attention_and_mlp)

    def __call__(self, batch: PackedBatch) -> Tensor:
        """Return [N, hidden] float32: the final-norm hidden states of the documents' last tokens, in plan order."""
        state = self._embed(batch)
        layers = self._backbone.layers
        last = len(layers) - 1
        for index in range(last):
            state = self._run_layer(layers[index], state)
        hidden = self._run_last_layer(layers[last], state)
        norm = self._backbone.norm
        return rms_norm(norm, hidden.to(norm.weight.device))  # in float32, so scores are not rounded to 16 bits

    def _embed(self, batch: PackedBatch) -> _ForwardState:
        embedded = self._backbone.embed_tokens(batch.input_ids)
        parts = batch.layout.parts(self._rows_at_once)
        mlp_buffer = self._allocate_mlp_buffer(batch, parts, embedded)
        return _ForwardState(embedded.float(), self._rotary(embedded, batch), batch, parts, mlp_buffer)

    def _allocate_mlp_buffer(self, batch: PackedBatch, parts: tuple[LayoutPart, ...], like: Tensor) -> Tensor | None:
        if not self._reuses_memory or isinstance(self._backbone.layers[0].mlp.up_proj, PackedLinear):
            return None
        longest = max(
            map(self._slice_length, (*(part.layout.query_rows for part in parts), len(batch.last_token_indices)))
        )
        return like.new_empty(2, longest, self._backbone.config.intermediate_size)

    def _run_layer(self, layer: Any, state: _ForwardState) -> _ForwardState:
        """Run one decoder layer for all tokens, adding to the hidden states in place."""
        state = state.at(layer)
        at_once = count_parts(len(state.hidden), self._rows_at_once) == 1
        return self._run_at_once(layer, state) if at_once else self._run_in_parts(layer, state)

    def _run_at_once(self, layer: Any, state: _ForwardState) -> _ForwardState:
        query, key, value = self._project_qkv(layer, state.hidden, *state.rotation)
        attended = self._attention(query, key, value, state.batch.layout, layer.self_attn.scaling)
        del query, key, value  # a fifth of the memory peak
        self._add_attention_and_mlp(layer, state.hidden, attended, state.mlp_buffer)
        return state

    def _run_in_parts(self, layer: Any, state: _ForwardState) -> _ForwardState:
        """Compute keys and values of all tokens, because later parts attend to them, then the rest part by part."""
        hidden, (cos, sin) = state.hidden, state.rotation
        key, value = self._in_slices(self._project_kv, layer, hidden, cos, sin, into=state.kv_buffer)
        for part in state.parts:
            rows = hidden[part.rows]
            (query,) = self._in_slices(self._project_q, layer, rows, cos[part.rows], sin[part.rows])
            attended = self._attention(query, key, value, part.layout, layer.self_attn.scaling)
            del query
            self._add_in_slices(layer, rows, attended, state.mlp_buffer)
            del attended
        return dataclasses.replace(state, kv_buffer=(key, value))

    def _run_last_layer(self, layer: Any, state: _ForwardState) -> Tensor:
        """Run the last decoder layer for the last token of each document: [N, hidden] float32."""
        state = state.at(layer)
        key, value = self._in_slices(self._project_kv, layer, state.hidden, *state.rotation, into=state.kv_buffer)
        rows = state.batch.last_token_indices
        hidden = state.hidden[rows]
        (query,) = self._in_slices(self._project_q, layer, hidden, *(part[rows] for part in state.rotation))
        attended = self._attention(query, key, value, state.batch.last_layout, layer.self_attn.scaling)
        self._add_in_slices(layer, hidden, attended, state.mlp_buffer)
        return hidden

    def _in_slices(self, compute: Callable[..., Tensors], layer: Any, *inputs: Tensor, into: Tensors = ()) -> Tensors:
        """Apply `compute` to slices of the inputs' rows and join the results, in `into` if that is given."""
        slices = self._slices(len(inputs[0]))
        if len(slices) == 1:
            return compute(layer, *inputs)
        for rows in slices:
            results = compute(layer, *(tensor[rows] for tensor in inputs))
            into = into or tuple(result.new_empty(len(inputs[0]), *result.shape[1:]) for result in results)
            for whole, result in zip(into, results, strict=True):
                whole[rows] = result
        return into

    def _add_in_slices(self, layer: Any, hidden: Tensor, attended: Tensor, mlp_buffer: Tensor | None) -> None:
        for rows in self._slices(len(hidden)):
            self._add_attention_and_mlp(layer, hidden[rows], attended[rows], mlp_buffer)

    def _slices(self, rows: int) -> list[slice]:
        step = self._slice_length(rows)
        return [slice(start, min(start + step, rows)) for start in range(0, rows, step)]

    def _slice_length(self, rows: int) -> int:
        """Return the length of equal slices, because a short last one would run at half the speed."""
        return -(-rows // count_parts(rows, self._rows_at_once))
