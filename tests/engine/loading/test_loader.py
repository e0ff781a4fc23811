"""Loading: the right dtype, nothing missing, nothing left over, one line that says what was done."""

from __future__ import annotations

import gc
import json
import logging
import shutil
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from qwen3_rerank_plugins.engine.checkpoints.checkpoint import find_checkpoint
from qwen3_rerank_plugins.engine.loading.loader import LoadedModel, load_model
from qwen3_rerank_plugins.engine.model.head import YesNoHead
from qwen3_rerank_plugins.engine.settings import EngineSettings
from qwen3_rerank_plugins.errors import (
    CheckpointError,
    IncompleteCheckpointError,
)
from tests.checkpoints import load_reference, make_checkpoint


def load(folder: Path, **options: Any) -> LoadedModel:
    settings = EngineSettings(model=str(folder), **options)
    return load_model(settings, find_checkpoint(settings))


def rewrite(folder: Path, copy: Path, change: Callable[[dict[str, torch.Tensor]], None]) -> Path:
    shutil.copytree(folder, copy)
    tensors = load_file(copy / "model.safetensors")
    change(tensors)
    save_file(tensors, copy / "model.safetensors", metadata={"format": "pt"})
    return copy


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_every_parameter_is_in_the_dtype_asked_for_whatever_the_file_has(dtype: Any, tmp_path: Path) -> None:
    folder = make_checkpoint(tmp_path / "half", torch.bfloat16, hidden_size=32, num_hidden_layers=1)
    model = load(folder, dtype=dtype).causal_lm
    assert {parameter.dtype for parameter in model.parameters()} == {getattr(torch, dtype)}
    assert not model.training
    assert not any(parameter.requires_grad for parameter in model.parameters())


def test_one_line_says_model_commit_device_dtype_attention_and_why(
    checkpoint: Callable[[str], Path], caplog: pytest.LogCaptureFixture
) -> None:
    folder = checkpoint("small")
    with caplog.at_level(logging.INFO, logger="qwen3_rerank_plugins"):
        load(folder, device="cpu")
    (record,) = caplog.records
    for word in (str(folder), "a local folder", "on cpu (asked for)", "float32 (", "attention sdpa ("):
        assert word in record.getMessage()


def test_a_missing_parameter_is_an_error_that_names_it(checkpoint: Callable[[str], Path], tmp_path: Path) -> None:
    def forget(tensors: dict[str, torch.Tensor]) -> None:
        del tensors["model.layers.0.mlp.up_proj.weight"]

    with pytest.raises(IncompleteCheckpointError, match=r"1 parameters are missing.*layers\.0\.mlp\.up_proj"):
        load(rewrite(checkpoint("small"), tmp_path / "copy", forget))


def test_a_missing_untied_output_matrix_is_an_error(checkpoint: Callable[[str], Path], tmp_path: Path) -> None:
    def forget(tensors: dict[str, torch.Tensor]) -> None:
        del tensors["lm_head.weight"]

    with pytest.raises(IncompleteCheckpointError, match=r"missing.*lm_head\.weight"):
        load(rewrite(checkpoint("untied"), tmp_path / "copy", forget))


def test_a_left_over_parameter_is_an_error_that_names_it(checkpoint: Callable[[str], Path], tmp_path: Path) -> None:
    def add(tensors: dict[str, torch.Tensor]) -> None:
        tensors["score.weight"] = torch.zeros(1, 64)

    with pytest.raises(IncompleteCheckpointError, match=r"not in the model \(score\.weight\)"):
        load(rewrite(checkpoint("small"), tmp_path / "copy", add))


def test_a_parameter_of_the_wrong_shape_is_an_error(checkpoint: Callable[[str], Path], tmp_path: Path) -> None:
    def shrink(tensors: dict[str, torch.Tensor]) -> None:
        tensors["model.norm.weight"] = torch.zeros(3)

    # transformers 4 reports names only
    message = (
        r"1 parameters are of the wrong shape \(model\.norm\.weight(: \[3\], not \[64\])?\)\. Download or export it"
    )
    with pytest.raises(IncompleteCheckpointError, match=message):
        load(rewrite(checkpoint("small"), tmp_path / "copy", shrink))


def test_a_damaged_file_is_an_error_of_the_tree(checkpoint: Callable[[str], Path], tmp_path: Path) -> None:
    copy = Path(shutil.copytree(checkpoint("small"), tmp_path / "copy"))
    (copy / "model.safetensors").write_bytes(b"not a tensor in sight")
    with pytest.raises(IncompleteCheckpointError, match=r"not a complete safetensors file: .*\. Download or export"):
        load(copy)


@pytest.mark.parametrize(
    "changes",
    [{"hidden_size": "wide"}, {"num_attention_heads": 0}, {"vocab_size": -1}, {"head_dim": 7}],
    ids=str,
)
def test_a_config_that_describes_no_model_is_an_error_of_the_tree(
    changes: dict[str, Any], checkpoint: Callable[[str], Path], tmp_path: Path
) -> None:
    """Each of these fails in another part of transformers, with an exception of its own."""
    copy = Path(shutil.copytree(checkpoint("small"), tmp_path / "copy"))
    config = json.loads((copy / "config.json").read_text(encoding="utf-8"))
    (copy / "config.json").write_text(json.dumps({**config, **changes}), encoding="utf-8")
    with pytest.raises(CheckpointError, match=r"Download or export (it|the checkpoint) again"):
        load(copy)


def test_the_untied_output_matrix_is_freed_once_its_rows_are_taken(checkpoint: Callable[[str], Path]) -> None:
    settings = EngineSettings(model=str(checkpoint("untied")))
    loaded = load_model(settings, find_checkpoint(settings))
    matrix = weakref.ref(loaded.causal_lm.get_output_embeddings().weight)
    head = YesNoHead(loaded.causal_lm, 1, 2)
    expected = head(torch.ones(1, 64))
    loaded.release_output_matrix()
    gc.collect()
    assert matrix() is None
    assert torch.equal(head(torch.ones(1, 64)), expected)


def test_a_tied_output_matrix_stays(checkpoint: Callable[[str], Path]) -> None:
    settings = EngineSettings(model=str(checkpoint("grouped")))
    loaded = load_model(settings, find_checkpoint(settings))
    loaded.release_output_matrix()
    assert loaded.causal_lm.get_output_embeddings().weight is loaded.causal_lm.model.embed_tokens.weight


def test_a_checkpoint_in_shards_loads_whole(checkpoint: Callable[[str], Path], tmp_path: Path) -> None:
    whole = checkpoint("untied")
    sharded = Path(shutil.copytree(whole, tmp_path / "sharded"))
    (sharded / "model.safetensors").unlink()
    load_reference(whole).save_pretrained(sharded, max_shard_size="10MB")
    assert len(list(sharded.glob("*.safetensors"))) > 1
    loaded = [load_model(s, find_checkpoint(s)) for s in (EngineSettings(model=str(f)) for f in (whole, sharded))]
    expected, found = (dict(one.causal_lm.named_parameters()) for one in loaded)
    assert all(torch.equal(found[name], parameter) for name, parameter in expected.items())
