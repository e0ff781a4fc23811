"""Qwen3-Reranker for LlamaIndex: `Qwen3Rerank`, a node postprocessor. Needs the extra `llama-index`.

And the first stage before it: `Qwen3Embedding`, which needs the extra `embeddings` too, but only when it is asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qwen3_rerank_plugins.errors import MissingExtraError

try:
    import llama_index.core  # noqa: F401
except ModuleNotFoundError as error:
    if error.name not in ("llama_index", "llama_index.core"):
        raise  # it is installed, and misses something of its own
    raise MissingExtraError("llama-index-core", "llama-index") from error

from qwen3_rerank_plugins.llama_index.postprocessor import Qwen3Rerank

if TYPE_CHECKING:
    from qwen3_rerank_plugins.llama_index.embedding import Qwen3Embedding as Qwen3Embedding

__all__ = ["Qwen3Rerank"]  # the other name would make a star import fail without its extra


def __getattr__(name: str) -> Any:
    if name != "Qwen3Embedding":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from qwen3_rerank_plugins.llama_index.embedding import Qwen3Embedding

    return Qwen3Embedding
