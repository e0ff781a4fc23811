"""Find a Qwen3-Embedding checkpoint, and refuse anything else before any weight is read.

Sentence-transformers builds the model from the checkpoint's modules.json, so that file is checked here.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from qwen3_rerank_plugins._printable import shown
from qwen3_rerank_plugins.embedding.settings import EmbeddingSettings
from qwen3_rerank_plugins.engine.checkpoints.checkpoint import Checkpoint, find_checkpoint
from qwen3_rerank_plugins.engine.checkpoints.family import Family
from qwen3_rerank_plugins.engine.files import exists, read_json, read_json_object
from qwen3_rerank_plugins.engine.text.tokenizer_file import read_blueprint
from qwen3_rerank_plugins.errors import UnsupportedCheckpointError

_IDS = "Qwen/Qwen3-Embedding-0.6B, -4B or -8B"
_MODULES = (["Transformer", "Pooling", "Normalize"], ["Transformer", "Pooling"])
_HELP = f"Use {_IDS}, or a fine-tune of one."


def find_embedding_checkpoint(settings: EmbeddingSettings) -> Checkpoint:
    """Find the checkpoint on disk, downloading it from the hub first where that is allowed.

    Raises:
        CheckpointNotFoundError: as `find_checkpoint`.
        UnsupportedCheckpointError: it is not a Qwen3 model, sentence-transformers cannot load it, it does not pool by
            the last token, or its RoPE would make a vector depend on the other texts of its batch.
    """
    checkpoint = find_checkpoint(settings.engine, Family(_IDS, _check_config))
    read_blueprint(checkpoint.tokenizer_file)
    if checkpoint.rope.varies:
        raise UnsupportedCheckpointError(
            f"{shown(checkpoint.name)} uses the RoPE type {checkpoint.rope.type!r}, with which "
            "sentence-transformers makes the vector of a text depend on the longest text of its batch. Use a "
            "checkpoint of type default, linear, yarn or llama3."
        )
    file = checkpoint.folder / "modules.json"
    modules = read_json(_name_of(checkpoint, file), file)
    if not (isinstance(modules, list) and all(isinstance(module, dict) for module in modules)):
        raise UnsupportedCheckpointError(
            f"The modules.json of {shown(checkpoint.name)} is not a list of modules. {_HELP}"
        )
    found = [str(module.get("type")).rsplit(".", maxsplit=1)[-1] for module in modules]
    if found not in _MODULES:
        raise UnsupportedCheckpointError(
            f"{shown(checkpoint.name)} consists of {', '.join(found)}, not of Transformer, Pooling and "
            f"Normalize. {_HELP}"
        )
    path = Path(str(modules[1].get("path")))
    if path.is_absolute() or ".." in path.parts:
        raise UnsupportedCheckpointError(
            f"The modules.json of {shown(checkpoint.name)} names {shown(path)}, outside of its folder. {_HELP}"
        )
    file = checkpoint.folder / path / "config.json"
    pooling = _pooling(read_json_object(_name_of(checkpoint, file), file, _HELP))
    if pooling != ["lasttoken"]:
        raise UnsupportedCheckpointError(
            f"{shown(checkpoint.name)} pools by {' and '.join(pooling) or 'nothing'}, not by lasttoken. {_HELP}"
        )
    return checkpoint


def _check_config(name: str, config: dict[str, Any]) -> None:
    if config.get("model_type") != "qwen3":
        raise UnsupportedCheckpointError(
            f"{shown(name)} has model_type {config.get('model_type')!r}, not 'qwen3'. {_HELP}"
        )
    if "hidden_size" not in config:
        raise UnsupportedCheckpointError(f"The config.json of {shown(name)} does not say hidden_size. {_HELP}")


def _name_of(checkpoint: Checkpoint, file: Path) -> str:
    """Return the name of the checkpoint with the subfolder of one of its files, which must exist."""
    where = file.relative_to(checkpoint.folder)
    name = checkpoint.name if file.parent == checkpoint.folder else f"{checkpoint.name}/{where.parent}"
    if not exists(name, file):
        raise UnsupportedCheckpointError(
            f"{shown(checkpoint.name)} has no {where}, which sentence-transformers needs. {_HELP}"
        )
    return name


def _pooling(config: dict[str, Any]) -> list[str]:
    """Return the pooling modes: one value in sentence-transformers 6, a flag for each mode in earlier versions."""
    modes = config.get("pooling_mode")
    if modes is None:
        return [
            name.removeprefix("pooling_mode_") for name in config if name.startswith("pooling_mode_") and config[name]
        ]
    return [str(mode) for mode in modes] if isinstance(modes, list) else [str(modes)]
