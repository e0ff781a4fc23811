"""Any mutation of a checkpoint's files loads, or is an error of the tree; never another exception, never a crash."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from qwen3_rerank_plugins import Qwen3Reranker
from qwen3_rerank_plugins.engine.checkpoints.checkpoint import DEMO_FOLDER
from qwen3_rerank_plugins.errors import NonFiniteScoreError, RerankError
from tests.fuzzing import KINDS

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
MUTATIONS = 25


@pytest.mark.parametrize("kind", KINDS)
def test_a_mutated_file_is_ranked_with_or_refused_by_an_error_of_the_tree(kind: str, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.fuzzing", kind, str(MUTATIONS), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    last = (tmp_path / "number").read_text(encoding="utf-8")
    assert done.returncode == 0, f"mutation {last}: {done.stderr[-2000:]}"
    found = json.loads(done.stdout)
    assert sum(found.values()) == MUTATIONS
    assert len(found) > 1, "some load, some do not"


@pytest.mark.parametrize(
    "model",
    [
        "x" * 5000,
        "/" + "x" * 5000,
        "./" + "x/" * 3000,
        "~nouser/model",
        "a\x00b",
        "./a\x00b",
        "\ud800",
        "./\u202e",
        "o/\nm",
    ],
    ids=range(9),
)
def test_a_name_that_no_system_accepts_is_an_error_of_the_tree_in_one_short_line(model: str) -> None:
    with pytest.raises(RerankError) as raised:
        Qwen3Reranker(model, device="cpu", local_files_only=True).rank("a question", ["text"])
    assert str(raised.value).isprintable()
    assert len(str(raised.value)) < 1000


@pytest.mark.parametrize("number", [torch.nan, torch.inf], ids=str)
@pytest.mark.parametrize("on_nonfinite", ["error", "float32"])
def test_weights_that_hold_nan_are_named_and_nobody_is_sent_to_another_dtype(
    number: float, on_nonfinite: str, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(DEMO_FOLDER, tmp_path / "model"))
    tensors = load_file(folder / "model.safetensors")
    tensors["model.layers.1.mlp.up_proj.weight"][0, 0] = number
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    with (
        Qwen3Reranker(str(folder), device="cpu", on_nonfinite=on_nonfinite) as reranker,
        pytest.raises(
            NonFiniteScoreError, match=r"they hold NaN or infinity, in 'model\.layers\.1\.mlp\.up_proj"
        ) as raised,
    ):
        reranker.rank("a question", ["a text", "another"])
    assert raised.value.documents == (0, 1)
    assert "float16" not in str(raised.value)
