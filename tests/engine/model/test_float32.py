"""A 16-bit backbone as a float32 one: the same numbers, a wider range, and one layer at a time."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from qwen3_rerank_plugins.engine.model.batch import build_batch
from qwen3_rerank_plugins.engine.model.float32 import Float32Backbone
from qwen3_rerank_plugins.engine.model.packed_model import PackedModel
from qwen3_rerank_plugins.engine.model.sdpa import sdpa_attention
from qwen3_rerank_plugins.engine.scheduling.packing import Workload, plan_batches
from tests.checkpoints import load_reference
from tests.engine.model.test_packed_model import random_requests


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_it_computes_what_the_same_weights_compute_in_float32(
    checkpoint: Callable[[str], Path], dtype: torch.dtype
) -> None:
    narrow = load_reference(checkpoint("grouped"), dtype)
    wide = copy.deepcopy(narrow).float()
    requests = random_requests()
    work = [Workload.of(request) for request in requests]
    (plan,) = plan_batches(work, 10_000)
    batch = build_batch(requests, plan)
    with torch.inference_mode():
        expected = PackedModel(wide.model, sdpa_attention)(batch)
        assert torch.equal(PackedModel(Float32Backbone(narrow.model), sdpa_attention)(batch), expected)


def test_the_backbone_itself_stays_as_it_is(checkpoint: Callable[[str], Path]) -> None:
    narrow = load_reference(checkpoint("grouped"), torch.bfloat16)
    widened = Float32Backbone(narrow.model)
    layer = widened.layers[0]
    assert {parameter.dtype for parameter in layer.parameters()} == {torch.float32}
    assert {parameter.dtype for parameter in narrow.parameters()} == {torch.bfloat16}
    assert widened.layers[0] is not layer, "a layer is not kept in float32"
