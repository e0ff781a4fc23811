"""Memory: parameters counted exactly, budgets within their limits."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from qwen3_rerank_plugins.engine.budget import (
    LARGEST_AUTO_BUDGET,
    SMALLEST_AUTO_BUDGET,
    Shape,
    auto_budget,
    choose_budget,
    free_memory,
)
from qwen3_rerank_plugins.engine.checkpoint import find_checkpoint
from qwen3_rerank_plugins.engine.settings import EngineSettings
from qwen3_rerank_plugins.engine.weights import load_model
from tests.checkpoints import SHAPES

PUBLISHED = {"0.6b": 595_776_512, "4b": 4_021_784_576, "8b": 8_188_548_096}


@pytest.mark.parametrize(("size", "parameters"), PUBLISHED.items())
def test_parameters_of_the_published_shapes_are_the_published_numbers(size: str, parameters: int, data: Path) -> None:
    config = json.loads((data / "configs" / f"qwen3-reranker-{size}.config.json").read_text(encoding="utf-8"))
    assert Shape.from_config(config).parameters == parameters


@pytest.mark.parametrize("shape", SHAPES)
def test_parameters_are_those_that_get_loaded(shape: str, checkpoint: Callable[[str], Path]) -> None:
    settings = EngineSettings(model=str(checkpoint(shape)))
    loaded = load_model(settings, find_checkpoint(settings))
    counted = Shape.from_config(loaded.causal_lm.config.to_dict())
    assert counted.parameters == sum(parameter.numel() for parameter in loaded.causal_lm.parameters())
    assert choose_budget(123, loaded) == 123
    assert SMALLEST_AUTO_BUDGET <= choose_budget("auto", loaded) <= LARGEST_AUTO_BUDGET


def test_the_auto_budget_follows_free_memory_within_its_limits(data: Path) -> None:
    config = json.loads((data / "configs" / "qwen3-reranker-8b.config.json").read_text(encoding="utf-8"))
    shape = Shape.from_config(config)
    gibibyte = 2**30
    budgets = [auto_budget(shape, torch.bfloat16, free) for free in (0, gibibyte, 2 * gibibyte, 80 * gibibyte)]
    assert budgets == sorted(budgets)
    assert budgets[0] == SMALLEST_AUTO_BUDGET
    assert SMALLEST_AUTO_BUDGET < budgets[1] < budgets[2] < LARGEST_AUTO_BUDGET
    assert budgets[3] == LARGEST_AUTO_BUDGET


def test_free_memory_of_the_cpu_is_a_positive_number() -> None:
    assert free_memory(torch.device("cpu")) > 0
