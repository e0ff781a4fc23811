"""The token budget while the device is short of memory: lowered by a failed batch, raised again by successful ones.

A failed batch lowers the budget to half of that batch. After some successful batches near the budget it is doubled,
until batches of the old size fit again. A doubled budget that fails shows that memory is still short, so the next
attempt waits for twice as many successful batches, up to `LONGEST_PATIENCE`. A successful batch as large as the last
failed one shows that memory is back, so attempts become frequent again.

Bound: whatever memory does, at most one batch in `SHORTEST_PATIENCE` is wasted beyond the first few, and where memory
stays short, one in `LONGEST_PATIENCE`.
"""

from __future__ import annotations

from qwen3_rerank_plugins._printable import logger

SHORTEST_PATIENCE = 16
"""Successful batches before the first attempt at a larger budget."""
LONGEST_PATIENCE = 256
"""Most successful batches between two attempts."""


class AdaptiveBudget:
    """How many unique tokens a batch may hold at the moment.

    Args:
        full: tokens of the budget while memory suffices.
        where: names the device in the log: " on cuda:0", or empty.

    Attributes:
        tokens: the budget at the moment.
    """

    def __init__(self, full: int, where: str = "") -> None:
        self.tokens = full
        self._full = full
        self._where = where
        self._failed = self._largest_failed = 0  # tokens of the last failed batch and of the largest; 0 before any
        self._patience = SHORTEST_PATIENCE
        self._successes = 0  # batches near the budget since it last changed
        self._raised = False  # since the last failure

    def ran_out(self, tokens: int) -> None:
        """Record that a batch of so many tokens, for several documents, ran out of memory."""
        if self._raised:
            self._patience = min(LONGEST_PATIENCE, 2 * self._patience)
        lowered = max(1, tokens // 2)
        if not self._largest_failed:
            logger.warning(
                "A batch of %d tokens%s ran out of memory. The token budget of a batch is lowered from %d to %d, and "
                "rises again step by step once batches fit. If this happens often, free memory on the device, or set "
                "max_batch_tokens.",
                tokens,
                self._where,
                self._full,
                lowered,
            )
        self._failed, self._largest_failed = tokens, max(tokens, self._largest_failed)
        self.tokens, self._successes, self._raised = lowered, 0, False

    def ran(self, tokens: int) -> None:
        """Record that a batch of so many tokens succeeded."""
        if not self._failed:
            return
        if tokens >= self._failed:
            self._patience = SHORTEST_PATIENCE
        if 2 * tokens > self.tokens:  # a smaller batch says nothing about one of the whole budget
            self._successes += 1
        if tokens >= self._largest_failed or (self.tokens == self._full and self._successes >= LONGEST_PATIENCE):
            self._failed = self._largest_failed = 0
            self._raise_to(self._full)
            logger.warning(
                "Memory suffices again%s. The token budget of a batch is back at %d.", self._where, self._full
            )
        elif self._successes >= self._patience and self.tokens < self._full:
            self._raise_to(min(self._full, 2 * self.tokens))

    def _raise_to(self, tokens: int) -> None:
        self.tokens, self._successes, self._raised = tokens, 0, True
