"""Ray Data: the reranker as a callable class for `map_batches`, one loaded model an actor. Needs the extra `ray`.

1. `answers`: rows -> answers, all rows of a batch on their way at once;
2. `tables`: an Arrow table with its answers;
3. `stage`: both behind the callable class.
"""

from __future__ import annotations

from qwen3_rerank_plugins.errors import MissingExtraError

try:
    import ray  # noqa: F401  # what the extra is called by; it brings the other
    import pyarrow  # noqa: F401  # isort: skip
except ModuleNotFoundError as error:
    if error.name not in ("pyarrow", "ray"):
        raise  # it is installed, and misses something of its own
    raise MissingExtraError(error.name, "ray") from error

from qwen3_rerank_plugins.ray.stage import Qwen3Rerank

__all__ = ["Qwen3Rerank"]
