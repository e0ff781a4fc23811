"""Rows -> answers in the order of the rows, with many on their way at once.

Comes in: what each row asks, read when its turn comes. Goes out: `Answer`s.
Must not know: Ray, Arrow, files.
"""

from __future__ import annotations

import asyncio
import copy
import dataclasses
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any, Literal, get_args

from qwen3_rerank_plugins._task_ranker import MAX_IN_FLIGHT, RankedTask, TaskRanker
from qwen3_rerank_plugins.data.results import as_object
from qwen3_rerank_plugins.data.tasks import RankingTask
from qwen3_rerank_plugins.engine.concurrency.lifetime import closed_at_exit
from qwen3_rerank_plugins.engine.concurrency.threads import start_thread
from qwen3_rerank_plugins.engine.report import ScoringReport
from qwen3_rerank_plugins.engine.settings import one_of
from qwen3_rerank_plugins.errors import DeviceMemoryError, NonFiniteScoreError, RequestError
from qwen3_rerank_plugins.reranker import Qwen3Reranker

OnError = Literal["raise", "column"]
Question = Callable[[], RankingTask]
"""A row that cannot be read says so here, as an error of that row."""

_OF_A_ROW = (RequestError, NonFiniteScoreError, DeviceMemoryError)
"""What one row can do wrong. Any other error is of the model or the machine, and would meet all rows alike."""


@dataclasses.dataclass(frozen=True, slots=True)
class Answer:
    """What became of one row.

    Attributes:
        results: its documents, best first, as `as_object` makes them; None if there was an error.
        error: what was wrong with it, in one line.
        receipt: what was not read of its documents.
    """

    results: list[dict[str, Any]] | None
    error: str | None
    receipt: ScoringReport


class Answerer:
    """Answers rows with one reranker: its own instruction goes before the rows', its limits are kept.

    Args:
        reranker: loaded with the first batch.
        on_error: what becomes of a row that cannot be ranked: it fails its whole batch, or its answer says why.
    """

    def __init__(self, reranker: Qwen3Reranker, on_error: OnError) -> None:
        one_of("on_error", on_error, get_args(OnError))
        self.reranker = reranker
        self.on_error = on_error
        self._ranker = TaskRanker(reranker, _unwatched, reranker.instruction, reranker.top_n, reranker.min_score)
        self._warm = False

    def answer(self, questions: Sequence[Question]) -> list[Answer]:
        """One answer a question, in their order.

        Raises:
            RequestError, NonFiniteScoreError, DeviceMemoryError: of a row, if `on_error` is "raise".
            RerankError: the model cannot be loaded, or fails for every row.
        """
        if questions and not self._warm:
            self.reranker.warmup()  # what fails here is no row's fault
            self._warm = True
        answered: Future[list[Answer]] = Future()

        def answer() -> None:
            try:
                with closed_at_exit():
                    answered.set_result(asyncio.run(self._answer(questions)))
            except BaseException as error:
                answered.set_exception(error)

        thread = threading.Thread(target=answer, name="qwen3-rerank-answers")  # the caller's may have a running loop
        start_thread(thread)
        thread.join()
        return answered.result()

    async def _answer(self, questions: Sequence[Question]) -> list[Answer]:
        window = asyncio.Semaphore(MAX_IN_FLIGHT)

        async def answer(question: Question) -> Answer:
            async with window:
                try:
                    return _answer_of(await self._rank(question()))
                except _OF_A_ROW as error:
                    if self.on_error == "raise":
                        raise
                    return Answer(None, f"{type(error).__name__}: {' '.join(str(error).split())}", ScoringReport())

        return await asyncio.gather(*map(answer, questions))

    async def _rank(self, task: RankingTask) -> RankedTask:
        try:
            return await self._ranker.rank(task)
        except (NonFiniteScoreError, DeviceMemoryError) as error:  # others say where they are from
            placed = copy.copy(error)
            placed.args = (f"{task.location}: {error}",)
            raise placed from error


def _unwatched(share: float) -> None:
    """Nobody watches a single row; no lambda, so that it can be pickled."""


def _answer_of(ranked: RankedTask) -> Answer:
    results = []
    for document in ranked.documents:
        name = ranked.task.candidates[document.index].doc_id
        results.append(as_object(document) if name is None else as_object(document, doc_id=name))
    return Answer(results, None, ranked.report)
