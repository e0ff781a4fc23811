"""The operations of a decoder layer between matrix products and attention, and the choice of what runs them.

A fused kernel reads the inputs of an operation once and writes its results once. `TorchKernels` computes the
same with torch's own operations, on any device.

Shapes: R tokens, H query heads, G key/value heads, D head_dim, I intermediate size. Rows of a tensor may lie apart, so
parts of one fused product need no copy; the elements of a row must be contiguous. All of it is computed in float32 and
rounded once.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import os
from typing import Literal, Protocol

import torch
from torch import Tensor
from torch.nn import functional

from qwen3_rerank_plugins.errors import SettingsError


class LayerKernels(Protocol):
    """What a layer computes apart from matrix products and attention. No token's result depends on other tokens."""

    def add_and_normalize(
        self, hidden: Tensor, delta: Tensor | None, weight: Tensor, epsilon: float, dtype: torch.dtype
    ) -> Tensor:
        """Add to the residual stream in place, and return its root-mean-square norm.

        Args:
            hidden: the residual stream, [R, hidden] float32.
            delta: what to add, [R, hidden]; None adds nothing.
            weight: [hidden].
            epsilon: is added to the mean of the squares.
            dtype: the dtype of the result.

        Returns:
            [R, hidden] in `dtype`, contiguous.
        """
        ...

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
        """Normalize each head and rotate it by its position, in place.

        Args:
            query: [R, H, D], or None.
            key: [R, G, D], or None.
            query_weight: [D].
            key_weight: [D].
            epsilon: is added to the mean of the squares.
            cos: cosines in the half-split convention, where pairs are (i, i + D/2): [R, 1, D] or [R, D].
            sin: sines, in the shape of the cosines.
        """
        ...

    def gate(self, gate: Tensor, up: Tensor) -> Tensor:
        """Return `gate` after it was overwritten with silu(gate) * up; both are [R, I]."""
        ...

    def gather(self, key: Tensor, value: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Return the rows [K] of keys and values [T, G, D] in new memory, contiguous [K, G, D] each.

        The rows are int32 or int64, from 0 to T - 1.
        """
        ...


class TorchKernels:
    """`LayerKernels` in torch's operations: the reference for the fused kernels."""

    def add_and_normalize(
        self, hidden: Tensor, delta: Tensor | None, weight: Tensor, epsilon: float, dtype: torch.dtype
    ) -> Tensor:
        if delta is not None:
            hidden += delta
        return _rms_norm(hidden, weight, epsilon).to(dtype)

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
        cos, sin = (part.float() if part.ndim == 3 else part[:, None].float() for part in (cos, sin))
        for heads, weight in ((query, query_weight), (key, key_weight)):
            if heads is not None:
                normalized = _rms_norm(heads.float(), weight, epsilon)
                low, high = normalized.chunk(2, dim=-1)
                heads.copy_(normalized * cos + torch.cat((-high, low), dim=-1) * sin)

    def gate(self, gate: Tensor, up: Tensor) -> Tensor:
        return gate.copy_(functional.silu(gate.float()) * up.float())

    def gather(self, key: Tensor, value: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        return key[rows], value[rows]


def _rms_norm(states: Tensor, weight: Tensor, epsilon: float) -> Tensor:
    return states * (states.square().mean(dim=-1, keepdim=True) + epsilon).rsqrt() * weight.float()


@dataclasses.dataclass(frozen=True, slots=True)
class KernelChoice:
    """What runs the layers, and why.

    Attributes:
        name: "triton" for the fused kernels, "onednn" for matrix products over packed weights, or "torch" for the plain
            layer.
        reason: the reason.
        kernels: the fused kernels; None without them.
    """

    name: Literal["triton", "onednn", "torch"]
    reason: str
    kernels: LayerKernels | None = None


def choose_kernels(
    asked: Literal["auto", "triton", "torch"], device: torch.device, dtype: torch.dtype, *, compile: bool
) -> KernelChoice:
    """Choose between the fused kernels and plain torch; "auto" prefers Triton's wherever they can run.

    Raises:
        SettingsError: "triton" was asked for and cannot run here.
    """
    if asked == "torch":
        return KernelChoice("torch", "asked for")
    fused = "torch.compile fuses these operations itself" if compile else _load_triton(device, dtype, asked)
    if not isinstance(fused, str):
        return KernelChoice("triton", "asked for" if asked == "triton" else "one kernel for each operation", fused)
    if asked == "triton":
        raise SettingsError(f"kernels='triton' cannot run here: {fused}. Use kernels='auto'.")
    return KernelChoice("torch", fused)


def _load_triton(device: torch.device, dtype: torch.dtype, asked: str) -> LayerKernels | str:
    """Return Triton's kernels, or why they cannot run."""
    if obstacle := _triton_obstacle(device, dtype, interpreted=asked == "triton"):
        return obstacle
    try:
        from qwen3_rerank_plugins.engine.kernels.triton_kernels import TritonKernels
    except Exception as error:  # a damaged installation raises what it likes
        return f"importing triton fails with {type(error).__name__}: {error}"
    return TritonKernels()


def _triton_obstacle(device: torch.device, dtype: torch.dtype, *, interpreted: bool) -> str | None:
    if dtype not in (torch.float16, torch.bfloat16, torch.float32):
        return f"Triton's kernels need float16, bfloat16 or float32, this is {str(dtype).removeprefix('torch.')}"
    interpreted = interpreted and device.type == "cpu" and os.environ.get("TRITON_INTERPRET") == "1"
    if device.type != "cuda" and not interpreted:
        return f"Triton needs a CUDA device, this is {device.type}"
    if importlib.util.find_spec("triton") is None:
        return "the package triton is not installed"
    if interpreted:
        return None
    major, minor = torch.cuda.get_device_capability(device)
    needed = 8 if dtype == torch.bfloat16 else 7
    if major < needed:
        name = str(dtype).removeprefix("torch.")
        return f"Triton needs compute capability {needed}.0 for {name}, this device has {major}.{minor}"
    return None
