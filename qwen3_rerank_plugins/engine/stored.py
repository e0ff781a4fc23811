"""What a config.json says about weights that were quantised before they were saved.

Comes in: a parsed config.json. Goes out: `StoredQuantization`, or a refusal of what is not read here.
Must not know: torch, or what this machine can run.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

from qwen3_rerank_plugins.engine.settings import Quantization
from qwen3_rerank_plugins.errors import UnsupportedCheckpointError

Method = Literal["bitsandbytes", "compressed-tensors", "fp8"]
_HELP = "Use the checkpoint that it was made from, with quantization='int4' or 'int8' where memory is short."


@dataclasses.dataclass(frozen=True, slots=True)
class StoredQuantization:
    """How the weights in a checkpoint's files are quantised.

    Attributes:
        method: in the words of its config.json.
        kept_as: the mode in which they stay in memory; None where they are turned back into plain numbers.
    """

    method: Method
    kept_as: Quantization | None


def read_stored(name: str, config: dict[str, Any]) -> StoredQuantization | None:
    """How the weights are quantised, or None where they are plain numbers.

    Raises:
        UnsupportedCheckpointError: by a method that is not read here; the message says what to use instead.
    """
    found = config.get("quantization_config")
    if not found:
        return None
    if not isinstance(found, dict):
        raise UnsupportedCheckpointError(f"The quantization_config of {name!r} is not a JSON object. {_HELP}")
    method = found.get("quant_method")
    if found.get("load_in_8bit"):
        return StoredQuantization("bitsandbytes", "int8")
    if found.get("load_in_4bit"):
        return StoredQuantization("bitsandbytes", "int4")
    if method == "fp8":
        return StoredQuantization("fp8", None)
    if method == "compressed-tensors":
        return StoredQuantization("compressed-tensors", None)
    raise UnsupportedCheckpointError(
        f"{name!r} was quantised by {method}. Read here are bitsandbytes, compressed-tensors and fp8. {_HELP}"
    )
