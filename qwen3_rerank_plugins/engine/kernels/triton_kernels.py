"""Fused Triton kernels for `LayerKernels`, registered as operators of torch so that fake tensors run through them.

All sizes of the model are compile-time constants. The number of tokens is only the size of the grid, so a model
compiles each kernel once. No kernel is tuned at run time, so results are reproducible.

With the environment variable TRITON_INTERPRET=1, Triton interprets the kernels on a CPU, for tests.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import torch
import triton
from torch import Tensor

from qwen3_rerank_plugins.engine.kernels import triton_programs

GATE_BLOCK = 2048
"""Columns for one program of the gate kernel: two vectors of 16 bytes for each of its threads."""
WARPS = 4
"""Warps of 32 threads for a program whose size varies little between models."""


def _launch_add_and_normalize(
    hidden: Tensor, delta: Tensor | None, weight: Tensor, epsilon: float, dtype: torch.dtype
) -> Tensor:
    result = hidden.new_empty(hidden.shape, dtype=dtype)
    rows, size = hidden.shape
    if rows:
        block = triton.next_power_of_2(size)
        strides = _row_stride(hidden), 0 if delta is None else _row_stride(delta)
        with _current(hidden.device):
            triton_programs.add_and_normalize[(rows,)](
                hidden, delta, weight, result, *strides, epsilon, size, block, num_warps=_warps(block, 512)
            )
    return result


def _launch_normalize_and_rotate(
    query: Tensor | None,
    key: Tensor | None,
    query_weight: Tensor,
    key_weight: Tensor,
    epsilon: float,
    cos: Tensor,
    sin: Tensor,
) -> None:
    rows, size = cos.shape[0], cos.shape[-1]
    if rows and (query is not None or key is not None):
        half_block = triton.next_power_of_2(size // 2)
        query_stride, query_heads, query_block = _heads(query)
        key_stride, key_heads, key_block = _heads(key)
        with _current(cos.device):
            triton_programs.normalize_and_rotate[(rows,)](
                query,
                key,
                query_weight,
                key_weight,
                cos,
                sin,
                query_stride,
                key_stride,
                _row_stride(cos),
                _row_stride(sin),
                epsilon,
                query_heads,
                query_block,
                key_heads,
                key_block,
                size,
                half_block,
                num_warps=WARPS,
            )


def _launch_gate(gate: Tensor, up: Tensor) -> None:
    rows, size = gate.shape
    if rows:
        grid = (rows, triton.cdiv(size, GATE_BLOCK))
        with _current(gate.device):
            triton_programs.gate[grid](gate, up, _row_stride(gate), _row_stride(up), size, GATE_BLOCK, num_warps=WARPS)


def _launch_gather(key: Tensor, value: Tensor, rows: Tensor) -> Tensor:
    count, (_, heads, head_dim) = len(rows), key.shape
    result = key.new_empty(2, count, heads, head_dim)
    if count:
        size = heads * head_dim
        block = triton.next_power_of_2(size)
        strides = _row_stride(key), _row_stride(value)
        with _current(key.device):
            triton_programs.gather[(count,)](
                key, value, rows, result[0], result[1], *strides, size, block, num_warps=_warps(block, 256)
            )
    return result


def _row_stride(states: Tensor) -> int:
    """Return how far apart rows are. The elements of each must be contiguous."""
    row, *inner = states.stride()
    if inner[-1:] > [1] or (len(inner) == 2 and states.shape[1] > 1 and inner[0] != states.shape[2]):
        raise ValueError(f"the rows of {tuple(states.shape)} with strides {states.stride()} are not contiguous")
    return row


def _heads(heads: Tensor | None) -> tuple[int, int, int]:
    """Return the row stride of [R, heads, D], the number of heads, and the next power of two; zeros without heads."""
    if heads is None:
        return 0, 0, 0
    return _row_stride(heads), heads.shape[1], triton.next_power_of_2(heads.shape[1])


def _warps(values: int, per_warp: int) -> int:
    """Return the number of warps of 32 threads for the values of a row, both powers of two: from 1 to 16."""
    return min(max(values // per_warp, 1), 16)


def _current(device: torch.device) -> contextlib.AbstractContextManager[Any]:
    """Make a GPU the current one, on which Triton launches, if it is not so already."""
    if device.type != "cuda" or device.index == torch.cuda.current_device():
        return contextlib.nullcontext()
    return torch.cuda.device(device)


_OPERATORS: tuple[tuple[str, str, Callable[..., Any], Callable[..., Any]], ...] = (
    (
        "add_and_normalize",
        "(Tensor(a!) hidden, Tensor? delta, Tensor weight, float epsilon, ScalarType dtype) -> Tensor",
        _launch_add_and_normalize,
        lambda hidden, delta, weight, epsilon, dtype: hidden.new_empty(hidden.shape, dtype=dtype),
    ),
    (
        "normalize_and_rotate",
        "(Tensor(a!)? query, Tensor(b!)? key, Tensor query_weight, Tensor key_weight, float epsilon, Tensor cos, "
        "Tensor sin) -> ()",
        _launch_normalize_and_rotate,
        lambda *_: None,
    ),
    ("gate", "(Tensor(a!) gate, Tensor up) -> ()", _launch_gate, lambda *_: None),
    (
        "gather",
        "(Tensor key, Tensor value, Tensor rows) -> Tensor",
        _launch_gather,
        lambda key, value, rows: key.new_empty(2, len(rows), *key.shape[1:]),
    ),
)
"""The name of each operator, its signature with what it writes in place, what runs it, and its result's shape."""

_library: Any = torch.library.Library("qwen3_rerank", "DEF")  # type: ignore[no-untyped-call]
for _name, _signature, _launch, _shape in _OPERATORS:
    _library.define(_name + _signature)
    for _device in ("CUDA", "CPU"):  # a CPU has only Triton's interpreter
        _library.impl(_name, _launch, _device)
    torch.library.register_fake(f"qwen3_rerank::{_name}", _shape, lib=_library)
_operators = torch.ops.qwen3_rerank


class TritonKernels:
    """`LayerKernels` as one operator of torch each, such as `torch.ops.qwen3_rerank.gate`."""

    def add_and_normalize(
        self, hidden: Tensor, delta: Tensor | None, weight: Tensor, epsilon: float, dtype: torch.dtype
    ) -> Tensor:
        normalized: Tensor = _operators.add_and_normalize.default(hidden, delta, weight, epsilon, dtype)
        return normalized

    def normalize_and_rotate(
        self,
        query: Tensor | None,
        key: Tensor | None,
        query_weight: Tensor,
        key_weight: Tensor,
        epsilon: float,
        cos: Tensor,
        sin: Tensor,
    ) -> None:
        _operators.normalize_and_rotate.default(query, key, query_weight, key_weight, epsilon, cos, sin)

    def gate(self, gate: Tensor, up: Tensor) -> Tensor:
        _operators.gate.default(gate, up)
        return gate

    def gather(self, key: Tensor, value: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        keys, values = _operators.gather.default(key, value, rows)
        return keys, values
