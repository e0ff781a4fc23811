"""A model's name -> the folder that holds its files, and what its config.json says.

Comes in: `EngineSettings`, and the `Family` it should be of. Goes out: `Checkpoint`.
Must not know: torch, or how the weights are used.
"""

from __future__ import annotations

import dataclasses
import errno
import functools
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from qwen3_rerank_plugins._printable import shown
from qwen3_rerank_plugins.engine.checkpoints.hub import fetch_snapshot
from qwen3_rerank_plugins.engine.checkpoints.lora import Adapter, is_adapter, read_adapter
from qwen3_rerank_plugins.engine.checkpoints.model_sizes import check_sizes, check_weights, score_rows, shown_value
from qwen3_rerank_plugins.engine.checkpoints.quantization_config import CheckpointQuantization, read_quantization_config
from qwen3_rerank_plugins.engine.checkpoints.rope import Rope, read_rope
from qwen3_rerank_plugins.engine.checkpoints.unsupported_formats import list_names, refuse_other_format
from qwen3_rerank_plugins.engine.checkpoints.weight_headers import find_weight_files, read_inventory
from qwen3_rerank_plugins.engine.files import exists, read_json, refuse_unreadable
from qwen3_rerank_plugins.engine.model_name import DEMO, ModelName, resolve_model
from qwen3_rerank_plugins.engine.settings import EngineSettings
from qwen3_rerank_plugins.engine.text.template import NO, YES
from qwen3_rerank_plugins.errors import CheckpointNotFoundError, UnsupportedCheckpointError

DEMO_FOLDER = Path(__file__).parents[2] / "demo_checkpoint"
_CAUSAL, _CLASSIFIER = "Qwen3ForCausalLM", "Qwen3ForSequenceClassification"
_AGAIN = "Download or export the checkpoint again."


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """A checkpoint on this machine's disk.

    Attributes:
        name: what the user called it.
        folder: where its files are.
        commit: hub commit, or None for a local folder.
        config: the parsed config.json.
        stored: how its weights are quantized in its files, if they are.
        adapter: what is merged into the weights once they are loaded, if anything is.
        weight_files: one safetensors file, or the shards that the index names.
    """

    name: str
    folder: Path
    commit: str | None
    config: dict[str, Any]
    quantization: CheckpointQuantization | None = None
    adapter: Adapter | None = None
    weight_files: tuple[Path, ...] = ()

    @property
    def positions(self) -> int:
        """Longest prompt the model has positions for, in tokens; an extended RoPE has more than it was trained with."""
        return self.rope.limit

    @functools.cached_property
    def rope(self) -> Rope:
        """How it tells positions apart."""
        return read_rope(self.name, self.config)

    @property
    def tokenizer_file(self) -> Path:
        """The fast tokenizer's own file; every published Qwen3-Reranker has one. An adapter's own goes first."""
        own = self.adapter.folder / "tokenizer.json" if self.adapter else None
        return own if own and own.is_file() else self.folder / "tokenizer.json"

    @property
    def all_weight_files(self) -> tuple[Path, ...]:
        """Those of the model, and the adapter's."""
        return (*self.weight_files, *((self.adapter.weights_file,) if self.adapter else ()))

    @property
    def classifies(self) -> bool:
        """Whether it holds a score row instead of an output matrix."""
        return score_rows(self.config) > 0


@dataclasses.dataclass(frozen=True, slots=True)
class Family:
    """What a checkpoint must be, to be of use to whoever asks for it.

    Attributes:
        ids: the published ones, for messages.
        check: refuses a config.json by the name of its checkpoint.
        demo: folder of the bundled one, if there is one.
        variants: whether adapters and quantized weights are of use, too.
    """

    ids: str
    check: Callable[[str, dict[str, Any]], None]
    demo: Path | None = None
    variants: bool = False


def check_rows(name: str, needed: int, rows: int) -> None:
    """Whether a model has a row of its embeddings for every id of its tokenizer.

    Args:
        name: of the checkpoint, for the message.
        needed: the highest id of the tokenizer, plus one.
        rows: what the model has.

    Raises:
        UnsupportedCheckpointError: it has fewer.
    """
    if needed > rows:
        raise UnsupportedCheckpointError(
            f"The tokenizer of {shown(name)} has ids up to {needed - 1}, and its model has rows up to {rows - 1}. Take "
            "both from the same checkpoint."
        )


def find_checkpoint(settings: EngineSettings, family: Family | None = None) -> Checkpoint:
    """Find the checkpoint on disk, downloading it from the hub first where that is allowed.

    Args:
        settings: where it is.
        family: what it must be; a Qwen3-Reranker, unless said otherwise.

    Raises:
        CheckpointNotFoundError: no such folder, not in the cache, not on the hub, or the hub is out of reach.
        UnsupportedCheckpointError: the files are not those of the family.
    """
    family = family or RERANKER
    folder, commit = _find_folder(settings, family)
    if not is_adapter(folder):
        return _open(settings.model, folder, commit, family)
    if not family.variants:
        raise UnsupportedCheckpointError(
            f"{shown(settings.model)} holds an adapter. Use a whole model, {family.ids} or a fine-tune."
        )
    return _find_base(settings, read_adapter(settings.model, folder, commit), family)


def _find_folder(settings: EngineSettings, family: Family) -> tuple[Path, str | None]:
    """Where the files are, and the commit they are of."""
    model = resolve_model(settings.model)
    if model == DEMO and family.demo:
        return family.demo, None
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
    """The checkpoint that an adapter names, found by the same rules, together with it."""
    place = dataclasses.replace(settings, model=_base_name(settings, adapter), revision=adapter.base_revision)
    named = f"Check base_model_name_or_path in {adapter.config_file}: it may name any hub id or folder."
    try:
        folder, commit = _find_folder(place, family)
    except CheckpointNotFoundError as error:
        raise CheckpointNotFoundError(
            f"The base of the adapter {shown(adapter.name)} is missing: {error} {named}"
        ) from error
    if is_adapter(folder):
        raise UnsupportedCheckpointError(f"The base of the adapter {shown(adapter.name)} is an adapter, too. {named}")
    base = _open(adapter.base, folder, commit, family)
    if base.quantization:
        raise UnsupportedCheckpointError(
            f"The base of the adapter {shown(adapter.name)} is quantized by {base.quantization.method}, so nothing can "
            f"be merged into it; the checkpoint that it was made from takes the adapter as well. {named}"
        )
    if adapter.classifies and not base.classifies:
        raise UnsupportedCheckpointError(
            f"The adapter {shown(adapter.name)} was trained for sequence classification over "
            f"{shown(adapter.base)}, which is no model for that. Load it where it was trained, merge it "
            "there, and save the whole model."
        )
    return dataclasses.replace(base, name=adapter.name, commit=adapter.commit, adapter=adapter)


def _base_name(settings: EngineSettings, adapter: Adapter) -> ModelName:
    """The base that was meant when the settings were made. No later one is relative to the working directory."""
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
            f"{shown(name)} uses sliding-window attention, which none of the family does. Use {family.ids}, or a "
            "fine-tune of one."
        )
    if config.get("hidden_act", "silu") != "silu":
        raise UnsupportedCheckpointError(
            f"In the config.json of {shown(name)}, hidden_act is {shown(config['hidden_act'])}; all of the family have "
            f"'silu'. Use {family.ids}, or a fine-tune of one."
        )
    if not exists(name, folder / "tokenizer.json"):
        raise UnsupportedCheckpointError(
            f"{shown(name)} has no tokenizer.json. Save one beside the weights: "
            "AutoTokenizer.from_pretrained(base_model).save_pretrained(folder)."
        )
    files = find_weight_files(name, folder)
    quantization = read_quantization_config(name, config, folder) if family.variants else None
    quantized = bool(quantization or config.get("quantization_config"))
    output = _output(config) if family.variants else None
    check_weights(name, config, read_inventory(name, files), output=output, quantized=quantized)
    return Checkpoint(name, folder, commit, config, quantization, weight_files=files)


def _refuse_folder(name: str, folder: Path) -> NoReturn:
    """A folder without a config.json is no model folder; what it holds instead may say why."""
    try:
        names = list_names(folder)
    except OSError as error:
        refuse_unreadable(name, folder, error)
    if not any(file.endswith(".safetensors") for file in names):
        refuse_other_format(name, names)
    raise CheckpointNotFoundError(
        f"{shown(name)} has no config.json, so it is not a model folder: {shown(folder)}. Check the path."
    )


def _output(config: dict[str, Any]) -> str | None:
    """The parameter that the score is read from, unless it is the input's."""
    if score_rows(config):
        return "score.weight"
    return None if config.get("tie_word_embeddings") else "lm_head.weight"


def _read_config(name: str, file: Path) -> dict[str, Any]:
    """What config.json says, with the words that tell a family by being words."""
    config = read_json(name, file)
    if not isinstance(config, dict):
        raise UnsupportedCheckpointError(f"The config.json of {shown(name)} is not a JSON object. {_AGAIN}")
    for field in ("architectures", "layer_types"):
        words = config.get(field) or []
        if not (isinstance(words, list) and all(isinstance(word, str) for word in words)):
            raise UnsupportedCheckpointError(
                f"In the config.json of {shown(name)}, {field} is no list of words. {_AGAIN}"
            )
    return config


def _check_reranker(name: str, config: dict[str, Any]) -> None:
    architectures = config.get("architectures") or []
    if config.get("model_type") != "qwen3" or architectures not in ([], [_CAUSAL], [_CLASSIFIER]):
        found = architectures[0] if architectures else f"model_type {config.get('model_type')!r}"
        raise UnsupportedCheckpointError(
            f"{shown(name)} is {found}, neither {_CAUSAL} nor {_CLASSIFIER}. Use {RERANKER.ids}, or a fine-tune of one."
        )
    if architectures == [_CLASSIFIER]:
        _check_labels(name, config)


def _check_labels(name: str, config: dict[str, Any]) -> None:
    """One score is the log-odds; of two, the labels have to say which is which."""
    labels, count = config.get("id2label"), score_rows(config)
    if labels is not None:
        _check_numbers(name, labels)
    if count == 1:
        return
    if isinstance(labels, dict) and sorted(str(label).lower() for label in labels.values()) == [NO, YES]:
        return
    raise UnsupportedCheckpointError(
        f"{shown(name)} classifies into {count} labels ({shown_value(labels)}), and nothing says which of them is "
        f"relevance. Make id2label in its config.json call the two {NO!r} and {YES!r}, or use a conversion "
        "with one label."
    )


def _check_numbers(name: str, labels: Any) -> None:
    """The keys of id2label are rows of the score matrix: from 0 on, each once."""
    keys = list(labels) if isinstance(labels, dict) else []
    if sorted(keys) != sorted(map(str, range(len(keys)))) or not keys:
        raise UnsupportedCheckpointError(
            f"The id2label in the config.json of {shown(name)} must number its labels from '0' on, as the rows of the "
            f"score matrix are numbered; it is {shown_value(labels)}. Make it say that."
        )


RERANKER = Family("Qwen/Qwen3-Reranker-0.6B, -4B or -8B", _check_reranker, DEMO_FOLDER, variants=True)
