"""Qwen3-Reranker for LlamaIndex: `Qwen3Rerank`, a node postprocessor. Needs the extra `llama-index`."""

from __future__ import annotations

from qwen3_rerank_plugins.errors import MissingExtraError

try:
    import llama_index.core  # noqa: F401
except ModuleNotFoundError as error:
    if error.name not in ("llama_index", "llama_index.core"):
        raise  # it is installed, and misses something of its own
    raise MissingExtraError("llama-index-core", "llama-index") from error

from qwen3_rerank_plugins.llama_index.postprocessor import Qwen3Rerank

__all__ = ["Qwen3Rerank"]
