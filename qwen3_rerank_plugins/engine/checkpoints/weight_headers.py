"""Find the weight files of a checkpoint, and read the name, dtype and shape of each tensor from their headers.

Reading headers takes milliseconds and loads no weight.
"""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

from qwen3_rerank_plugins._printable import one_line, shown
from qwen3_rerank_plugins.engine.checkpoints.unsupported_formats import list_names, refuse_other_format
from qwen3_rerank_plugins.engine.files import DOWNLOAD_AGAIN, exists, read_json_object, refuse_unreadable
from qwen3_rerank_plugins.errors import IncompleteCheckpointError, UnsupportedCheckpointError

SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"
_SHARD = re.compile(r"model-\d+-of-\d+\.safetensors")


@dataclasses.dataclass(frozen=True, slots=True)
class Tensor:
    """A tensor's dtype as safetensors names it, its shape, and the file that holds it."""

    dtype: str
    shape: tuple[int, ...]
    file: Path


def find_weight_files(name: str, folder: Path) -> tuple[Path, ...]:
    """Return one safetensors file, or the shards that the index names. All of them exist and can be read.

    Raises:
        CheckpointNotFoundError: a file cannot be read.
        UnsupportedCheckpointError: the folder holds another format, or the index is invalid.
        IncompleteCheckpointError: shards are missing, or their index is.
    """
    if exists(name, folder / SINGLE):
        return (folder / SINGLE,)
    if exists(name, folder / INDEX):
        files = tuple(folder / shard for shard in _read_index(name, folder))
        missing = [file.name for file in files if not exists(name, file)]
        if missing:
            raise IncompleteCheckpointError(
                f"{shown(name)} is incomplete: {len(missing)} of the {len(files)} files that its {INDEX} names are "
                f"missing, such as {shown(missing[0])}. {DOWNLOAD_AGAIN}"
            )
        return files
    try:
        names = list_names(folder)
    except OSError as error:
        refuse_unreadable(name, folder, error)
    others = sorted(file for file in names if file.endswith(".safetensors"))
    if any(map(_SHARD.fullmatch, others)):
        raise IncompleteCheckpointError(
            f"{shown(name)} is incomplete: it holds shards such as {shown(others[0])} and no {INDEX}, which lists the "
            "shards. Download that file as well, or export the checkpoint again."
        )
    if others:
        raise UnsupportedCheckpointError(
            f"{shown(name)} holds {shown(others[0])}, and neither {SINGLE} nor {INDEX}. Make its name {SINGLE} if it "
            "holds the whole model; otherwise export it with model.save_pretrained(folder)."
        )
    refuse_other_format(name, names)
    raise UnsupportedCheckpointError(
        f"{shown(name)} has no *.safetensors file. Download the checkpoint again, or save it once with "
        "model.save_pretrained(folder)."
    )


def read_inventory(name: str, files: tuple[Path, ...]) -> dict[str, Tensor]:
    """Return the tensors in weight files by name.

    Raises:
        IncompleteCheckpointError: a file is truncated or damaged, or two files hold tensors of the same name.
    """
    inventory: dict[str, Tensor] = {}
    for file in files:
        for key, tensor in _read_header(name, file).items():
            if key in inventory:
                raise IncompleteCheckpointError(
                    f"Two files of {shown(name)} hold {shown(key)}: {shown(inventory[key].file.name)} and "
                    f"{shown(file.name)}. {DOWNLOAD_AGAIN}"
                )
            inventory[key] = tensor
    return inventory


def _read_header(name: str, file: Path) -> dict[str, Tensor]:
    from safetensors import safe_open

    try:
        with safe_open(file, framework="numpy") as opened:
            parts = {key: opened.get_slice(key) for key in opened.keys()}  # noqa: SIM118  not a dict
            return {key: Tensor(str(part.get_dtype()), tuple(part.get_shape()), file) for key, part in parts.items()}
    except OSError as error:
        refuse_unreadable(name, file, error)
    except Exception as error:  # safetensors raises several types
        raise IncompleteCheckpointError(
            f"{shown(file.name)} of {shown(name)} ({file.stat().st_size:,} bytes) is not a complete safetensors file: "
            f"{one_line(error)}. {DOWNLOAD_AGAIN}"
        ) from error


def _read_index(name: str, folder: Path) -> list[str]:
    """Return the shards that the index names. Only safetensors files in the same folder are allowed."""
    weight_map = read_json_object(name, folder / INDEX).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise UnsupportedCheckpointError(
            f"The {INDEX} of {shown(name)} is not an index of weights: its weight_map does not name files. "
            f"{DOWNLOAD_AGAIN}"
        )
    for shard in weight_map.values():
        if not (isinstance(shard, str) and shard.endswith(".safetensors") and Path(shard).name == shard):
            raise UnsupportedCheckpointError(
                f"The {INDEX} of {shown(name)} names {shown(shard)}; only *.safetensors files beside it are read. "
                f"{DOWNLOAD_AGAIN}"
            )
    return sorted(set(weight_map.values()))
