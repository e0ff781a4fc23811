"""The whole line behind the seam, where it meets unusual checkpoints."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from qwen3_rerank_plugins import Qwen3Reranker
from qwen3_rerank_plugins.engine.checkpoints.checkpoint import DEMO_FOLDER
from qwen3_rerank_plugins.errors import CheckpointError, ClosedError, UnsupportedCheckpointError
from tests.checkpoint_kinds import make_adapter
from tests.checkpoints import GROUPED, make_checkpoint
from tests.optional import need


def test_a_model_with_few_positions_warms_up_and_ranks_within_them(
    checkpoint: Callable[[str], Path], tmp_path: Path
) -> None:
    folder = make_checkpoint(tmp_path / "short", max_position_embeddings=256, **GROUPED)
    with Qwen3Reranker(str(folder), max_length=200) as reranker:
        reranker.warmup()
        assert reranker.rank("q", ["word " * 500])[0].truncated_tokens > 300


def test_a_tokenizer_with_more_ids_than_the_model_has_rows_is_refused_before_the_first_pass(tmp_path: Path) -> None:
    """On a GPU such an id fails inside a kernel, and nothing runs on the device any more."""
    folder = Path(shutil.copytree(DEMO_FOLDER, tmp_path / "checkpoint"))
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    rows = config["vocab_size"] - 6  # among those cut off are control tokens of the template
    (folder / "config.json").write_text(json.dumps({**config, "vocab_size": rows}), encoding="utf-8")
    weights = load_file(folder / "model.safetensors")
    weights["model.embed_tokens.weight"] = weights["model.embed_tokens.weight"][:rows].clone()
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    message = rf"has ids up to {rows + 5}, and its model has rows up to {rows - 1}\. Take both from the same checkpoint"
    with Qwen3Reranker(str(folder)) as reranker, pytest.raises(UnsupportedCheckpointError, match=message):
        reranker.rank("a question", ["some text"])


def test_a_child_of_a_process_that_has_used_cuda_is_told_to_spawn(monkeypatch: pytest.MonkeyPatch) -> None:
    def load(*_: object, **__: object) -> None:
        raise RuntimeError("Cannot re-initialize CUDA in forked subprocess.")

    monkeypatch.setattr("qwen3_rerank_plugins.engine.loading.engine.load_model", load)
    monkeypatch.setattr(torch.cuda, "_is_in_bad_fork", lambda: True)
    with Qwen3Reranker("demo", max_batch_tokens=704) as reranker, pytest.raises(ClosedError, match="'spawn'"):
        reranker.rank("a question", ["some text"])


def change_tokenizer(folder: Path, number: int) -> None:
    """Give the last word of the vocabulary another id."""
    file = folder / "tokenizer.json"
    blueprint = json.loads(file.read_text(encoding="utf-8"))
    words = blueprint["model"]["vocab"]
    words[max(words, key=words.__getitem__)] = number
    file.write_text(json.dumps(blueprint), encoding="utf-8")


def test_one_id_far_above_the_others_is_refused_before_the_first_pass(tmp_path: Path) -> None:
    folder = Path(shutil.copytree(DEMO_FOLDER, tmp_path / "checkpoint"))
    change_tokenizer(folder, 10**6)
    with Qwen3Reranker(str(folder)) as reranker:
        for _ in range(2):
            with pytest.raises(UnsupportedCheckpointError, match="ids up to 1000000, and its model has rows up to"):
                reranker.rank("a question", ["some text"])


def test_an_output_matrix_or_embeddings_of_another_size_than_the_config_says_are_refused(
    checkpoint: Callable[[str], Path], tmp_path: Path
) -> None:
    for name in ("lm_head.weight", "model.embed_tokens.weight"):
        folder = Path(shutil.copytree(checkpoint("untied"), tmp_path / name))
        weights = load_file(folder / "model.safetensors")
        weights[name] = weights[name][:9000].clone()
        save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
        with Qwen3Reranker(str(folder)) as reranker, pytest.raises(CheckpointError, match=f"wrong shape.*{name}"):
            reranker.rank("q", ["d"])
    folder = Path(shutil.copytree(checkpoint("untied"), tmp_path / "config"))
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    (folder / "config.json").write_text(json.dumps({**config, "vocab_size": 200_000}), encoding="utf-8")
    with Qwen3Reranker(str(folder)) as reranker, pytest.raises(CheckpointError, match="wrong shape"):
        reranker.rank("q", ["d"])


def test_the_tokenizer_of_an_adapter_is_held_against_the_rows_of_the_merged_model(tmp_path: Path) -> None:
    need("peft")
    make_adapter(DEMO_FOLDER, tmp_path / "adapter", target_modules=["q_proj"])
    shutil.copy(DEMO_FOLDER / "tokenizer.json", tmp_path / "adapter")
    change_tokenizer(tmp_path / "adapter", 12_345)
    message = "ids up to 12345, and its model has rows up to"
    with (
        Qwen3Reranker(str(tmp_path / "adapter"), device="cpu") as reranker,
        pytest.raises(UnsupportedCheckpointError, match=message),
    ):
        reranker.rank("q", ["d"])
