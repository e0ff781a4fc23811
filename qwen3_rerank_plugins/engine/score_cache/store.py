"""What keeps cached scores: one protocol for memory and files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol


class CachedScore(NamedTuple):
    """The score of one prompt.

    Attributes:
        log_odds: as the engine computed them; always finite.
        rescored: whether they overflowed in 16 bits and were computed again in float32.
    """

    log_odds: float
    rescored: bool


class ScoreStore(Protocol):
    """Keeps scores by keys, up to a size; those not used for longest go first. Any thread may call its methods.

    No method raises because of a disk or a file: a score that cannot be read is missing.
    """

    def get(self, keys: Sequence[bytes]) -> Mapping[bytes, CachedScore]:
        """Return the scores that are kept for these keys, which counts as a use of them."""
        ...

    def put(self, scores: Mapping[bytes, CachedScore]) -> None:
        """Keep scores. A key that is there already keeps its score."""
        ...

    def close(self) -> None:
        """Finish writing and free everything. From then on, nothing is found or kept."""
        ...
