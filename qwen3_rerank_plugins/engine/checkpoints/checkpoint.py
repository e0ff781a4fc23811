"""Find the files of a checkpoint, downloading them first if necessary, and check them before any weight is loaded."""

from __future__ import annotations

import dataclasses
import errno
import functools
import stat
from pathlib import Path
from typing import Any, NoReturn

from qwen3_rerank_plugins._printable import shown
from qwen3_rerank_plugins.engine.checkpoints.family import RERANKER, Family
from qwen3_rerank_plugins.engine.checkpoints.hub import fetch_snapshot
from qwen3_rerank_plugins.engine.checkpoints.lora import Adapter, is_adapter, read_adapter
from qwen3_rerank_plugins.engine.checkpoints.model_sizes import check_sizes, check_weights, score_rows
from qwen3_rerank_plugins.engine.checkpoints.quantization_config import CheckpointQuantization, read_quantization_config
from qwen3_rerank_plugins.engine.checkpoints.rope import Rope, read_rope
from qwen3_rerank_plugins.engine.checkpoints.unsupported_formats import list_names, refuse_other_format
from qwen3_rerank_plugins.engine.checkpoints.weight_headers import find_weight_files, read_inventory
from qwen3_rerank_plugins.engine.files import DOWNLOAD_AGAIN, exists, read_json_object, refuse_unreadable
from qwen3_rerank_plugins.engine.model_name import DEMO, ModelName, resolve_model
from qwen3_rerank_plugins.engine.settings import EngineSettings
from qwen3_rerank_plugins.errors import CheckpointNotFoundError, UnsupportedCheckpointError

DEMO_FOLDER = Path(__file__).parents[2] / "demo_checkpoint"


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """A checkpoint on disk.

    Attributes:
        name: its name as the user passed it.
        folder: the folder with its files.
        commit: hub commit, or None for a local folder.
        config: the parsed config.json.
        quantization: how its weights are quantized in the files; None if they are not.
        adapter: the LoRA adapter to merge into the loaded weights, if any.
        weight_files: one safetensors file, or the shards that the index names.
        stored_in_16_bits: whether the matrices in them are float16 or bfloat16.
    """

    name: str
    folder: Path
    commit: str | None
    config: dict[str, Any]
    quantization: CheckpointQuantization | None = None
    adapter: Adapter | None = None
    weight_files: tuple[Path, ...] = ()
    stored_in_16_bits: bool = False

    @property
    def positions(self) -> int:
        """Longest prompt that the model supports, in tokens; with an extended RoPE, more than it was trained with."""
        return self.rope.limit

    @functools.cached_property
    def rope(self) -> Rope:
        """Its rotary position embedding."""
        return read_rope(self.name, self.config)

    @property
    def tokenizer_file(self) -> Path:
        """The fast tokenizer's file: the adapter's, if it has one, or else the model's."""
        of_adapter = self.adapter.folder / "tokenizer.json" if self.adapter else None
        return of_adapter if of_adapter and of_adapter.is_file() else self.folder / "tokenizer.json"

    @property
    def all_weight_files(self) -> tuple[Path, ...]:
        """The weight files of the model, and of the adapter."""
        return (*self.weight_files, *((self.adapter.weights_file,) if self.adapter else ()))

    @property
    def classifies(self) -> bool:
        """Whether it has score rows instead of an output matrix."""
        return score_rows(self.config) > 0


def check_embedding_rows(name: str, needed: int, rows: int) -> None:
    """Check that a model has an embedding row for every id of its tokenizer.

    Args:
        name: the checkpoint, for messages.
        needed: highest id of the tokenizer, plus one.
        rows: rows of the embedding matrix.

    Raises:
        UnsupportedCheckpointError: it has fewer.
    """
    if needed > rows:
        raise UnsupportedCheckpointError(
            f"The tokenizer of {shown(name)} has ids up to {needed - 1}, and its model has rows up to {rows - 1}. Take "
            "both from the same checkpoint."
        )


def find_checkpoint(settings: EngineSettings, family: Family = RERANKER) -> Checkpoint:
    """Find a checkpoint on disk, downloading it from the hub first if that is allowed.

    Args:
        settings: which checkpoint.
        family: the model family that it must belong to.

    Raises:
        CheckpointNotFoundError: it is neither a folder, in the cache nor on the hub, or the hub cannot be reached.
        UnsupportedCheckpointError: it does not belong to the family, or its files cannot be used.
        IncompleteCheckpointError: files or parameters are missing or damaged.
    """
    folder, commit = _find_folder(settings, family)
    if not is_adapter(folder):
        return _open(settings.model, folder, commit, family)
    if not family.variants:
        raise UnsupportedCheckpointError(
            f"{shown(settings.model)} holds an adapter. Use a whole model, {family.ids} or a fine-tune."
        )
    return _find_base(settings, read_adapter(settings.model, folder, commit), family)


def _find_folder(settings: EngineSettings, family: Family) -> tuple[Path, str | None]:
    """Return the folder with the files, and their commit on the hub."""
    model = resolve_model(settings.model)
    if model == DEMO and family.has_demo:
        return DEMO_FOLDER, None
    if model.is_path:
        return _local_folder(model), None
    folder = fetch_snapshot(settings, family.ids)
    return folder, folder.name


def _local_folder(model: str) -> Path:
    path = Path(model)
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError) as error:
        if getattr(error, "errno", None) in (errno.EACCES, errno.EPERM, errno.ELOOP):
            refuse_unreadable(model, path, error)
        raise CheckpointNotFoundError(
            f"There is no folder {shown(model)}. Check the path, or pass a hub id."
        ) from error
    if not stat.S_ISDIR(mode):
        raise CheckpointNotFoundError(
            f"{shown(model)} is a file, and a model is a folder of files. Pass the folder that holds its config.json."
        )
    return path


def _find_base(settings: EngineSettings, adapter: Adapter, family: Family) -> Checkpoint:
    """Find the base model of an adapter, by the same rules, and return both as one checkpoint."""
    of_base = dataclasses.replace(settings, model=_base_name(settings, adapter), revision=adapter.base_revision)
    help_ = f"Check base_model_name_or_path in {adapter.config_file}: it may name any hub id or folder."
    try:
        folder, commit = _find_folder(of_base, family)
    except CheckpointNotFoundError as error:
        raise CheckpointNotFoundError(
            f"The base of the adapter {shown(adapter.name)} is missing: {error} {help_}"
        ) from error
    if is_adapter(folder):
        raise UnsupportedCheckpointError(f"The base of the adapter {shown(adapter.name)} is an adapter, too. {help_}")
    base = _open(adapter.base, folder, commit, family)
    if base.quantization:
        raise UnsupportedCheckpointError(
            f"The base of the adapter {shown(adapter.name)} is quantized by {base.quantization.method}, so no adapter "
            f"can be merged into it; use the checkpoint that it was made from. {help_}"
        )
    if adapter.classifies and not base.classifies:
        raise UnsupportedCheckpointError(
            f"The adapter {shown(adapter.name)} was trained for sequence classification over {shown(adapter.base)}, "
            "which is not a model for that. Load it where it was trained, merge it there, and save the whole model."
        )
    return dataclasses.replace(base, name=adapter.name, commit=adapter.commit, adapter=adapter)


def _base_name(settings: EngineSettings, adapter: Adapter) -> ModelName:
    """Return the base as it was resolved when the settings were created, or else as the config names it.

    In the second case it is not resolved relative to the working directory.
    """
    named = resolve_model(settings.model).base
    return named[1] if named is not None and named[0] == adapter.base else ModelName(adapter.base)


def _open(name: str, folder: Path, commit: str | None, family: Family) -> Checkpoint:
    config_file = folder / "config.json"
    if not exists(name, config_file):
        _refuse_folder(name, folder)
    config = _read_config(name, config_file)
    family.check(name, config)
    check_sizes(name, config)
    read_rope(name, config)
    layer_types = config.get("layer_types") or []
    if config.get("use_sliding_window") or any(kind != "full_attention" for kind in layer_types):
        raise UnsupportedCheckpointError(
            f"{shown(name)} uses sliding-window attention, which no model of this family does. Use {family.ids}, or a "
            "fine-tune of one."
        )
    if config.get("hidden_act", "silu") != "silu":
        raise UnsupportedCheckpointError(
            f"In the config.json of {shown(name)}, hidden_act is {shown(config['hidden_act'])}; all models of this "
            f"family have 'silu'. Use {family.ids}, or a fine-tune of one."
        )
    if not exists(name, folder / "tokenizer.json"):
        raise UnsupportedCheckpointError(
            f"{shown(name)} has no tokenizer.json. Save one beside the weights: "
            "AutoTokenizer.from_pretrained(base_model).save_pretrained(folder)."
        )
    files = find_weight_files(name, folder)
    quantization = read_quantization_config(name, config, folder) if family.variants else None
    quantized = bool(quantization or config.get("quantization_config"))
    output = _output_parameter(config) if family.variants else None
    inventory = read_inventory(name, files)
    check_weights(name, config, inventory, output=output, quantized=quantized)
    half = all(tensor.dtype in ("BF16", "F16") for tensor in inventory.values() if len(tensor.shape) == 2)
    return Checkpoint(name, folder, commit, config, quantization, weight_files=files, stored_in_16_bits=half)


def _refuse_folder(name: str, folder: Path) -> NoReturn:
    """Refuse a folder without a config.json; other formats in it may be the reason."""
    try:
        names = list_names(folder)
    except OSError as error:
        refuse_unreadable(name, folder, error)
    if not any(file.endswith(".safetensors") for file in names):
        refuse_other_format(name, names)
    raise CheckpointNotFoundError(
        f"{shown(name)} has no config.json, so it is not a model folder: {shown(folder)}. Check the path."
    )


def _output_parameter(config: dict[str, Any]) -> str | None:
    """Return the parameter that scores are read from; None if it is shared with the input embeddings."""
    if score_rows(config):
        return "score.weight"
    return None if config.get("tie_word_embeddings") else "lm_head.weight"


def _read_config(name: str, file: Path) -> dict[str, Any]:
    """Read a config.json, and check the lists of strings that tell which family it belongs to."""
    config = read_json_object(name, file)
    for field in ("architectures", "layer_types"):
        words = config.get(field) or []
        if not (isinstance(words, list) and all(isinstance(word, str) for word in words)):
            raise UnsupportedCheckpointError(
                f"In the config.json of {shown(name)}, {field} is not a list of strings. {DOWNLOAD_AGAIN}"
            )
    return config
