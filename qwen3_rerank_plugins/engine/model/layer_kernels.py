"""The operations of a decoder layer between matrix products and attention, and the choice of what runs them.

A fused kernel reads the inputs of an operation once and writes its results once. `TorchKernels` computes the
same with torch's own operations, on any device.

Shapes: R tokens, H query heads, G key/value heads, D head_dim, I intermediate size. Rows of a tensor may lie apart, so
parts of one fused product need no copy; the elements of a row must be contiguous. All of it is computed in float32 and
rounded once.
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional


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
        """Return the rows [K] of keys and values [T, G, D] in new memory, contiguous [K, G, D] each."""
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
