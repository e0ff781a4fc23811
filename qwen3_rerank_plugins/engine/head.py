"""Last hidden states -> yes/no log-odds.

Comes in: [N, hidden] float32. Goes out: [N] float32.
Must not know: prompts, layers.

log_odds = h . (W[yes] - W[no]), which is logit("yes") - logit("no"): the log-odds of the two-way softmax in the model
card. The rows come from `get_output_embeddings()`: the 8B has an output matrix of its own, the smaller ones share
theirs with the input. Everything is float32: in bfloat16 two logits near 16 are rounded to multiples of
0.125 before they are subtracted, and documents tie that the model tells apart.
"""

from __future__ import annotations

from typing import Any

import torch


class YesNoHead:
    """The two rows of the output matrix that the score needs.

    Args:
        causal_lm: the loaded model.
        yes_id, no_id: token ids of the two answers.
    """

    def __init__(self, causal_lm: Any, yes_id: int, no_id: int) -> None:
        weight: torch.Tensor = causal_lm.get_output_embeddings().weight
        self._direction = weight[yes_id].detach().float() - weight[no_id].detach().float()  # [hidden]

    def __call__(self, hidden: torch.Tensor) -> torch.Tensor:
        """[N, hidden] -> [N] float32 log-odds."""
        hidden = hidden.to(self._direction.device)  # in a spread model, that of the output matrix
        return hidden.float() @ self._direction
