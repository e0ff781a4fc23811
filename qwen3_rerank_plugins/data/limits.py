"""How much is held in memory at once, so that input without an end becomes an error instead of filling the memory."""

from __future__ import annotations

from collections.abc import Iterable

from qwen3_rerank_plugins.data.tasks import Candidate
from qwen3_rerank_plugins.errors import RequestError

MOST_TEXTS = 1_000_000
MOST_CHARACTERS = 256_000_000


class Limit:
    """Counts texts as they are read.

    Args:
        what: they are, for the message.
        advice: what to do about too many.
    """

    def __init__(self, what: str, advice: str) -> None:
        self._what, self._advice = what, advice
        self._texts = self._characters = 0

    def count(self, candidates: Iterable[Candidate]) -> None:
        """Count some more.

        Raises:
            RequestError: they are too many.
        """
        for candidate in candidates:
            self._texts += 1
            self._characters += len(candidate.text)
        if self._texts > MOST_TEXTS or self._characters > MOST_CHARACTERS:
            raise RequestError(
                f"{self._what} may be at most {MOST_TEXTS:,} texts with {MOST_CHARACTERS:,} characters in all, and "
                f"there are more. {self._advice}"
            )
