"""A LlamaIndex node postprocessor that reranks. It translates between LlamaIndex and `Qwen3Reranker`."""

from __future__ import annotations

import contextlib
import pickle
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, cast

from llama_index.core.callbacks import CallbackManager, CBEventType, EventPayload
from llama_index.core.instrumentation import get_dispatcher  # type: ignore[attr-defined]  # exported implicitly
from llama_index.core.instrumentation.events.exception import ExceptionEvent
from llama_index.core.instrumentation.events.rerank import ReRankEndEvent, ReRankStartEvent
from llama_index.core.postprocessor.types import BaseNodePostprocessor
from llama_index.core.schema import BaseNode, MetadataMode, NodeWithScore, QueryBundle
from pydantic import Field, model_validator

from qwen3_rerank_plugins import _plain_values as plain
from qwen3_rerank_plugins._fallback import FAILURE_KEY, FAILURES, is_failure, reason_of
from qwen3_rerank_plugins._fields import RerankerFields
from qwen3_rerank_plugins._metadata import coverage
from qwen3_rerank_plugins.engine.ranking import RankedDocument
from qwen3_rerank_plugins.errors import InputTypeError, RequestError
from qwen3_rerank_plugins.llama_index.node_copies import annotated_copy

dispatcher = get_dispatcher(__name__)


class Qwen3Rerank(RerankerFields, BaseNodePostprocessor):
    """Orders nodes by the probability that they meet the query, and keeps the best `top_n`.

    The settings are the fields of `RerankerFields`, with the same names as everywhere in this package. Creating an
    instance loads nothing, equal settings share one loaded model, and one instance may serve any number of engines at
    once.

    A returned node is a copy with the id, class and text of the original: changing its metadata, relationships,
    embedding or lists of keys never changes the original. Objects other than dicts, lists, sets and tuples in the
    metadata are shared.

    The metadata of the copy has `retrieval_score` if `keep_retrieval_score` is set, `truncated_tokens` if the end of
    the text was cut, and `relevant_start` and `relevant_end`, characters of the node's own text, if the text was read
    in windows. These entries are plain numbers, and no LLM or embedding model reads them.

    Raises:
        RequestError: there is no query, or there are two; raised before any event.
        InputTypeError: the query or one of the nodes has another type; raised before any event.
        RerankError: as `Qwen3Reranker.rank`; every event that was started is ended.
    """

    metadata_mode: MetadataMode = Field(
        default=MetadataMode.EMBED, description="Which metadata the model reads along with a node's text."
    )
    keep_retrieval_score: bool = Field(
        default=False, description='Keep the score that a node came with as "retrieval_score" in its metadata.'
    )

    @classmethod
    def class_name(cls) -> str:
        """The name under which LlamaIndex serializes this class."""
        return "Qwen3Rerank"

    @model_validator(mode="before")
    @classmethod
    def _drop_class_name(cls, values: Any) -> Any:
        """LlamaIndex adds the class name to every dump; it is not a field."""
        if isinstance(values, dict):
            return {name: value for name, value in values.items() if name != "class_name"}
        return values

    def postprocess_nodes(
        self,
        nodes: list[NodeWithScore],
        query_bundle: QueryBundle | str | None = None,
        query_str: str | None = None,
    ) -> list[NodeWithScore]:
        """Return the best nodes, best first.

        Args:
            nodes: the nodes that a retriever found; their order breaks ties.
            query_bundle: the query; may be a string.
            query_str: the query as a string, instead of `query_bundle`.
        """
        return super().postprocess_nodes(nodes, _only_query(query_bundle, query_str))

    async def apostprocess_nodes(
        self,
        nodes: list[NodeWithScore],
        query_bundle: QueryBundle | str | None = None,
        query_str: str | None = None,
    ) -> list[NodeWithScore]:
        """`postprocess_nodes` without blocking the event loop."""
        return await super().apostprocess_nodes(nodes, _only_query(query_bundle, query_str))

    def _postprocess_nodes(
        self, nodes: list[NodeWithScore], query_bundle: QueryBundle | None = None
    ) -> list[NodeWithScore]:
        query, checked = _only_query(query_bundle, None), _check_nodes(nodes)
        texts = self._texts(checked)
        with self._events(query, checked) as reranked:
            try:
                ranked = self._reranker.rank(query.query_str, texts, **self._options)
                reranked.extend(self._results(checked, ranked))
            except FAILURES as error:
                reranked.extend(self._in_retrieval_order(checked, error))
        return reranked

    @dispatcher.span  # LlamaIndex wraps only the synchronous method
    async def _apostprocess_nodes(
        self, nodes: list[NodeWithScore], query_bundle: QueryBundle | None = None
    ) -> list[NodeWithScore]:
        query, checked = _only_query(query_bundle, None), _check_nodes(nodes)
        texts = self._texts(checked)
        with self._events(query, checked) as reranked:
            try:
                ranked = await self._reranker.arank(query.query_str, texts, **self._options)
                reranked.extend(self._results(checked, ranked))
            except FAILURES as error:
                reranked.extend(self._in_retrieval_order(checked, error))
        return reranked

    def _texts(self, nodes: Iterable[NodeWithScore]) -> list[str]:
        return [node.node.get_content(metadata_mode=self.metadata_mode) for node in nodes]

    @contextlib.contextmanager
    def _events(self, query: QueryBundle, nodes: list[NodeWithScore]) -> Iterator[list[NodeWithScore]]:
        """Start both kinds of events, and end both also after an error; the caller fills the list in between."""
        reranked: list[NodeWithScore] = []
        top_n = len(nodes) if self.top_n is None else self.top_n  # the event refuses None
        payload: dict[str, Any] = {
            EventPayload.NODES: nodes,
            EventPayload.MODEL_NAME: str(self.model),
            EventPayload.QUERY_STR: query.query_str,
            EventPayload.TOP_K: top_n,
        }
        callbacks = self.callback_manager or CallbackManager()
        with callbacks.event(CBEventType.RERANKING, payload=payload) as event:  # ends itself after an error
            dispatcher.event(ReRankStartEvent(query=query, nodes=nodes, top_n=top_n, model_name=str(self.model)))
            try:
                yield reranked
            finally:
                dispatcher.event(ReRankEndEvent(nodes=reranked))
            event.on_end(payload={EventPayload.NODES: reranked})

    def _results(self, nodes: Sequence[NodeWithScore], ranked: Iterable[RankedDocument]) -> Iterator[NodeWithScore]:
        for found in ranked:
            original = nodes[found.index]
            entries: dict[str, Any] = {}
            if self.keep_retrieval_score:
                entries["retrieval_score"] = plain.number(original.score)
            entries |= coverage(found, original.node.get_content(metadata_mode=MetadataMode.NONE))
            yield NodeWithScore(node=annotated_copy(original.node, entries), score=found.score)

    def _in_retrieval_order(self, nodes: Sequence[NodeWithScore], error: Exception) -> Iterator[NodeWithScore]:
        """Return the first `top_n` nodes with their own scores, or raise the error again."""
        if self.on_failure == "raise" or not is_failure(error):
            raise error
        dispatcher.event(ExceptionEvent(exception=error))
        entries = {FAILURE_KEY: reason_of(error, self.min_score)}
        for original in nodes[: self.top_n]:
            yield NodeWithScore(node=annotated_copy(original.node, entries), score=original.score)

    def __getstate__(self) -> dict[Any, Any]:
        """Fail if LlamaIndex would drop the reranker or the instruction because it cannot be pickled."""
        pickle.dumps((self.reranker, self.instruction))
        return super().__getstate__()


def _only_query(bundle: object, text: object) -> QueryBundle:
    """Return the query as a `QueryBundle`; like LlamaIndex's retrievers, accept a string as either argument."""
    if bundle is not None and text is not None:
        raise RequestError("A call cannot have both query_str and query_bundle. Pass only one of them.")
    if bundle is None and text is None:
        raise RequestError("There is no query to rerank for. Pass query_str=... or query_bundle=...")
    query = bundle if isinstance(bundle, QueryBundle) else QueryBundle(cast("str", text if bundle is None else bundle))
    if not isinstance(query.query_str, str):
        raise InputTypeError(
            f"The query must be a string or a QueryBundle with one, got {type(query.query_str).__name__}. "
            "Pass query_str=... with the text of the query."
        )
    return query


def _check_nodes(nodes: object) -> list[NodeWithScore]:
    if isinstance(nodes, (NodeWithScore, BaseNode)) or not isinstance(nodes, Iterable):
        raise InputTypeError(
            f"nodes must be a list of NodeWithScore, got {type(nodes).__name__}. "
            "Pass [] for none, and a list also for a single one: [NodeWithScore(node=node)]."
        )
    checked: list[NodeWithScore] = []
    for index, node in enumerate(nodes):
        if not isinstance(node, NodeWithScore):
            hint = " Wrap it: NodeWithScore(node=node)." if isinstance(node, BaseNode) else ""
            raise InputTypeError(f"nodes[{index}] must be a NodeWithScore, got {type(node).__name__}.{hint}")
        checked.append(_with_metadata(index, node))
    return checked


def _with_metadata(index: int, node: NodeWithScore) -> NodeWithScore:
    """Replace metadata that is None by an empty dict; a store that does not validate its nodes may return None."""
    metadata: object = node.node.metadata
    if metadata is None:
        return node.model_copy(update={"node": node.node.model_copy(update={"metadata": {}})})
    if not isinstance(metadata, dict):
        raise InputTypeError(
            f"The metadata of nodes[{index}] must be a dict, got {type(metadata).__name__}. Give the node a dict."
        )
    return node
