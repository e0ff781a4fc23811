"""The baselines in other runtimes: their prompts, batches and check, and each runtime that is installed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from qwen3_rerank_plugins.bench.baselines import Card
from qwen3_rerank_plugins.bench.exported import Exported, OnnxRuntime, OpenVino
from qwen3_rerank_plugins.engine.checkpoints.checkpoint import DEMO_FOLDER
from qwen3_rerank_plugins.engine.request import make_request
from qwen3_rerank_plugins.errors import ScoringError

REQUESTS = [
    make_request("capital of France", ["Paris is the capital of France.", "x", "Bananas are yellow. " * 30], None),
    make_request("a query", ["one more document"], None),
]


class Torch:
    """A runtime that is torch itself, with an error added to each result."""

    tolerance = 1e-3

    def __init__(self, error: float = 0.0) -> None:
        self.error = error
        self.sizes: list[int] = []

    def export(self, module: nn.Module, example: Any, folder: Path) -> Callable[[Any], Any]:
        def run(inputs: Any) -> Any:
            self.sizes.append(len(inputs[0]))
            with torch.no_grad():
                return (module(*inputs) + self.error).numpy()

        return run


def by_the_card() -> list[float]:
    card = Card(DEMO_FOLDER, torch.device("cpu"), torch.float32, last_position_only=True)
    return card.score(REQUESTS)


def test_an_exported_model_scores_whole_prompts_in_the_order_of_the_documents() -> None:
    runtime = Torch()
    baseline = Exported(DEMO_FOLDER, runtime)
    baseline.prepare(REQUESTS)
    assert baseline.score(REQUESTS) == pytest.approx(by_the_card(), abs=1e-3)
    assert {1, 4} <= set(runtime.sizes)
    assert "batch" in baseline.note
    assert "exported in" in baseline.note


@pytest.mark.parametrize("error", [0.01, float("nan")])
def test_an_exported_model_that_does_not_agree_with_torch_is_not_timed(error: float) -> None:
    with pytest.raises(ScoringError, match="differs from torch by"):
        Exported(DEMO_FOLDER, Torch(error))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("runtime", "package", "difference"),
    [
        (OpenVino("f32"), "openvino", 1e-2),
        (OpenVino("f32", int8_weights=True), "nncf", 1.0),
        (OnnxRuntime(), "onnxruntime", 1e-2),
        (OnnxRuntime(int8=True), "onnxruntime", 1.0),
    ],
    ids=["openvino", "openvino-int8", "onnx", "onnx-int8"],
)
@pytest.mark.filterwarnings("default")  # what the exporters of these packages warn about is theirs
def test_an_installed_runtime_agrees_with_the_card(runtime: Any, package: str, difference: float) -> None:
    pytest.importorskip(package, reason=f"{package} is not installed")
    baseline = Exported(DEMO_FOLDER, runtime)
    assert baseline.score(REQUESTS) == pytest.approx(by_the_card(), abs=difference)
