"""A model's name -> the folder that holds its files, and what its config.json says.

Comes in: `EngineSettings`, and the `Family` it should be of. Goes out: `Checkpoint`.
Must not know: torch, or how the weights are used.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from qwen3_rerank_plugins.engine.adapter import Adapter, is_adapter, read_adapter
from qwen3_rerank_plugins.engine.hub import fetch_snapshot
from qwen3_rerank_plugins.engine.names import DEMO, ModelName, resolve_model
from qwen3_rerank_plugins.engine.prompt import NO, YES
from qwen3_rerank_plugins.engine.rope import Rope, read_rope
from qwen3_rerank_plugins.engine.settings import EngineSettings
from qwen3_rerank_plugins.engine.stored import StoredQuantization, read_stored
from qwen3_rerank_plugins.errors import CheckpointNotFoundError, UnsupportedCheckpointError

DEMO_FOLDER = Path(__file__).parents[1] / "demo_checkpoint"
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
        stored: how its weights are quantised in its files, if they are.
        adapter: what is merged into the weights once they are loaded, if anything is.
    """

    name: str
    folder: Path
    commit: str | None
    config: dict[str, Any]
    stored: StoredQuantization | None = None
    adapter: Adapter | None = None

    @property
    def positions(self) -> int:
        """Longest prompt the model has positions for, in tokens; an extended RoPE has more than it was trained with."""
        return self.rope.limit

    @property
    def rope(self) -> Rope:
        """How it tells positions apart."""
        return read_rope(self.name, self.config)

    @property
    def weight_files(self) -> list[Path]:
        """One safetensors file, or the shards that the index names."""
        single = self.folder / "model.safetensors"
        if single.is_file():
            return [single]
        index = self.folder / "model.safetensors.index.json"
        shards = json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()
        return [self.folder / shard for shard in sorted(set(shards))]

    @property
    def tokenizer_file(self) -> Path:
        """The fast tokenizer's own file; every published Qwen3-Reranker has one. An adapter's own goes first."""
        own = self.adapter.folder / "tokenizer.json" if self.adapter else None
        return own if own and own.is_file() else self.folder / "tokenizer.json"

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
        variants: whether adapters and quantised weights are of use, too.
    """

    ids: str
    check: Callable[[str, dict[str, Any]], None]
    demo: Path | None = None
    variants: bool = False


def score_rows(config: dict[str, Any]) -> int:
    """How many rows of a score a config.json promises: none, where there is an output matrix instead."""
    if config.get("architectures") != [_CLASSIFIER]:
        return 0
    labels, count = config.get("id2label"), config.get("num_labels")
    if isinstance(labels, dict):
        return len(labels)
    return count if isinstance(count, int) else 2  # as transformers has it


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
            f"The tokenizer of {name!r} has ids up to {needed - 1}, and its model has rows up to {rows - 1}. Take both "
            "from the same checkpoint."
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
            f"{settings.model!r} holds an adapter. Use a whole model, {family.ids} or a fine-tune."
        )
    return _find_base(settings, read_adapter(settings.model, folder, commit), family)


def _find_folder(settings: EngineSettings, family: Family) -> tuple[Path, str | None]:
    """Where the files are, and the commit they are of."""
    model = resolve_model(settings.model)
    if model == DEMO and family.demo:
        return family.demo, None
    if model.is_path:
        if Path(model).is_dir():
            return Path(model), None
        raise CheckpointNotFoundError(f"There is no folder {str(model)!r}. Check the path, or pass a hub id.")
    folder = fetch_snapshot(settings, family.ids)
    return folder, folder.name


def _find_base(settings: EngineSettings, adapter: Adapter, family: Family) -> Checkpoint:
    """The checkpoint that an adapter names, found by the same rules, together with it."""
    place = dataclasses.replace(settings, model=_base_name(settings, adapter), revision=adapter.base_revision)
    named = f"Check base_model_name_or_path in {adapter.config_file}: it may name any hub id or folder."
    try:
        folder, commit = _find_folder(place, family)
    except CheckpointNotFoundError as error:
        raise CheckpointNotFoundError(
            f"The base of the adapter {adapter.name!r} is missing: {error} {named}"
        ) from error
    if is_adapter(folder):
        raise UnsupportedCheckpointError(f"The base of the adapter {adapter.name!r} is an adapter, too. {named}")
    base = _open(adapter.base, folder, commit, family)
    if base.stored:
        raise UnsupportedCheckpointError(
            f"The base of the adapter {adapter.name!r} is quantised, by {base.stored.method}, so nothing can be merged "
            f"into it; the checkpoint that it was made from takes the adapter as well. {named}"
        )
    if adapter.classifies and not base.classifies:
        raise UnsupportedCheckpointError(
            f"The adapter {adapter.name!r} was trained for sequence classification over {adapter.base!r}, which is no "
            "model for that. Load it where it was trained, merge it there, and save the whole model."
        )
    return dataclasses.replace(base, name=adapter.name, commit=adapter.commit, adapter=adapter)


def _base_name(settings: EngineSettings, adapter: Adapter) -> ModelName:
    """The base that was meant when the settings were made. No later one is relative to the working directory."""
    named = resolve_model(settings.model).base
    return named[1] if named is not None and named[0] == adapter.base else ModelName(adapter.base)


def _open(name: str, folder: Path, commit: str | None, family: Family) -> Checkpoint:
    config_file = folder / "config.json"
    if not config_file.is_file():
        raise CheckpointNotFoundError(
            f"{name!r} has no config.json, so it is not a model folder: {folder}. Check the path."
        )
    config = _read_config(name, config_file)
    family.check(name, config)
    positions = config.get("max_position_embeddings")
    if type(positions) is not int or positions < 1:
        raise UnsupportedCheckpointError(
            f"In the config.json of {name!r}, max_position_embeddings is {positions!r}, not a number of tokens. "
            f"{_AGAIN}"
        )
    read_rope(name, config)
    layer_types = config.get("layer_types") or []
    if config.get("use_sliding_window") or any(kind != "full_attention" for kind in layer_types):
        raise UnsupportedCheckpointError(
            f"{name!r} uses sliding-window attention, which none of the family does. Use {family.ids}, or a "
            "fine-tune of one."
        )
    if config.get("hidden_act", "silu") != "silu":
        raise UnsupportedCheckpointError(
            f"In the config.json of {name!r}, hidden_act is {config['hidden_act']!r}; all of the family have 'silu'. "
            f"Use {family.ids}, or a fine-tune of one."
        )
    if not (folder / "tokenizer.json").is_file():
        raise UnsupportedCheckpointError(
            f"{name!r} has no tokenizer.json. Save one beside the weights: "
            "AutoTokenizer.from_pretrained(base_model).save_pretrained(folder)."
        )
    if not any(folder.glob("*.safetensors")):
        raise UnsupportedCheckpointError(
            f"{name!r} has no *.safetensors file; pickled weights are not read. Convert it once with "
            "model.save_pretrained(folder)."
        )
    _check_shards(name, folder)
    return Checkpoint(name, folder, commit, config, read_stored(name, config) if family.variants else None)


def _read_config(name: str, file: Path) -> dict[str, Any]:
    """What config.json says, with the words that tell a family by being words."""
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise CheckpointNotFoundError(
            f"The config.json of {name!r} cannot be read: {error.strerror or error}. Check who may read {file}."
        ) from error
    except (ValueError, RecursionError) as error:
        raise UnsupportedCheckpointError(f"The config.json of {name!r} is not valid JSON: {error}. {_AGAIN}") from error
    if not isinstance(config, dict):
        raise UnsupportedCheckpointError(f"The config.json of {name!r} is not a JSON object. {_AGAIN}")
    for field in ("architectures", "layer_types"):
        words = config.get(field) or []
        if not (isinstance(words, list) and all(isinstance(word, str) for word in words)):
            raise UnsupportedCheckpointError(f"In the config.json of {name!r}, {field} is no list of words. {_AGAIN}")
    return config


def _check_shards(name: str, folder: Path) -> None:
    """The index is the checkpoint's own word: a shard that is no safetensors file here would be unpickled."""
    index = folder / "model.safetensors.index.json"
    if (folder / "model.safetensors").is_file() or not index.is_file():
        return
    try:
        shards = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise UnsupportedCheckpointError(
            f"The {index.name} of {name!r} is not an index of weights: {error}. {_AGAIN}"
        ) from error
    for shard in shards:
        if not (isinstance(shard, str) and shard.endswith(".safetensors") and Path(shard).name == shard):
            raise UnsupportedCheckpointError(
                f"The {index.name} of {name!r} names {shard!r}; only *.safetensors files beside it are read. {_AGAIN}"
            )


def _check_reranker(name: str, config: dict[str, Any]) -> None:
    architectures = config.get("architectures") or []
    if config.get("model_type") != "qwen3" or architectures not in ([], [_CAUSAL], [_CLASSIFIER]):
        found = architectures[0] if architectures else f"model_type {config.get('model_type')!r}"
        raise UnsupportedCheckpointError(
            f"{name!r} is {found}, neither {_CAUSAL} nor {_CLASSIFIER}. Use {RERANKER.ids}, or a fine-tune of one."
        )
    if architectures == [_CLASSIFIER]:
        _check_labels(name, config)


def _check_labels(name: str, config: dict[str, Any]) -> None:
    """One score is the log-odds; of two, the labels have to say which is which."""
    labels, count = config.get("id2label"), score_rows(config)
    if count == 1:
        return
    if isinstance(labels, dict) and sorted(str(label).lower() for label in labels.values()) == [NO, YES]:
        return
    raise UnsupportedCheckpointError(
        f"{name!r} classifies into {count} labels ({labels}), and nothing says which of them is relevance. Make "
        f"id2label in its config.json call the two {NO!r} and {YES!r}, or use a conversion with one label."
    )


RERANKER = Family("Qwen/Qwen3-Reranker-0.6B, -4B or -8B", _check_reranker, DEMO_FOLDER, variants=True)
