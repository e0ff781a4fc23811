"""The matrix products of a decoder layer, over torch's linear layers, quantized ones, or weights packed for a CPU.

Shapes: R tokens, I inputs, O outputs.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from qwen3_rerank_plugins.engine.kernels import onednn


def is_matrix(linear: Any) -> bool:
    """Whether `linear` has no bias and is not quantized, neither by its module nor by its tensor."""
    if type(linear) is not nn.Linear:
        return False
    bias: Tensor | None = linear.bias
    return bias is None and type(linear.weight) is nn.Parameter


def add_product(linear: Any, states: Tensor, hidden: Tensor) -> None:
    """Add `linear(states)` to `hidden`, [R, O], in one kernel where that needs no rounding."""
    if states.dtype == hidden.dtype and is_matrix(linear):
        hidden.addmm_(states, linear.weight.t())
    else:
        hidden += linear(states)


def multiply_gated(gate: Any, up: Any, states: Tensor, buffer: Tensor | None = None) -> Tensor:
    """Return silu(gate(states)) * up(states), [R, O].

    Args:
        gate: a linear layer.
        up: another of the same size.
        states: [R, I].
        buffer: [2, R or more, O], overwritten with both products where they are plain matrices; None allocates them.
    """
    if isinstance(gate, PackedLinear) and isinstance(up, PackedLinear):
        return up.times(states, gate.silu(states))
    gate_buffer, up_buffer = (None, None) if buffer is None else buffer[:, : len(states)]
    gated = functional.silu(_multiply(gate, states, gate_buffer), inplace=True)
    gated *= _multiply(up, states, up_buffer)
    return gated


def _multiply(linear: Any, states: Tensor, into: Tensor | None) -> Tensor:
    """Return `linear(states)`, written to `into` if that is given and `linear` is only a matrix."""
    if into is None or not is_matrix(linear):
        product: Tensor = linear(states)
        return product
    return torch.mm(states, linear.weight.t(), out=into)


class PackedLinear(nn.Module):
    """A linear layer without bias whose weight exists in oneDNN's blocked layout only, in float32 or bfloat16.

    Args:
        linear: the layer whose weight is packed. It keeps its own weight until it is dropped.
    """

    packed: Tensor

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self.register_buffer("packed", onednn.pack(linear.weight.detach()), persistent=False)

    def forward(self, states: Tensor) -> Tensor:
        """Multiply [..., in] by the weight, giving [..., out]."""
        return onednn.multiply(states, self.packed)

    def silu(self, states: Tensor) -> Tensor:
        """Return SiLU of the product."""
        return onednn.multiply_silu(states, self.packed)

    def times(self, states: Tensor, factor: Tensor) -> Tensor:
        """Return the product times `factor`, element by element."""
        return onednn.multiply_times(states, self.packed, factor)

    def __deepcopy__(self, _: dict[int, Any]) -> nn.Linear:
        """Return a plain linear layer, because a packed weight can be neither copied nor cast."""
        plain = nn.Linear(self.in_features, self.out_features, bias=False, device="meta")
        plain.weight = nn.Parameter(self.packed.to_dense(), requires_grad=False)
        return plain


def pack_layers(causal_lm: Any) -> None:
    """Pack the plain matrices of all decoder layers, one after another: there is a second copy of one matrix at most.

    Layers that hold more than a matrix stay as they are.
    """
    with torch.inference_mode():
        for layer in causal_lm.model.layers:
            for parent in (layer.self_attn, layer.mlp):
                for name, child in parent.named_children():
                    if is_matrix(child):
                        setattr(parent, name, PackedLinear(child))
                    del child  # the loop would keep the plain weight during the next packing
