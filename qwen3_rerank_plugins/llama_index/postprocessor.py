"""Reranking as a LlamaIndex node postprocessor.

It takes nodes with any scores or none, and a query. It gives new `NodeWithScore`s, best first, and announces the call
with paired events. All decisions are those of `Qwen3Reranker`.
"""

from __future__ import annotations

import contextlib
import dataclasses
import pickle
from collections.abc import Iterable, Iterator
from typing import Any, cast

from llama_index.core.callbacks import CallbackManager, CBEventType, EventPayload
from llama_index.core.instrumentation import get_dispatcher  # type: ignore[attr-defined]  # exported implicitly
from llama_index.core.instrumentation.events.rerank import ReRankEndEvent, ReRankStartEvent
from llama_index.core.postprocessor.types import BaseNodePostprocessor
from llama_index.core.schema import BaseNode, MetadataMode, NodeWithScore, QueryBundle
from pydantic import Field, model_validator

from qwen3_rerank_plugins import _plain_values as plain
from qwen3_rerank_plugins._fields import RerankerFields
from qwen3_rerank_plugins._metadata import reading_notes
from qwen3_rerank_plugins.engine.ranking import RankedDocument
from qwen3_rerank_plugins.errors import InputTypeError, RequestError
from qwen3_rerank_plugins.llama_index.node_copies import copy_with_notes

dispatcher = get_dispatcher(__name__)

RETRIEVAL_SCORE = "retrieval_score"


class Qwen3Rerank(RerankerFields, BaseNodePostprocessor):
    """Orders nodes by the probability that they meet the query, and keeps the best `top_n`.

    The settings are the fields of `RerankerFields`, in the same words as everywhere in this package. Making one loads
    nothing, equal settings share one loaded model, and one instance may serve any number of engines at once.

    A returned node is a copy with the id, class and text of the one that came in: whatever is done to its metadata,
    relationships, embedding or lists of keys never reaches the original. Objects other than dicts, lists, sets and
    tuples in the metadata are shared.

    The metadata of the copy says `retrieval_score` if asked for, `truncated_tokens` if the model did not see the end of
    the text, and `relevant_start` and `relevant_end`, characters of the node's own text, if the score is of a window of
    it. These notes are plain numbers, and none of them reaches an LLM or an embedding model.

    Raises:
        RequestError: there is no query, or there are two; raised before any event.
        InputTypeError: the query or one of the nodes is something else; raised before any event.
        RerankError: as `Qwen3Reranker.rank`; the events that were started are ended.
    """

    metadata_mode: MetadataMode = Field(
        default=MetadataMode.EMBED, description="Which metadata the model reads along with a node's text."
    )
    keep_retrieval_score: bool = Field(
        default=False, description='Note the score a node came with as "retrieval_score" in its metadata.'
    )

    @classmethod
    def class_name(cls) -> str:
        """The name under which LlamaIndex serialises this class."""
        return "Qwen3Rerank"

    @model_validator(mode="before")
    @classmethod
    def _drop_class_name(cls, values: Any) -> Any:
        """The host adds it to every dump, and it is no option of ours."""
        if isinstance(values, dict):
            return {name: value for name, value in values.items() if name != "class_name"}
        return values

    def postprocess_nodes(
        self,
        nodes: list[NodeWithScore],
        query_bundle: QueryBundle | str | None = None,
        query_str: str | None = None,
    ) -> list[NodeWithScore]:
        """The best nodes, best first.

        Args:
            nodes: what a retriever found; the order breaks ties.
            query_bundle: what was looked for; a string will do.
            query_str: the same as a string, instead of `query_bundle`.
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
        task = self._read(nodes, query_bundle)
        with self._announced(task) as reranked:
            ranked = self._reranker.rank(task.query.query_str, task.texts, **self._options)
            reranked.extend(self._rebuilt(task, ranked))
        return reranked

    @dispatcher.span  # the host wraps the synchronous twin only
    async def _apostprocess_nodes(
        self, nodes: list[NodeWithScore], query_bundle: QueryBundle | None = None
    ) -> list[NodeWithScore]:
        task = self._read(nodes, query_bundle)
        with self._announced(task) as reranked:
            ranked = await self._reranker.arank(task.query.query_str, task.texts, **self._options)
            reranked.extend(self._rebuilt(task, ranked))
        return reranked

    def _read(self, nodes: Iterable[object], query: QueryBundle | None) -> _Task:
        """Before the first event: whatever is wrong with the nodes themselves is found here."""
        asked, checked = _only_query(query, None), _check_nodes(nodes)
        return _Task(asked, checked, [node.node.get_content(metadata_mode=self.metadata_mode) for node in checked])

    @contextlib.contextmanager
    def _announced(self, task: _Task) -> Iterator[list[NodeWithScore]]:
        """Start both kinds of events, and end both whatever happens; the caller fills the list in between."""
        reranked: list[NodeWithScore] = []
        top_n = len(task.nodes) if self.top_n is None else self.top_n  # the event refuses None
        payload: dict[str, Any] = {
            EventPayload.NODES: task.nodes,
            EventPayload.MODEL_NAME: str(self.model),
            EventPayload.QUERY_STR: task.query.query_str,
            EventPayload.TOP_K: top_n,
        }
        callbacks = self.callback_manager or CallbackManager()
        with callbacks.event(CBEventType.RERANKING, payload=payload) as event:  # on errors it ends itself
            dispatcher.event(
                ReRankStartEvent(query=task.query, nodes=task.nodes, top_n=top_n, model_name=str(self.model))
            )
            try:
                yield reranked
            finally:
                dispatcher.event(ReRankEndEvent(nodes=reranked))
            event.on_end(payload={EventPayload.NODES: reranked})

    def _rebuilt(self, task: _Task, ranked: Iterable[RankedDocument]) -> Iterator[NodeWithScore]:
        for document in ranked:
            old = task.nodes[document.index]
            notes: dict[str, Any] = {RETRIEVAL_SCORE: plain.number(old.score)} if self.keep_retrieval_score else {}
            notes |= reading_notes(document, old.node.get_content(metadata_mode=MetadataMode.NONE))
            yield NodeWithScore(node=copy_with_notes(old.node, notes), score=document.score)

    def __getstate__(self) -> dict[Any, Any]:
        """The host drops what cannot be pickled; without its reranker or instruction the copy would rank otherwise."""
        pickle.dumps((self.reranker, self.instruction))
        return super().__getstate__()


@dataclasses.dataclass(frozen=True, slots=True)
class _Task:
    """One call, checked: the nodes as they came, and the texts that the model will read."""

    query: QueryBundle
    nodes: list[NodeWithScore]
    texts: list[str]


def _only_query(bundle: object, words: object) -> QueryBundle:
    """The query in the host's own class; a string is one, as it is for the host's retrievers."""
    if bundle is not None and words is not None:
        raise RequestError("A call cannot have both query_str and query_bundle. Pass only one of them.")
    if bundle is None and words is None:
        raise RequestError("There is no query to rerank for. Pass query_str=... or query_bundle=...")
    query = bundle if isinstance(bundle, QueryBundle) else QueryBundle(cast("str", words if bundle is None else bundle))
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
    """The same node; with empty metadata if it has None, as a node from a store that was not validated may."""
    metadata: object = node.node.metadata
    if metadata is None:
        return node.model_copy(update={"node": node.node.model_copy(update={"metadata": {}})})
    if not isinstance(metadata, dict):
        raise InputTypeError(
            f"The metadata of nodes[{index}] must be a dict, got {type(metadata).__name__}. Give the node a dict."
        )
    return node
