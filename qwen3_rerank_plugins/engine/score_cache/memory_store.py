"""Cached scores in the memory of this process."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence

from qwen3_rerank_plugins.engine.score_cache.store import CachedScore

ENTRY_BYTES = 320
"""Memory of one score: its key, its value and its place in the dictionary. A test measures it."""


class MemoryStore:
    """Cached scores of one engine; see `ScoreStore`.

    Args:
        limit: most bytes that the scores may take.
    """

    def __init__(self, limit: int) -> None:
        self._most = limit // ENTRY_BYTES
        self._scores: OrderedDict[bytes, CachedScore] = OrderedDict()
        self._lock = threading.RLock()  # a signal handler may rank on the thread that it interrupts
        self._closed = False

    def get(self, keys: Sequence[bytes]) -> Mapping[bytes, CachedScore]:
        """See `ScoreStore.get`."""
        with self._lock:
            found = {key: score for key in keys if (score := self._scores.get(key)) is not None}
            for key in found:
                self._scores.move_to_end(key)
            return found

    def put(self, scores: Mapping[bytes, CachedScore]) -> None:
        """See `ScoreStore.put`."""
        with self._lock:
            if self._closed:
                return
            for key, score in scores.items():
                self._scores.setdefault(key, score)
                self._scores.move_to_end(key)
            while len(self._scores) > self._most:
                self._scores.popitem(last=False)

    def close(self) -> None:
        """See `ScoreStore.close`."""
        with self._lock:
            self._closed = True
            self._scores.clear()
