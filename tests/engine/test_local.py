"""The whole line behind the seam, where it meets unusual checkpoints."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from qwen3_rerank_plugins import Qwen3Reranker
from tests.checkpoints import GROUPED, make_checkpoint


def test_a_model_with_few_positions_warms_up_and_ranks_within_them(
    checkpoint: Callable[[str], Path], tmp_path: Path
) -> None:
    folder = make_checkpoint(tmp_path / "short", max_position_embeddings=256, **GROUPED)
    with Qwen3Reranker(str(folder), max_length=200) as reranker:
        reranker.warmup()
        assert reranker.rank("q", ["word " * 500])[0].truncated_tokens > 300
