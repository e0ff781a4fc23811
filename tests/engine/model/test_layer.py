"""The token-wise halves of a layer against the modules that transformers made of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers.models.qwen3.modeling_qwen3 import apply_rotary_pos_emb

from qwen3_rerank_plugins.engine.model import layer as layer_module
from tests.checkpoints import load_reference

ROWS = 9
EXACT = {torch.float32: 1e-5, torch.bfloat16: 3e-2, torch.float16: 3e-3}
dtypes = pytest.mark.parametrize("dtype", EXACT)


@pytest.fixture
def folder(checkpoint: Callable[[str], Path]) -> Path:
    return checkpoint("grouped")


def states(size: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return 3 * torch.randn(ROWS, size, generator=torch.Generator().manual_seed(3), dtype=dtype)


def layer_and_rotation(folder: Path, dtype: torch.dtype) -> tuple[Any, torch.Tensor, torch.Tensor, torch.Tensor]:
    """The second layer, its norms no longer all ones, hidden states, and the rotation of nine late positions."""
    backbone = load_reference(folder, dtype).model
    layer = backbone.layers[1]
    dice = torch.Generator().manual_seed(5)
    for norm in (
        layer.input_layernorm,
        layer.post_attention_layernorm,
        layer.self_attn.q_norm,
        layer.self_attn.k_norm,
    ):
        norm.weight.data.uniform_(0.2, 4.0, generator=dice)
    hidden = states(backbone.config.hidden_size)
    cos, sin = backbone.rotary_emb(hidden[None].to(dtype), torch.arange(500, 500 + ROWS)[None])
    return layer, hidden, cos[0, :, None], sin[0, :, None]


@dtypes
@torch.no_grad()
def test_projected_heads_are_those_of_the_modules(folder: Path, dtype: torch.dtype) -> None:
    layer, hidden, cos, sin = layer_and_rotation(folder, dtype)
    attention = layer.self_attn
    normalized = layer.input_layernorm(hidden).to(dtype)
    query, key, value = (
        one(normalized).view(1, ROWS, -1, attention.head_dim)
        for one in (attention.q_proj, attention.k_proj, attention.v_proj)
    )
    query, key = apply_rotary_pos_emb(
        attention.q_norm(query), attention.k_norm(key), cos[:, 0][None], sin[:, 0][None], unsqueeze_dim=2
    )
    found = layer_module.project_qkv(layer, hidden, cos, sin)
    for mine, theirs in zip(found, (query, key, value), strict=True):
        assert mine.dtype == dtype
        torch.testing.assert_close(mine, theirs[0], atol=EXACT[dtype], rtol=EXACT[dtype])


def attended_heads(layer: Any, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return states(layer.self_attn.o_proj.in_features, dtype).unflatten(1, (-1, layer.self_attn.head_dim))


def buffer_for(layer: Any, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    """Memory with two rows too many, and nothing in it that could pass for a number."""
    return torch.full((2, ROWS + 2, layer.mlp.gate_proj.out_features), torch.nan, dtype=dtype)


def finish_by_modules(layer: Any, hidden: torch.Tensor, attended: torch.Tensor) -> torch.Tensor:
    """The slow twin: what a layer of transformers does after attention."""
    hidden = hidden + layer.self_attn.o_proj(attended.flatten(1))
    return hidden + layer.mlp(layer.post_attention_layernorm(hidden).to(attended.dtype))


@pytest.mark.parametrize("buffered", [False, True])
@dtypes
@torch.no_grad()
def test_the_rest_of_a_layer_is_that_of_the_modules(folder: Path, dtype: torch.dtype, buffered: bool) -> None:
    layer, hidden, *_ = layer_and_rotation(folder, dtype)
    attended = attended_heads(layer, dtype)
    expected = finish_by_modules(layer, hidden, attended)
    layer_module.add_attention_and_mlp(layer, hidden, attended, buffer_for(layer, dtype) if buffered else None)
    assert hidden.dtype == torch.float32
    torch.testing.assert_close(hidden, expected, atol=10 * EXACT[dtype], rtol=EXACT[dtype])


@dtypes
@torch.no_grad()
def test_given_memory_is_written_as_far_as_there_are_rows_and_changes_nothing(folder: Path, dtype: torch.dtype) -> None:
    layer, hidden, *_ = layer_and_rotation(folder, dtype)
    attended, mlp_buffer, without = attended_heads(layer, dtype), buffer_for(layer, dtype), hidden.clone()
    layer_module.add_attention_and_mlp(layer, hidden, attended, mlp_buffer)
    layer_module.add_attention_and_mlp(layer, without, attended)
    assert torch.equal(hidden, without)
    assert mlp_buffer[:, :ROWS].isfinite().all()
    assert mlp_buffer[:, ROWS:].isnan().all()


class Tripled(torch.nn.Linear):
    """A module that is more than its weight, as quantized ones are."""

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        return 3 * super().forward(states)


def tripled(linear: torch.nn.Linear) -> torch.nn.Linear:
    linear.__class__ = Tripled
    return linear


def biased(linear: torch.nn.Linear) -> torch.nn.Linear:
    linear.bias = torch.nn.Parameter(states(linear.out_features)[0])
    return linear


@pytest.mark.parametrize("change", [tripled, biased])
@pytest.mark.parametrize("name", ["o_proj", "gate_proj", "up_proj", "down_proj"])
@torch.no_grad()
def test_a_projection_that_is_more_than_a_matrix_is_asked_itself(
    folder: Path, name: str, change: Callable[[torch.nn.Linear], torch.nn.Linear]
) -> None:
    layer, hidden, *_ = layer_and_rotation(folder, torch.float32)
    module = layer.self_attn if name == "o_proj" else layer.mlp
    setattr(module, name, change(getattr(module, name)))
    attended = attended_heads(layer)
    expected = finish_by_modules(layer, hidden, attended)
    layer_module.add_attention_and_mlp(layer, hidden, attended, buffer_for(layer))
    torch.testing.assert_close(hidden, expected, atol=1e-3, rtol=1e-5)


@torch.no_grad()
def test_queries_alone_and_keys_and_values_alone_are_the_same_as_together(folder: Path) -> None:
    layer, hidden, cos, sin = layer_and_rotation(folder, torch.float32)
    apart = (
        *layer_module.project_q(layer, hidden, cos, sin),
        *layer_module.project_kv(layer, hidden, cos, sin),
    )
    for one, other in zip(apart, layer_module.project_qkv(layer, hidden, cos, sin), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("size", [1e-12, 1.0, 1e12])
@torch.no_grad()
def test_the_norm_is_the_modules_own_for_tiny_and_for_huge_states(folder: Path, size: float) -> None:
    layer, hidden, *_ = layer_and_rotation(folder, torch.float32)
    norm = layer.input_layernorm
    torch.testing.assert_close(layer_module.rms_norm(norm, size * hidden), norm(size * hidden), rtol=1e-5, atol=1e-9)


@torch.no_grad()
def test_heads_in_float16_may_be_as_large_as_float16_allows(folder: Path) -> None:
    layer, _, cos, sin = layer_and_rotation(folder, torch.float16)
    attention = layer.self_attn
    heads = states(4 * attention.head_dim, torch.float16).unflatten(1, (4, -1)) * 5_000
    rotated = layer_module._normalize_and_rotate(attention.q_norm, heads, cos, sin)
    assert rotated.isfinite().all()
