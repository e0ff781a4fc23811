"""Where a score cache is kept and how large it may become, as settings."""

from __future__ import annotations

import os

from qwen3_rerank_plugins import _plain_values as plain
from qwen3_rerank_plugins.engine.model_name import resolve_path
from qwen3_rerank_plugins.errors import SettingsError

IN_MEMORY = "memory"
"""The cache that is no file. For a file of that name, pass "./memory"."""
DEFAULT_CACHE_BYTES = 256 * 2**20
SMALLEST_CACHE_BYTES = 2**16


def resolve_cache(cache: object) -> str | None:
    """Return the place of a cache: None, "memory", or the absolute path of a file. A `Path` is always a file.

    Raises:
        SettingsError: it is neither, or no usable path.
    """
    found = plain.text(cache)
    if found is None or found == IN_MEMORY:
        return IN_MEMORY if found else None
    if not isinstance(found, (str, os.PathLike)) or not str(found).strip():
        raise SettingsError(f'cache must be None, "memory" or the path of a file, got {cache!r}.')
    return resolve_path("cache", found)


def check_cache_bytes(number: int) -> int:
    """Return the size of a cache.

    Raises:
        SettingsError: it is too small for a file.
    """
    if number < SMALLEST_CACHE_BYTES:
        raise SettingsError(
            f"cache_bytes={number} is too small: it must be at least {SMALLEST_CACHE_BYTES:,}. For no cache, pass "
            "cache=None."
        )
    return number
