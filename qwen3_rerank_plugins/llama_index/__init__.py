"""Qwen3-Reranker for LlamaIndex: `Qwen3Rerank`, a node postprocessor. It needs the extra `llama-index`.

`Qwen3Embedding`, for the first stage, is loaded on demand because it also needs the extra `embeddings`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qwen3_rerank_plugins.errors import MissingExtraError

try:
    import llama_index.core  # noqa: F401
except ModuleNotFoundError as error:
    if error.name not in ("llama_index", "llama_index.core"):
        raise  # llama-index-core is installed, but one of its dependencies is missing
    raise MissingExtraError("llama-index-core", "llama-index") from error

from qwen3_rerank_plugins.llama_index.postprocessor import Qwen3Rerank

if TYPE_CHECKING:
    from qwen3_rerank_plugins.llama_index.embedding import Qwen3Embedding as Qwen3Embedding

__all__ = ["Qwen3Rerank"]  # without Qwen3Embedding, so that a star import works without its extra


def __getattr__(name: str) -> Any:
    if name != "Qwen3Embedding":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from qwen3_rerank_plugins.llama_index.embedding import Qwen3Embedding

    return Qwen3Embedding
