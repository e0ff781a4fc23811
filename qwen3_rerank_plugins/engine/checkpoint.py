"""A model's name -> the folder that holds its files, and what its config.json says.

Comes in: `EngineSettings`, and the `Family` it should be of. Goes out: `Checkpoint`. Only safetensors, JSON and text
files are ever fetched.
Must not know: torch, or how the weights are used.
"""

from __future__ import annotations

import dataclasses
import json
import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from qwen3_rerank_plugins.engine.settings import EngineSettings
from qwen3_rerank_plugins.errors import CheckpointNotFoundError, UnsupportedCheckpointError

DEMO = "demo"
DEMO_FOLDER = Path(__file__).parents[1] / "demo_checkpoint"
_FETCHED = ["*.safetensors", "*.json", "*.txt", "*.jinja"]
_ARCHITECTURE = "Qwen3ForCausalLM"
_AGAIN = "Download or export the checkpoint again."


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """A checkpoint on this machine's disk.

    Attributes:
        name: what the user called it.
        folder: where its files are.
        commit: hub commit, or None for a local folder.
        config: the parsed config.json.
    """

    name: str
    folder: Path
    commit: str | None
    config: dict[str, Any]

    @property
    def positions(self) -> int:
        """Longest prompt the model has positions for, in tokens."""
        return int(self.config["max_position_embeddings"])

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
        """The fast tokenizer's own file; every published Qwen3-Reranker has one."""
        return self.folder / "tokenizer.json"


@dataclasses.dataclass(frozen=True, slots=True)
class Family:
    """What a checkpoint must be, to be of use to whoever asks for it.

    Attributes:
        ids: the published ones, for messages.
        check: refuses a config.json by the name of its checkpoint.
        demo: folder of the bundled one, if there is one.
    """

    ids: str
    check: Callable[[str, dict[str, Any]], None]
    demo: Path | None = None


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
    local = Path(settings.model).expanduser()
    if settings.model == DEMO and family.demo:
        return _open(DEMO, family.demo, None, family)
    if local.is_dir():
        return _open(settings.model, local, None, family)
    if local.is_absolute() or settings.model.startswith(("./", "../", "~")):
        raise CheckpointNotFoundError(f"There is no folder {settings.model!r}. Check the path, or pass a hub id.")
    folder = _download(settings, family)
    return _open(settings.model, folder, folder.name, family)


def _download(settings: EngineSettings, family: Family) -> Path:
    from huggingface_hub.errors import (
        GatedRepoError,
        HFValidationError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    # the messages name what the command line and Python share: plain words and the hub's own variables
    asked = f"{settings.model!r}" + (f" at revision {settings.revision!r}" if settings.revision else "")
    try:
        return _fetch(settings)
    except HFValidationError:
        raise CheckpointNotFoundError(
            f"{asked} is neither a folder on this machine nor a hub id of the form owner/name. Check the spelling, or "
            f"take {family.ids}."
        ) from None
    except LocalEntryNotFoundError as error:
        offline = settings.local_files_only or os.environ.get("HF_HUB_OFFLINE", "").upper() in {
            "1",
            "ON",
            "YES",
            "TRUE",
        }
        reason = (
            "is not in the cache, and fetching is switched off (by local files only, or by HF_HUB_OFFLINE). Allow the "
            "network once, or name a cache folder that has it, or pass a local folder."
            if offline
            else "is not in the cache and the hub cannot be reached. Check the network, or pass a local folder; "
            "once it is cached, HF_HUB_OFFLINE=1 loads it without the network."
        )
        raise CheckpointNotFoundError(f"{asked} {reason}") from error
    except GatedRepoError as error:
        raise CheckpointNotFoundError(
            f"{asked} is gated. Accept its terms on the hub, then log in with `hf auth login` or set HF_TOKEN."
        ) from error
    except (RepositoryNotFoundError, RevisionNotFoundError) as error:
        raise CheckpointNotFoundError(
            f"{asked} is not on the hub (or is private: log in with `hf auth login` or set HF_TOKEN). Check the "
            f"spelling, or take {family.ids}."
        ) from error
    except Exception as error:  # the hub's own, those of its HTTP client, which differs by version, and the disk's
        raise CheckpointNotFoundError(
            f"{asked} could not be fetched from the hub: {error}. Try again, or pass a local folder."
        ) from error


def _fetch(settings: EngineSettings) -> Path:
    from huggingface_hub import snapshot_download

    handled = sys.exception()  # the caller's own, if any
    try:
        return Path(
            snapshot_download(
                settings.model,
                revision=settings.revision,
                cache_dir=settings.cache_dir,
                local_files_only=settings.local_files_only,
                token=settings.token,
                allow_patterns=_FETCHED,
            )
        )
    except BaseException as error:
        _forget_local_variables(error, handled)
        raise


def _forget_local_variables(error: BaseException | None, handled: BaseException | None) -> None:
    """Of the calls that failed: the hub's client keeps the token in some, and reporters of errors may print them."""
    if error is None or error is handled:
        return
    traceback.clear_frames(error.__traceback__)  # calls that still run, ours among them, keep theirs
    for earlier in (error.__cause__, error.__context__):
        _forget_local_variables(earlier, handled)


def _open(name: str, folder: Path, commit: str | None, family: Family) -> Checkpoint:
    config_file = folder / "config.json"
    if not config_file.is_file():
        raise CheckpointNotFoundError(
            f"{name!r} has no config.json, so it is not a model folder: {folder}. Check the path."
        )
    config = _read_config(name, config_file)
    family.check(name, config)
    layer_types = config.get("layer_types") or []
    if config.get("use_sliding_window") or any(kind != "full_attention" for kind in layer_types):
        raise UnsupportedCheckpointError(
            f"{name!r} uses sliding-window attention, which none of the family does. Use {family.ids}, or a "
            "fine-tune of one."
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
    return Checkpoint(name, folder, commit, config)


def _read_config(name: str, file: Path) -> dict[str, Any]:
    """What config.json says, with the fields that are read here being of their kinds; the others are transformers'."""
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
    positions = config.get("max_position_embeddings")
    if type(positions) is not int or positions < 1:
        raise UnsupportedCheckpointError(
            f"In the config.json of {name!r}, max_position_embeddings is {positions!r}, not a number of tokens. "
            f"{_AGAIN}"
        )
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
    if any("SequenceClassification" in architecture for architecture in architectures):
        raise UnsupportedCheckpointError(
            f"{name!r} is a sequence-classification conversion ({architectures[0]}): its head holds one score row "
            "instead of the yes and no rows, and it would be scored wrongly. Use the original "
            "Qwen/Qwen3-Reranker checkpoint."
        )
    if config.get("model_type") != "qwen3" or architectures not in ([], [_ARCHITECTURE]):
        found = architectures[0] if architectures else f"model_type {config.get('model_type')!r}"
        raise UnsupportedCheckpointError(
            f"{name!r} is {found}, not {_ARCHITECTURE}. Use {RERANKER.ids}, or a fine-tune of one."
        )


RERANKER = Family("Qwen/Qwen3-Reranker-0.6B, -4B or -8B", _check_reranker, DEMO_FOLDER)
