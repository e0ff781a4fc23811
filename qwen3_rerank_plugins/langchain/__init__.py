"""Qwen3-Reranker for LangChain: a document compressor, a retriever around it, a cross-encoder.

Needs the extra `langchain`. And the first stage before it: `Qwen3Embeddings`, which needs the extra `embeddings` too,
but only when it is asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qwen3_rerank_plugins.errors import MissingExtraError

try:
    import langchain_core  # noqa: F401
except ModuleNotFoundError as error:
    if error.name != "langchain_core":
        raise  # it is installed, and misses something of its own
    raise MissingExtraError("langchain-core", "langchain") from error

from qwen3_rerank_plugins.langchain.compressor import Qwen3Rerank
from qwen3_rerank_plugins.langchain.cross_encoder import Qwen3CrossEncoder
from qwen3_rerank_plugins.langchain.retriever import Qwen3RerankRetriever

if TYPE_CHECKING:
    from qwen3_rerank_plugins.langchain.embeddings import Qwen3Embeddings as Qwen3Embeddings

# the name that is missing would make a star import fail without its extra
__all__ = ["Qwen3CrossEncoder", "Qwen3Rerank", "Qwen3RerankRetriever"]


def __getattr__(name: str) -> Any:
    if name != "Qwen3Embeddings":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from qwen3_rerank_plugins.langchain.embeddings import Qwen3Embeddings

    return Qwen3Embeddings
