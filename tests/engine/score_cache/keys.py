"""Keys and scores for the tests of stores."""

from __future__ import annotations

import hashlib

from qwen3_rerank_plugins.engine.score_cache.store import CachedScore


def key(number: int) -> bytes:
    """A key, as different from that of another number as real keys are."""
    return hashlib.blake2b(str(number).encode(), digest_size=32).digest()


def score(number: int) -> CachedScore:
    return CachedScore(number / 7, number % 2 == 1)


def scores(*numbers: int) -> dict[bytes, CachedScore]:
    return {key(number): score(number) for number in numbers}
