"""Reranking on Ray: a callable class for `map_batches`, and whole files, resumable. Needs the extra `ray`."""

from __future__ import annotations

from qwen3_rerank_plugins.errors import MissingExtraError

try:
    import ray  # noqa: F401  # the package that the extra is named after; it brings pyarrow
    import pyarrow  # noqa: F401  # isort: skip
except ModuleNotFoundError as error:
    if error.name not in ("pyarrow", "ray"):
        raise  # the package is installed but lacks a dependency of its own
    raise MissingExtraError(error.name, "ray") from error

from qwen3_rerank_plugins.ray.job import Summary, rerank_files
from qwen3_rerank_plugins.ray.stage import Qwen3Rerank

__all__ = ["Qwen3Rerank", "Summary", "rerank_files"]
