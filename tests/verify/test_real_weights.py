"""The published scores on the published weights, wherever those are in the cache."""

from __future__ import annotations

import pytest

from qwen3_rerank_plugins import Qwen3Reranker
from qwen3_rerank_plugins.engine.checkpoints.checkpoint import find_checkpoint
from qwen3_rerank_plugins.engine.loading.placement import choose_placement
from qwen3_rerank_plugins.engine.loading.shape import PUBLISHED
from qwen3_rerank_plugins.engine.memory import free_memory
from qwen3_rerank_plugins.engine.settings import EngineSettings
from qwen3_rerank_plugins.errors import CheckpointNotFoundError
from qwen3_rerank_plugins.verify import verify


@pytest.mark.slow
@pytest.mark.real_weights
@pytest.mark.parametrize("model", PUBLISHED)
def test_published_weights_give_the_published_scores(model: str) -> None:
    try:
        find_checkpoint(EngineSettings(model=model, local_files_only=True))
    except CheckpointNotFoundError:
        pytest.skip(f"{model} is not in the cache; fetch it with: hf download {model}")
    placement = choose_placement(EngineSettings(model=model))
    needed, free = PUBLISHED[model].weight_bytes(placement.dtype), free_memory(placement.device)
    if needed > free:
        pytest.skip(f"{model} takes {needed / 2**30:.1f} GiB, and {free / 2**30:.1f} GiB are free")
    with Qwen3Reranker(model, local_files_only=True) as reranker:
        verdicts = verify(reranker)
    for verdict in verdicts:
        print(f"{verdict.case.name}: expected {verdict.case.expected}, got {verdict.comparison.got}")
    assert [verdict.case.name for verdict in verdicts if verdict.passed is False] == []
