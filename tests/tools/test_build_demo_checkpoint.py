"""tools/build_demo_checkpoint.py: every stage, on the bundled passages."""

from __future__ import annotations

import json
from pathlib import Path

import build_demo_checkpoint
import pytest
from demo_checkpoint.texts import ENGLISH_SOURCES, SET_FILES, passages_in, write_bundled_sets
from safetensors import safe_open

from qwen3_rerank_plugins import Qwen3Reranker
from qwen3_rerank_plugins.engine.checkpoints.checkpoint import DEMO_FOLDER


@pytest.fixture
def keep(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Where the run writes what it would otherwise delete."""

    class Kept:
        def __enter__(self) -> str:
            return str(tmp_path)

        def __exit__(self, *_: object) -> None:
            pass

    monkeypatch.setattr("build_demo_checkpoint.tempfile.TemporaryDirectory", Kept)
    return tmp_path / "demo_checkpoint"


@pytest.mark.filterwarnings("default")  # warnings of other packages
def test_a_smoke_run_writes_a_checkpoint_that_loads_and_scores(keep: Path, capsys: pytest.CaptureFixture[str]) -> None:
    build_demo_checkpoint.main(["--smoke", "--threads", "1"])
    figures = json.loads((keep / "training_figures.json").read_text(encoding="utf-8"))
    assert figures["training"]["steps"] == 2
    assert set(figures["ndcg@10"]["demo"]) == set(SET_FILES)
    assert figures["checks"]["largest_difference_shared_head"] < 1e-4
    files = {file.name for file in DEMO_FOLDER.rglob("*") if file.is_file()}
    assert {file.name for file in keep.rglob("*") if file.is_file()} == files
    with safe_open(keep / "model.safetensors", "pt") as made, safe_open(DEMO_FOLDER / "model.safetensors", "pt") as old:
        assert set(made.keys()) == set(old.keys())
    with Qwen3Reranker(str(keep), device="cpu") as reranker:
        assert len(reranker.rank("What keeps a satellite up?", ["Bread rises.", "Satellites orbit."])) == 2
    assert "MB in demo_checkpoint" in capsys.readouterr().out


def test_the_bundled_sets_have_the_passages_of_every_source(tmp_path: Path) -> None:
    write_bundled_sets(tmp_path)
    assert {len(passages_in(tmp_path / source)) for source in ENGLISH_SOURCES} == {24}
