"""Each Triton kernel against its twin in torch: interpreted on a CPU, compiled on a GPU."""

from __future__ import annotations

import platform
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from tests.optional import need

if (platform.system(), platform.machine()) != ("Linux", "x86_64"):
    pytest.skip("the development environment has Triton on Linux with x86-64 only", allow_module_level=True)
need("triton")

from qwen3_rerank_plugins.engine.kernels.layer_kernels import LayerKernels, TorchKernels  # noqa: E402
from qwen3_rerank_plugins.engine.kernels.triton_kernels import GATE_BLOCK, TritonKernels  # noqa: E402

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
ULP = {torch.float32: 2e-6, torch.bfloat16: 2**-7, torch.float16: 2**-10}
"""Relative difference that is allowed: one unit in the last place, since the interpreter truncates to bfloat16."""
EPSILON = 1e-6
dtypes = pytest.mark.parametrize("dtype", ULP)
rows = pytest.mark.parametrize("rows", [1, 3])
TWINS: tuple[LayerKernels, LayerKernels] = TritonKernels(), TorchKernels()


def random(*shape: int, dtype: torch.dtype = torch.float32, seed: int = 1) -> torch.Tensor:
    return (2 * torch.randn(*shape, generator=torch.Generator().manual_seed(seed))).to(DEVICE, dtype)


def assert_alike(found: torch.Tensor, expected: torch.Tensor) -> None:
    assert found.dtype == expected.dtype
    torch.testing.assert_close(found.float(), expected.float(), rtol=ULP[found.dtype], atol=4e-6)


def add_and_normalize(kernels: LayerKernels, rows: int, size: int, dtype: torch.dtype, adds: bool) -> Any:
    hidden, wide = random(rows, size), random(rows, size + 24, dtype=dtype, seed=2)
    delta = wide[:, 8 : size + 8] if adds else None
    return hidden, kernels.add_and_normalize(hidden, delta, random(size, dtype=dtype, seed=3), EPSILON, dtype)


@dtypes
@rows
@pytest.mark.parametrize("adds", [True, False])
@pytest.mark.parametrize("size", [1, 96, 1000, 1024, 4096])
def test_the_residual_stream_is_added_to_and_normalized(dtype: torch.dtype, rows: int, size: int, adds: bool) -> None:
    (hidden, found), (sums, expected) = (add_and_normalize(one, rows, size, dtype, adds) for one in TWINS)
    assert torch.equal(hidden, sums)
    assert found.is_contiguous()
    assert_alike(found, expected)


def rotate(
    kernels: LayerKernels, rows: int, heads: tuple[int, int], size: int, dtype: torch.dtype, parts: str = "query key"
) -> torch.Tensor:
    """The whole fused product after its queries, its keys or both were rotated."""
    queries, keys = heads
    product = random(rows, (queries + 2 * keys) * size, dtype=dtype)
    states = product.unflatten(1, (-1, size))
    weights, rotation = random(2, size, dtype=dtype, seed=2), random(2, rows, 1, size, dtype=dtype, seed=3)
    query = states[:, :queries] if "query" in parts else None
    key = states[:, queries : queries + keys] if "key" in parts else None
    kernels.normalize_and_rotate(query, key, *weights, EPSILON, *rotation)
    return product


@dtypes
@rows
@pytest.mark.parametrize("heads", [(4, 2), (5, 3), (16, 8)], ids=str)
@pytest.mark.parametrize("size", [64, 128, 24])
def test_heads_are_rotated_within_a_fused_product_whose_values_stay(
    dtype: torch.dtype, rows: int, heads: tuple[int, int], size: int
) -> None:
    found, expected = (rotate(one, rows, heads, size, dtype) for one in TWINS)
    assert_alike(found, expected)
    values = sum(heads) * size
    assert torch.equal(found[:, values:], random(*found.shape, dtype=dtype)[:, values:])


@dtypes
@pytest.mark.parametrize("parts", ["query", "key", ""])
def test_queries_or_keys_alone_leave_the_rest_of_the_product(dtype: torch.dtype, parts: str) -> None:
    found, expected = (rotate(one, 3, (4, 2), 64, dtype, parts) for one in TWINS)
    assert_alike(found, expected)
    before = random(*found.shape, dtype=dtype)
    begin, end = {"query": (0, 256), "key": (256, 384), "": (0, 0)}[parts]
    assert torch.equal(found[:, :begin], before[:, :begin])
    assert torch.equal(found[:, end:], before[:, end:])
    assert not parts or not torch.equal(found, before)


def test_a_flat_rotation_is_the_same_as_one_with_a_dimension_for_heads() -> None:
    states, (cos, sin), weights = random(3, 2, 64), random(2, 3, 64, seed=2), random(2, 64, seed=3)
    other = states.clone()
    TWINS[0].normalize_and_rotate(states, None, *weights, EPSILON, cos, sin)
    TWINS[0].normalize_and_rotate(other, None, *weights, EPSILON, cos[:, None], sin[:, None])
    assert torch.equal(states, other)


def gate(kernels: LayerKernels, rows: int, size: int, dtype: torch.dtype) -> torch.Tensor:
    """The fused product after its first half was overwritten, between columns that belong to others."""
    product = 10 * random(rows, 2 * size + 16, dtype=dtype)
    first = product[:, 8 : size + 8]
    assert kernels.gate(first, product[:, size + 8 : 2 * size + 8]) is first
    return product


@dtypes
@rows
@pytest.mark.parametrize("size", [1, 96, 1000, GATE_BLOCK, GATE_BLOCK + 8, 3 * GATE_BLOCK - 1])
def test_the_gate_is_overwritten_and_nothing_beside_it(dtype: torch.dtype, rows: int, size: int) -> None:
    found, expected = (gate(one, rows, size, dtype) for one in TWINS)
    assert_alike(found, expected)
    before = 10 * random(*found.shape, dtype=dtype)
    assert torch.equal(found[:, :8], before[:, :8])
    assert torch.equal(found[:, size + 8 :], before[:, size + 8 :])


@pytest.mark.parametrize("value", [-1e4, -89.0, 0.0, 89.0, 1e4])
def test_an_extreme_gate_is_neither_infinite_nor_nan(value: float) -> None:
    found, expected = (
        one.gate(torch.full((1, 4), value, device=DEVICE), torch.ones(1, 4, device=DEVICE)) for one in TWINS
    )
    assert_alike(found, expected)


@dtypes
@pytest.mark.parametrize("kind", [torch.int32, torch.int64])
@pytest.mark.parametrize("chosen", [[4], [0, 4, 4, 1, 2, 0, 3]], ids=len)
@pytest.mark.parametrize("shape", [(8, 128), (3, 24), (1, 64)], ids=str)
def test_rows_of_keys_and_values_are_gathered_exactly(
    dtype: torch.dtype, kind: torch.dtype, chosen: list[int], shape: tuple[int, int]
) -> None:
    heads, size = shape
    states = random(5, (4 + 2 * heads) * size, dtype=dtype).unflatten(1, (-1, size))
    key, value = states[:, 4 : 4 + heads], states[:, 4 + heads :]
    indices = torch.tensor(chosen, dtype=kind, device=DEVICE)
    for found, source in zip(TWINS[0].gather(key, value, indices), (key, value), strict=True):
        assert found.is_contiguous()
        assert torch.equal(found, source[indices.long()])


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 4), st.integers(1, 300), st.tuples(st.integers(1, 9), st.integers(1, 5)), st.integers(1, 40))
def test_any_sizes_give_what_the_twins_give(rows: int, size: int, heads: tuple[int, int], half: int) -> None:
    dtype = torch.float32
    for found, expected in zip(*(add_and_normalize(one, rows, size, dtype, True) for one in TWINS), strict=True):
        assert_alike(found, expected)
    for operation, sizes in ((gate, (size,)), (rotate, (heads, 2 * half))):
        found, expected = (operation(one, rows, *sizes, dtype) for one in TWINS)  # type: ignore[operator]
        assert_alike(found, expected)


def test_a_row_does_not_depend_on_the_rows_beside_it() -> None:
    hidden, weight = random(5, 1000), random(1000, seed=2)
    together = TWINS[0].add_and_normalize(hidden, None, weight, EPSILON, torch.float32)
    alone = TWINS[0].add_and_normalize(hidden[3:4], None, weight, EPSILON, torch.float32)
    assert torch.equal(together[3:4], alone)
    states, rotation, weights = random(5, 6, 64), random(2, 5, 1, 64, seed=2), random(2, 64, seed=3)
    one = states[3:4].clone()
    TWINS[0].normalize_and_rotate(states[:, :4], states[:, 4:], *weights, EPSILON, *rotation)
    TWINS[0].normalize_and_rotate(one[:, :4], one[:, 4:], *weights, EPSILON, *rotation[:, 3:4])
    assert torch.equal(states[3:4], one)


def calls(kernels: LayerKernels, device: torch.device, rows: int) -> list[Callable[[], Any]]:
    """Each operation once, of a layer with four query heads, two key/value heads, and 96 columns."""
    half = torch.bfloat16
    product = torch.zeros(rows, 8, 64, dtype=half, device=device)
    query, key, value = product.split((4, 2, 2), dim=1)  # brackets on fake tensors need a torch with CUDA
    hidden, wide = torch.zeros(rows, 96, device=device), torch.zeros(rows, 192, dtype=half, device=device)
    first, second = wide.split(96, dim=1)
    weight, head_weight = (torch.ones(size, dtype=half, device=device) for size in (96, 64))
    rotation = torch.ones(rows, 1, 64, dtype=half, device=device)
    indices = torch.zeros(2 * rows, dtype=torch.int32, device=device)
    return [
        lambda: kernels.add_and_normalize(hidden, first, weight, EPSILON, half),
        lambda: kernels.normalize_and_rotate(query, key, head_weight, head_weight, EPSILON, rotation, rotation),
        lambda: kernels.gate(first, second),
        lambda: kernels.gather(key, value, indices),
    ]


def described(result: Any) -> Any:
    if isinstance(result, torch.Tensor):
        return result.shape, result.dtype, result.stride(), result.device.type
    return tuple(map(described, result)) if result is not None else None


def test_fake_tensors_of_a_gpu_give_the_shapes_that_the_kernels_give() -> None:
    real = [described(call()) for call in calls(TWINS[0], DEVICE, 3)]
    with FakeTensorMode():
        fake = [described(call()) for call in calls(TWINS[0], torch.device("cuda"), 3)]
    assert str(fake).replace("'cuda'", f"'{DEVICE.type}'") == str(real)


class Counter(TorchDispatchMode):
    """Collects the operators of this project and those of torch that compute something."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(self, operator: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if not operator.is_view:
            self.names.append(str(operator))
        return operator(*args, **(kwargs or {}))


def test_each_operation_is_one_operator_to_those_who_count() -> None:
    made = calls(TWINS[0], DEVICE, 3)
    with Counter() as counter:
        for call in made:
            call()
    names = ("add_and_normalize", "normalize_and_rotate", "gate", "gather")
    assert counter.names == [f"qwen3_rerank.{name}.default" for name in names]


def test_no_rows_give_no_rows() -> None:
    normalized, _, gated, (keys, values) = (call() for call in calls(TWINS[0], DEVICE, 0))
    assert [len(each) for each in (normalized, gated, keys, values)] == [0, 0, 0, 0]


def test_rows_whose_elements_lie_apart_are_refused() -> None:
    apart = torch.zeros(96, 3, device=DEVICE).t()
    with pytest.raises(ValueError, match="not contiguous"):
        TWINS[0].gate(apart, apart)
    heads = torch.zeros(2, 3, 64, device=DEVICE).transpose(0, 1)
    rotation, weight = torch.ones(3, 1, 64, device=DEVICE), torch.ones(64, device=DEVICE)
    with pytest.raises(ValueError, match="not contiguous"):
        TWINS[0].normalize_and_rotate(heads, None, weight, weight, EPSILON, rotation, rotation)
