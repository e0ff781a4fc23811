"""The operations in torch against their formulas in float64, and the choice of kernels."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from typing import Any, Literal

import pytest
import torch

from qwen3_rerank_plugins.engine.kernels.layer_kernels import KernelChoice, TorchKernels, choose_kernels
from qwen3_rerank_plugins.errors import SettingsError
from tests.fake_cuda import FakeCuda

CPU, CUDA = torch.device("cpu"), torch.device("cuda", 0)
EXACT = {torch.float32: 1e-5, torch.bfloat16: 2**-8, torch.float16: 2**-11}
"""Relative error of one rounding, apart from float32."""
EPSILON = 1e-6
dtypes = pytest.mark.parametrize("dtype", EXACT)


def random(*shape: int, dtype: torch.dtype = torch.float32, seed: int = 1) -> torch.Tensor:
    return (2 * torch.randn(*shape, generator=torch.Generator().manual_seed(seed))).to(dtype)


def norm_by_formula(states: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    return states / (states.pow(2).mean(-1, keepdim=True) + EPSILON).sqrt() * weight.double()


def assert_rounded_once(found: torch.Tensor, expected: torch.Tensor) -> None:
    torch.testing.assert_close(found.double(), expected, rtol=1.001 * EXACT[found.dtype], atol=1e-5)


@dtypes
@pytest.mark.parametrize("adds", [True, False])
def test_the_residual_stream_is_added_to_and_normalized(dtype: torch.dtype, adds: bool) -> None:
    hidden, weight = random(5, 96), random(96, dtype=dtype, seed=2)
    delta = random(5, 96, dtype=dtype, seed=3) if adds else None
    expected = hidden.double() + (0 if delta is None else delta.double())
    found = TorchKernels().add_and_normalize(hidden, delta, weight, EPSILON, dtype)
    assert_rounded_once(hidden, expected)
    assert found.dtype == dtype
    assert_rounded_once(found, norm_by_formula(expected, weight))


@dtypes
@pytest.mark.parametrize("flat", [True, False])
def test_heads_are_normalized_and_their_pairs_turned_as_complex_numbers(dtype: torch.dtype, flat: bool) -> None:
    query, key = random(5, 4, 16, dtype=dtype), random(5, 2, 16, dtype=dtype, seed=2)
    weights = random(2, 16, dtype=dtype, seed=3)
    angles = random(5, 1, 8, seed=4)
    cos, sin = (torch.cat((part, part), dim=-1).to(dtype) for part in (angles.cos(), angles.sin()))
    turn = torch.complex(cos.double(), sin.double())[..., :8]
    expected = []
    for heads, weight in zip((query, key), weights, strict=True):
        normalized = norm_by_formula(heads.double(), weight)
        turned = torch.complex(normalized[..., :8], normalized[..., 8:]) * turn
        expected.append(torch.cat((turned.real, turned.imag), dim=-1))
    if flat:
        cos, sin = cos[:, 0], sin[:, 0]
    TorchKernels().normalize_and_rotate(query, key, *weights, EPSILON, cos, sin)
    for found, one in zip((query, key), expected, strict=True):
        assert_rounded_once(found, one)


@dtypes
def test_the_gate_is_silu_times_up_in_place(dtype: torch.dtype) -> None:
    gate, up = random(5, 200, dtype=dtype).chunk(2, dim=1)
    expected = gate.double() / (1 + (-gate.double()).exp()) * up.double()
    assert TorchKernels().gate(gate, up) is gate
    assert_rounded_once(gate, expected)


def test_rows_are_gathered_into_new_memory() -> None:
    key, value = random(2, 7, 2, 4)
    keys, values = TorchKernels().gather(key, value, torch.tensor([6, 0, 6]))
    assert torch.equal(keys, torch.stack((key[6], key[0], key[6])))
    assert torch.equal(values, torch.stack((value[6], value[0], value[6])))


def choose(asked: Any, device: torch.device = CUDA, dtype: torch.dtype = torch.bfloat16, **others: Any) -> KernelChoice:
    return choose_kernels(asked, device, dtype, **{"compile": False, **others})


@pytest.mark.parametrize("asked", ["auto", "triton"])
@pytest.mark.parametrize(
    ("capability", "dtype"), [((9, 0), torch.bfloat16), ((7, 0), torch.float16), ((7, 5), torch.float32)]
)
def test_triton_runs_on_a_gpu_that_computes_in_the_dtype(
    monkeypatch: pytest.MonkeyPatch, asked: str, capability: tuple[int, int], dtype: torch.dtype
) -> None:
    FakeCuda(capability=capability).install(monkeypatch)
    choice = choose(asked, dtype=dtype)
    assert (choice.name, type(choice.kernels).__name__) == ("triton", "TritonKernels")


@pytest.mark.parametrize(
    ("capability", "device", "others", "reason"),
    [
        ((7, 5), CUDA, {}, "compute capability 8.0 for bfloat16, this device has 7.5"),
        ((6, 1), CUDA, {"dtype": torch.float16}, "compute capability 7.0 for float16, this device has 6.1"),
        ((9, 0), CUDA, {"dtype": torch.float64}, "this is float64"),
        ((9, 0), torch.device("mps"), {}, "needs a CUDA device, this is mps"),
        ((9, 0), CUDA, {"compile": True}, "torch.compile fuses these operations itself"),
    ],
    ids=str,
)
def test_where_triton_cannot_run_auto_is_torch_and_triton_is_an_error(
    monkeypatch: pytest.MonkeyPatch,
    capability: tuple[int, int],
    device: torch.device,
    others: dict[str, Any],
    reason: str,
) -> None:
    FakeCuda(capability=capability).install(monkeypatch)
    choice = choose("auto", device, **others)
    assert (choice.name, choice.kernels) == ("torch", None)
    assert reason in choice.reason
    with pytest.raises(SettingsError, match=r"kernels='triton' cannot run here: .*Use kernels='auto'") as caught:
        choose("triton", device, **others)
    assert reason in str(caught.value)


def test_without_the_package_auto_is_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    FakeCuda().install(monkeypatch)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert choose("auto") == KernelChoice("torch", "the package triton is not installed", None)


def test_a_damaged_triton_is_a_reason_for_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    FakeCuda().install(monkeypatch)
    monkeypatch.setitem(sys.modules, "qwen3_rerank_plugins.engine.kernels.triton_kernels", None)
    assert choose("auto").reason.startswith("importing triton fails with ModuleNotFoundError")


def test_torch_is_what_was_asked_for_on_any_device() -> None:
    assert choose("torch") == KernelChoice("torch", "asked for", None)


@pytest.mark.parametrize(("asked", "interpreted"), [("auto", "1"), ("triton", "0")])
def test_a_cpu_runs_triton_only_by_name_and_with_the_interpreter(
    monkeypatch: pytest.MonkeyPatch, asked: Literal["auto", "triton"], interpreted: str
) -> None:
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    assert choose("triton", CPU).name == "triton"
    monkeypatch.setenv("TRITON_INTERPRET", interpreted)
    if asked == "auto":
        assert choose(asked, CPU).reason == "Triton needs a CUDA device, this is cpu"
    else:
        with pytest.raises(SettingsError, match="this is cpu"):
            choose(asked, CPU)


def test_triton_is_not_imported_where_it_is_not_chosen() -> None:
    program = """
import sys, torch
from qwen3_rerank_plugins.engine.kernels.layer_kernels import choose_kernels
choose_kernels("auto", torch.device("cpu"), torch.float32, compile=False)
choose_kernels("torch", torch.device("cpu"), torch.float32, compile=False)
assert "qwen3_rerank_plugins.engine.kernels.triton_kernels" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", program], check=True)
