"""Read the weights of a checkpoint one tensor at a time in the dtype of the model, and dequantize fp8 weights."""

from __future__ import annotations

import torch

from qwen3_rerank_plugins._printable import shown
from qwen3_rerank_plugins.engine.checkpoints.checkpoint import Checkpoint
from qwen3_rerank_plugins.engine.checkpoints.weight_headers import read_inventory
from qwen3_rerank_plugins.errors import IncompleteCheckpointError

_UNUSED_SCALES = (
    *(".input_scale", ".activation_scale", ".input_scale_ub", ".k_scale", ".v_scale", ".q_scale", ".output_scale"),
    *(".k_zero_point", ".v_zero_point", ".input_zero_point", ".output_zero_point"),
)
_FP8_SCALES = ("_scale_inv", "_scale")
"""Suffixes that turn the name of a weight into that of its scale. Both are factors, despite the first name."""
_AGAIN = "Download or export it again."


def read_state_dict(checkpoint: Checkpoint, dtype: torch.dtype) -> dict[str, torch.Tensor]:
    """Return the weights in a dtype, without holding a second copy of them in memory.

    A mapped file counts as resident wherever it was read, until it is closed. So it is opened again for every tensor.

    Raises:
        IncompleteCheckpointError: the scale of an fp8 weight is missing or does not fit.
    """
    inventory = read_inventory(checkpoint.name, checkpoint.weight_files)

    def read(name: str) -> torch.Tensor:
        from safetensors import safe_open

        with safe_open(inventory[name].file, framework="pt") as opened:
            tensor: torch.Tensor = opened.get_tensor(name)
            return tensor

    state: dict[str, torch.Tensor] = {}
    quantization = checkpoint.quantization
    scale_of: dict[str, str] = {}
    if quantization:
        names = ((weight, f"{weight}{suffix}") for weight in inventory for suffix in _FP8_SCALES)
        scale_of = {weight: name for weight, name in names if name in inventory}
    scales = set(scale_of.values())
    for name, tensor in inventory.items():
        if quantization and (name in scales or is_unused_scale(name)):
            continue
        weight = read(name)
        if quantization and tensor.dtype.startswith("F8"):
            if name not in scale_of:
                raise IncompleteCheckpointError(
                    f"{shown(checkpoint.name)} is incomplete: {name} is stored as fp8 and its scale is missing. "
                    f"{_AGAIN}"
                )
            scale = read(scale_of[name])
            factor = _expand_scale(scale, weight.shape, quantization.block)
            if factor is None:
                raise IncompleteCheckpointError(
                    f"{shown(checkpoint.name)} is incomplete: {name} has {weight.shape[0]} rows and {weight.shape[1]} "
                    f"columns, and scales of shape {list(scale.shape)} do not fit it. {_AGAIN}"
                )
            weight = weight.float() * factor
        state[name] = weight.to(dtype)
    return state


def is_unused_scale(parameter: str) -> bool:
    """Return whether a parameter is a scale for activations or for a cache of keys and values.

    Both are ignored, because activations are not quantized and there is no such cache.
    """
    return parameter.endswith(_UNUSED_SCALES)


def _expand_scale(scale: torch.Tensor, shape: torch.Size, block: tuple[int, int] | None) -> torch.Tensor | None:
    """Return a float32 factor that broadcasts to a weight of `shape` [rows, columns]; None if the scale does not fit.

    Args:
        scale: one for the whole matrix, one per row, or one per block; the last blocks may be incomplete.
        shape: rows and columns of the weight.
        block: rows and columns of a block.
    """
    rows, columns = shape
    factor = (scale.float() - 127).exp2() if scale.dtype == torch.uint8 else scale.float()  # bytes are exponents
    if factor.numel() == 1:
        return factor.reshape(1, 1)
    if factor.shape in ((rows,), (rows, 1)) and block is None:
        return factor.reshape(rows, 1)
    high, wide = block or (rows, columns)
    if factor.shape != (-(-rows // high), -(-columns // wide)):
        return None
    return factor.repeat_interleave(high, 0)[:rows].repeat_interleave(wide, 1)[:, :columns]
