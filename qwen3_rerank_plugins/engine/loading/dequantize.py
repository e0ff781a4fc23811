"""Load checkpoints that were quantized before they were saved.

bitsandbytes weights stay packed, in the layers of `quantization`: with the same codes and scales, unpacked before each
product, so that activations stay exact. fp8 and compressed-tensors weights are dequantized while they are loaded, on
any device: they save download time, not memory.
"""

from __future__ import annotations

import importlib
import importlib.util
from pathlib import Path
from typing import Any

import torch

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
from qwen3_rerank_plugins.errors import MissingExtraError, SettingsError, UnsupportedCheckpointError

_UNPACKED = (torch.float32, torch.bfloat16, torch.float16)


def choose_checkpoint_quantization(
    settings: EngineSettings, quantization: CheckpointQuantization, device: torch.device, dtype: torch.dtype
) -> QuantizationChoice:
    """Choose how the quantized weights of a checkpoint are kept in memory. Nothing is imported for the answer.

    Raises:
        SettingsError: another quantization was asked for, or this one cannot run on the device.
        MissingExtraError: the library that reads the weights is not installed.
    """
    if settings.quantization:
        raise SettingsError(
            f"quantization={settings.quantization!r} is not possible, because the checkpoint is already quantized by "
            f"{quantization.method}. Use quantization=None, or the checkpoint that it was made from."
        )
    if quantization.packed_mode:
        if settings.device_map:
            raise SettingsError(
                f"device_map={settings.device_map!r} cannot spread weights that stay packed by {quantization.method}. "
                "Use device_map=None, or the checkpoint that it was made from."
            )
        choose_quantization(quantization.packed_mode, device, dtype)
        return QuantizationChoice(quantization.packed_mode, f"as in the checkpoint, by {quantization.method}")
    if quantization.method == "compressed-tensors" and importlib.util.find_spec("compressed_tensors") is None:
        raise MissingExtraError("compressed-tensors", "compressed")
    return QuantizationChoice(None, f"the checkpoint's {quantization.method} weights are dequantized while they load")


def dequantizing_config(folder: Path, quantization: CheckpointQuantization, trust_remote_code: bool) -> Any:
    """Return the checkpoint's config; unless its weights stay packed, it tells transformers to dequantize them."""
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=trust_remote_code)
    if quantization.packed_mode is None:
        config.quantization_config = {**config.quantization_config, "dequantize": True}
    else:
        with without_kernels():  # transformers imports bitsandbytes next
            importlib.import_module("bitsandbytes")
    return config


def finish_quantized_weights(
    network: Any, quantization: CheckpointQuantization, device: torch.device, dtype: torch.dtype
) -> None:
    """Replace the layers of packed weights, and bring everything to its device and dtype.

    Raises:
        UnsupportedCheckpointError: other weights are packed, such as the output matrix.
    """
    if quantization.packed_mode:
        _replace_layers(network.model, Int8Linear if quantization.packed_mode == "int8" else Int4Linear)
    packed = [name for name, parameter in network.named_parameters() if parameter.dtype not in _UNPACKED]
    if packed:
        raise UnsupportedCheckpointError(
            f"Weights that the score needs as plain numbers are packed by {quantization.method}: "
            f"{', '.join(packed[:5])}. Use a checkpoint with only the layers quantized, or a newer transformers if "
            "these are layers."
        )
    if quantization.packed_mode:
        move_to(network, device, dtype)
    for parameter in network.parameters():  # weights that were never packed have the dtype of their file
        parameter.data = parameter.data.to(dtype)


def _replace_layers(backbone: Any, kind: type[Int8Linear] | type[Int4Linear]) -> None:
    """Replace the layers of bitsandbytes, which round activations. Layers that were not quantized stay unchanged."""
    layers = importlib.import_module("bitsandbytes").nn
    for parent in list(backbone.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, (layers.Linear8bitLt, layers.Linear4bit)):
                setattr(parent, name, kind(child))
