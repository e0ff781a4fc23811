"""A folder with an adapter_config.json -> the LoRA adapter in it, or a refusal before any weight is read.

Comes in: a folder. Goes out: `Adapter`, which says over which model it belongs.
Must not know: torch, peft, or where its base is.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from qwen3_rerank_plugins._printable import shown
from qwen3_rerank_plugins.engine.files import exists, read_json
from qwen3_rerank_plugins.errors import UnsupportedCheckpointError

_CONFIG = "adapter_config.json"
_WHOLE_WEIGHTS = ("model.safetensors", "model.safetensors.index.json")
_REFUSED = {
    "megatron_config": "is one for Megatron's layers, and would have a module of its choice imported",
    "layer_replication": "repeats layers of its base",
    "alora_invocation_tokens": "works from a certain token on, so it cannot be merged",
}
"""Keys of an adapter_config.json, and what an adapter is where one of them is set."""
_HELP = (
    "Load it in the program that trained it, merge it there (merge_and_unload of peft), and save the whole model "
    "with save_pretrained."
)


@dataclasses.dataclass(frozen=True, slots=True)
class Adapter:
    """A LoRA adapter on this machine's disk.

    Attributes:
        name: what the user called it.
        folder: where its files are.
        commit: hub commit, or None for a local folder.
        base: hub id or folder of the model that it changes, in the words of its config.
        base_revision: of the base, or None for its newest.
        classifies: whether it was trained over a model for sequence classification.
    """

    name: str
    folder: Path
    commit: str | None
    base: str
    base_revision: str | None
    classifies: bool

    @property
    def config_file(self) -> Path:
        """What was trained, in peft's words."""
        return self.folder / _CONFIG

    @property
    def weights_file(self) -> Path:
        """The only file of weights that is read."""
        return self.folder / "adapter_model.safetensors"


def is_adapter(folder: Path) -> bool:
    """Whether a folder holds an adapter, whatever else it holds."""
    try:
        return (folder / _CONFIG).is_file()
    except OSError:  # nobody may look into the folder; whoever opens its config.json says so
        return False


def read_adapter(name: str, folder: Path, commit: str | None) -> Adapter:
    """Read the config of an adapter.

    Raises:
        UnsupportedCheckpointError: it is no LoRA adapter, names no base, has no safetensors, or its folder holds whole
            weights as well.
    """
    for whole in _WHOLE_WEIGHTS:
        if exists(name, folder / whole):
            raise UnsupportedCheckpointError(
                f"{shown(name)} holds an adapter ({_CONFIG}) and whole weights ({whole}), and only one can be meant. "
                "Save each in a folder of its own."
            )
    config = _read_config(name, folder / _CONFIG)
    kind = str(config.get("peft_type")).rpartition(".")[2].upper()
    if kind != "LORA":
        raise UnsupportedCheckpointError(
            f"{shown(name)} is an adapter of type {kind}; only LORA, which covers DoRA and rsLoRA, is merged. {_HELP}"
        )
    for key, what in _REFUSED.items():
        if config.get(key):
            raise UnsupportedCheckpointError(f"The adapter {shown(name)} {what} ({key} in its {_CONFIG}). {_HELP}")
    base = config.get("base_model_name_or_path")
    if not isinstance(base, str) or not base.strip():
        raise UnsupportedCheckpointError(
            f"The {_CONFIG} of {shown(name)} does not say base_model_name_or_path. Make it name the hub id or the "
            "folder of the model that the adapter was trained over."
        )
    revision, task = config.get("revision"), config.get("task_type")
    adapter = Adapter(name, folder, commit, base, revision if isinstance(revision, str) else None, task == "SEQ_CLS")
    if not exists(name, adapter.weights_file):
        raise UnsupportedCheckpointError(
            f"The adapter {shown(name)} has no {adapter.weights_file.name}; pickled weights are not read. Save it "
            "again with save_pretrained, which writes safetensors."
        )
    return adapter


def _read_config(name: str, file: Path) -> dict[str, Any]:
    config = read_json(name, file) if exists(name, file) else None
    if not isinstance(config, dict):
        raise UnsupportedCheckpointError(
            f"The {file.name} of {shown(name)} is not a JSON object. Download or export the adapter again."
        )
    return config
