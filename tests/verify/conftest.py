"""A moved copy of the demo checkpoint, and engines that answer whatever a test wants."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from qwen3_rerank_plugins.engine.checkpoints.checkpoint import DEMO_FOLDER
from qwen3_rerank_plugins.engine.request import RerankRequest
from qwen3_rerank_plugins.engine.scorer import Scores
from tests.doubles import OverlapScorer

MATRIX = "model.layers.2.mlp.up_proj.weight"


@pytest.fixture
def moved(tmp_path: Path) -> Callable[[float], Path]:
    """The demo checkpoint with one matrix of one layer scaled."""

    def scale(factor: float) -> Path:
        folder = Path(shutil.copytree(DEMO_FOLDER, tmp_path / f"scaled by {factor}"))
        weights = load_file(folder / "model.safetensors")
        weights[MATRIX] *= factor
        save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
        return folder

    return scale


class TableScorer(OverlapScorer):
    """Answers from a table of (query, document), moved by a constant."""

    def __init__(self, table: dict[tuple[str, str], float], moved_by: float = 0.0) -> None:
        super().__init__()
        self.table = table
        self.moved_by = moved_by

    def submit(self, request: RerankRequest) -> Future[Scores]:
        self.requests.append(request)
        future: Future[Scores] = Future()
        found = tuple(self.table[request.query, document] + self.moved_by for document in request.documents)
        future.set_result(Scores(found, (0,) * len(found)))
        return future
