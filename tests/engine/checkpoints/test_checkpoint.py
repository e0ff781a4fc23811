"""Finding a checkpoint: local, cached, bundled, or a clear word why not."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from qwen3_rerank_plugins.engine.checkpoints.checkpoint import find_checkpoint, score_rows
from qwen3_rerank_plugins.engine.settings import EngineSettings
from qwen3_rerank_plugins.errors import CheckpointNotFoundError, UnsupportedCheckpointError
from tests.cache import cache_with


def find(folder: Path | str, **options: Any) -> Any:
    return find_checkpoint(EngineSettings(model=str(folder), **options))


@pytest.fixture
def copy(checkpoint: Callable[[str], Path], tmp_path: Path) -> Path:
    return Path(shutil.copytree(checkpoint("small"), tmp_path / "copy"))


def change_config(folder: Path, **changes: Any) -> None:
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    (folder / "config.json").write_text(json.dumps({**config, **changes}), encoding="utf-8")


def test_a_local_folder_is_taken_as_it_is(copy: Path) -> None:
    found = find(copy)
    assert (found.folder, found.commit, found.positions) == (copy, None, 40960)


def test_demo_is_the_bundled_checkpoint() -> None:
    found = find("demo")
    assert found.name == "demo"
    assert found.tokenizer_file.is_file()


def test_a_filled_cache_is_found_without_the_network(copy: Path, tmp_path: Path) -> None:
    cache = cache_with(copy, "someone/reranker", tmp_path / "cache")
    found = find("someone/reranker", cache_dir=str(cache), local_files_only=True)
    assert found.commit == "0" * 40
    assert found.tokenizer_file.is_file()


@pytest.mark.parametrize("path", ["/no/such/folder", "./nothing", "../nothing", "~/nothing-here"])
def test_a_path_that_does_not_exist_is_not_looked_up_on_the_hub(path: str) -> None:
    with pytest.raises(CheckpointNotFoundError, match="There is no folder"):
        find(path)


def test_a_folder_without_config_is_no_model(tmp_path: Path) -> None:
    with pytest.raises(CheckpointNotFoundError, match=r"no config\.json"):
        find(tmp_path)


def test_a_broken_config_is_refused(copy: Path) -> None:
    (copy / "config.json").write_text("{", encoding="utf-8")
    with pytest.raises(UnsupportedCheckpointError, match="not valid JSON"):
        find(copy)
    (copy / "config.json").write_text("[]", encoding="utf-8")
    with pytest.raises(UnsupportedCheckpointError, match="not a JSON object"):
        find(copy)


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"architectures": 5}, "architectures is not a list of strings"),
        ({"architectures": [None]}, "architectures is not a list of strings"),
        ({"layer_types": "full_attention"}, "layer_types is not a list of strings"),
        ({"max_position_embeddings": None}, "max_position_embeddings is None, not a number of tokens"),
        ({"max_position_embeddings": "many"}, "max_position_embeddings is 'many', not a number of tokens"),
        ({"max_position_embeddings": True}, "max_position_embeddings is True, not a number of tokens"),
        ({"max_position_embeddings": 0}, "max_position_embeddings is 0, not a number of tokens"),
    ],
)
def test_a_config_with_a_field_of_another_kind_is_refused_with_advice(
    copy: Path, changes: dict[str, Any], word: str
) -> None:
    change_config(copy, **changes)
    with pytest.raises(UnsupportedCheckpointError, match=rf"{word}\. Download or export the checkpoint again"):
        find(copy)


def test_a_config_that_is_too_deep_or_cannot_be_read_is_refused(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (copy / "config.json").write_text("[" * 100_000, encoding="utf-8")
    with pytest.raises(UnsupportedCheckpointError, match="not valid JSON"):
        find(copy)

    def refuse(*_: object, **__: object) -> str:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(Path, "read_text", refuse)  # the suite may run as root, who may read everything
    with pytest.raises(CheckpointNotFoundError, match=r"cannot be read: Input/output error\. Check the permissions"):
        find(copy)


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        (
            {"architectures": ["LlamaForCausalLM"], "model_type": "llama"},
            "is LlamaForCausalLM, neither Qwen3ForCausalLM nor Qwen3ForSequenceClassification",
        ),
        ({"architectures": ["Qwen2ForSequenceClassification"], "model_type": "qwen2"}, "is Qwen2ForSequenceClass"),
        ({"architectures": None, "model_type": "qwen2"}, "model_type 'qwen2'"),
        ({"use_sliding_window": True}, "sliding-window"),
        ({"layer_types": ["sliding_attention"]}, "sliding-window"),
        ({"hidden_act": "gelu"}, "hidden_act is 'gelu'"),
    ],
)
def test_another_kind_of_model_is_refused_with_its_kind(copy: Path, changes: dict[str, Any], word: str) -> None:
    change_config(copy, **changes)
    with pytest.raises(UnsupportedCheckpointError, match=word):
        find(copy)


def test_a_folder_without_fast_tokenizer_or_safetensors_is_refused(copy: Path) -> None:
    (copy / "model.safetensors").rename(copy / "pytorch_model.bin")
    with pytest.raises(UnsupportedCheckpointError, match="pickled weights are not read"):
        find(copy)
    (copy / "tokenizer.json").unlink()
    with pytest.raises(UnsupportedCheckpointError, match=r"no tokenizer\.json"):
        find(copy)


@pytest.mark.parametrize(
    ("changes", "rows"),
    [
        ({"id2label": {"0": "LABEL_0"}}, 1),
        ({"num_labels": 1}, 1),
        ({"id2label": {"0": "no", "1": "yes"}}, 2),
        ({"id2label": {"0": "YES", "1": "No"}}, 2),
    ],
)
def test_a_classifier_is_taken_where_its_labels_say_what_relevance_is(
    copy: Path, changes: dict[str, Any], rows: int
) -> None:
    change_config(copy, architectures=["Qwen3ForSequenceClassification"], **changes)
    tensors = load_file(copy / "model.safetensors")
    tensors["score.weight"] = torch.zeros(rows, 64)
    save_file(tensors, copy / "model.safetensors")
    assert find(copy).classifies
    assert score_rows(find(copy).config) == rows


@pytest.mark.parametrize(
    "changes",
    [
        {},  # two labels is the default of transformers
        {"num_labels": 2},
        {"id2label": {"0": "LABEL_0", "1": "LABEL_1"}},
        {"id2label": {"0": "yes", "1": "yes"}},
        {"id2label": {"0": "no", "1": "maybe", "2": "yes"}},
    ],
)
def test_a_classifier_whose_labels_do_not_say_it_is_refused_with_what_to_write(
    copy: Path, changes: dict[str, Any]
) -> None:
    change_config(copy, architectures=["Qwen3ForSequenceClassification"], **changes)
    with pytest.raises(UnsupportedCheckpointError, match="nothing says which .* id2label .* 'no' and 'yes'"):
        find(copy)
