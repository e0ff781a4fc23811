"""The parts of a decoder layer that process each token by itself: norms, projections and rotation, and the MLP.

They use the modules of a layer that transformers loaded. Attention is separate, so that only these parts are compiled.

Shapes: R tokens, H query heads, G key/value heads, D head_dim.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from qwen3_rerank_plugins.engine.model.linear import add_product, multiply_gated

Tensors = tuple[Tensor, ...]


def project_qkv(layer: Any, hidden: Tensor, cos: Tensor, sin: Tensor) -> Tensors:
    """Return queries [R, H, D], keys [R, G, D] and values [R, G, D] of [R, hidden] float32.

    Queries and keys are normalized per head and rotated.
    """
    normalized = rms_norm(layer.input_layernorm, hidden).to(cos.dtype)
    return _queries(layer, normalized, cos, sin), *_keys_values(layer, normalized, cos, sin)


def project_q(layer: Any, hidden: Tensor, cos: Tensor, sin: Tensor) -> Tensors:
    """Return the queries of `project_qkv` only."""
    return (_queries(layer, rms_norm(layer.input_layernorm, hidden).to(cos.dtype), cos, sin),)


def project_kv(layer: Any, hidden: Tensor, cos: Tensor, sin: Tensor) -> Tensors:
    """Return the keys and values of `project_qkv` only."""
    return _keys_values(layer, rms_norm(layer.input_layernorm, hidden).to(cos.dtype), cos, sin)


def add_attention_and_mlp(layer: Any, hidden: Tensor, attended: Tensor, mlp_buffer: Tensor | None = None) -> None:
    """Add the output projection and the MLP to the residual stream in place.

    Args:
        layer: a decoder layer of transformers.
        hidden: the residual stream, [R, hidden] float32.
        attended: the output of attention, [R, H, D].
        mlp_buffer: [2, R or more, intermediate] in the dtype of `attended`; overwritten with the two widest tensors.
            Without it, a CPU maps and clears their memory for every call if the C library has returned it in between.
    """
    add_product(layer.self_attn.o_proj, attended.flatten(1), hidden)
    normalized = rms_norm(layer.post_attention_layernorm, hidden).to(attended.dtype)
    gated = multiply_gated(layer.mlp.gate_proj, layer.mlp.up_proj, normalized, mlp_buffer)
    add_product(layer.mlp.down_proj, gated, hidden)


def rms_norm(norm: Any, states: Tensor) -> Tensor:
    """Return the root-mean-square norm over the last dimension, in fewer kernels than the module's forward.

    On a GPU, torch has one kernel for it. On a CPU, torch runs six with two copies of the states in between, which
    takes twice as long as this function, and ten times as long where their memory is mapped anew each time.
    """
    if states.device.type != "cpu":
        return functional.rms_norm(states, states.shape[-1:], norm.weight.to(states.dtype), norm.variance_epsilon)
    return (states * _inverse_root_mean_square(norm, states)).mul_(norm.weight)


def _queries(layer: Any, normalized: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    attention = layer.self_attn
    query = attention.q_proj(normalized).unflatten(-1, (-1, attention.head_dim))
    return _normalize_and_rotate(attention.q_norm, query, cos, sin)


def _keys_values(layer: Any, normalized: Tensor, cos: Tensor, sin: Tensor) -> Tensors:
    attention = layer.self_attn
    key = attention.k_proj(normalized).unflatten(-1, (-1, attention.head_dim))
    value = attention.v_proj(normalized).unflatten(-1, (-1, attention.head_dim))
    return _normalize_and_rotate(attention.k_norm, key, cos, sin), value


def _normalize_and_rotate(norm: Any, heads: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Apply the norm per head and rotary position embedding: [R, heads, D], [R, 1, D], [R, 1, D] to [R, heads, D]."""
    if heads.device.type != "cpu":
        return _rotate(rms_norm(norm, heads), cos, sin)
    # The norm's weights are multiplied into the rotation, which all heads of a token share, and its divisor is applied
    # last. Both are factors, so the heads are read and written three times less. All is float32 and rounded once.
    states, weight = heads.float(), norm.weight.float()
    rotated = _rotate(states, cos * weight, sin * weight.roll(len(weight) // 2))
    return rotated.mul_(_inverse_root_mean_square(norm, states)).to(heads.dtype)


def _rotate(heads: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Apply rotary position embedding in the half-split convention: pairs are (i, i + D/2)."""
    half = heads.shape[-1] // 2
    rotated = heads * cos
    rotated[..., :half].addcmul_(heads[..., half:], sin[..., :half], value=-1)
    rotated[..., half:].addcmul_(heads[..., :half], sin[..., half:])
    return rotated


def _inverse_root_mean_square(norm: Any, states: Tensor) -> Tensor:
    """Return 1 / sqrt(mean of squares + epsilon) over the last dimension, [..., 1]."""
    length: Tensor = torch.linalg.vector_norm(states, dim=-1, keepdim=True)
    return length.square_().div_(states.shape[-1]).add_(norm.variance_epsilon).rsqrt_()
