"""Reranking as a LangChain document compressor.

It takes documents, a query and callbacks. It gives copies of the best documents, best first, and shows one run in the
trace. All decisions are those of `Qwen3Reranker`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from langchain_core.callbacks import Callbacks
from langchain_core.documents import BaseDocumentCompressor, Document
from langchain_core.runnables import Runnable, RunnableConfig
from pydantic import Field, model_validator
from pydantic.json_schema import SkipJsonSchema

from qwen3_rerank_plugins._fields import RerankerFields
from qwen3_rerank_plugins._options import UNSET, Unset
from qwen3_rerank_plugins._plain_values import whole
from qwen3_rerank_plugins.engine.request import Instruction
from qwen3_rerank_plugins.errors import InputTypeError, SettingsError, UnknownArgumentError
from qwen3_rerank_plugins.langchain.callbacks import callbacks_of
from qwen3_rerank_plugins.langchain.document_text import check_metadata, with_metadata
from qwen3_rerank_plugins.langchain.metadata import AnyDocument, Relevance, annotated, relevances
from qwen3_rerank_plugins.langchain.runnable import RerankInput, RerankStep

CALL_OPTIONS = ("instruction", "top_n", "min_score")
FIELDS_TOP_N = -1
"""As `top_n` of a call: what the field says, in the word that other rerankers for LangChain have for it."""

T = TypeVar("T")


class Qwen3Rerank(RerankerFields, BaseDocumentCompressor):
    """Orders documents by the probability that they meet the query, and keeps the best `top_n`.

    The settings are the fields of `RerankerFields`, in the same words as everywhere in this package. Making one loads
    nothing, equal settings share one loaded model, and one instance may serve any number of retrievers, threads and
    event loops at once.

    The model reads the text of a document; with `metadata_keys` also those of its metadata that have a value, with
    `document_to_text` whatever that makes of it. A function cannot be written as JSON.

    Each returned document is a copy: its id, class and metadata are those of the document that came in, plus the
    `Notes` in the metadata. Notes of an earlier reranker are replaced. Dicts, lists, sets and tuples of the metadata
    are copied at every depth, so that a change to a result never reaches the document that came in. Other objects are
    shared.

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
        self,
        documents: Sequence[Document],
        query: str,
        callbacks: Callbacks | None = None,
        *,
        instruction: Instruction | Unset | None = UNSET,
        top_n: int | Unset | None = UNSET,
        min_score: float | Unset | None = UNSET,
    ) -> list[Document]:
        """Keep the best documents, best first.

        Args:
            documents: what a retriever found; the order breaks ties.
            query: what was looked for.
            callbacks: of the run that this one belongs to: None, a list of handlers, a callback manager, or a run
                manager.
            instruction: for this call, a sentence or a function of the query; None is the model card's.
            top_n: for this call; None returns all.
            min_score: for this call; None returns all.

        What is left out is as the fields say.

        Returns:
            At most `top_n` copies, those with at least `min_score`.
        """
        step = RerankInput(query=query, documents=_listed(documents))
        config = RunnableConfig(callbacks=callbacks_of(callbacks))
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
        """`compress_documents` without blocking the event loop; cancelling the task drops what has not run yet."""
        step = RerankInput(query=query, documents=_listed(documents))
        config = RunnableConfig(callbacks=callbacks_of(callbacks))
        return await self.as_runnable().ainvoke(step, config, instruction=instruction, top_n=top_n, min_score=min_score)

    def as_runnable(self) -> Runnable[Any, list[Document]]:
        """The compressor as a step of a chain: `{"query": ..., "documents": ...}` in, the best documents out.

        Its calls take `instruction`, `top_n` and `min_score` by name, and `bind` sets them for a chain. Any other name
        is an `UnknownArgumentError`.
        """
        return RerankStep(self._compress, self._acompress, name=type(self).__name__)

    def rerank(
        self,
        documents: Iterable[AnyDocument],
        query: str,
        *,
        top_n: int | Unset | None = UNSET,
        instruction: Instruction | Unset | None = UNSET,
        min_score: float | Unset | None = UNSET,
    ) -> list[Relevance]:
        """Order anything that has text, and say where it stood; nothing is copied, and nothing is traced.

        Args:
            documents: texts, documents, or dicts with the text under "page_content" or "text".
            query: what is looked for.
            top_n: most results; None returns all, -1 as many as the field says.
            instruction: a sentence, or a function of the query; None is the model card's.
            min_score: lowest probability to return, inclusive; None returns all.

        What is left out is as the fields say.

        Returns:
            A dict with "index" and "relevance_score" for each of the best documents, best first.
        """
        options = self._call_options({"top_n": top_n, "instruction": instruction, "min_score": min_score})
        listed = _listed(documents)
        return relevances(listed, self._reranker.rank(query, self._texts(listed), **options))

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
        options = self._call_options({"top_n": top_n, "instruction": instruction, "min_score": min_score})
        listed = _listed(documents)
        return relevances(listed, await self._reranker.arank(query, self._texts(listed), **options))

    def _compress(self, step: RerankInput, **given: Any) -> list[Document]:
        options, documents = self._call_options(given), _listed(_take(step, "documents"))
        ranked = self._reranker.rank(_take(step, "query"), self._read(documents), **options)
        return annotated(documents, ranked)

    async def _acompress(self, step: RerankInput, **given: Any) -> list[Document]:
        options, documents = self._call_options(given), _listed(_take(step, "documents"))
        ranked = await self._reranker.arank(_take(step, "query"), self._read(documents), **options)
        return annotated(documents, ranked)

    def _read(self, documents: Iterable[object]) -> list[str]:
        """The texts; whether they are text is checked where every text is."""
        texts = []
        for index, document in enumerate(documents):
            if not isinstance(document, Document):
                raise InputTypeError(
                    f"documents[{index}] must be a Document, got {type(document).__name__}. "
                    "Wrap its text: Document(page_content=text), or use rerank()."
                )
            texts.append(self._text_of(index, document))
        return texts

    def _texts(self, documents: Iterable[AnyDocument]) -> list[Any]:
        return [
            self._text_of(index, document) if isinstance(document, Document) else document
            for index, document in enumerate(documents)
        ]

    def _text_of(self, index: int, document: Document) -> Any:
        check_metadata(index, document)
        if self.document_to_text is not None:
            return self.document_to_text(document)
        return with_metadata(index, document, self.metadata_keys)

    def _call_options(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """The options of a call; the fields decide those that it omits."""
        if unknown := sorted(given.keys() - set(CALL_OPTIONS)):
            raise UnknownArgumentError(f"A call takes {', '.join(CALL_OPTIONS)} by name; got {', '.join(unknown)}.")
        options = self._options | {name: value for name, value in given.items() if value is not UNSET}
        if whole(options["top_n"]) == FIELDS_TOP_N:
            options["top_n"] = self.top_n
        return options


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
