"""How many tokens a second a device computes, measured in its own passes."""

from __future__ import annotations

_KEPT = 0.9
"""Weight of all earlier passes after one more. So the first pass, which may compile kernels, is soon forgotten."""


class Throughput:
    """Counts the passes of one device. Only the thread that runs them writes.

    Attributes:
        passes: passes that succeeded.
        tokens: their unique tokens.
    """

    def __init__(self) -> None:
        self.passes = 0
        self.tokens = 0
        self._recent = (0.0, 0.0)  # tokens and seconds, weighted

    def count_pass(self, tokens: int, seconds: float) -> None:
        """Count one pass."""
        self.passes += 1
        self.tokens += tokens
        recent_tokens, recent_seconds = self._recent
        self._recent = _KEPT * recent_tokens + tokens, _KEPT * recent_seconds + seconds

    @property
    def tokens_per_second(self) -> float | None:
        """Unique tokens a second in the latest passes; None before the first one."""
        tokens, seconds = self._recent
        return tokens / seconds if seconds > 0 else None
