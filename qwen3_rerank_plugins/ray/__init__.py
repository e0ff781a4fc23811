"""Reranking on Ray: a callable class for `map_batches`, and resumable jobs over files. Needs the extra `ray`."""

from __future__ import annotations

from qwen3_rerank_plugins.errors import MissingExtraError

try:
    import ray  # noqa: F401  # the extra's main package; it installs pyarrow
    import pyarrow  # noqa: F401  # isort: skip
except ModuleNotFoundError as error:
    if error.name not in ("pyarrow", "ray"):
        raise  # the package is installed but lacks one of its dependencies
    raise MissingExtraError(error.name, "ray") from error

from qwen3_rerank_plugins.ray.job import Summary, rerank_files
from qwen3_rerank_plugins.ray.stage import Qwen3Rerank

__all__ = ["Qwen3Rerank", "Summary", "rerank_files"]
