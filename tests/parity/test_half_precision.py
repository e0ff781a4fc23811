"""bfloat16 and float16 on the CPU: closer to the float32 reference than the card's own path in that dtype."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from qwen3_rerank_plugins import Qwen3Reranker
from tests.bundled_data import declaration_tasks
from tests.checkpoints import GROUPED, UNTIED, make_checkpoint
from tests.parity.test_references import log_odds
from tests.references import CardReference


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=["bfloat16", "float16"])
@pytest.mark.parametrize("shape", [GROUPED, UNTIED], ids=["grouped", "untied"])
def test_half_precision_is_closer_to_float32_than_the_card_path(
    dtype: torch.dtype, shape: dict[str, int], tmp_path: Path
) -> None:
    """Errors of single pairs are noise, so root mean squares over random checkpoints and 60 pairs decide."""
    pairs = [
        (task["query"], candidate["text"])
        for task in declaration_tasks("cmn_hans", 3)
        for candidate in task["candidates"]
    ]
    ours, card = [], []
    for seed in range(2):
        # half-precision weights, so that all three paths read the very same numbers
        folder = make_checkpoint(tmp_path / str(seed), dtype, seed=seed, **shape)
        exact = CardReference(folder, torch.float32).log_odds(pairs)
        with Qwen3Reranker(str(folder), dtype=str(dtype).removeprefix("torch.")) as reranker:
            ours += [found - true for found, true in zip(log_odds(reranker, pairs), exact, strict=True)]
        rounded = CardReference(folder, dtype).log_odds(pairs, batch_size=10)
        card += [found - true for found, true in zip(rounded, exact, strict=True)]
    our_error, card_error = (torch.tensor(errors).square().mean().sqrt().item() for errors in (ours, card))
    print(f"root mean square error of log-odds: ours {our_error:.4f}, card {card_error:.4f}")
    assert our_error < card_error
