"""The products of a layer, plain and packed for a CPU."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional

from qwen3_rerank_plugins.engine.model.linear import PackedLinear, add_product, is_matrix, multiply_gated


def linear(inputs: int, outputs: int, seed: int = 0) -> nn.Linear:
    torch.manual_seed(seed)
    made = nn.Linear(inputs, outputs, bias=False)
    return made.requires_grad_(False)


def test_a_packed_layer_computes_what_its_module_did_for_any_leading_shape() -> None:
    plain = linear(40, 24)
    packed = PackedLinear(plain)
    for shape in ((1, 40), (7, 40), (2, 3, 40)):
        states = torch.randn(shape)
        torch.testing.assert_close(packed(states), plain(states))


def test_a_copy_of_a_packed_layer_is_a_plain_one_with_the_same_weight() -> None:
    plain = linear(40, 24)
    copied = copy.deepcopy(PackedLinear(plain)).float()
    assert is_matrix(copied)
    assert torch.equal(copied.weight, plain.weight)
    assert copied(torch.randn(2, 40)).shape == (2, 24)


def test_a_packed_layer_has_no_second_copy_of_the_weight() -> None:
    packed = PackedLinear(linear(40, 24))
    assert [*packed.parameters()] == []
    assert [tensor.numel() for tensor in packed.buffers()] == [40 * 24]


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("buffered", [False, True])
def test_the_gated_product_is_silu_times_up(packed: bool, buffered: bool) -> None:
    gate, up, states = linear(16, 24), linear(16, 24, seed=1), torch.randn(5, 16)
    expected = functional.silu(gate(states)) * up(states)
    modules = (PackedLinear(gate), PackedLinear(up)) if packed else (gate, up)
    found = multiply_gated(*modules, states, torch.empty(2, 8, 24) if buffered else None)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_product_is_added_in_place(packed: bool, dtype: torch.dtype) -> None:
    output, states = linear(16, 24), torch.randn(5, 16)
    hidden = torch.randn(5, 24, dtype=dtype)
    expected = hidden + output(states)
    add_product(PackedLinear(output) if packed else output, states, hidden)
    torch.testing.assert_close(hidden, expected)
