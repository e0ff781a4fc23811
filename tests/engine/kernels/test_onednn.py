"""oneDNN's products against torch's, and what is said where they cannot run."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from qwen3_rerank_plugins.engine.kernels import onednn

CPU = torch.device("cpu")
NO_OVERFLOW = 60
"""Codes up to this add up exactly on any processor; larger ones overflow where there is no VNNI."""


def random(*sizes: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*sizes, generator=torch.Generator().manual_seed(seed))


def test_the_installed_torch_has_the_private_operators() -> None:
    assert onednn.obstacle(CPU, torch.float32) is None
    overloads = torch.ops.mkldnn._linear_pointwise.overloads()
    assert {"default", "binary"} <= set(overloads)
    assert "tensor" in torch.ops.onednn.qlinear_pointwise.overloads()


@pytest.mark.parametrize(("rows", "inputs", "outputs"), [(1, 8, 16), (7, 40, 24), (33, 128, 96), (130, 64, 200)])
def test_products_over_packed_weights_are_those_over_plain_ones(rows: int, inputs: int, outputs: int) -> None:
    states, weight, factor = random(rows, inputs), random(outputs, inputs, seed=1), random(rows, outputs, seed=2)
    packed, product = onednn.pack(weight), functional.linear(states, weight)
    assert torch.equal(packed.to_dense(), weight)
    torch.testing.assert_close(onednn.multiply(states, packed), product, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(onednn.multiply_silu(states, packed), functional.silu(product), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(onednn.multiply_times(states, packed, factor), product * factor, atol=1e-4, rtol=1e-4)


def test_a_product_of_a_token_does_not_depend_on_the_other_tokens() -> None:
    states, packed = random(64, 48), onednn.pack(random(32, 48, seed=1))
    torch.testing.assert_close(onednn.multiply(states[5:6], packed)[0], onednn.multiply(states, packed)[5])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_products_of_bytes_add_up_exactly(dtype: torch.dtype) -> None:
    states = random(9, 64).to(dtype)
    codes = torch.randint(-NO_OVERFLOW, NO_OVERFLOW + 1, (24, 64), generator=torch.Generator().manual_seed(1))
    scales = random(24, seed=2).abs() + 0.1
    found = onednn.multiply_int8(states, onednn.pack_int8(codes.to(torch.int8)), scales)
    step = states.float().abs().amax(dim=1, keepdim=True) / 127
    expected = (states.float() / step).round().double() @ codes.double().t() * scales * step
    assert found.dtype == dtype
    rounding = 1e-5 if dtype == torch.float32 else 2**-8
    torch.testing.assert_close(found.double(), expected, atol=1e-4, rtol=rounding)


def test_a_token_of_zeros_is_multiplied_to_zeros_in_bytes() -> None:
    packed = onednn.pack_int8(torch.ones(4, 16, dtype=torch.int8))
    assert torch.equal(onednn.multiply_int8(torch.zeros(2, 16), packed, torch.ones(4)), torch.zeros(2, 4))


@pytest.mark.parametrize(
    ("device", "dtype", "reason"),
    [
        ("cuda", torch.float32, "oneDNN is for CPUs, this is cuda"),
        ("cpu", torch.float16, "need float32 or bfloat16, this is float16"),
    ],
)
def test_what_onednn_cannot_do_is_said(device: str, dtype: torch.dtype, reason: str) -> None:
    assert reason in str(onednn.obstacle(torch.device(device), dtype))


def test_a_torch_without_onednn_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    assert "built without oneDNN" in str(onednn.obstacle(CPU, torch.float32))


def test_a_torch_without_the_private_operators_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.ops, "mkldnn", object())
    assert "no operators of oneDNN" in str(onednn.obstacle(CPU, torch.float32))
