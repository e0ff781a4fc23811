"""What the engine did not choose gives the same answers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from benchmarks.alternatives import WithoutMlpBuffer, masked_attention
from qwen3_rerank_plugins.engine.model.layout import AttentionLayout, Segment
from qwen3_rerank_plugins.engine.model.packed_model import PackedModel
from qwen3_rerank_plugins.engine.model.sdpa import sdpa_attention
from tests.checkpoints import load_reference
from tests.engine.model.test_packed_model import packed, random_requests


@pytest.mark.parametrize("tail", [1, 50, 1500])
def test_attention_under_one_mask_a_document_is_the_engines_own(tail: int) -> None:
    prefix, own, last = range(20), range(20, 20 + tail), range(20 + tail, 23 + tail)
    segments = (Segment(prefix, range(0), prefix), Segment(own, prefix, own), Segment(last, prefix, last))
    layout = AttentionLayout(segments, torch.device("cpu"))
    dice = torch.Generator().manual_seed(0)
    query, key, value = (torch.randn(last.stop, heads, 16, generator=dice) for heads in (4, 2, 2))
    torch.testing.assert_close(
        masked_attention(query, key, value, layout, 0.3), sdpa_attention(query, key, value, layout, 0.3)
    )


@pytest.mark.parametrize("rows", [30, 1024])
def test_memory_that_is_not_kept_changes_nothing(rows: int, checkpoint: Callable[[str], Path]) -> None:
    model, requests = load_reference(checkpoint("grouped"), torch.float32), random_requests()
    kept, own = (packed(model, requests, rows_at_once=rows, kind=kind) for kind in (PackedModel, WithoutMlpBuffer))
    assert torch.equal(kept, own)
