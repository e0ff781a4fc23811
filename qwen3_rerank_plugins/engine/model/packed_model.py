"""The packed forward pass, over the modules that transformers loaded.

Comes in: `PackedBatch`. Goes out: the normalised last hidden state of every tail.
Must not know: where the weights came from, or what the hidden states will be used for.

Two things make it differ from the modules' own forward, both exact: tails share their prefix's keys and values, and the
last layer computes queries, output projection and MLP for the last token of each tail only. A third makes it more exact
in 16 bits: the residual stream is float32, so that only what a layer computes is rounded, never the sum of all layers.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import torch

from qwen3_rerank_plugins.engine.model import layer as tokenwise
from qwen3_rerank_plugins.engine.model.attention import Attention
from qwen3_rerank_plugins.engine.model.batch import PackedBatch
from qwen3_rerank_plugins.engine.model.layer import Tensors, rms_norm
from qwen3_rerank_plugins.engine.model.layout import LayoutPart, count_parts
from qwen3_rerank_plugins.engine.model.rotary import Rotary, Rotation

CPU_ROWS_AT_ONCE = 1024
"""What so many rows need between two matrix products stays in the CPU's cache, and is never the peak of memory."""


def rows_at_once(device: torch.device, *, quantised: bool) -> int | None:
    """About how many tokens go through a layer at a time, keys and values apart; None is all.

    A GPU wants few, large kernels; and a quantised matrix is unpacked anew each time.
    """
    return CPU_ROWS_AT_ONCE if device.type == "cpu" and not quantised else None


@dataclasses.dataclass(frozen=True, slots=True)
class _ForwardState:
    """What flows from layer to layer.

    Attributes:
        hidden: [T, hidden] float32, the residual stream.
        rotation: cosines and sines of the positions, [T, 1, D] in the model's dtype: the same for every head.
        batch: who attends to whom.
        parts: the tokens of the batch, some at a time.
        wide: memory that every layer's MLP overwrites, see `tokenwise.finish`; None leaves it to each call.
        room: keys and values of the layer before, [T, G, D] each, whose memory the next one writes; or nothing.
    """

    hidden: torch.Tensor
    rotation: Rotation
    batch: PackedBatch
    parts: tuple[LayoutPart, ...]
    mlp_buffer: torch.Tensor | None = None
    kv_buffer: Tensors = ()

    def at(self, layer: Any) -> _ForwardState:
        """The same where a layer is; in a model on one device that is here, and nothing happens."""
        device = layer.input_layernorm.weight.device
        if device == self.hidden.device:
            return self
        cos, sin = self.rotation
        parts = tuple(part.to(device) for part in self.parts)
        return _ForwardState(self.hidden.to(device), (cos.to(device), sin.to(device)), self.batch.to(device), parts)


class PackedModel:
    """Runs packed batches through the backbone of a Qwen3ForCausalLM (its `.model`).

    Args:
        backbone: the loaded Qwen3Model; its parameters are read, never changed.
        attention: the kernel.
        compile: compile the token-wise halves of a layer; the first call takes a minute, later ones are faster.
        rows_at_once: about how many tokens go through a layer at a time; None is all.
    """

    def __init__(
        self, backbone: Any, attention: Attention, *, compile: bool = False, rows_at_once: int | None = None
    ) -> None:
        self._backbone = backbone
        self._rotary = Rotary(backbone)
        self._attention = attention
        self._rows_at_once = rows_at_once
        self._reuses_memory = bool(rows_at_once) and not compile
        # one compiled function serves every layer and every length; attention stays outside, its shapes vary freely
        wrap: Callable[[Any], Any] = (lambda f: torch.compile(f, dynamic=True)) if compile else (lambda f: f)
        self._project, self._finish = wrap(tokenwise.project_qkv), wrap(tokenwise.add_attention_and_mlp)
        self._project_queries = wrap(tokenwise.project_q)
        self._project_keys_values = wrap(tokenwise.project_kv)

    def __call__(self, batch: PackedBatch) -> torch.Tensor:
        """Returns [N, hidden] float32: final-norm hidden states of the tails' last tokens, in plan order."""
        stream = self._embed(batch)
        layers = self._backbone.layers
        last = len(layers) - 1
        for index in range(last):
            stream = self._run_layer(layers[index], stream)
        hidden = self._run_last_layer(layers[last], stream)
        norm = self._backbone.norm
        return rms_norm(norm, hidden.to(norm.weight.device))  # float32 to the end: no 16-bit grid of scores

    def _embed(self, batch: PackedBatch) -> _ForwardState:
        embedded = self._backbone.embed_tokens(batch.input_ids)
        parts = batch.layout.parts(self._rows_at_once)
        mlp_buffer = self._allocate_mlp_buffer(batch, parts, embedded)
        return _ForwardState(embedded.float(), self._rotary(embedded, batch), batch, parts, mlp_buffer)

    def _allocate_mlp_buffer(
        self, batch: PackedBatch, parts: tuple[LayoutPart, ...], like: torch.Tensor
    ) -> torch.Tensor | None:
        if not self._reuses_memory:
            return None
        longest = max(
            map(self._slice_length, (*(part.layout.query_rows for part in parts), len(batch.last_token_indices)))
        )
        return like.new_empty(2, longest, self._backbone.config.intermediate_size)

    def _run_layer(self, layer: Any, stream: _ForwardState) -> _ForwardState:
        """One decoder layer for all tokens; adds to the hidden states in place."""
        stream = stream.at(layer)
        at_once = count_parts(len(stream.hidden), self._rows_at_once) == 1
        return self._run_at_once(layer, stream) if at_once else self._run_in_parts(layer, stream)

    def _run_at_once(self, layer: Any, stream: _ForwardState) -> _ForwardState:
        query, key, value = self._project(layer, stream.hidden, *stream.rotation)
        attended = self._attention(query, key, value, stream.batch.layout, layer.self_attn.scaling)
        del query, key, value  # not needed any more, and a fifth of the peak
        self._finish(layer, stream.hidden, attended, stream.mlp_buffer)
        return stream

    def _run_in_parts(self, layer: Any, stream: _ForwardState) -> _ForwardState:
        """Keys and values of all tokens first, which any later part may attend to; then part by part to the end."""
        hidden, (cos, sin) = stream.hidden, stream.rotation
        key, value = self._in_slices(self._project_keys_values, layer, hidden, cos, sin, into=stream.kv_buffer)
        for part in stream.parts:
            own = hidden[part.rows]
            (query,) = self._in_slices(self._project_queries, layer, own, cos[part.rows], sin[part.rows])
            attended = self._attention(query, key, value, part.layout, layer.self_attn.scaling)
            del query
            self._finish_in_slices(layer, own, attended, stream.mlp_buffer)
            del attended
        return dataclasses.replace(stream, kv_buffer=(key, value))

    def _run_last_layer(self, layer: Any, stream: _ForwardState) -> torch.Tensor:
        """The last decoder layer, for the last token of each tail, attending to everyone: [N, hidden] float32."""
        stream = stream.at(layer)
        key, value = self._in_slices(
            self._project_keys_values, layer, stream.hidden, *stream.rotation, into=stream.kv_buffer
        )
        rows = stream.batch.last_token_indices
        hidden = stream.hidden[rows]
        (query,) = self._in_slices(self._project_queries, layer, hidden, *(part[rows] for part in stream.rotation))
        attended = self._attention(query, key, value, stream.batch.last_layout, layer.self_attn.scaling)
        self._finish_in_slices(layer, hidden, attended, stream.mlp_buffer)
        return hidden

    def _in_slices(
        self, compute: Callable[..., Tensors], layer: Any, *inputs: torch.Tensor, into: Tensors = ()
    ) -> Tensors:
        """What `compute` makes of the rows of its inputs, some at a time, put together: in `into`, if there is any."""
        slices = self._slices(len(inputs[0]))
        if len(slices) == 1:
            return compute(layer, *inputs)
        wholes = into
        for rows in slices:
            results = compute(layer, *(tensor[rows] for tensor in inputs))
            wholes = wholes or tuple(part.new_empty(len(inputs[0]), *part.shape[1:]) for part in results)
            for whole, part in zip(wholes, results, strict=True):
                whole[rows] = part
        return wholes

    def _finish_in_slices(
        self, layer: Any, hidden: torch.Tensor, attended: torch.Tensor, mlp_buffer: torch.Tensor | None
    ) -> None:
        for rows in self._slices(len(hidden)):
            self._finish(layer, hidden[rows], attended[rows], mlp_buffer)

    def _slices(self, rows: int) -> list[slice]:
        step = self._slice_length(rows)
        return [slice(start, min(start + step, rows)) for start in range(0, rows, step)]

    def _slice_length(self, rows: int) -> int:
        """All slices are equally long: a short last one would multiply at half the speed."""
        return -(-rows // count_parts(rows, self._rows_at_once))
