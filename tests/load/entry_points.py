"""The ways through which a caller can ask, all over one shared engine.

Comes in: `Question`s. Goes out: one `Answer` a question.
Must not know: what the right answer is.
"""

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


class Doors:
    """One reranker and one adapter of each host for every manner; callers share them.

    Args:
        engine: the engine settings, the same for all.
    """

    def __init__(self, engine: dict[str, Any]) -> None:
        self.engine = engine
        self.rerankers = {manner: Qwen3Reranker(**engine, **manner.options) for manner in MANNERS}
        self._compressors = {m: LangChainRerank(**engine, **m.options, top_n=None) for m in MANNERS}
        self._postprocessors = {m: LlamaIndexRerank(**engine, **m.options, top_n=None) for m in MANNERS}

    def compressor(self, question: Question) -> LangChainRerank:
        """The shared one, or one made for this call, as applications do."""
        if question.top_n is None:
            return self._compressors[question.manner]
        return LangChainRerank(**self.engine, **question.manner.options, top_n=question.top_n)

    def postprocessor(self, question: Question) -> LlamaIndexRerank:
        """As `compressor`."""
        if question.top_n is None:
            return self._postprocessors[question.manner]
        return LlamaIndexRerank(**self.engine, **question.manner.options, top_n=question.top_n)

    def submit(self, question: Question) -> Future[Scores]:
        """Behind all doors: the engine's own future, which can be cancelled without a task."""
        reranker = self.rerankers[question.manner]
        request = make_request(question.query, question.documents, *_of_request(question.manner))
        return registry.acquire(reranker.settings, reranker).submit(request)

    def close(self) -> None:
        """Close the rerankers. Adapters are never closed: their hosts do not know how."""
        for reranker in self.rerankers.values():
            reranker.close()


@dataclasses.dataclass(frozen=True, slots=True)
class Door:
    """One way to ask.

    Attributes:
        ask: one question through it, or several if it takes `many` in one call.
    """

    name: str
    ask: Callable[[Doors, Sequence[Question]], list[Answer]]
    many: bool = False


@dataclasses.dataclass(frozen=True, slots=True)
class AsyncDoor:
    """One way to ask from a coroutine."""

    name: str
    ask: Callable[[Doors, Sequence[Question]], Awaitable[list[Answer]]]
    many: bool = False


def answer_of_scores(question: Question, scores: Scores) -> Answer:
    """What the engine itself says, in the order of the documents."""
    found = zip(scores.log_odds, scores.truncated_tokens, strict=True)
    entries = (Entry(i, probability(log_odds), None, log_odds, cut) for i, (log_odds, cut) in enumerate(found))
    return Answer(tuple(entries), ranked=False)


def _of_request(manner: Manner) -> tuple[str | None, int]:
    return manner.instruction, manner.max_length


def _rank(doors: Doors, asked: Sequence[Question]) -> list[Answer]:
    (question,) = asked
    return [_ranked(doors.rerankers[question.manner].rank(question.query, question.documents, top_n=question.top_n))]


async def _arank(doors: Doors, asked: Sequence[Question]) -> list[Answer]:
    (question,) = asked
    reranker = doors.rerankers[question.manner]
    return [_ranked(await reranker.arank(question.query, question.documents, top_n=question.top_n))]


def _score(doors: Doors, asked: Sequence[Question]) -> list[Answer]:
    return _dealt(asked, doors.rerankers[asked[0].manner].score(_pairs(asked)))


async def _ascore(doors: Doors, asked: Sequence[Question]) -> list[Answer]:
    return _dealt(asked, await doors.rerankers[asked[0].manner].ascore(_pairs(asked)))


def _compress(doors: Doors, asked: Sequence[Question]) -> list[Answer]:
    (question,) = asked
    return [_compressed(doors.compressor(question).compress_documents(_documents(question), question.query))]


async def _acompress(doors: Doors, asked: Sequence[Question]) -> list[Answer]:
    (question,) = asked
    return [_compressed(await doors.compressor(question).acompress_documents(_documents(question), question.query))]


def _postprocess(doors: Doors, asked: Sequence[Question]) -> list[Answer]:
    (question,) = asked
    found = doors.postprocessor(question).postprocess_nodes(_nodes(question), query_str=question.query)
    return [_postprocessed(found)]


async def _apostprocess(doors: Doors, asked: Sequence[Question]) -> list[Answer]:
    (question,) = asked
    found = await doors.postprocessor(question).apostprocess_nodes(_nodes(question), query_str=question.query)
    return [_postprocessed(found)]


DOORS = (
    Door("rank", _rank),
    Door("score", _score, many=True),
    Door("LangChain", _compress),
    Door("LlamaIndex", _postprocess),
)
ASYNC_DOORS = (
    AsyncDoor("arank", _arank),
    AsyncDoor("ascore", _ascore, many=True),
    AsyncDoor("LangChain, async", _acompress),
    AsyncDoor("LlamaIndex, async", _apostprocess),
)


def _ranked(found: Iterable[RankedDocument]) -> Answer:
    return Answer(tuple(Entry(one.index, one.score, one.text, one.logit, one.truncated_tokens) for one in found), True)


def _pairs(asked: Sequence[Question]) -> list[tuple[str, str]]:
    return [(question.query, document) for question in asked for document in question.documents]


def _dealt(asked: Sequence[Question], scores: Sequence[float]) -> list[Answer]:
    """The scores of all pairs, back to their questions; `_pairs` put them one question after the other."""
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
