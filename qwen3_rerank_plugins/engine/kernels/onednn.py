"""Matrix products of a CPU by oneDNN, over weights that are packed once.

Only this module calls torch's private operators. They are those that torch.compile emits for a frozen model on a CPU.
`tests/engine/kernels/test_onednn.py` fails if a later torch changes them, and `obstacle` says so to a user.

Shapes: R rows, I inputs, O outputs. Weights are [O, I].
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

DTYPES = (torch.float32, torch.bfloat16)
PACKED_FOR = 1024
"""Rows of the products that the layout of a packed weight suits best. Other numbers of rows work too."""
_ZERO_POINT = 128
"""oneDNN multiplies unsigned by signed bytes: a code of an activation is stored as the code plus 128."""


def obstacle(device: torch.device, dtype: torch.dtype) -> str | None:
    """Return why oneDNN's products cannot run, or None."""
    if device.type != "cpu":
        return f"oneDNN is for CPUs, this is {device.type}"
    if dtype not in DTYPES:
        return f"oneDNN's products need float32 or bfloat16, this is {str(dtype).removeprefix('torch.')}"
    if not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return f"torch {torch.__version__} was built without oneDNN"
    if not hasattr(torch.ops.mkldnn, "_linear_pointwise") or not hasattr(torch.ops.mkldnn, "_reorder_linear_weight"):
        return f"torch {torch.__version__} has no operators of oneDNN that take packed weights"
    return None


def pack(weight: Tensor) -> Tensor:
    """Return a weight in the blocked layout that oneDNN chooses for this processor; `Tensor.to_dense` undoes it."""
    packed: Tensor = torch.ops.mkldnn._reorder_linear_weight(weight.contiguous(), PACKED_FOR)
    return packed


def multiply(states: Tensor, packed: Tensor) -> Tensor:
    """[R, I] by a packed weight, to [R, O]."""
    product: Tensor = torch.ops.mkldnn._linear_pointwise(states, packed, None, "none", [], "")
    return product


def multiply_silu(states: Tensor, packed: Tensor) -> Tensor:
    """Return SiLU of the product; the product is not rounded before it."""
    product: Tensor = torch.ops.mkldnn._linear_pointwise(states, packed, None, "swish", [], "")
    return product


def multiply_times(states: Tensor, packed: Tensor, factor: Tensor) -> Tensor:
    """Return the product times `factor`, [R, O], element by element; the product is not rounded before it."""
    product: Tensor = torch.ops.mkldnn._linear_pointwise.binary(states, factor, packed, None, "mul")
    return product


def pack_int8(codes: Tensor) -> Tensor:
    """Return codes [O, I] of -127 to 127 in the layout that oneDNN chooses for this processor."""
    packed: Tensor = torch.ops.onednn.qlinear_prepack(codes, [PACKED_FOR, codes.shape[1]])
    return packed


def multiply_int8(states: Tensor, packed: Tensor, scales: Tensor) -> Tensor:
    """[R, I] by packed codes with the scales [O] of their rows, to [R, O] in the dtype of `states`.

    The activations of each token are rounded to codes of -127 to 127 with a scale of their own. The products of codes
    are whole numbers and are added up exactly.
    """
    step = states.abs().amax(dim=1, keepdim=True).float().clamp_(min=torch.finfo(torch.float32).tiny).div_(127)
    codes = (states / step).round_().add_(_ZERO_POINT).to(torch.uint8)
    zeros = torch.zeros(len(scales), dtype=torch.int64)
    no_operation: tuple[Any, ...] = ("none", [], "")
    product: Tensor = torch.ops.onednn.qlinear_pointwise(
        codes, 1.0, _ZERO_POINT, packed, scales, zeros, None, 1.0, 0, torch.float32, *no_operation
    )
    return product.mul_(step).to(states.dtype)
