"""The interfaces through which callers ask, all over one shared engine."""

from __future__ import annotations

import dataclasses
from collections.abc import Awaitable, Callable, Iterable, Sequence
from concurrent.futures import Future
from typing import Any

from langchain_core.documents import Document
from llama_index.core.schema import NodeWithScore, TextNode

from qwen3_rerank_plugins import Qwen3Reranker
from qwen3_rerank_plugins import _registry as registry
from qwen3_rerank_plugins.engine.ranking import RankedDocument, probability
from qwen3_rerank_plugins.engine.request import make_request
from qwen3_rerank_plugins.engine.scorer import Scores
from qwen3_rerank_plugins.langchain import Qwen3Rerank as LangChainRerank
from qwen3_rerank_plugins.llama_index import Qwen3Rerank as LlamaIndexRerank
from tests.load.expected_answers import Answer, Entry
from tests.load.questions import MANNERS, Manner, Question


class Clients:
    """One reranker, one LangChain adapter and one LlamaIndex adapter per manner; all callers share them.

    Args:
        engine: the engine settings of all of them.
    """

    def __init__(self, engine: dict[str, Any]) -> None:
        self.engine = engine
        self.rerankers = {manner: Qwen3Reranker(**engine, **manner.options) for manner in MANNERS}
        self._compressors = {m: LangChainRerank(**engine, **m.options, top_n=None) for m in MANNERS}
        self._postprocessors = {m: LlamaIndexRerank(**engine, **m.options, top_n=None) for m in MANNERS}

    def compressor(self, question: Question) -> LangChainRerank:
        """Return the shared adapter, or for a question with `top_n` a new one, as applications make them."""
        if question.top_n is None:
            return self._compressors[question.manner]
        return LangChainRerank(**self.engine, **question.manner.options, top_n=question.top_n)

    def postprocessor(self, question: Question) -> LlamaIndexRerank:
        """See `compressor`."""
        if question.top_n is None:
            return self._postprocessors[question.manner]
        return LlamaIndexRerank(**self.engine, **question.manner.options, top_n=question.top_n)

    def submit(self, question: Question) -> Future[Scores]:
        """Submit to the engine itself; its future can be canceled without a task."""
        reranker = self.rerankers[question.manner]
        request = make_request(question.query, question.documents, *_of_request(question.manner))
        return registry.acquire(reranker.settings, reranker).submit(request)

    def close(self) -> None:
        """Close the rerankers. Adapters are never closed, because their frameworks do not close them."""
        for reranker in self.rerankers.values():
            reranker.close()


@dataclasses.dataclass(frozen=True, slots=True)
class EntryPoint:
    """An interface for threads.

    Attributes:
        name: its name in tables.
        ask: function that asks one question, or several with `many`.
        many: whether it takes several questions in one call.
    """

    name: str
    ask: Callable[[Clients, Sequence[Question]], list[Answer]]
    many: bool = False


@dataclasses.dataclass(frozen=True, slots=True)
class AsyncEntryPoint:
    """An interface for coroutines; see `EntryPoint`."""

    name: str
    ask: Callable[[Clients, Sequence[Question]], Awaitable[list[Answer]]]
    many: bool = False


def answer_of_scores(question: Question, scores: Scores) -> Answer:
    """Return the engine's scores as an answer, in the order of the documents."""
    found = zip(scores.log_odds, scores.truncated_tokens, strict=True)
    entries = (Entry(i, probability(log_odds), None, log_odds, cut) for i, (log_odds, cut) in enumerate(found))
    return Answer(tuple(entries), ranked=False)


def _of_request(manner: Manner) -> tuple[str | None, int]:
    return manner.instruction, manner.max_length


def _rank(clients: Clients, asked: Sequence[Question]) -> list[Answer]:
    (question,) = asked
    return [_ranked(clients.rerankers[question.manner].rank(question.query, question.documents, top_n=question.top_n))]


async def _arank(clients: Clients, asked: Sequence[Question]) -> list[Answer]:
    (question,) = asked
    reranker = clients.rerankers[question.manner]
    return [_ranked(await reranker.arank(question.query, question.documents, top_n=question.top_n))]


def _score(clients: Clients, asked: Sequence[Question]) -> list[Answer]:
    return _split_scores(asked, clients.rerankers[asked[0].manner].score(_pairs(asked)))


async def _ascore(clients: Clients, asked: Sequence[Question]) -> list[Answer]:
    return _split_scores(asked, await clients.rerankers[asked[0].manner].ascore(_pairs(asked)))


def _compress(clients: Clients, asked: Sequence[Question]) -> list[Answer]:
    (question,) = asked
    return [_compressed(clients.compressor(question).compress_documents(_documents(question), question.query))]


async def _acompress(clients: Clients, asked: Sequence[Question]) -> list[Answer]:
    (question,) = asked
    return [_compressed(await clients.compressor(question).acompress_documents(_documents(question), question.query))]


def _postprocess(clients: Clients, asked: Sequence[Question]) -> list[Answer]:
    (question,) = asked
    found = clients.postprocessor(question).postprocess_nodes(_nodes(question), query_str=question.query)
    return [_postprocessed(found)]


async def _apostprocess(clients: Clients, asked: Sequence[Question]) -> list[Answer]:
    (question,) = asked
    found = await clients.postprocessor(question).apostprocess_nodes(_nodes(question), query_str=question.query)
    return [_postprocessed(found)]


ENTRY_POINTS = (
    EntryPoint("rank", _rank),
    EntryPoint("score", _score, many=True),
    EntryPoint("LangChain", _compress),
    EntryPoint("LlamaIndex", _postprocess),
)
ASYNC_ENTRY_POINTS = (
    AsyncEntryPoint("arank", _arank),
    AsyncEntryPoint("ascore", _ascore, many=True),
    AsyncEntryPoint("LangChain, async", _acompress),
    AsyncEntryPoint("LlamaIndex, async", _apostprocess),
)


def _ranked(found: Iterable[RankedDocument]) -> Answer:
    return Answer(tuple(Entry(one.index, one.score, one.text, one.logit, one.truncated_tokens) for one in found), True)


def _pairs(asked: Sequence[Question]) -> list[tuple[str, str]]:
    return [(question.query, document) for question in asked for document in question.documents]


def _split_scores(asked: Sequence[Question], scores: Sequence[float]) -> list[Answer]:
    """Split the scores of `_pairs` by question."""
    left = iter(enumerate(scores))
    answers, start = [], 0
    for question in asked:
        mine = [next(left) for _ in question.documents]
        answers.append(Answer(tuple(Entry(place - start, score) for place, score in mine), ranked=False))
        start += len(question.documents)
    if next(left, None) is not None:
        raise AssertionError(f"{len(scores)} scores came back for {start} pairs.")
    return answers


def _documents(question: Question) -> list[Document]:
    return [Document(text, id=str(place)) for place, text in enumerate(question.documents)]


def _compressed(found: Iterable[Document]) -> Answer:
    return Answer(
        tuple(
            Entry(
                index=int(one.id or -1),
                score=one.metadata["relevance_score"],
                text=one.page_content,
                truncated_tokens=one.metadata.get("truncated_tokens", 0),
            )
            for one in found
        ),
        ranked=True,
    )


def _nodes(question: Question) -> list[NodeWithScore]:
    return [NodeWithScore(node=TextNode(text=text, id_=str(place))) for place, text in enumerate(question.documents)]


def _postprocessed(found: Iterable[NodeWithScore]) -> Answer:
    return Answer(
        tuple(
            Entry(
                index=int(one.node_id),
                score=one.score or 0.0,
                text=one.node.get_content(),
                truncated_tokens=one.node.metadata.get("truncated_tokens", 0),
            )
            for one in found
        ),
        ranked=True,
    )
