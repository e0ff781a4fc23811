"""Read the config of a LoRA adapter, and refuse adapters that cannot be merged before any weight is read."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from qwen3_rerank_plugins._printable import shown
from qwen3_rerank_plugins.engine.files import exists, read_json_object
from qwen3_rerank_plugins.errors import UnsupportedCheckpointError

_CONFIG = "adapter_config.json"
_FULL_WEIGHTS = ("model.safetensors", "model.safetensors.index.json")
_REFUSED = {
    "megatron_config": "is for Megatron's layers, and would have a module of its choice imported",
    "layer_replication": "repeats layers of its base",
    "alora_invocation_tokens": "is active only from a certain token on, so it cannot be merged",
}
"""Keys of an adapter_config.json, and what an adapter is or does if one of them is set."""
_HELP = (
    "Load it in the program that trained it, merge it there (merge_and_unload of peft), and save the whole model "
    "with save_pretrained."
)


@dataclasses.dataclass(frozen=True, slots=True)
class Adapter:
    """A LoRA adapter on disk.

    Attributes:
        name: its name as the user passed it.
        folder: the folder with its files.
        commit: hub commit, or None for a local folder.
        base: hub id or folder of its base model, as its config names it.
        base_revision: revision of the base, or None for the newest.
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
        """Its config, in peft's format."""
        return self.folder / _CONFIG

    @property
    def weights_file(self) -> Path:
        """The only weight file that is read."""
        return self.folder / "adapter_model.safetensors"


def is_adapter(folder: Path) -> bool:
    """Return whether a folder holds an adapter, whatever else it holds."""
    try:
        return (folder / _CONFIG).is_file()
    except OSError:  # without permission; reading config.json explains it
        return False


def read_adapter(name: str, folder: Path, commit: str | None) -> Adapter:
    """Read the config of an adapter.

    Raises:
        UnsupportedCheckpointError: it is not a LoRA adapter, names no base, has no safetensors file, or its folder
            holds full weights as well.
    """
    for weights in _FULL_WEIGHTS:
        if exists(name, folder / weights):
            raise UnsupportedCheckpointError(
                f"{shown(name)} holds an adapter ({_CONFIG}) and full weights ({weights}), so it is not clear which to "
                "load. Save each in a separate folder."
            )
    exists(name, folder / _CONFIG)
    config = read_json_object(name, folder / _CONFIG, "Download or export the adapter again.")
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
    revision = config.get("revision")
    adapter = Adapter(
        name=name,
        folder=folder,
        commit=commit,
        base=base,
        base_revision=revision if isinstance(revision, str) else None,
        classifies=config.get("task_type") == "SEQ_CLS",
    )
    if not exists(name, adapter.weights_file):
        raise UnsupportedCheckpointError(
            f"The adapter {shown(name)} has no {adapter.weights_file.name}; pickled weights are not read. Save it "
            "again with save_pretrained, which writes safetensors."
        )
    return adapter
