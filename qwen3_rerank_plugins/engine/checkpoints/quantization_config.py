"""Read how the weights of a checkpoint were quantized before it was saved."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from qwen3_rerank_plugins._printable import shown
from qwen3_rerank_plugins.engine.files import exists, read_json
from qwen3_rerank_plugins.engine.settings import Quantization
from qwen3_rerank_plugins.errors import UnsupportedCheckpointError

Method = Literal["bitsandbytes", "compressed-tensors", "fp8"]
MODELOPT_FILE = "hf_quant_config.json"
_SUPPORTED = "Supported are bitsandbytes, compressed-tensors and fp8."
_HELP = "Use the checkpoint that it was made from, with quantization='int4' or 'int8' where memory is short."


@dataclasses.dataclass(frozen=True, slots=True)
class CheckpointQuantization:
    """How the weights in a checkpoint's files are quantized.

    Attributes:
        method: the method, as the config.json names it.
        packed_mode: how the weights stay quantized in memory; None if they are dequantized while they are loaded.
        block: rows and columns that share one scale, for fp8 with scales for blocks; otherwise None.
    """

    method: Method
    packed_mode: Quantization | None
    block: tuple[int, int] | None = None


def read_quantization_config(
    name: str, config: Mapping[str, Any], folder: Path | None = None
) -> CheckpointQuantization | None:
    """Return how the weights are quantized, or None if they are not.

    Args:
        name: the checkpoint, for messages.
        config: its config.json.
        folder: the folder with its files, where ModelOpt stores a separate config.

    Raises:
        UnsupportedCheckpointError: the method is not supported; the message says what to use instead.
    """
    if folder is not None and exists(name, folder / MODELOPT_FILE):
        _check_modelopt(name, read_json(name, folder / MODELOPT_FILE))
    found = config.get("quantization_config") or config.get("quantization")
    if not found:
        return None
    if not isinstance(found, dict):
        raise UnsupportedCheckpointError(f"The quantization_config of {shown(name)} is not a JSON object. {_HELP}")
    if found.get("load_in_8bit"):
        return CheckpointQuantization("bitsandbytes", "int8")
    if found.get("load_in_4bit"):
        return CheckpointQuantization("bitsandbytes", "int4")
    method = found.get("quant_method")
    if method == "fp8":
        return CheckpointQuantization("fp8", None, _block(name, found.get("weight_block_size")))
    if method == "compressed-tensors":
        return CheckpointQuantization("compressed-tensors", None)
    raise UnsupportedCheckpointError(f"{shown(name)} was quantized by {_describe(found)}. {_SUPPORTED} {_HELP}")


def _check_modelopt(name: str, found: Any) -> None:
    """Refuse weights quantized by ModelOpt. A cache of keys and values may be quantized, because none is used here."""
    inner = found.get("quantization") if isinstance(found, dict) else None
    algorithm = inner.get("quant_algo") if isinstance(inner, dict) else "an unknown algorithm"
    if algorithm:
        raise UnsupportedCheckpointError(
            f"{shown(name)} was quantized by ModelOpt ({algorithm}, in its {MODELOPT_FILE}). {_SUPPORTED} {_HELP}"
        )


def _block(name: str, found: Any) -> tuple[int, int] | None:
    if found is None:
        return None
    if isinstance(found, list) and len(found) == 2 and all(type(size) is int and size > 0 for size in found):
        return found[0], found[1]
    raise UnsupportedCheckpointError(
        f"The weight_block_size of {shown(name)} is {shown(found)}, not rows and columns of a block. {_HELP}"
    )


def _describe(found: Mapping[str, Any]) -> str:
    """Name an unsupported method. ModelOpt and MLX may leave the name out, so they are recognized by other keys."""
    method = found.get("quant_method")
    if method == "bitsandbytes":
        return "bitsandbytes, neither in 8 nor in 4 bits (load_in_8bit, load_in_4bit)"
    if method == "modelopt" or (not method and ("quant_algo" in found or "producer" in found)):
        return "ModelOpt"
    if method:
        return method if isinstance(method, str) else shown(method)
    if {"bits", "group_size"} <= found.keys():
        return f"MLX (bits {found['bits']}, group_size {found['group_size']})"
    return f"a method that its config.json does not name (it says {', '.join(map(shown, sorted(found)[:8]))})"
