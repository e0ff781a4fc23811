"""The token budget while the device is short of memory: lowered by a failed pass, raised again by clean ones.

Plain ints only. A failed pass lowers the budget to half of that pass. After some clean passes that came near the budget
it is doubled, and so on until passes of the old size fit again. A doubled budget that fails again shows that memory is
still short, so the next attempt waits for twice as many clean passes, up to `LONGEST_PATIENCE`; a clean pass as large
as the one that failed last shows that memory is back, and attempts come quickly again.

Bound: whatever memory does, at most one pass in `SHORTEST_PATIENCE` is wasted beyond the first few, and where memory
stays short, one in `LONGEST_PATIENCE`.
"""

from __future__ import annotations

from qwen3_rerank_plugins._printable import logger

SHORTEST_PATIENCE = 16
"""Clean passes before the first attempt at a larger budget."""
LONGEST_PATIENCE = 256
"""Clean passes between two attempts, at most."""


class RecoveringBudget:
    """How many unique tokens a pass may hold at the moment.

    Args:
        full: tokens of the budget while memory suffices.
        there: where the passes run, for the log: " on cuda:0", or empty.

    Attributes:
        tokens: the budget at the moment.
    """

    def __init__(self, full: int, there: str = "") -> None:
        self.tokens = full
        self._full = full
        self._there = there
        self._failed = self._largest_failed = 0  # tokens of the last failed pass and of the largest; 0 before any
        self._patience = SHORTEST_PATIENCE
        self._clean = 0  # passes near the budget, since it last changed
        self._raised = False  # since the last failure

    def ran_out(self, tokens: int) -> None:
        """A pass of so many tokens, for several documents, found too little memory."""
        if self._raised:
            self._patience = min(LONGEST_PATIENCE, 2 * self._patience)
        if not self._largest_failed:
            logger.warning(
                "A pass of %d tokens%s ran out of memory. The token budget of a pass is lowered from %d to %d, and "
                "rises again step by step once passes fit. If this happens often, free memory on the device, or set "
                "max_batch_tokens.",
                tokens,
                self._there,
                self._full,
                max(1, tokens // 2),
            )
        self._failed, self._largest_failed = tokens, max(tokens, self._largest_failed)
        self.tokens = max(1, tokens // 2)
        self._clean, self._raised = 0, False

    def ran(self, tokens: int) -> None:
        """A pass of so many tokens went through."""
        if not self._failed:
            return
        if tokens >= self._failed:
            self._patience = SHORTEST_PATIENCE
        if 2 * tokens > self.tokens:  # a smaller pass says nothing about one of the whole budget
            self._clean += 1
        if tokens >= self._largest_failed or (self.tokens == self._full and self._clean >= LONGEST_PATIENCE):
            self._failed = self._largest_failed = 0
            self._raise_to(self._full)
            logger.warning(
                "Memory suffices again%s. The token budget of a pass is back at %d.", self._there, self._full
            )
        elif self._clean >= self._patience and self.tokens < self._full:
            self._raise_to(min(self._full, 2 * self.tokens))

    def _raise_to(self, tokens: int) -> None:
        self.tokens, self._clean, self._raised = tokens, 0, True
