"""Rank rows concurrently and return one answer per row, in the order of the rows."""

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
ParseRow = Callable[[], RankingTask]
"""Parses one row when it is called. It raises a `RequestError` of that row if the row cannot be read."""

_ROW_ERRORS = (RequestError, NonFiniteScoreError, DeviceMemoryError)
"""Errors that a single row can cause. All other errors come from the model or the machine and affect every row."""


@dataclasses.dataclass(frozen=True, slots=True)
class Answer:
    """The result of one row.

    Attributes:
        results: its documents, best first, as returned by `as_object`; None if there was an error.
        error: the error in one line; None if there was none.
        report: what was truncated or rescored.
    """

    results: list[dict[str, Any]] | None
    error: str | None
    report: ScoringReport


class Answerer:
    """Rank rows with one reranker. Its instruction takes precedence over those of the rows, and its limits apply.

    Args:
        reranker: loaded with the first batch.
        on_error: "raise" fails the whole batch if one row cannot be ranked; "column" puts the error in its answer.
    """

    def __init__(self, reranker: Qwen3Reranker, on_error: OnError) -> None:
        one_of("on_error", on_error, get_args(OnError))
        self.reranker = reranker
        self.on_error = on_error
        self._ranker = TaskRanker(reranker, _ignore_progress, reranker.instruction, reranker.top_n, reranker.min_score)
        self._warm = False

    def answer(self, rows: Sequence[ParseRow]) -> list[Answer]:
        """Return one answer per row, in the order of the rows.

        Raises:
            RequestError, NonFiniteScoreError, DeviceMemoryError: a row failed, and `on_error` is "raise".
            RerankError: the model cannot be loaded, or fails for every row.
        """
        if rows and not self._warm:
            self.reranker.warmup()  # an error here is not the fault of a row
            self._warm = True
        answered: Future[list[Answer]] = Future()

        def answer() -> None:
            try:
                with closed_at_exit():
                    answered.set_result(asyncio.run(self._answer_all(rows)))
            except BaseException as error:
                answered.set_exception(error)

        # a separate thread, because the caller's thread may have a running event loop
        thread = threading.Thread(target=answer, name="qwen3-rerank-answers")
        start_thread(thread)
        thread.join()
        return answered.result()

    async def _answer_all(self, rows: Sequence[ParseRow]) -> list[Answer]:
        in_flight = asyncio.Semaphore(MAX_IN_FLIGHT)

        async def answer(parse: ParseRow) -> Answer:
            async with in_flight:
                try:
                    return _answer_of(await self._rank(parse()))
                except _ROW_ERRORS as error:
                    if self.on_error == "raise":
                        raise
                    return Answer(None, f"{type(error).__name__}: {' '.join(str(error).split())}", ScoringReport())

        return await asyncio.gather(*map(answer, rows))

    async def _rank(self, task: RankingTask) -> RankedTask:
        try:
            return await self._ranker.rank(task)
        except (NonFiniteScoreError, DeviceMemoryError) as error:  # a RequestError already names the location
            located = copy.copy(error)
            located.args = (f"{task.location}: {error}",)
            raise located from error


def _ignore_progress(share: float) -> None:
    """Do nothing. A lambda could not be pickled."""


def _answer_of(ranked: RankedTask) -> Answer:
    results = []
    for document in ranked.documents:
        doc_id = ranked.task.candidates[document.index].doc_id
        results.append(as_object(document) if doc_id is None else as_object(document, doc_id=doc_id))
    return Answer(results, None, ranked.report)
