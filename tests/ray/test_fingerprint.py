"""A folder of answers belongs to one model: its hub commit, every byte of its files, and its dtype."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from qwen3_rerank_plugins import Qwen3Reranker
from qwen3_rerank_plugins import _registry as registry
from qwen3_rerank_plugins.engine.checkpoints.checkpoint import DEMO_FOLDER
from qwen3_rerank_plugins.errors import BatchError, RerankError, SettingsError
from qwen3_rerank_plugins.ray import fingerprint as module
from qwen3_rerank_plugins.ray.fingerprint import LoadedModel, digest_of_file
from qwen3_rerank_plugins.ray.manifest import MODEL, read_model
from qwen3_rerank_plugins.ray.partition_ranker import PartitionRanker, failure_of
from tests.doubles import OverlapScorer
from tests.ray.test_partition_ranker import run, split
from tests.requests import some_requests, write_jsonl

WEIGHTS = "model.safetensors"


@pytest.fixture(autouse=True)
def _fresh_engines() -> Any:
    """Each run of a job loads its model anew, as a process of its own does."""
    yield
    registry.close_all()


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return Path(shutil.copytree(DEMO_FOLDER, tmp_path / "model"))


def replace_weights(folder: Path, *, in_place: bool = False) -> None:
    """Other tensors in a file of the same size and the same time."""
    file = folder / WEIGHTS
    before = file.stat()
    tensors = {name: tensor.flip(0).contiguous() for name, tensor in load_file(file).items()}
    new = folder / "new"
    save_file(tensors, new, {"format": "pt"})
    if in_place:
        file.write_bytes(new.read_bytes())
        new.unlink()
    else:
        new.replace(file)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (file.stat().st_size, file.stat().st_mtime_ns) == (before.st_size, before.st_mtime_ns)


def two_runs(folder: Path, between: Any = lambda: None, **settings: Any) -> list[RerankError | None]:
    """The first partition by one actor, the second by another, with something happening between the two."""
    first, second = split(write_jsonl(folder / "requests.jsonl", some_requests(4)), 2)
    found = [failure_of(run(first, folder / "out", **settings))]
    registry.close_all()
    between()
    return [*found, failure_of(run(second, folder / "out", **settings))]


def test_two_actors_that_load_the_same_model_agree(model: Path, tmp_path: Path) -> None:
    assert two_runs(tmp_path, model=str(model)) == [None, None]
    found = read_model(tmp_path / "out")
    assert found.files[WEIGHTS] == digest_of_file(model / WEIGHTS)
    assert {"config.json", "tokenizer.json"} < found.files.keys()
    assert (found.commit, found.dtype) == (None, "float32")


def test_weights_replaced_between_two_runs_are_refused_by_name_whatever_size_and_time_say(
    model: Path, tmp_path: Path
) -> None:
    done, refused = two_runs(tmp_path, lambda: replace_weights(model), model=str(model))
    assert done is None
    assert isinstance(refused, SettingsError)
    assert "model.safetensors of the model changed" in str(refused)
    assert [file.name for file in (tmp_path / "out").glob("part-*")] == ["part-000000.jsonl"]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda folder: (folder / "config.json").write_text((folder / "config.json").read_text() + " "), "config.json"),
        (lambda folder: (folder / "tokenizer_config.json").write_text("{}"), "tokenizer_config.json"),
    ],
)
def test_any_file_that_is_read_counts(change: Any, says: str, model: Path, tmp_path: Path) -> None:
    _, refused = two_runs(tmp_path, lambda: change(model), model=str(model))
    assert isinstance(refused, SettingsError)
    assert says in str(refused)


def test_another_commit_under_the_same_branch_is_refused_with_both(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    hub_folder = cache / "models--someone--a-reranker"
    for commit in ("a" * 40, "b" * 40):
        shutil.copytree(DEMO_FOLDER, hub_folder / "snapshots" / commit)
    (hub_folder / "refs").mkdir()
    (hub_folder / "refs" / "main").write_text("a" * 40)
    words = {"model": "someone/a-reranker", "cache_dir": str(cache), "local_files_only": True}
    done, refused = two_runs(tmp_path, lambda: (hub_folder / "refs" / "main").write_text("b" * 40), **words)
    assert done is None
    assert isinstance(refused, SettingsError)
    assert f"commit was {'a' * 40} and is {'b' * 40}" in str(refused)
    assert "revision" in str(refused)


def test_another_dtype_on_another_node_is_refused(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """dtype="auto" is bfloat16 on a GPU, and float32 on a node without one."""

    def other_node() -> None:
        monkeypatch.setattr("qwen3_rerank_plugins.engine.loading.placement.dtype_name", lambda dtype: "bfloat16")

    _, refused = two_runs(tmp_path, other_node, model=str(model))
    assert "dtype was float32 and is bfloat16" in str(refused)


def test_another_version_of_the_package_on_another_node_is_refused(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def other_node() -> None:
        monkeypatch.setattr(module, "__version__", "9.9.9")

    _, refused = two_runs(tmp_path, other_node, model=str(model))
    assert "the version of this package was" in str(refused)


@pytest.mark.parametrize("in_place", [False, True])
def test_weights_replaced_while_an_actor_works_stop_it_before_its_next_file(
    in_place: bool, model: Path, tmp_path: Path
) -> None:
    first, second = split(write_jsonl(tmp_path / "requests.jsonl", some_requests(4)), 2)
    actor = _actor(model, tmp_path / "out")
    assert failure_of(_answer(actor, first)) is None
    replace_weights(model, in_place=in_place)
    refused = failure_of(_answer(actor, second))
    assert isinstance(refused, BatchError)
    assert "model.safetensors of the model" in str(refused)
    assert "changed on" in str(refused)
    assert [file.name for file in (tmp_path / "out").glob("part-*")] == ["part-000000.jsonl"]


def test_a_file_that_was_only_touched_stops_nobody(model: Path, tmp_path: Path) -> None:
    first, second = split(write_jsonl(tmp_path / "requests.jsonl", some_requests(4)), 2)
    actor = _actor(model, tmp_path / "out")
    assert failure_of(_answer(actor, first)) is None
    (model / WEIGHTS).touch()
    assert failure_of(_answer(actor, second)) is None


def test_weights_replaced_while_they_are_loaded_are_seen(model: Path) -> None:
    loaded = LoadedModel(Qwen3Reranker(str(model)).settings)
    loaded.check_loaded()
    replace_weights(model)
    with pytest.raises(BatchError, match="changed while they were loaded"):
        loaded.check_loaded()


def test_an_adapter_counts_with_its_base(tmp_path: Path, model: Path) -> None:
    adapter = {"peft_type": "LORA", "base_model_name_or_path": str(model), "r": 2, "target_modules": ["q_proj"]}
    (tmp_path / "adapter").mkdir()
    (tmp_path / "adapter" / "adapter_config.json").write_text(json.dumps(adapter))
    save_file({"lora_A": torch.zeros(2, 2)}, tmp_path / "adapter" / "adapter_model.safetensors")
    found = LoadedModel(Qwen3Reranker(str(tmp_path / "adapter")).settings).fingerprint.files
    assert {WEIGHTS, "config.json", "adapter/adapter_model.safetensors", "adapter/adapter_config.json"} <= found.keys()
    save_file({"lora_A": torch.ones(2, 2)}, tmp_path / "adapter" / "adapter_model.safetensors")
    again = LoadedModel(Qwen3Reranker(str(tmp_path / "adapter")).settings).fingerprint.files
    assert [name for name in found if again[name] != found[name]] == ["adapter/adapter_model.safetensors"]


def test_a_folder_whose_model_is_not_written_down_is_not_trusted(tmp_path: Path) -> None:
    (tmp_path / MODEL).write_text("{")
    with pytest.raises(SettingsError, match="_model.json is missing or damaged"):
        read_model(tmp_path)


def test_an_engine_of_the_callers_own_has_no_files(tmp_path: Path) -> None:
    (partition,) = split(write_jsonl(tmp_path / "requests.jsonl", some_requests(2)))
    assert failure_of(run(partition, tmp_path / "out", OverlapScorer(), model="not/there")) is None
    assert not (tmp_path / "out" / MODEL).exists()


def _actor(model: Path, out: Path) -> PartitionRanker:
    out.mkdir()
    return PartitionRanker(Qwen3Reranker(str(model)), "raise", str(out), "run")


def _answer(actor: PartitionRanker, partition: Any) -> dict[str, Any]:
    import dataclasses

    import pyarrow as pa

    (report,) = actor(pa.Table.from_pylist([dataclasses.asdict(partition)])).to_pylist()
    return report
