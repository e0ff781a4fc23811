"""Predicted peaks: counted stage by stage on a CPU, and against what a pass without numbers allocates elsewhere."""

from __future__ import annotations

import dataclasses
import json

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from qwen3_rerank_plugins.engine.loading.batch_memory import BatchMemory
from qwen3_rerank_plugins.engine.loading.shape import PUBLISHED
from qwen3_rerank_plugins.engine.model.packed_model import PackedModel
from qwen3_rerank_plugins.engine.model.sdpa import sdpa_attention
from qwen3_rerank_plugins.engine.model.varlen import Gathering, varlen_calls
from tests import meta_models
from tests.live_memory import LiveMemory
from tests.pages import ROOT

LARGE = PUBLISHED["Qwen/Qwen3-Reranker-8B"]
SMALL = PUBLISHED["Qwen/Qwen3-Reranker-0.6B"]
WORKLOADS = {
    "small": [(75, [70] * 10)],
    "passages": [(80, [106] * 100)],
    "chunks": [(80, [500] * 30)],
    "long": [(80, [8_000] * 2)],
    "mixed": [(80, [40, 900, 3_000, 120]), (60, [300] * 20), (90, [10] * 50)],
    "a long prefix": [(8_000, [50] * 160)],
}


@pytest.fixture(scope="module")
def backbones() -> dict[str, object]:
    return {name: meta_models.backbone(shape, layers=2) for name, shape in PUBLISHED.items()}


@pytest.mark.parametrize("fused", [True, False], ids=["fused", "plain"])
@pytest.mark.parametrize("name", PUBLISHED)
@pytest.mark.parametrize("workload", WORKLOADS)
def test_a_pass_on_a_gpu_allocates_what_is_predicted_and_at_most_a_tenth_less(
    workload: str, name: str, fused: bool, backbones: dict[str, object]
) -> None:
    batch = meta_models.batch_of(*WORKLOADS[workload])
    peak = meta_models.run(backbones[name], batch, fused=fused).peak
    gathering = Gathering.of(batch.layout.derive(varlen_calls))
    memory = BatchMemory(PUBLISHED[name], torch.bfloat16, "cuda", fused=fused)
    predicted = memory.bytes(len(batch.input_ids), gathering)
    assert peak <= predicted <= 1.1 * peak
    assert predicted <= memory.bytes(len(batch.input_ids)) or gathering.indices > 2 * len(batch.input_ids)


requests = st.lists(
    st.tuples(st.integers(1, 3_000), st.lists(st.integers(1, 2_000), min_size=1, max_size=40)), min_size=1, max_size=4
)


@settings(max_examples=25, deadline=None)
@given(requests, st.sampled_from(list(PUBLISHED)), st.booleans())
def test_the_prediction_is_never_too_low_and_at_most_15_percent_too_high(
    backbones: dict[str, object], asked: list[tuple[int, list[int]]], name: str, fused: bool
) -> None:
    batch = meta_models.batch_of(*asked)
    peak = meta_models.run(backbones[name], batch, fused=fused).peak
    memory = BatchMemory(PUBLISHED[name], torch.bfloat16, "cuda", fused=fused)
    predicted = memory.bytes(len(batch.input_ids), Gathering.of(batch.layout.derive(varlen_calls)))
    assert peak <= predicted <= 1.15 * peak + 2**17  # a constant that only tiny batches notice


def test_a_long_prefix_costs_no_more_than_its_tokens() -> None:
    """Every document behind it has a copy of its keys, but only those of a few at a time."""
    batch = meta_models.batch_of((8_000, [50] * 160))
    gathering = Gathering.of(batch.layout.derive(varlen_calls))
    assert gathering.keys <= 2 * len(batch.input_ids)
    assert gathering.indices > 80 * len(batch.input_ids)


def test_the_largest_pass_of_the_8b_keeps_within_three_gibibytes() -> None:
    for fused in (True, False):
        assert BatchMemory(LARGE, torch.bfloat16, "cuda", fused=fused).bytes(16_384) < 3 * 2**30
    assert BatchMemory(LARGE, torch.bfloat16).bytes(16_384) < 3 * 2**30


def test_a_pass_on_a_cpu_grows_with_its_tokens_and_less_where_rows_go_few_at_a_time() -> None:
    sizes = [BatchMemory(LARGE, torch.bfloat16).bytes(tokens) for tokens in (1, 1_000, 10_000)]
    assert sizes[2] == 10_000 * sizes[0] == 10 * sizes[1]
    assert BatchMemory(LARGE, torch.bfloat16, rows_at_once=1024).bytes(10_000) < sizes[2]


def test_the_memory_that_is_kept_for_the_mlp_stands_beside_that_of_attention() -> None:
    kept, own = (BatchMemory(SMALL, torch.float32, rows_at_once=rows).bytes(1_000) for rows in (1_024, None))
    assert own < kept < own + 1_000 * 2 * SMALL.intermediate * 4


@settings(max_examples=15, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(1, 4_000), st.lists(st.integers(1, 4_000), min_size=1, max_size=6)),
        min_size=1,
        max_size=3,
    )
)
def test_the_prediction_for_a_cpu_is_never_too_low(asked: list[tuple[int, list[int]]]) -> None:
    shape = dataclasses.replace(
        SMALL, layers=2, hidden=64, heads=4, key_value_heads=2, head_dim=32, intermediate=96, vocabulary=10
    )
    model = meta_models.backbone(shape, layers=2, dtype=torch.float32, device=torch.device("cpu"))
    batch = meta_models.batch_of(*asked)
    live = LiveMemory("cpu")
    live.ignore(*model.parameters(), *model.buffers())
    with torch.inference_mode(), live:
        PackedModel(model, sdpa_attention, rows_at_once=1024)(batch)
    assert live.peak <= BatchMemory(shape, torch.float32, rows_at_once=1024).bytes(len(batch.input_ids)) + 2**20


@pytest.mark.parametrize("workload", ["small", "passages", "chunks", "long", "mixed"])
def test_the_prediction_for_the_plain_pass_is_within_a_tenth_of_what_an_h200_took(workload: str) -> None:
    record = json.loads((ROOT / "benchmarks" / "results" / "gpu-probe-8b.json").read_text(encoding="utf-8"))
    measured = record["results"]["auto"][workload]
    tokens = measured["tokens"]
    predicted = BatchMemory(LARGE, torch.bfloat16, "cuda").bytes(tokens, Gathering(tokens, tokens, 0))
    assert predicted == pytest.approx(measured["peak"], rel=0.1)
