"""The two-row head against the whole vocabulary's logits."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from qwen3_rerank_plugins.engine.model.head import YesNoHead
from tests.checkpoints import load_reference

YES, NO = 9693, 2152


@pytest.mark.parametrize("shape", ["grouped", "untied"])
def test_two_rows_give_the_difference_of_the_whole_vocabularys_logits(
    shape: str, checkpoint: Callable[[str], Path]
) -> None:
    model = load_reference(checkpoint(shape), torch.float32)
    hidden = torch.randn(5, model.config.hidden_size)
    logits = model.get_output_embeddings()(hidden)
    log_odds = YesNoHead(model, YES, NO)(hidden)
    torch.testing.assert_close(log_odds, (logits[:, YES] - logits[:, NO]).detach(), atol=1e-5, rtol=1e-5)


def test_untied_rows_come_from_the_output_matrix_not_from_the_input(checkpoint: Callable[[str], Path]) -> None:
    model = load_reference(checkpoint("untied"), torch.float32)
    hidden = torch.randn(2, model.config.hidden_size)
    before = YesNoHead(model, YES, NO)(hidden)
    with torch.no_grad():
        model.get_input_embeddings().weight.zero_()
    assert torch.equal(YesNoHead(model, YES, NO)(hidden), before)


def test_scores_of_a_bfloat16_model_are_not_on_its_grid(checkpoint: Callable[[str], Path]) -> None:
    model = load_reference(checkpoint("grouped"), torch.bfloat16)
    hidden = torch.randn(200, model.config.hidden_size)
    exact = YesNoHead(model, YES, NO)(hidden)
    logits = model.get_output_embeddings()(hidden.bfloat16())
    assert exact.dtype == torch.float32
    assert len(exact.unique()) == 200
    assert len((logits[:, YES] - logits[:, NO]).unique()) < 200
