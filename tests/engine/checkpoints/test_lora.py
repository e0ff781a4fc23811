"""A LoRA adapter and its base are found together, or refused before any weight is read."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from qwen3_rerank_plugins.engine.checkpoints.checkpoint import DEMO_FOLDER, Checkpoint, find_checkpoint
from qwen3_rerank_plugins.engine.settings import EngineSettings
from qwen3_rerank_plugins.errors import CheckpointNotFoundError, UnsupportedCheckpointError
from tests.cache import cache_with
from tests.checkpoint_kinds import change_json

CONFIG = {"peft_type": "LORA", "task_type": "CAUSAL_LM", "base_model_name_or_path": str(DEMO_FOLDER), "r": 4}


def write_adapter(folder: Path, **changes: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "adapter_config.json").write_text(json.dumps({**CONFIG, **changes}), encoding="utf-8")
    (folder / "adapter_model.safetensors").touch()
    return folder


def find(model: Path | str, **options: Any) -> Checkpoint:
    return find_checkpoint(EngineSettings(model=str(model), **options))


def test_a_folder_with_an_adapter_is_its_base_and_the_adapter(tmp_path: Path) -> None:
    folder = write_adapter(tmp_path / "adapter")
    found = find(folder)
    assert (found.name, found.folder, found.tokenizer_file.parent) == (str(folder), DEMO_FOLDER, DEMO_FOLDER)
    assert found.adapter is not None
    assert found.adapter.folder == folder


def test_a_tokenizer_beside_the_adapter_goes_before_that_of_its_base(tmp_path: Path) -> None:
    folder = write_adapter(tmp_path / "adapter")
    shutil.copy(DEMO_FOLDER / "tokenizer.json", folder / "tokenizer.json")
    assert find(folder).tokenizer_file.parent == folder


def test_adapter_and_base_come_from_the_cache_each_at_its_own_revision(tmp_path: Path) -> None:
    folder = write_adapter(tmp_path / "adapter", base_model_name_or_path="someone/reranker", revision="v1")
    cache = tmp_path / "cache"
    cache_with(folder, "someone/adapter", cache, revision="v2")
    cache_with(DEMO_FOLDER, "someone/reranker", cache, revision="v1")
    found = find("someone/adapter", revision="v2", cache_dir=str(cache), local_files_only=True)
    assert (found.name, found.commit) == ("someone/adapter", "0" * 40)
    assert "models--someone--reranker" in str(found.folder)


def test_a_base_that_has_moved_is_named_together_with_the_place_that_names_it(tmp_path: Path) -> None:
    folder = write_adapter(tmp_path / "adapter", base_model_name_or_path="/home/trainer/reranker")
    with pytest.raises(
        CheckpointNotFoundError,
        match=r"no folder '/home/trainer/reranker'.*Check base_model_name_or_path in .*_config\.json",
    ):
        find(folder)
    write_adapter(folder, base_model_name_or_path="someone/reranker")
    with pytest.raises(CheckpointNotFoundError, match="base of the adapter .* is not in the cache"):
        find(folder, cache_dir=str(tmp_path), local_files_only=True)


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"peft_type": "IA3"}, "of type IA3; only LORA"),
        ({"peft_type": None}, "of type NONE; only LORA"),
        ({"megatron_config": {"tensor_model_parallel_size": 1}}, "would have a module of its choice imported"),
        ({"layer_replication": [[0, 1], [0, 1]]}, "repeats layers"),
        ({"alora_invocation_tokens": [1, 2]}, "cannot be merged"),
        ({"base_model_name_or_path": None}, "does not say base_model_name_or_path"),
        ({"task_type": "SEQ_CLS"}, "trained for sequence classification over"),
    ],
)
def test_what_cannot_be_merged_is_refused_with_what_to_do(changes: dict[str, Any], word: str, tmp_path: Path) -> None:
    with pytest.raises(UnsupportedCheckpointError, match=word):
        find(write_adapter(tmp_path / "adapter", **changes))


def test_a_base_that_is_an_adapter_or_quantised_is_refused(tmp_path: Path) -> None:
    first = write_adapter(tmp_path / "first")
    second = write_adapter(tmp_path / "second", base_model_name_or_path=str(first))
    with pytest.raises(UnsupportedCheckpointError, match="is an adapter, too"):
        find(second)
    base = Path(shutil.copytree(DEMO_FOLDER, tmp_path / "base"))
    change_json(base / "config.json", quantization_config={"quant_method": "bitsandbytes", "load_in_4bit": True})
    with pytest.raises(UnsupportedCheckpointError, match="is quantized by bitsandbytes"):
        find(write_adapter(second, base_model_name_or_path=str(base)))


def test_an_adapter_beside_whole_weights_is_refused_as_either_could_be_meant(tmp_path: Path) -> None:
    folder = write_adapter(Path(shutil.copytree(DEMO_FOLDER, tmp_path / "both")))
    with pytest.raises(UnsupportedCheckpointError, match="not clear which to load"):
        find(folder)


@pytest.mark.parametrize("config", ["{", "[]"])
def test_a_broken_config_is_refused(config: str, tmp_path: Path) -> None:
    folder = write_adapter(tmp_path / "adapter")
    (folder / "adapter_config.json").write_text(config, encoding="utf-8")
    with pytest.raises(UnsupportedCheckpointError, match=r"adapter_config\.json of .* (is not|cannot be read)"):
        find(folder)
