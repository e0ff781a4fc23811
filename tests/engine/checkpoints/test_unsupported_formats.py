"""A folder that holds another format is told as what it is, by a checkpoint that would load otherwise."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from qwen3_rerank_plugins.engine.checkpoints.checkpoint import DEMO_FOLDER, find_checkpoint
from qwen3_rerank_plugins.engine.settings import EngineSettings
from qwen3_rerank_plugins.errors import CheckpointError, IncompleteCheckpointError, UnsupportedCheckpointError
from tests.checkpoint_kinds import change_json

FORMATS = {
    "model-Q4_K_M.gguf": "GGUF weights, which are for llama.cpp",
    "onnx/model.onnx": "an ONNX export",
    "openvino_model.xml": "an OpenVINO export",
    "openvino/openvino_model.xml": "an OpenVINO export",
    "model.mlpackage": "a Core ML export",
    "rank0.engine": "a TensorRT engine",
    "tf_model.h5": "TensorFlow weights",
    "flax_model.msgpack": "Flax weights",
    "weights.npz": "NumPy weights",
    "pytorch_model.bin": "pickled weights are not read",
    "consolidated.00.pth": "pickled weights are not read",
}


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    return Path(shutil.copytree(DEMO_FOLDER, tmp_path / "checkpoint"))


def find(folder: Path) -> Any:
    return find_checkpoint(EngineSettings(model=str(folder)))


@pytest.mark.parametrize("with_config", [True, False])
@pytest.mark.parametrize("file", FORMATS)
def test_a_folder_of_another_format_is_told_by_its_name(file: str, with_config: bool, copy: Path) -> None:
    (copy / "model.safetensors").unlink()
    (copy / file).parent.mkdir(exist_ok=True)
    (copy / file).touch()
    if not with_config:
        (copy / "config.json").unlink()
    message = rf"holds {FORMATS[file]}.*(Use the checkpoint|Convert it)|{FORMATS[file]}.*Convert it"
    with pytest.raises(UnsupportedCheckpointError, match=message):
        find(copy)


def test_another_format_beside_safetensors_is_no_obstacle(copy: Path) -> None:
    for file in ("model.gguf", "model.onnx", "pytorch_model.bin"):
        (copy / file).touch()
    assert find(copy).weight_files == (copy / "model.safetensors",)


def test_what_a_trainer_leaves_is_not_taken_for_weights(copy: Path) -> None:
    (copy / "model.safetensors").rename(copy / "training_args.bin")
    with pytest.raises(UnsupportedCheckpointError, match=r"has no \*\.safetensors file"):
        find(copy)


def test_a_file_is_no_folder(copy: Path) -> None:
    with pytest.raises(CheckpointError, match="is a file, and a model is a folder"):
        find(copy / "model.safetensors")


def shard(folder: Path, *, index: bool = True) -> list[Path]:
    """The weights in two files, as large ones are saved."""
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    files = [folder / f"model-0000{number}-of-00002.safetensors" for number in (1, 2)]
    names = [list(tensors)[:5], list(tensors)[5:]]
    for file, own in zip(files, names, strict=True):
        save_file({name: tensors[name] for name in own}, file, metadata={"format": "pt"})
    if index:
        places = {name: file.name for file, own in zip(files, names, strict=True) for name in own}
        (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": places}), encoding="utf-8")
    return files


def test_shards_with_their_index_are_found(copy: Path) -> None:
    files = shard(copy)
    assert list(find(copy).weight_files) == files


def test_shards_without_an_index_are_told_as_that(copy: Path) -> None:
    shard(copy, index=False)
    with pytest.raises(IncompleteCheckpointError, match=r"holds shards such as 'model-00001.*no model\.safe"):
        find(copy)


def test_an_index_without_its_shards_names_what_is_missing(copy: Path) -> None:
    files = shard(copy)
    files[1].unlink()
    with pytest.raises(IncompleteCheckpointError, match=r"1 of the 2 files .* missing, such as 'model-00002"):
        find(copy)


def test_a_file_of_another_name_is_told_with_the_name_that_it_needs(copy: Path) -> None:
    (copy / "model.safetensors").rename(copy / "reranker.safetensors")
    with pytest.raises(UnsupportedCheckpointError, match=r"'reranker\.safetensors', and neither"):
        find(copy)


def test_two_shards_that_hold_one_tensor_are_refused(copy: Path) -> None:
    files = shard(copy)
    shutil.copy(files[0], files[1])
    with pytest.raises(IncompleteCheckpointError, match="Two files of"):
        find(copy)


@pytest.mark.parametrize(
    "change",
    [
        lambda raw: raw[:1000],
        lambda raw: b"",
        lambda raw: b"\xff" * 8 + raw[8:],
        lambda raw: raw[:-1],
        lambda raw: raw + b"x",
    ],
    ids=["cut", "empty", "a header of 2**64", "a byte short", "a byte long"],
)
def test_a_damaged_file_is_told_with_its_size(change: Any, copy: Path) -> None:
    file = copy / "model.safetensors"
    file.write_bytes(change(file.read_bytes()))
    with pytest.raises(
        IncompleteCheckpointError, match=r"'model\.safetensors' of .* bytes\) is not a complete safetensors"
    ):
        find(copy)


IMPOSSIBLE: list[tuple[dict[str, Any], str]] = [
    ({"num_hidden_layers": 10**6}, "num_hidden_layers=1000000, and its files hold 4 layers"),
    ({"num_hidden_layers": 5}, "num_hidden_layers=5, and its files hold 4 layers"),
    ({"hidden_size": 10**12}, "of the wrong shape"),
    ({"vocab_size": 10**12}, r"of the wrong shape .*\[9216, 128\], not \[1000000000000, 128\]"),
    ({"intermediate_size": 10**9}, "of the wrong shape"),
    ({"num_labels": 10**9}, "num_labels is 1000000000"),
    ({"num_attention_heads": 3}, "no multiple of num_key_value_heads"),
    ({"tie_word_embeddings": False}, r"missing from the files \(lm_head\.weight\)"),
    *(
        ({field: value}, f"{field} is ")
        for field in ("hidden_size", "num_hidden_layers", "vocab_size", "head_dim", "num_key_value_heads")
        for value in (-1, 0, 1.5, True, "128", [])
    ),
]


@pytest.mark.parametrize(("changes", "message"), IMPOSSIBLE, ids=[str(changes) for changes, _ in IMPOSSIBLE])
def test_a_config_that_does_not_fit_the_weights_is_refused_before_anything_is_allocated(
    changes: dict[str, Any], message: str, copy: Path
) -> None:
    change_json(copy / "config.json", **changes)
    with pytest.raises(CheckpointError, match=message):
        find(copy)


def test_integers_without_a_word_on_what_they_stand_for_are_refused(copy: Path) -> None:
    tensors = load_file(copy / "model.safetensors")
    tensors["model.layers.0.mlp.up_proj.weight"] = tensors["model.layers.0.mlp.up_proj.weight"].to(torch.int8)
    save_file(tensors, copy / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(UnsupportedCheckpointError, match="stores weights as I8, .*does not say how they"):
        find(copy)


@pytest.mark.parametrize(
    "labels", [{"1": "no", "2": "yes"}, {"a": "no", "b": "yes"}, {"0": "no", "2": "yes"}, ["no"], {}]
)
def test_labels_that_do_not_number_the_rows_are_refused(labels: Any, copy: Path) -> None:
    change_json(copy / "config.json", architectures=["Qwen3ForSequenceClassification"], id2label=labels)
    with pytest.raises(UnsupportedCheckpointError, match="id2label .* must number its labels from '0' on"):
        find(copy)
