"""`qwen3-rerank demo`: rank a small corpus for a few questions, first by keywords (BM25), then with a reranker."""

from __future__ import annotations

import dataclasses
import math
import re
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from qwen3_rerank_plugins.cli.options import EngineOptions, engine_options
from qwen3_rerank_plugins.data.bundled import QUESTIONS, read_corpus
from qwen3_rerank_plugins.data.tasks import Candidate, RankingTask
from qwen3_rerank_plugins.engine.model_name import DEMO

if TYPE_CHECKING:
    from qwen3_rerank_plugins._task_ranker import RankedTask, TaskRanker


@engine_options(
    ("model", "revision", "device", "dtype", "attention", "kernels", "cache_dir", "local_files_only"), model=DEMO
)
def demo(
    query: Annotated[
        list[str] | None,
        typer.Option(help="Question to rank the corpus for; may be repeated.", show_default="the five questions"),
    ] = None,
    top_n: Annotated[int, typer.Option(min=1, help="Number of passages shown per question.")] = 4,
    *,
    engine: EngineOptions,
) -> None:
    """Rank a small corpus for a few questions, before and after side by side."""
    import asyncio

    from rich.text import Text

    from qwen3_rerank_plugins._task_ranker import TaskRanker
    from qwen3_rerank_plugins.cli.loading import describe, load
    from qwen3_rerank_plugins.cli.output import Screen
    from qwen3_rerank_plugins.cli.tables import as_table

    screen = Screen()
    reranker = engine.reranker()
    corpus = read_corpus()
    tasks = [order_by_keywords(question, corpus) for question in query or QUESTIONS]
    load(reranker, screen)
    with screen.progress("Ranking", total=len(tasks)) as on_progress:
        ranked = asyncio.run(_rank(TaskRanker(reranker, on_progress), tasks))
    for task in ranked:
        screen.show(as_table(dataclasses.replace(task, documents=task.documents[:top_n])))
    if not query:
        screen.show(_summary(ranked))
    screen.show(Text.assemble("Ranked by ", (describe(reranker), "bold"), "."))
    if engine.model == DEMO:
        screen.show("[dim]It is tiny and only matches words. Use it for wiring and tests, not for quality.[/]")


def order_by_keywords(question: str, corpus: Sequence[Candidate]) -> RankingTask:
    """Return the corpus in keyword order as a task, with the answer labeled if it is known."""
    answer = QUESTIONS.get(question)
    found = [corpus[position] for position in keyword_order(question, [passage.text for passage in corpus])]
    if answer is not None:
        found = [dataclasses.replace(passage, relevance=int(passage.doc_id == answer)) for passage in found]
    return RankingTask(question, tuple(found))


async def _rank(ranker: TaskRanker, tasks: Sequence[RankingTask]) -> list[RankedTask]:
    return [ranked async for ranked in ranker.rank_all(tasks)]


def _summary(ranked: Sequence[RankedTask]) -> str:
    before = sum(bool(task.task.candidates[0].relevant) for task in ranked)
    after = sum(bool(task.task.candidates[task.documents[0].index].relevant) for task in ranked)
    return (
        f"[yellow]★[/] marks the answer: first for {before} of {len(ranked)} questions by keywords, "
        f"[bold]{after}[/] after reranking."
    )


_SATURATION, _LENGTH_WEIGHT = 1.2, 0.75
"""The usual values of k1 and b in BM25."""


def keyword_order(query: str, documents: Sequence[str]) -> list[int]:
    """Return the documents' indices by BM25 score, best first; ties keep the order of the documents."""
    counts = [Counter(_words(document)) for document in documents]
    average_length = sum(count.total() for count in counts) / len(counts)
    found_in = Counter(word for count in counts for word in count)

    def score(position: int) -> float:
        count = counts[position]
        length_penalty = 1 - _LENGTH_WEIGHT + _LENGTH_WEIGHT * count.total() / average_length
        return sum(
            _rarity(found_in[word], len(documents))
            * count[word]
            * (_SATURATION + 1)
            / (count[word] + _SATURATION * length_penalty)
            for word in _words(query)
            if word in count
        )

    return sorted(range(len(documents)), key=lambda position: -score(position))


def _rarity(found_in: int, documents: int) -> float:
    """Return a word's inverse document frequency; it is always positive."""
    return math.log(1 + (documents - found_in + 0.5) / (found_in + 0.5))


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())
