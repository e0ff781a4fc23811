"""Reranking as a LangChain document compressor.

Comes in: documents, a query, callbacks. Goes out: copies of the best documents, best first, and one run in the trace.
Must not know: engines, tokens. It translates; `Qwen3Reranker` decides.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NotRequired, TypedDict, TypeVar

from langchain_core.callbacks import Callbacks
from langchain_core.documents import BaseDocumentCompressor, Document
from langchain_core.runnables import Runnable, RunnableConfig, RunnableLambda
from pydantic import Field, model_validator
from pydantic.json_schema import SkipJsonSchema

from qwen3_rerank_plugins.engine.results import RankedDocument
from qwen3_rerank_plugins.errors import InputTypeError, SettingsError
from qwen3_rerank_plugins.fields import RerankerFields
from qwen3_rerank_plugins.reranker import OWN, Own

FIELDS_TOP_N = -1
"""As `top_n` of a call: what the field says, in the word that other rerankers for LangChain have for it."""

AnyDocument = str | Document | Mapping[str, Any]
T = TypeVar("T")


class Notes(TypedDict):
    """What a document's metadata says after reranking.

    Attributes:
        relevance_score: probability in [0, 1] that the document meets the query.
        truncated_tokens: tokens of its end that the model did not see; only there if it did not see all.
        relevant_span: [start, end] characters of the window that the score is of; only there if it was read in windows.
    """

    relevance_score: float
    truncated_tokens: NotRequired[int]
    relevant_span: NotRequired[list[int]]


class Relevance(Notes):
    """The same about a document known by its position in the list.

    Attributes:
        index: that position.
    """

    index: int


class Qwen3Rerank(RerankerFields, BaseDocumentCompressor):
    """Orders documents by the probability that they meet the query, and keeps the best `top_n`.

    The settings are the fields of `RerankerFields`, in the same words as everywhere in this package. Making one loads
    nothing, equal settings share one loaded model, and one instance may serve any number of retrievers, threads and
    event loops at once.

    The model reads the text of a document; with `metadata_keys` also some of its metadata, with `document_to_text`
    whatever that makes of it. A function cannot be written as JSON.

    Each returned document is a shallow copy: its id, class and metadata are those of the document that came in, plus
    the `Notes` in the metadata. Notes of an earlier reranker are replaced. Documents that came in are never written to.

    Raises:
        RerankError: as `Qwen3Reranker.rank`; the run in the trace ends with the error.
    """

    metadata_keys: list[str] = Field(
        default_factory=list, description='Metadata that the model reads, as lines "key: value" in front of the text.'
    )
    document_to_text: SkipJsonSchema[Callable[[Document], str] | None] = Field(
        default=None, description="What the model reads of a document, instead of its text."
    )

    @model_validator(mode="after")
    def _check_reading(self) -> Qwen3Rerank:
        if self.metadata_keys and self.document_to_text:
            raise SettingsError("metadata_keys and document_to_text contradict each other; pass only one.")
        return self

    def compress_documents(
        self, documents: Sequence[Document], query: str, callbacks: Callbacks | None = None
    ) -> list[Document]:
        """Keep the best documents, best first.

        Args:
            documents: what a retriever found; the order breaks ties.
            query: what was looked for.
            callbacks: of the run that this one belongs to.

        Returns:
            At most `top_n` copies, those with at least `min_score`.
        """
        return self.as_runnable().invoke(
            _Step(query=query, documents=_listed(documents)), RunnableConfig(callbacks=callbacks)
        )

    async def acompress_documents(
        self, documents: Sequence[Document], query: str, callbacks: Callbacks | None = None
    ) -> list[Document]:
        """`compress_documents` without blocking the event loop; cancelling the task drops what has not run yet."""
        step = _Step(query=query, documents=_listed(documents))
        return await self.as_runnable().ainvoke(step, RunnableConfig(callbacks=callbacks))

    def as_runnable(self) -> Runnable[Any, list[Document]]:
        """The compressor as a step of a chain: `{"query": ..., "documents": ...}` in, the best documents out."""
        return RunnableLambda(self._compress, self._acompress, name=type(self).__name__)

    def rerank(
        self,
        documents: Iterable[AnyDocument],
        query: str,
        *,
        top_n: int | Own | None = OWN,
        instruction: str | Own | None = OWN,
        min_score: float | Own | None = OWN,
    ) -> list[Relevance]:
        """Order anything that has text, and say where it stood; nothing is copied, and nothing is traced.

        Args:
            documents: texts, documents, or dicts with the text under "page_content" or "text".
            query: what is looked for.
            top_n: most results; None returns all, -1 as many as the field says.
            instruction: for this call; None is the model card's.
            min_score: lowest probability to return, inclusive; None returns all.

        What is left out is as the fields say.

        Returns:
            A dict with "index" and "relevance_score" for each of the best documents, best first.
        """
        options, listed = self._options_of_call(top_n, instruction, min_score), _listed(documents)
        return _relevances(listed, self._reranker.rank(query, self._texts(listed), **options))

    async def arerank(
        self,
        documents: Iterable[AnyDocument],
        query: str,
        *,
        top_n: int | Own | None = OWN,
        instruction: str | Own | None = OWN,
        min_score: float | Own | None = OWN,
    ) -> list[Relevance]:
        """`rerank` without blocking the event loop."""
        options, listed = self._options_of_call(top_n, instruction, min_score), _listed(documents)
        return _relevances(listed, await self._reranker.arank(query, self._texts(listed), **options))

    def _compress(self, step: _Step) -> list[Document]:
        documents = _listed(_take(step, "documents"))
        ranked = self._reranker.rank(_take(step, "query"), self._read(documents), **self._options)
        return _copies(documents, ranked)

    async def _acompress(self, step: _Step) -> list[Document]:
        documents = _listed(_take(step, "documents"))
        ranked = await self._reranker.arank(_take(step, "query"), self._read(documents), **self._options)
        return _copies(documents, ranked)

    def _read(self, documents: Iterable[object]) -> list[str]:
        """The texts; whether they are text is checked where every text is."""
        texts = []
        for index, document in enumerate(documents):
            if not isinstance(document, Document):
                raise InputTypeError(
                    f"documents[{index}] must be a Document, got {type(document).__name__}. "
                    "Wrap its text: Document(page_content=text), or use rerank()."
                )
            texts.append(self._text_of(document))
        return texts

    def _texts(self, documents: Iterable[AnyDocument]) -> list[Any]:
        return [
            self._text_of(document) if isinstance(document, Document) else _text(index, document)
            for index, document in enumerate(documents)
        ]

    def _text_of(self, document: Document) -> Any:
        if self.document_to_text is not None:
            return self.document_to_text(document)
        metadata = document.metadata or {}
        lines = [f"{key}: {metadata[key]}" for key in self.metadata_keys if key in metadata]
        return "\n".join([*lines, "", document.page_content]) if lines else document.page_content

    def _options_of_call(
        self, top_n: int | Own | None, instruction: str | Own | None, min_score: float | Own | None
    ) -> dict[str, Any]:
        given = {"top_n": OWN if top_n == FIELDS_TOP_N else top_n, "instruction": instruction, "min_score": min_score}
        return self._options | {name: value for name, value in given.items() if value is not OWN}


class _Step(TypedDict):
    """The inputs that a trace shows."""

    query: str
    documents: Sequence[Document]


def _take(step: Mapping[str, Any], name: str) -> Any:
    if not isinstance(step, Mapping) or name not in step:
        raise InputTypeError(f'The input must be {{"query": ..., "documents": ...}}, got {step!r:.80}.')
    return step[name]


def _listed(documents: Iterable[T]) -> list[T]:
    # one text, dict or Document can be iterated as well, and would be taken apart without a word
    if isinstance(documents, (str, bytes, Mapping, Document)) or not isinstance(documents, Iterable):
        raise InputTypeError(
            f"documents must be a list of documents, got {type(documents).__name__}. Wrap a single one: [document]."
        )
    return list(documents)


def _text(index: int, document: AnyDocument) -> Any:
    if not isinstance(document, Mapping):
        return document
    for name in ("page_content", "text"):
        if name in document:
            return document[name]
    raise InputTypeError(
        f'documents[{index}] has neither "page_content" nor "text", only {list(document)!r:.80}. '
        "Put its text under one of the two."
    )


def _notes(found: RankedDocument, own: str) -> Notes:
    notes = Notes(relevance_score=found.score)
    if found.truncated_tokens:
        notes["truncated_tokens"] = found.truncated_tokens
    if span := found.span_within(own):
        notes["relevant_span"] = list(span)
    return notes


def _relevances(documents: Sequence[AnyDocument], ranked: Iterable[RankedDocument]) -> list[Relevance]:
    owns = [document.page_content if isinstance(document, Document) else None for document in documents]
    return [{"index": found.index, **_notes(found, owns[found.index] or found.text)} for found in ranked]


def _copies(documents: Sequence[Document], ranked: Iterable[RankedDocument]) -> list[Document]:
    return [_with_notes(documents[found.index], _notes(found, documents[found.index].page_content)) for found in ranked]


def _with_notes(document: Document, notes: Notes) -> Document:
    """A shallow copy: metadata may hold what cannot be copied, and the caller's dict is never written to."""
    metadata = {name: value for name, value in (document.metadata or {}).items() if name not in Notes.__annotations__}
    return document.model_copy(update={"metadata": metadata | dict(notes)})
