"""The folder of a checkpoint -> its weight files, and the name, dtype and shape of each tensor in them.

Only the headers are read: milliseconds, and no memory for any weight.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from pathlib import Path

from qwen3_rerank_plugins._printable import one_line, shown
from qwen3_rerank_plugins.engine.checkpoints.unsupported_formats import list_names, refuse_other_format
from qwen3_rerank_plugins.engine.files import exists, read_json, refuse_unreadable
from qwen3_rerank_plugins.errors import IncompleteCheckpointError, UnsupportedCheckpointError

SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"
_SHARD = re.compile(r"model-\d+-of-\d+\.safetensors")
_AGAIN = "Download or export the checkpoint again."


@dataclasses.dataclass(frozen=True, slots=True)
class Tensor:
    """What a header says of one tensor: its dtype in the words of safetensors, its shape, and its file."""

    dtype: str
    shape: tuple[int, ...]
    file: Path


def find_weight_files(name: str, folder: Path) -> tuple[Path, ...]:
    """One safetensors file, or the shards that the index names; each is there and may be read.

    Raises:
        CheckpointNotFoundError: a file cannot be read.
        UnsupportedCheckpointError: the folder holds another format, or the index is none, or names other files.
        IncompleteCheckpointError: shards are missing, or their index is.
    """
    if exists(name, folder / SINGLE):
        return (folder / SINGLE,)
    if exists(name, folder / INDEX):
        files = tuple(folder / shard for shard in _shards(name, folder))
        missing = [file.name for file in files if not exists(name, file)]
        if missing:
            raise IncompleteCheckpointError(
                f"{shown(name)} is incomplete: {len(missing)} of the {len(files)} files that its {INDEX} names are "
                f"missing, such as {shown(missing[0])}. {_AGAIN}"
            )
        return files
    try:
        names = list_names(folder)
    except OSError as error:
        refuse_unreadable(name, folder, error)
    others = sorted(file for file in names if file.endswith(".safetensors"))
    if any(map(_SHARD.fullmatch, others)):
        raise IncompleteCheckpointError(
            f"{shown(name)} is incomplete: it holds shards such as {shown(others[0])} and no {INDEX}, which says what "
            "belongs together. Download that file as well, or export the checkpoint again."
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
    """What is in the files, by the names of the tensors.

    Raises:
        IncompleteCheckpointError: a file is cut short or damaged, or two files hold a tensor of one name.
    """
    from safetensors import safe_open

    found: dict[str, Tensor] = {}
    for file in files:
        try:
            with safe_open(file, framework="numpy") as opened:
                for tensor in opened.keys():  # noqa: SIM118  not a dict
                    part = opened.get_slice(tensor)
                    if tensor in found:
                        raise IncompleteCheckpointError(
                            f"Two files of {shown(name)} hold {shown(tensor)}: {shown(found[tensor].file.name)} and "
                            f"{shown(file.name)}. {_AGAIN}"
                        )
                    found[tensor] = Tensor(str(part.get_dtype()), tuple(part.get_shape()), file)
        except IncompleteCheckpointError:
            raise
        except OSError as error:
            refuse_unreadable(name, file, error)
        except Exception as error:  # safetensors has its own, and others by what is wrong
            raise IncompleteCheckpointError(
                f"{shown(file.name)} of {shown(name)} ({file.stat().st_size:,} bytes) is no whole safetensors file: "
                f"{one_line(error)}. {_AGAIN}"
            ) from error
    return found


def _shards(name: str, folder: Path) -> list[str]:
    """The index is the checkpoint's own word: only safetensors files beside it are ever opened."""
    try:
        index = read_json(name, folder / INDEX)
    except UnsupportedCheckpointError as error:
        raise UnsupportedCheckpointError(
            f"The {INDEX} of {shown(name)} is not an index of weights: {one_line(error)}. Download or export the "
            "checkpoint again."
        ) from error
    named = index.get("weight_map") if isinstance(index, Mapping) else None
    if not isinstance(named, Mapping) or not named or any(isinstance(shard, (list, dict)) for shard in named.values()):
        raise UnsupportedCheckpointError(
            f"The {INDEX} of {shown(name)} is not an index of weights: its weight_map does not name files. {_AGAIN}"
        )
    for shard in named.values():
        if not (isinstance(shard, str) and shard.endswith(".safetensors") and Path(shard).name == shard):
            raise UnsupportedCheckpointError(
                f"The {INDEX} of {shown(name)} names {shown(shard)}; only *.safetensors files beside it are read. "
                f"{_AGAIN}"
            )
    return sorted(set(named.values()))
