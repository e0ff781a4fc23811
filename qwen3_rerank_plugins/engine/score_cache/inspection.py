"""Look at the file of a score cache, or empty it, while other processes may use it."""

from __future__ import annotations

import contextlib
import dataclasses
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from qwen3_rerank_plugins._printable import one_line, shown
from qwen3_rerank_plugins.engine.score_cache.schema import ENTRY_BYTES
from qwen3_rerank_plugins.engine.score_cache.score_file import ScoreFile
from qwen3_rerank_plugins.errors import SettingsError

_PATIENCE = 10.0
"""Seconds to wait for a process that writes."""


@dataclasses.dataclass(frozen=True, slots=True)
class CacheInfo:
    """What is in a cache file.

    Attributes:
        scores: how many scores it has.
        bytes: its size on disk, with its write-ahead log.
        bytes_per_score: how much of `cache_bytes` one score takes.
    """

    scores: int
    bytes: int
    bytes_per_score: int = ENTRY_BYTES


def read_info(path: Path) -> CacheInfo:
    """Return what is in a cache file.

    Raises:
        SettingsError: there is no such file, or it is not a score cache.
    """
    with _opened(path) as file:
        scores = file.count()
    parts = [path, path.with_name(f"{path.name}-wal")]
    return CacheInfo(scores, sum(part.stat().st_size for part in parts if part.exists()))


def clear(path: Path) -> int:
    """Delete all scores of a cache file, and return how many there were.

    Raises:
        SettingsError: as `read_info`, or another process has been writing for too long.
    """
    with _opened(path) as file:
        scores = file.count()
        file.clear()
    return scores


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[ScoreFile]:
    """Open an existing cache file, and turn its errors into errors for people."""
    if not path.is_file():
        raise SettingsError(f"There is no file {shown(path)}. Pass the path that was given as cache.")
    if not path.stat().st_size:
        raise SettingsError(f"{shown(path)} is empty, so it is no score cache. Check the path.")
    file = ScoreFile(path, 0, _PATIENCE)
    try:
        yield file
    except sqlite3.Error as error:
        raise SettingsError(
            f"{shown(path)} cannot be used as a score cache: {one_line(error)}. Check the path and its permissions; "
            "if it is a damaged cache, delete it yourself."
        ) from error
    finally:
        file.close()
