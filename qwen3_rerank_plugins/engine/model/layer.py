"""The halves of a decoder layer that take every token by itself: norms, projections and rotation; then the MLP.

Comes in: a layer that transformers loaded, hidden states. Goes out: queries, keys and values; what the layer adds.
Must not know: which tokens attend to which.

Shapes: R tokens, H query heads, G key/value heads, D head_dim.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn import functional

Tensors = tuple[torch.Tensor, ...]


def project_qkv(layer: Any, hidden: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> Tensors:
    """[R, hidden] float32 -> [R, H, D], [R, G, D], [R, G, D]: queries and keys normalised per head and rotated."""
    normalised = rms_norm(layer.input_layernorm, hidden).to(cos.dtype)
    return _queries(layer, normalised, cos, sin), *_keys_values(layer, normalised, cos, sin)


def project_q(layer: Any, hidden: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> Tensors:
    """The first of what `project` gives."""
    return (_queries(layer, rms_norm(layer.input_layernorm, hidden).to(cos.dtype), cos, sin),)


def project_kv(layer: Any, hidden: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> Tensors:
    """The rest of what `project` gives."""
    return _keys_values(layer, rms_norm(layer.input_layernorm, hidden).to(cos.dtype), cos, sin)


def add_attention_and_mlp(
    layer: Any, hidden: torch.Tensor, attended: torch.Tensor, wide: torch.Tensor | None = None
) -> None:
    """[R, hidden] float32, [R, H, D]: adds output projection and MLP, each with its residual, to `hidden` in place.

    Args:
        layer: of transformers.
        hidden: the residual stream.
        attended: what attention found.
        wide: [2, R or more, intermediate] in the dtype of `attended`, overwritten: memory for the two widest tensors.
            Otherwise a CPU maps and clears it anew for every call, wherever the C library gave it back in between.
    """
    gate_room, up_room = (None, None) if wide is None else wide[:, : len(hidden)]
    _add_product(layer.self_attn.o_proj, attended.flatten(1), hidden)
    normalised = rms_norm(layer.post_attention_layernorm, hidden).to(attended.dtype)
    gated = functional.silu(_multiply(layer.mlp.gate_proj, normalised, gate_room), inplace=True)
    gated *= _multiply(layer.mlp.up_proj, normalised, up_room)
    _add_product(layer.mlp.down_proj, gated, hidden)


def rms_norm(norm: Any, states: torch.Tensor) -> torch.Tensor:
    """Root-mean-square norm over the last dimension, in fewer kernels than the module's own forward.

    torch has one kernel for it on a GPU. On a CPU it has a chain of six with two copies of the states in between, which
    takes twice as long as what stands here, and ten times where their memory is mapped anew each time.
    """
    if states.device.type != "cpu":
        return functional.rms_norm(states, states.shape[-1:], norm.weight.to(states.dtype), norm.variance_epsilon)
    return (states * _inverse_root_mean_square(norm, states)).mul_(norm.weight)


def _queries(layer: Any, normalised: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    attention = layer.self_attn
    query = attention.q_proj(normalised).unflatten(-1, (-1, attention.head_dim))
    return _normalise_and_rotate(attention.q_norm, query, cos, sin)


def _keys_values(layer: Any, normalised: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> Tensors:
    attention = layer.self_attn
    key = attention.k_proj(normalised).unflatten(-1, (-1, attention.head_dim))
    value = attention.v_proj(normalised).unflatten(-1, (-1, attention.head_dim))
    return _normalise_and_rotate(attention.k_norm, key, cos, sin), value


def _normalise_and_rotate(norm: Any, heads: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """[R, heads, D], [R, 1, D], [R, 1, D] -> [R, heads, D]: norm per head, then rotary position embedding."""
    if heads.device.type != "cpu":
        return _rotate(rms_norm(norm, heads), cos, sin)
    # The norm's weights go into the rotation, which all heads of a token share, and its divisor comes last: both are
    # factors, and so the wide tensor is passed over three times less. In float32 throughout, rounded once.
    wide, weight = heads.float(), norm.weight.float()
    rotated = _rotate(wide, cos * weight, sin * weight.roll(len(weight) // 2))
    return rotated.mul_(_inverse_root_mean_square(norm, wide)).to(heads.dtype)


def _rotate(heads: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """Rotary position embedding in the half-split convention: pairs are (i, i + D/2)."""
    half = heads.shape[-1] // 2
    rotated = heads * cos
    rotated[..., :half].addcmul_(heads[..., half:], sin[..., :half], value=-1)
    rotated[..., half:].addcmul_(heads[..., :half], sin[..., half:])
    return rotated


def _inverse_root_mean_square(norm: Any, states: torch.Tensor) -> torch.Tensor:
    """[..., D] -> [..., 1]: 1 / sqrt(mean of squares + epsilon)."""
    length: torch.Tensor = torch.linalg.vector_norm(states, dim=-1, keepdim=True)
    return length.square_().div_(states.shape[-1]).add_(norm.variance_epsilon).rsqrt_()


def _multiply(linear: Any, states: torch.Tensor, into: torch.Tensor | None) -> torch.Tensor:
    """What `linear` makes of the states; in `into`, if there is any and it is a matrix and nothing else."""
    if into is None or not _is_matrix(linear):
        product: torch.Tensor = linear(states)
        return product
    return torch.mm(states, linear.weight.t(), out=into)


def _add_product(linear: Any, states: torch.Tensor, hidden: torch.Tensor) -> None:
    """Adds what `linear` makes of the states to `hidden`; in one kernel where that rounds nothing."""
    if states.dtype == hidden.dtype and _is_matrix(linear):
        hidden.addmm_(states, linear.weight.t())
    else:
        hidden += linear(states)


def _is_matrix(linear: Any) -> bool:
    """Whether its weight is all there is to it: no bias, and not quantised, be it by its module or by its tensor."""
    if type(linear) is not nn.Linear:
        return False
    bias: torch.Tensor | None = linear.bias
    return bias is None and type(linear.weight) is nn.Parameter
