"""Results for LangChain: copies of the documents with scores in their metadata, or positions with scores."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NotRequired, TypedDict, cast

from langchain_core.documents import Document

from qwen3_rerank_plugins._metadata import annotated, coverage
from qwen3_rerank_plugins.engine.ranking import RankedDocument

AnyDocument = str | Document | Mapping[str, Any]


class FailureMetadata(TypedDict):
    """The metadata of a document that was not reranked, because the reranker was slow or down.

    Attributes:
        rerank_failure: the reason.
    """

    rerank_failure: str


class ResultMetadata(TypedDict):
    """The metadata that reranking adds to a document.

    Attributes:
        relevance_score: probability in [0, 1] that the document meets the query.
        truncated_tokens: tokens cut from its end; only present if some were cut.
        relevant_start: first character of the window that the score belongs to; only present if the document was read
            in windows.
        relevant_end: the character after the window's last; only present if the document was read in windows.
    """

    relevance_score: float
    truncated_tokens: NotRequired[int]
    relevant_start: NotRequired[int]
    relevant_end: NotRequired[int]


class Relevance(ResultMetadata):
    """The same for a document that is known by its position.

    Attributes:
        index: position in the list of documents.
    """

    index: int


def as_relevances(documents: Sequence[AnyDocument], ranked: Iterable[RankedDocument]) -> list[Relevance]:
    """Return positions and scores, best first."""
    own_texts = [document.page_content if isinstance(document, Document) else None for document in documents]
    return [{"index": found.index, **_metadata_of(found, own_texts[found.index] or found.text)} for found in ranked]


def as_documents(documents: Sequence[Document], ranked: Iterable[RankedDocument]) -> list[Document]:
    """Return annotated copies of the documents, best first."""
    results = []
    for found in ranked:
        document = documents[found.index]
        metadata = annotated(document.metadata, _metadata_of(found, document.page_content))
        results.append(document.model_copy(update={"metadata": metadata}))
    return results


def in_retrieval_order(documents: Sequence[Document], reason: str) -> list[Document]:
    """Return copies of the documents in their order, with the reason and without any score."""
    results = []
    for document in documents:
        metadata = annotated(document.metadata, FailureMetadata(rerank_failure=reason))
        metadata.pop("relevance_score", None)  # of an earlier reranking
        results.append(document.model_copy(update={"metadata": metadata}))
    return results


def _metadata_of(found: RankedDocument, own_text: str) -> ResultMetadata:
    return cast("ResultMetadata", {"relevance_score": found.score, **coverage(found, own_text)})
