"""A checkpoint that was quantised before it was saved -> layers that a pass can use.

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

from qwen3_rerank_plugins.engine.quantization import (
    Int4Linear,
    Int8Linear,
    QuantizationChoice,
    choose_quantization,
    place,
    without_kernels,
)
from qwen3_rerank_plugins.engine.settings import EngineSettings
from qwen3_rerank_plugins.engine.stored import StoredQuantization
from qwen3_rerank_plugins.errors import MissingExtraError, SettingsError, UnsupportedCheckpointError

_PLAIN = (torch.float32, torch.bfloat16, torch.float16)


def choose_stored(
    settings: EngineSettings, stored: StoredQuantization, device: torch.device, dtype: torch.dtype
) -> QuantizationChoice:
    """How such weights are kept here; nothing is imported for the answer.

    Raises:
        SettingsError: another quantization was asked for, or this one cannot run there.
        MissingExtraError: the library that reads them is not installed.
    """
    if settings.quantization:
        raise SettingsError(
            f"quantization={settings.quantization!r} cannot be had of a checkpoint that is quantised already, by "
            f"{stored.method}. Use quantization=None, or the checkpoint that it was made from."
        )
    if stored.kept_as:
        if settings.device_map:
            raise SettingsError(
                f"device_map={settings.device_map!r} cannot spread weights that stay packed by {stored.method}. Use "
                "device_map=None, or the checkpoint that it was made from."
            )
        choose_quantization(stored.kept_as, device, dtype)
        return QuantizationChoice(stored.kept_as, f"as the checkpoint has it, by {stored.method}")
    if stored.method == "compressed-tensors" and importlib.util.find_spec("compressed_tensors") is None:
        raise MissingExtraError("compressed-tensors", "compressed")
    return QuantizationChoice(None, f"the checkpoint's {stored.method} weights are turned back as they are loaded")


def unpacked_config(folder: Path, stored: StoredQuantization, trust_remote_code: bool) -> Any:
    """The checkpoint's own config, with the word that has transformers turn its weights back, unless they are kept.

    Raises:
        UnsupportedCheckpointError: transformers would turn them back wrongly.
    """
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=trust_remote_code)
    if stored.method == "fp8":
        _check_blocks(config)
    if stored.kept_as is None:
        config.quantization_config = {**config.quantization_config, "dequantize": True}
    else:
        with without_kernels():  # transformers imports bitsandbytes next
            importlib.import_module("bitsandbytes")
    return config


def finish_unpacking(network: Any, stored: StoredQuantization, device: torch.device, dtype: torch.dtype) -> None:
    """Own layers for packed weights, one dtype for all others, everything on its device.

    Raises:
        UnsupportedCheckpointError: something is still packed, such as the rows of the answers.
    """
    if stored.kept_as:
        _own_layers(network.model, Int8Linear if stored.kept_as == "int8" else Int4Linear)
    packed = [name for name, parameter in network.named_parameters() if parameter.dtype not in _PLAIN]
    if packed:
        raise UnsupportedCheckpointError(
            f"Weights that the score needs as plain numbers are packed by {stored.method}: {', '.join(packed[:5])}. "
            "Use a checkpoint with nothing but the layers quantised, or a newer transformers where these are layers."
        )
    if stored.kept_as:
        place(network, device, dtype)
    for parameter in network.parameters():  # what was never packed came in the dtype of its file
        parameter.data = parameter.data.to(dtype)


def _check_blocks(config: Any) -> None:
    """Transformers divides a matrix evenly by the number of its scales, also where the last block is short."""
    heads, others = config.num_attention_heads, config.num_key_value_heads
    sizes = {config.hidden_size, config.intermediate_size, heads * config.head_dim, others * config.head_dim}
    for block in set(config.quantization_config.get("weight_block_size") or ()):
        uneven = sorted(size for size in sizes if size > block and size % block)
        if uneven:
            raise UnsupportedCheckpointError(
                f"Its fp8 weights have a scale for every {block} rows and columns, of which its sizes "
                f"({', '.join(map(str, uneven))}) are no multiples, and transformers would spread them wrongly. "
                "Use the checkpoint that it was made from."
            )


def _own_layers(backbone: Any, kind: type[Int8Linear] | type[Int4Linear]) -> None:
    """In place of those of bitsandbytes, which round activations; layers that were left out stay as they are."""
    layers = importlib.import_module("bitsandbytes").nn
    for parent in list(backbone.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, (layers.Linear8bitLt, layers.Linear4bit)):
                setattr(parent, name, kind(child))
