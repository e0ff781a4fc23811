"""A LangChain document compressor that reranks. It translates between LangChain and `Qwen3Reranker`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from langchain_core.callbacks import Callbacks
from langchain_core.documents import BaseDocumentCompressor, Document
from langchain_core.runnables import Runnable, RunnableConfig
from pydantic import Field, model_validator
from pydantic.json_schema import SkipJsonSchema

from qwen3_rerank_plugins._fallback import FAILURES, is_failure, reason_of
from qwen3_rerank_plugins._fields import RerankerFields
from qwen3_rerank_plugins._options import UNSET, Unset
from qwen3_rerank_plugins._plain_values import whole
from qwen3_rerank_plugins.engine.request import Instruction
from qwen3_rerank_plugins.errors import InputTypeError, SettingsError, UnknownArgumentError
from qwen3_rerank_plugins.langchain.callbacks import config_callbacks
from qwen3_rerank_plugins.langchain.document_text import check_metadata, with_metadata
from qwen3_rerank_plugins.langchain.metadata import (
    AnyDocument,
    Relevance,
    as_documents,
    as_relevances,
    in_retrieval_order,
)
from qwen3_rerank_plugins.langchain.runnable import RerankInput, RerankStep

CALL_OPTIONS = ("instruction", "top_n", "min_score")
FIELDS_TOP_N = -1
"""As `top_n` of a call: use the field, as in other rerankers for LangChain."""

T = TypeVar("T")


class Qwen3Rerank(RerankerFields, BaseDocumentCompressor):
    """Orders documents by the probability that they meet the query, and keeps the best `top_n`.

    The settings are the fields of `RerankerFields`, with the same names as everywhere in this package. Creating an
    instance loads nothing, equal settings share one loaded model, and one instance may serve any number of retrievers,
    threads and event loops at once.

    The model reads the content of a document. With `metadata_keys` it also reads those metadata entries that have a
    value; with `document_to_text` it reads what that function returns. A function cannot be written as JSON.

    Each returned document is a copy with the id, class and metadata of the original, plus the entries of
    `ResultMetadata`. Entries of an earlier reranking are replaced. Dicts, lists, sets and tuples in the metadata are
    copied at every depth, so changing a result never changes the original. Other objects are shared.

    Raises:
        RerankError: as `Qwen3Reranker.rank`; the run in the trace ends with the error.
    """

    metadata_keys: list[str] = Field(
        default_factory=list, description='Metadata that the model reads, as lines "key: value" before the text.'
    )
    document_to_text: SkipJsonSchema[Callable[[Document], str] | None] = Field(
        default=None, description="Function from a document to what the model reads instead of its text."
    )

    @model_validator(mode="after")
    def _check_document_text(self) -> Qwen3Rerank:
        if self.metadata_keys and self.document_to_text:
            raise SettingsError("metadata_keys and document_to_text contradict each other; pass only one.")
        return self

    def compress_documents(
        self,
        documents: Sequence[Document],
        query: str,
        callbacks: Callbacks | None = None,
        *,
        instruction: Instruction | Unset | None = UNSET,
        top_n: int | Unset | None = UNSET,
        min_score: float | Unset | None = UNSET,
    ) -> list[Document]:
        """Keep the best documents, best first. Options that are not passed are those of the fields.

        Args:
            documents: the documents that a retriever found; their order breaks ties.
            query: the query.
            callbacks: of the parent run: None, a list of handlers, a callback manager, or a run manager.
            instruction: for this call, a sentence or a function of the query; None is the model card's.
            top_n: for this call; None returns all.
            min_score: for this call; None returns all.

        Returns:
            At most `top_n` copies, all with at least `min_score`.
        """
        step = RerankInput(query=query, documents=_as_list(documents))
        config = RunnableConfig(callbacks=config_callbacks(callbacks))
        return self.as_runnable().invoke(step, config, instruction=instruction, top_n=top_n, min_score=min_score)

    async def acompress_documents(
        self,
        documents: Sequence[Document],
        query: str,
        callbacks: Callbacks | None = None,
        *,
        instruction: Instruction | Unset | None = UNSET,
        top_n: int | Unset | None = UNSET,
        min_score: float | Unset | None = UNSET,
    ) -> list[Document]:
        """`compress_documents` without blocking the event loop; canceling the task drops batches that have not run."""
        step = RerankInput(query=query, documents=_as_list(documents))
        config = RunnableConfig(callbacks=config_callbacks(callbacks))
        return await self.as_runnable().ainvoke(step, config, instruction=instruction, top_n=top_n, min_score=min_score)

    def as_runnable(self) -> Runnable[Any, list[Document]]:
        """Return a step of a chain that takes `{"query": ..., "documents": ...}` and returns the best documents.

        With `on_failure="retrieval_order"`, a trace has the reranking as a child run, which ends with the error.

        Its calls take `instruction`, `top_n` and `min_score` by name, and `bind` sets them for a chain. Any other name
        raises `UnknownArgumentError`.
        """
        if self.on_failure == "raise":
            return RerankStep(self._compress, self._acompress, name=type(self).__name__)
        return RerankStep(self._compress_or_keep, self._acompress_or_keep, name=type(self).__name__)

    def rerank(
        self,
        documents: Iterable[AnyDocument],
        query: str,
        *,
        top_n: int | Unset | None = UNSET,
        instruction: Instruction | Unset | None = UNSET,
        min_score: float | Unset | None = UNSET,
    ) -> list[Relevance]:
        """Return positions and scores, without copying or tracing. Options that are not passed are those of the fields.

        An error is always raised, because there are no scores to return instead.

        Args:
            documents: texts, documents, or dicts with the text under "page_content" or "text".
            query: the query.
            top_n: most results; None returns all, -1 as many as the field says.
            instruction: a sentence, or a function of the query; None is the model card's.
            min_score: lowest probability to return, inclusive; None returns all.

        Returns:
            A dict with "index" and "relevance_score" for each of the best documents, best first.
        """
        options = self._call_options(top_n=top_n, instruction=instruction, min_score=min_score)
        listed = _as_list(documents)
        return as_relevances(listed, self._reranker.rank(query, self._texts(listed), **options))

    async def arerank(
        self,
        documents: Iterable[AnyDocument],
        query: str,
        *,
        top_n: int | Unset | None = UNSET,
        instruction: Instruction | Unset | None = UNSET,
        min_score: float | Unset | None = UNSET,
    ) -> list[Relevance]:
        """`rerank` without blocking the event loop."""
        options = self._call_options(top_n=top_n, instruction=instruction, min_score=min_score)
        listed = _as_list(documents)
        return as_relevances(listed, await self._reranker.arank(query, self._texts(listed), **options))

    def _compress(self, step: RerankInput, **given: Any) -> list[Document]:
        options, documents = self._call_options(**given), _documents_of(step)
        ranked = self._reranker.rank(_take(step, "query"), self._texts(documents), **options)
        return as_documents(documents, ranked)

    async def _acompress(self, step: RerankInput, **given: Any) -> list[Document]:
        options, documents = self._call_options(**given), _documents_of(step)
        ranked = await self._reranker.arank(_take(step, "query"), self._texts(documents), **options)
        return as_documents(documents, ranked)

    def _compress_or_keep(self, step: RerankInput, config: RunnableConfig, **given: Any) -> list[Document]:
        reranking = RerankStep(self._compress, name="rerank")
        try:
            return reranking.invoke(step, config, **given)
        except FAILURES as error:
            return self._keep(step, error, given)

    async def _acompress_or_keep(self, step: RerankInput, config: RunnableConfig, **given: Any) -> list[Document]:
        reranking = RerankStep(self._compress, self._acompress, name="rerank")
        try:
            return await reranking.ainvoke(step, config, **given)
        except FAILURES as error:
            return self._keep(step, error, given)

    def _keep(self, step: RerankInput, error: Exception, given: Mapping[str, Any]) -> list[Document]:
        """Return the first `top_n` documents with the reason why they were not reranked, or raise the error again."""
        if not is_failure(error):
            raise error
        options, documents = self._call_options(**given), _documents_of(step)
        return in_retrieval_order(documents[: options["top_n"]], reason_of(error, options["min_score"]))

    def _texts(self, documents: Iterable[AnyDocument]) -> list[Any]:
        """Return what the model reads of each document; the reranker checks that it is text."""
        return [
            self._text_of(index, document) if isinstance(document, Document) else document
            for index, document in enumerate(documents)
        ]

    def _text_of(self, index: int, document: Document) -> Any:
        check_metadata(index, document)
        if self.document_to_text is not None:
            return self.document_to_text(document)
        return with_metadata(index, document, self.metadata_keys)

    def _call_options(self, **given: Any) -> dict[str, Any]:
        """Return the options of a call: its arguments, and the fields for those that are not set."""
        if unknown := sorted(given.keys() - set(CALL_OPTIONS)):
            raise UnknownArgumentError(f"A call takes {', '.join(CALL_OPTIONS)} by name; got {', '.join(unknown)}.")
        if whole(given.get("top_n")) == FIELDS_TOP_N:
            del given["top_n"]
        return self._options | {name: value for name, value in given.items() if value is not UNSET}


def _take(step: Mapping[str, Any], name: str) -> Any:
    if not isinstance(step, Mapping) or name not in step:
        raise InputTypeError(f'The input must be {{"query": ..., "documents": ...}}, got {step!r:.80}.')
    return step[name]


def _documents_of(step: RerankInput) -> list[Document]:
    documents: list[Document] = _as_list(_take(step, "documents"))
    for index, document in enumerate(documents):
        if not isinstance(document, Document):
            raise InputTypeError(
                f"documents[{index}] must be a Document, got {type(document).__name__}. "
                "Wrap its text: Document(page_content=text), or use rerank()."
            )
    return documents


def _as_list(documents: Iterable[T]) -> list[T]:
    # a single text, dict or Document can be iterated too, and would be taken for several documents
    if isinstance(documents, (str, bytes, Mapping, Document)) or not isinstance(documents, Iterable):
        raise InputTypeError(
            f"documents must be a list of documents, got {type(documents).__name__}. Wrap a single one: [document]."
        )
    return list(documents)
