"""Last hidden states -> yes/no log-odds.

Comes in: [N, hidden] float32. Goes out: [N] float32.
Must not know: prompts, layers.

log_odds = h . (W[yes] - W[no]), which is logit("yes") - logit("no"): the log-odds of the two-way softmax in the model
card. The rows come from `get_output_embeddings()`: the 8B has an output matrix of its own, the smaller ones share
theirs with the input. A conversion for sequence classification holds their difference as its one score row, or both as
the rows of the labels "yes" and "no". Everything is float32: in bfloat16 two logits near 16 are rounded to multiples of
0.125 before they are subtracted, and documents tie that the model tells apart.
"""

from __future__ import annotations

from typing import Any

import torch

from qwen3_rerank_plugins.engine.text.template import NO, YES


class YesNoHead:
    """What the score needs of the output: the direction from "no" to "yes".

    Args:
        causal_lm: the loaded model, or a conversion of it for sequence classification.
        yes_id, no_id: token ids of the two answers.
    """

    def __init__(self, causal_lm: Any, yes_id: int, no_id: int) -> None:
        self._direction = _direction(causal_lm, yes_id, no_id)  # [hidden] float32

    def __call__(self, hidden: torch.Tensor) -> torch.Tensor:
        """[N, hidden] -> [N] float32 log-odds."""
        hidden = hidden.to(self._direction.device)  # in a spread model, that of the output matrix
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
