"""Compute the yes/no log-odds from the last hidden states.

log_odds = h . (W[yes] - W[no]), which is logit("yes") - logit("no"): the log-odds of the two-way softmax in the model
card. The rows come from `get_output_embeddings()`. The 8B model has a separate output matrix; the smaller ones use
their input embeddings. A conversion for sequence classification holds the difference as its single score row, or both
rows under the labels "yes" and "no".

Everything is float32: bfloat16 would round two logits near 16 to multiples of 0.125 before their subtraction, so
documents that the model tells apart would tie.
"""

from __future__ import annotations

from typing import Any

import torch

from qwen3_rerank_plugins.engine.text.template import NO, YES


class YesNoHead:
    """Projects hidden states on the direction from "no" to "yes".

    Args:
        causal_lm: the loaded model, or a conversion of it for sequence classification.
        yes_id, no_id: token IDs of the two answers.
    """

    def __init__(self, causal_lm: Any, yes_id: int, no_id: int) -> None:
        self._direction = _direction(causal_lm, yes_id, no_id)  # [hidden] float32

    def __call__(self, hidden: torch.Tensor) -> torch.Tensor:
        """Return the log-odds, [N] float32, of [N, hidden] states."""
        hidden = hidden.to(self._direction.device)  # in a model spread over several GPUs, that of the output matrix
        return hidden.float() @ self._direction


def _direction(model: Any, yes_id: int, no_id: int) -> torch.Tensor:
    output = model.get_output_embeddings()
    if output is not None:
        rows, yes, no = output.weight, yes_id, no_id  # [vocabulary, hidden]
    elif len(model.score.weight) == 1:
        difference: torch.Tensor = model.score.weight[0].detach().float()
        return difference
    else:
        labels = {str(label).lower(): index for index, label in model.config.id2label.items()}
        rows, yes, no = model.score.weight, labels[YES], labels[NO]  # [2, hidden]
    direction: torch.Tensor = rows[yes].detach().float() - rows[no].detach().float()
    return direction
