"""A checkpoint that was quantized before it was saved -> layers that a pass can use.

Comes in: what its config.json says; then the model as transformers loaded it. Goes out: the same model, on its device.
Must not know: prompts, batches, scores.

Weights of bitsandbytes stay packed, in the layers of `quantization`: the same codes and scales, unpacked before each
product, so that activations stay exact. Weights of fp8 and compressed-tensors are turned back into the dtype of the
pass as they are loaded, on any device: what they save then is the download, not memory.
"""

from __future__ import annotations

import importlib
import importlib.util
from pathlib import Path
from typing import Any

import torch

from qwen3_rerank_plugins._printable import shown
from qwen3_rerank_plugins.engine.checkpoints.quantization_config import CheckpointQuantization
from qwen3_rerank_plugins.engine.loading.quantization import (
    Int4Linear,
    Int8Linear,
    QuantizationChoice,
    choose_quantization,
    move_to,
    without_kernels,
)
from qwen3_rerank_plugins.engine.settings import EngineSettings
from qwen3_rerank_plugins.errors import (
    IncompleteCheckpointError,
    MissingExtraError,
    SettingsError,
    UnsupportedCheckpointError,
)

_IDLE_SCALES = (
    *(".input_scale", ".activation_scale", ".input_scale_ub", ".k_scale", ".v_scale", ".q_scale", ".output_scale"),
    *(".k_zero_point", ".v_zero_point", ".input_zero_point", ".output_zero_point"),
)
FP8_SCALES = ("_scale_inv", "_scale")
"""What the name of a weight's scale has behind that of the weight; both are factors, whatever they are called."""
_AGAIN = "Download or export it again."
_PLAIN = (torch.float32, torch.bfloat16, torch.float16)


def choose_checkpoint_quantization(
    settings: EngineSettings, stored: CheckpointQuantization, device: torch.device, dtype: torch.dtype
) -> QuantizationChoice:
    """How such weights are kept here; nothing is imported for the answer.

    Raises:
        SettingsError: another quantization was asked for, or this one cannot run there.
        MissingExtraError: the library that reads them is not installed.
    """
    if settings.quantization:
        raise SettingsError(
            f"quantization={settings.quantization!r} cannot be had of a checkpoint that is quantized already, by "
            f"{stored.method}. Use quantization=None, or the checkpoint that it was made from."
        )
    if stored.packed_mode:
        if settings.device_map:
            raise SettingsError(
                f"device_map={settings.device_map!r} cannot spread weights that stay packed by {stored.method}. Use "
                "device_map=None, or the checkpoint that it was made from."
            )
        choose_quantization(stored.packed_mode, device, dtype)
        return QuantizationChoice(stored.packed_mode, f"as the checkpoint has it, by {stored.method}")
    if stored.method == "compressed-tensors" and importlib.util.find_spec("compressed_tensors") is None:
        raise MissingExtraError("compressed-tensors", "compressed")
    return QuantizationChoice(None, f"the checkpoint's {stored.method} weights are turned back as they are loaded")


def dequantizing_config(folder: Path, stored: CheckpointQuantization, trust_remote_code: bool) -> Any:
    """The checkpoint's own config, with the word that has transformers turn its weights back, unless they are kept."""
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=trust_remote_code)
    if stored.packed_mode is None:
        config.quantization_config = {**config.quantization_config, "dequantize": True}
    else:
        with without_kernels():  # transformers imports bitsandbytes next
            importlib.import_module("bitsandbytes")
    return config


def finish_quantized_weights(
    network: Any, stored: CheckpointQuantization, device: torch.device, dtype: torch.dtype
) -> None:
    """Own layers for packed weights, one dtype for all others, everything on its device.

    Raises:
        UnsupportedCheckpointError: something is still packed, such as the rows of the answers.
    """
    if stored.packed_mode:
        _own_layers(network.model, Int8Linear if stored.packed_mode == "int8" else Int4Linear)
    packed = [name for name, parameter in network.named_parameters() if parameter.dtype not in _PLAIN]
    if packed:
        raise UnsupportedCheckpointError(
            f"Weights that the score needs as plain numbers are packed by {stored.method}: {', '.join(packed[:5])}. "
            "Use a checkpoint with nothing but the layers quantized, or a newer transformers where these are layers."
        )
    if stored.packed_mode:
        move_to(network, device, dtype)
    for parameter in network.parameters():  # what was never packed came in the dtype of its file
        parameter.data = parameter.data.to(dtype)


def is_scale(parameter: str) -> bool:
    """Whether a parameter is a scale of activations, or of a cache of keys and values.

    Neither has a place here: activations stay exact, and there is no such cache.
    """
    return parameter.endswith(_IDLE_SCALES)


def turn_back_fp8(
    name: str, parameter: str, weight: torch.Tensor, scale: torch.Tensor | None, stored: CheckpointQuantization
) -> torch.Tensor:
    """An fp8 weight times its scale, in float32.

    Args:
        name: of the checkpoint, for messages.
        parameter: name of the weight.
        weight: [rows, columns] in 8 bits.
        scale: of the whole matrix, one a row, or one a block; the last blocks may be short.
        stored: rows and columns of a block.

    Raises:
        IncompleteCheckpointError: there is no scale, or it does not fit the weight.
    """
    if scale is None:
        raise IncompleteCheckpointError(
            f"{shown(name)} is incomplete: {parameter} is stored as fp8 and its scale is missing. {_AGAIN}"
        )
    rows, columns = weight.shape
    factor = (scale.float() - 127).exp2() if scale.dtype == torch.uint8 else scale.float()  # bytes are exponents
    high, wide = stored.block or (rows, columns)
    if factor.numel() == 1:
        factor = factor.reshape(1, 1)
    elif factor.shape in ((rows,), (rows, 1)) and stored.block is None:
        factor = factor.reshape(rows, 1)
    elif factor.shape == (-(-rows // high), -(-columns // wide)):
        factor = factor.repeat_interleave(high, 0)[:rows].repeat_interleave(wide, 1)[:, :columns]
    else:
        raise IncompleteCheckpointError(
            f"{shown(name)} is incomplete: {parameter} has {rows} rows and {columns} columns, and scales of shape "
            f"{list(scale.shape)} do not fit it. {_AGAIN}"
        )
    return weight.float() * factor


def _own_layers(backbone: Any, kind: type[Int8Linear] | type[Int4Linear]) -> None:
    """In place of those of bitsandbytes, which round activations; layers that were left out stay as they are."""
    layers = importlib.import_module("bitsandbytes").nn
    for parent in list(backbone.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, (layers.Linear8bitLt, layers.Linear4bit)):
                setattr(parent, name, kind(child))
