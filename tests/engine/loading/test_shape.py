"""Sizes: parameters counted exactly, peaks counted stage by stage."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from qwen3_rerank_plugins.engine.checkpoints.checkpoint import find_checkpoint
from qwen3_rerank_plugins.engine.loading.loader import load_model
from qwen3_rerank_plugins.engine.loading.shape import PUBLISHED, Shape
from qwen3_rerank_plugins.engine.settings import EngineSettings
from tests.checkpoints import SHAPES

PARAMETERS = {"0.6b": 595_776_512, "4b": 4_021_784_576, "8b": 8_188_548_096}


@pytest.mark.parametrize(("name", "parameters"), PARAMETERS.items())
def test_the_published_shapes_are_those_of_their_config_files(name: str, parameters: int, data: Path) -> None:
    config = json.loads((data / "configs" / f"qwen3-reranker-{name}.config.json").read_text(encoding="utf-8"))
    shape = Shape.from_config(config)
    assert shape == PUBLISHED[f"Qwen/Qwen3-Reranker-{name.upper()}"]
    assert shape.parameters == parameters


@pytest.mark.parametrize("name", SHAPES)
def test_parameters_are_those_that_get_loaded(name: str, checkpoint: Callable[[str], Path]) -> None:
    settings = EngineSettings(model=str(checkpoint(name)))
    loaded = load_model(settings, find_checkpoint(settings))
    counted = Shape.from_config(loaded.causal_lm.config.to_dict())
    assert counted.parameters == sum(parameter.numel() for parameter in loaded.causal_lm.parameters())
    output = loaded.causal_lm.get_output_embeddings().weight
    assert counted.output_matrix_bytes(torch.float32) == (0 if counted.tied else output.nbytes)


def test_only_the_8b_has_an_output_matrix_of_its_own() -> None:
    sizes = {name: shape.output_matrix_bytes(torch.bfloat16) for name, shape in PUBLISHED.items()}
    assert [name for name, size in sizes.items() if size] == ["Qwen/Qwen3-Reranker-8B"]
    assert f"{max(sizes.values()) / 2**30:.2f}" == "1.16"
