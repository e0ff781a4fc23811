"""Qwen3-Reranker for LangChain: a document compressor, a retriever around it. Needs the extra `langchain`."""

from __future__ import annotations

from qwen3_rerank_plugins.errors import MissingExtraError

try:
    import langchain_core  # noqa: F401
except ModuleNotFoundError as error:
    if error.name != "langchain_core":
        raise  # it is installed, and misses something of its own
    raise MissingExtraError("langchain-core", "langchain") from error

from qwen3_rerank_plugins.langchain.compressor import Qwen3Rerank
from qwen3_rerank_plugins.langchain.retriever import Qwen3RerankRetriever

__all__ = ["Qwen3Rerank", "Qwen3RerankRetriever"]
