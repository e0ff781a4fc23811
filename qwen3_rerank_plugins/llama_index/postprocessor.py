"""Reranking as a LlamaIndex node postprocessor.

Comes in: nodes with any scores or none, and a query. Goes out: new `NodeWithScore`s, best first, and paired events.
Must not know: engines, tokens. It translates; `Qwen3Reranker` decides.
"""

from __future__ import annotations

import contextlib
import dataclasses
import pickle
from collections.abc import Iterable, Iterator
from typing import Any

from llama_index.core.callbacks import CBEventType, EventPayload
from llama_index.core.instrumentation import get_dispatcher  # type: ignore[attr-defined]  # exported implicitly
from llama_index.core.instrumentation.events.rerank import ReRankEndEvent, ReRankStartEvent
from llama_index.core.postprocessor.types import BaseNodePostprocessor
from llama_index.core.schema import BaseNode, MetadataMode, NodeWithScore, QueryBundle
from pydantic import Field, model_validator

from qwen3_rerank_plugins.engine.results import RankedDocument
from qwen3_rerank_plugins.errors import InputTypeError, RequestError
from qwen3_rerank_plugins.fields import RerankerFields

dispatcher = get_dispatcher(__name__)

RETRIEVAL_SCORE = "retrieval_score"
TRUNCATED_TOKENS = "truncated_tokens"
RELEVANT_SPAN = "relevant_span"


class Qwen3Rerank(RerankerFields, BaseNodePostprocessor):
    """Orders nodes by the probability that they meet the query, and keeps the best `top_n`.

    The settings are the fields of `RerankerFields`, in the same words as everywhere in this package. Making one loads
    nothing, equal settings share one loaded model, and one instance may serve any number of engines at once.

    A returned node is the very node that came in, unless something is noted in its metadata: then it is a copy with the
    same id. `retrieval_score` is noted if asked for, `truncated_tokens` if the model did not see the end of the text,
    and `relevant_span`, [start, end] characters of the node's own text, if the score is of a window of it. No note
    reaches an LLM or an embedding model.

    Raises:
        RequestError: there is no query; raised before any event.
        InputTypeError: something in the list is not a `NodeWithScore`; raised before any event.
        RerankError: as `Qwen3Reranker.rank`; the events that were started are ended.
    """

    metadata_mode: MetadataMode = Field(
        default=MetadataMode.EMBED, description="Which metadata the model reads along with a node's text."
    )
    keep_retrieval_score: bool = Field(
        default=False, description='Note the score a node came with as "retrieval_score" in the metadata of a copy.'
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
        if query is None:
            raise RequestError("There is no query to rerank for. Pass query_str=... or query_bundle=...")
        checked = _check_nodes(nodes)
        return _Task(query, checked, [node.node.get_content(metadata_mode=self.metadata_mode) for node in checked])

    @contextlib.contextmanager
    def _announced(self, task: _Task) -> Iterator[list[NodeWithScore]]:
        """Start both kinds of events, and end both whatever happens; the caller fills the list in between."""
        reranked: list[NodeWithScore] = []
        top_n = len(task.nodes) if self.top_n is None else self.top_n  # the event refuses None
        payload: dict[str, Any] = {
            EventPayload.NODES: task.nodes,
            EventPayload.MODEL_NAME: self.model,
            EventPayload.QUERY_STR: task.query.query_str,
            EventPayload.TOP_K: top_n,
        }
        with self.callback_manager.event(CBEventType.RERANKING, payload=payload) as event:  # on errors it ends itself
            dispatcher.event(ReRankStartEvent(query=task.query, nodes=task.nodes, top_n=top_n, model_name=self.model))
            try:
                yield reranked
            finally:
                dispatcher.event(ReRankEndEvent(nodes=reranked))
            event.on_end(payload={EventPayload.NODES: reranked})

    def _rebuilt(self, task: _Task, ranked: Iterable[RankedDocument]) -> Iterator[NodeWithScore]:
        for document in ranked:
            old = task.nodes[document.index]
            notes: dict[str, Any] = {}
            if self.keep_retrieval_score:
                notes[RETRIEVAL_SCORE] = old.score
            if document.truncated_tokens:
                notes[TRUNCATED_TOKENS] = document.truncated_tokens
            # the model read the metadata as well
            if span := document.span_within(old.node.get_content(metadata_mode=MetadataMode.NONE)):
                notes[RELEVANT_SPAN] = list(span)
            yield NodeWithScore(node=_with_notes(old.node, notes), score=document.score)

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


def _check_nodes(nodes: Iterable[object]) -> list[NodeWithScore]:
    checked: list[NodeWithScore] = []
    for index, node in enumerate(nodes):
        if not isinstance(node, NodeWithScore):
            hint = " Wrap it: NodeWithScore(node=node)." if isinstance(node, BaseNode) else ""
            raise InputTypeError(f"nodes[{index}] must be a NodeWithScore, got {type(node).__name__}.{hint}")
        checked.append(node)
    return checked


def _with_notes(node: BaseNode, notes: dict[str, Any]) -> BaseNode:
    """The node itself if there is nothing to note, else a shallow copy: the caller's node is never written to."""
    stale = {TRUNCATED_TOKENS, RELEVANT_SPAN}.intersection(node.metadata)
    if not notes and not stale:
        return node
    # an earlier reranking may have cut what this one has read
    metadata = {name: value for name, value in node.metadata.items() if name not in stale}
    return node.model_copy(
        update={
            "metadata": metadata | notes,
            "excluded_embed_metadata_keys": _union(node.excluded_embed_metadata_keys, notes),
            "excluded_llm_metadata_keys": _union(node.excluded_llm_metadata_keys, notes),
        }
    )


def _union(names: list[str], more: Iterable[str]) -> list[str]:
    return list(dict.fromkeys([*names, *more]))
