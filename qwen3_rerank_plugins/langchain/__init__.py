"""Qwen3-Reranker for LangChain: a document compressor, a retriever that reranks, and a cross-encoder.

These need the extra `langchain`. `Qwen3Embeddings`, for the first stage, is loaded on demand because it also needs the
extra `embeddings`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qwen3_rerank_plugins.errors import MissingExtraError

try:
    import langchain_core  # noqa: F401
except ModuleNotFoundError as error:
    if error.name != "langchain_core":
        raise  # langchain-core is installed, but one of its dependencies is missing
    raise MissingExtraError("langchain-core", "langchain") from error

from qwen3_rerank_plugins.langchain.compressor import Qwen3Rerank
from qwen3_rerank_plugins.langchain.cross_encoder import Qwen3CrossEncoder
from qwen3_rerank_plugins.langchain.retriever import Qwen3RerankRetriever

if TYPE_CHECKING:
    from qwen3_rerank_plugins.langchain.embeddings import Qwen3Embeddings as Qwen3Embeddings

# without Qwen3Embeddings, with which a star import would fail unless its extra is installed
__all__ = ["Qwen3CrossEncoder", "Qwen3Rerank", "Qwen3RerankRetriever"]


def __getattr__(name: str) -> Any:
    if name != "Qwen3Embeddings":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from qwen3_rerank_plugins.langchain.embeddings import Qwen3Embeddings

    return Qwen3Embeddings
