"""The halves of a decoder layer that take every token by itself: norms, projections and rotation; then the MLP.

Comes in: a layer that transformers loaded, hidden states. Goes out: queries, keys and values; what the layer adds.
Must not know: which tokens attend to which.

Shapes: R tokens, H query heads, G key/value heads, D head_dim.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.nn import functional

Tensors = tuple[torch.Tensor, ...]


def project(layer: Any, hidden: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> Tensors:
    """[R, hidden] float32 -> [R, H, D], [R, G, D], [R, G, D]: queries and keys normalised per head and rotated."""
    normalised = normalise(layer.input_layernorm, hidden).to(cos.dtype)
    return _queries(layer, normalised, cos, sin), *_keys_values(layer, normalised, cos, sin)


def project_queries(layer: Any, hidden: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> Tensors:
    """The first of what `project` gives."""
    return (_queries(layer, normalise(layer.input_layernorm, hidden).to(cos.dtype), cos, sin),)


def project_keys_values(layer: Any, hidden: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> Tensors:
    """The rest of what `project` gives."""
    return _keys_values(layer, normalise(layer.input_layernorm, hidden).to(cos.dtype), cos, sin)


def finish(layer: Any, hidden: torch.Tensor, attended: torch.Tensor) -> None:
    """[R, hidden] float32, [R, H, D]: adds output projection and MLP, each with its residual, to `hidden` in place."""
    hidden += layer.self_attn.o_proj(attended.flatten(1))
    normalised = normalise(layer.post_attention_layernorm, hidden).to(attended.dtype)
    gated = layer.mlp.act_fn(layer.mlp.gate_proj(normalised))
    gated *= layer.mlp.up_proj(normalised)
    hidden += layer.mlp.down_proj(gated)


def normalise(norm: Any, states: torch.Tensor) -> torch.Tensor:
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
        return _rotate(normalise(norm, heads), cos, sin)
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
