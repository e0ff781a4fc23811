"""Finding a checkpoint: local, cached, bundled, or a clear word why not."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import huggingface_hub
import pytest
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from qwen3_rerank_plugins.engine.checkpoint import find_checkpoint
from qwen3_rerank_plugins.engine.settings import EngineSettings
from qwen3_rerank_plugins.errors import CheckpointNotFoundError, UnsupportedCheckpointError
from tests.cache import cache_with


def find(folder: Path | str, **options: Any) -> Any:
    return find_checkpoint(EngineSettings(model=str(folder), **options))


@pytest.fixture
def copy(checkpoint: Callable[[str], Path], tmp_path: Path) -> Path:
    return Path(shutil.copytree(checkpoint("one-layer"), tmp_path / "copy"))


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


def test_hf_hub_offline_is_honoured(copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    cache = cache_with(copy, "someone/reranker", tmp_path / "cache")
    assert find("someone/reranker", cache_dir=str(cache)).commit == "0" * 40
    with pytest.raises(CheckpointNotFoundError, match="fetching is switched off .*HF_HUB_OFFLINE"):
        find("someone/other", cache_dir=str(cache))


def test_a_revision_is_looked_up_in_the_cache(copy: Path, tmp_path: Path) -> None:
    cache = cache_with(copy, "someone/reranker", tmp_path / "cache", revision="v2")
    assert find("someone/reranker", cache_dir=str(cache), local_files_only=True, revision="v2").commit == "0" * 40
    with pytest.raises(CheckpointNotFoundError, match="at revision 'v3' is not in the cache"):
        find("someone/reranker", cache_dir=str(cache), local_files_only=True, revision="v3")


def test_what_is_not_cached_and_must_not_be_fetched_names_the_switch(tmp_path: Path) -> None:
    with pytest.raises(
        CheckpointNotFoundError, match=r"'Qwen/Qwen3-Reranker-8B' is not in the cache.*local files only"
    ):
        find("Qwen/Qwen3-Reranker-8B", cache_dir=str(tmp_path), local_files_only=True)


def hub_error(kind: type[Exception]) -> Exception:
    """An error as the hub's client raises it; some of them want the answer they came from."""
    if kind not in (GatedRepoError, HfHubHTTPError, RepositoryNotFoundError, RevisionNotFoundError):
        return kind("no")
    answer: Any = SimpleNamespace(headers={}, request=None, status_code=404)  # of whichever HTTP client it has
    return kind("no", response=answer)


@pytest.mark.parametrize(
    ("kind", "advice"),
    [
        (LocalEntryNotFoundError, "hub cannot be reached"),
        (GatedRepoError, "Accept its terms"),
        (RepositoryNotFoundError, "is not on the hub"),
        (RevisionNotFoundError, "is not on the hub"),
        (HfHubHTTPError, "could not be fetched"),
        (OSError, "could not be fetched"),
        (EOFError, "could not be fetched"),  # errors of the hub's HTTP client are no OSErrors
    ],
)
def test_each_failure_of_the_hub_has_advice_that_fits_python_and_the_command_line(
    kind: type[Exception], advice: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise hub_error(kind)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fail)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    with pytest.raises(CheckpointNotFoundError, match=advice) as caught:
        find("someone/reranker", revision="v2")
    assert "'someone/reranker' at revision 'v2'" in str(caught.value)
    assert not re.search(r"_|--|\w=[^1]", str(caught.value).replace("HF_HUB_OFFLINE", "").replace("HF_TOKEN", ""))


@pytest.mark.parametrize("path", ["/no/such/folder", "./nothing", "../nothing", "~/nothing-here"])
def test_a_path_that_does_not_exist_is_not_looked_up_on_the_hub(path: str) -> None:
    with pytest.raises(CheckpointNotFoundError, match="There is no folder"):
        find(path)


def test_a_name_that_can_be_no_hub_id_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointNotFoundError, match="neither a folder on this machine nor a hub id"):
        find("not a/valid/id", cache_dir=str(tmp_path), local_files_only=True)


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
        ({"architectures": 5}, "architectures is no list of words"),
        ({"architectures": [None]}, "architectures is no list of words"),
        ({"layer_types": "full_attention"}, "layer_types is no list of words"),
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
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_text", refuse)  # the suite may run as root, who may read everything
    with pytest.raises(CheckpointNotFoundError, match=r"cannot be read: Permission denied\. Check who may read"):
        find(copy)


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"architectures": ["LlamaForCausalLM"], "model_type": "llama"}, "is LlamaForCausalLM, not Qwen3ForCausalLM"),
        ({"architectures": ["Qwen3ForSequenceClassification"]}, "sequence-classification conversion"),
        ({"architectures": None, "model_type": "qwen2"}, "model_type 'qwen2'"),
        ({"use_sliding_window": True}, "sliding-window"),
        ({"layer_types": ["sliding_attention"]}, "sliding-window"),
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
