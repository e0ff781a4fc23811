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


def test_a_pass_grows_with_its_tokens_and_less_where_rows_go_few_at_a_time() -> None:
    shape = PUBLISHED["Qwen/Qwen3-Reranker-8B"]
    sizes = [shape.batch_bytes(tokens, torch.bfloat16, None) for tokens in (1, 1_000, 10_000)]
    assert sizes[2] == 10_000 * sizes[0] == 10 * sizes[1]
    assert shape.batch_bytes(10_000, torch.bfloat16, 1024) < sizes[2]


@pytest.mark.parametrize("shape", PUBLISHED.values(), ids=list(PUBLISHED))
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_where_rows_go_few_at_a_time_a_token_more_is_counted_with_what_attention_copies_of_one_head(
    shape: Shape, dtype: torch.dtype
) -> None:
    more = shape.batch_bytes(20_001, dtype, 1024) - shape.batch_bytes(20_000, dtype, 1024)
    residual, rotation = 4 * shape.hidden, 2 * shape.head_dim * dtype.itemsize
    group = shape.heads // shape.key_value_heads
    rows = {
        "queries": shape.heads,
        "results": shape.heads,
        "keys": shape.key_value_heads,
        "values": shape.key_value_heads,
        "one head's keys and values, gathered": 2,
        "its padded queries": group,
        "their results": group,
    }
    assert more == residual + rotation + sum(rows.values()) * shape.head_dim * dtype.itemsize


def test_the_memory_that_is_kept_for_the_mlp_stands_beside_that_of_attention() -> None:
    shape = PUBLISHED["Qwen/Qwen3-Reranker-0.6B"]
    kept, own = (shape.batch_bytes(1_000, torch.float32, rows) for rows in (1_024, None))
    assert own < kept < own + 1_000 * 2 * shape.intermediate * 4


def test_only_the_8b_has_an_output_matrix_of_its_own() -> None:
    sizes = {name: shape.output_matrix_bytes(torch.bfloat16) for name, shape in PUBLISHED.items()}
    assert [name for name, size in sizes.items() if size] == ["Qwen/Qwen3-Reranker-8B"]
    assert f"{max(sizes.values()) / 2**30:.2f}" == "1.16"


def test_the_largest_pass_of_the_8b_keeps_within_three_gibibytes() -> None:
    assert PUBLISHED["Qwen/Qwen3-Reranker-8B"].batch_bytes(16_384, torch.bfloat16, None) < 3 * 2**30
