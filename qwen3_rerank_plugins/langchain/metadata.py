"""What reranking notes about a document: in the metadata of a copy, or beside its position."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NotRequired, TypedDict, cast

from langchain_core.documents import Document

from qwen3_rerank_plugins._metadata import STALE, copied, reading_notes
from qwen3_rerank_plugins.engine.ranking import RankedDocument

RELEVANCE_SCORE = "relevance_score"
AnyDocument = str | Document | Mapping[str, Any]


class Notes(TypedDict):
    """What a document's metadata says after reranking.

    Attributes:
        relevance_score: probability in [0, 1] that the document meets the query.
        truncated_tokens: tokens of its end that the model did not see; only there if it did not see all.
        relevant_start: first character of the window that the score is of; only there if it was read in windows.
        relevant_end: the character after its last; only there if it was read in windows.
    """

    relevance_score: float
    truncated_tokens: NotRequired[int]
    relevant_start: NotRequired[int]
    relevant_end: NotRequired[int]


class Relevance(Notes):
    """The same about a document known by its position in the list.

    Attributes:
        index: that position.
    """

    index: int


def _notes_on(found: RankedDocument, own: str) -> Notes:
    return cast("Notes", {RELEVANCE_SCORE: found.score, **reading_notes(found, own)})


def relevances(documents: Sequence[AnyDocument], ranked: Iterable[RankedDocument]) -> list[Relevance]:
    """Positions and scores, best first."""
    owns = [document.page_content if isinstance(document, Document) else None for document in documents]
    return [{"index": found.index, **_notes_on(found, owns[found.index] or found.text)} for found in ranked]


def annotated(documents: Sequence[Document], ranked: Iterable[RankedDocument]) -> list[Document]:
    """Copies with their notes, best first; notes of an earlier reranker are replaced."""
    return [
        _with_notes(documents[found.index], _notes_on(found, documents[found.index].page_content)) for found in ranked
    ]


def _with_notes(document: Document, notes: Notes) -> Document:
    metadata = {name: value for name, value in copied(document.metadata).items() if name not in STALE}
    return document.model_copy(update={"metadata": metadata | dict(notes)})
