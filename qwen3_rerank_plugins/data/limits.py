"""A limit on the texts held in memory at once, so that endless input raises an error before memory is full."""

from __future__ import annotations

from collections.abc import Iterable

from qwen3_rerank_plugins.data.tasks import Candidate
from qwen3_rerank_plugins.errors import RequestError

MOST_TEXTS = 1_000_000
MOST_CHARACTERS = 256_000_000


class Limit:
    """Count texts while they are read.

    Args:
        what: name of the texts in the error message.
        advice: remedy for too many texts.
    """

    def __init__(self, what: str, advice: str) -> None:
        self._what, self._advice = what, advice
        self._texts = self._characters = 0

    def count(self, candidates: Iterable[Candidate]) -> None:
        """Add texts to the count.

        Raises:
            RequestError: there are too many texts or characters.
        """
        for candidate in candidates:
            self._texts += 1
            self._characters += len(candidate.text)
        if self._texts > MOST_TEXTS or self._characters > MOST_CHARACTERS:
            raise RequestError(
                f"{self._what} may be at most {MOST_TEXTS:,} texts with {MOST_CHARACTERS:,} characters in total, and "
                f"there are more. {self._advice}"
            )
