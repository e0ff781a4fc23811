"""Rank many tasks concurrently, and return them in their order.

The engine merges waiting requests into full batches, so the ranker always keeps several tasks in flight. Their number
is limited, which bounds the memory. Long tasks are split into smaller requests, which also advance the progress bar.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable

from qwen3_rerank_plugins.data.tasks import RankingTask
from qwen3_rerank_plugins.engine.ranking import RankedDocument, rank_documents
from qwen3_rerank_plugins.engine.report import ScoringReport, report_of
from qwen3_rerank_plugins.engine.request import Instruction, make_request
from qwen3_rerank_plugins.engine.scorer import Scores
from qwen3_rerank_plugins.errors import RequestError
from qwen3_rerank_plugins.reranker import Qwen3Reranker

MAX_IN_FLIGHT = 32
"""Concurrent tasks: enough small ones for a full batch of the engine's largest automatic budget."""
SUBREQUEST_SIZE = 64
"""Documents per request. Each request computes the query's prefix again, which is cheap compared to 64 documents."""


@dataclasses.dataclass(frozen=True, slots=True)
class RankedTask:
    """A task and its documents, best first. Each document's index is its position among the task's candidates.

    Attributes:
        task: the query and its candidates.
        documents: the documents that were kept.
        report: how many candidates were truncated or rescored.
    """

    task: RankingTask
    documents: tuple[RankedDocument, ...]
    report: ScoringReport


@dataclasses.dataclass(frozen=True, slots=True)
class TaskRanker:
    """Ranks tasks with one reranker.

    Attributes:
        reranker: its instruction and limits are not used.
        on_progress: called with the fraction of a task that was just scored.
        instruction: a sentence or a function of the query that overrides the tasks' instructions; None keeps theirs.
        top_n, min_score: limits for each task; None keeps all documents.
    """

    reranker: Qwen3Reranker
    on_progress: Callable[[float], None]
    instruction: Instruction | None = None
    top_n: int | None = None
    min_score: float | None = None

    async def rank_all(self, tasks: Iterable[RankingTask]) -> AsyncIterator[RankedTask]:
        """Yield the ranked tasks in their order. The input is read as earlier tasks finish."""
        waiting: deque[asyncio.Task[RankedTask]] = deque()
        for task in tasks:
            waiting.append(asyncio.create_task(self.rank(task)))
            if len(waiting) == MAX_IN_FLIGHT:
                yield await waiting.popleft()
        while waiting:
            yield await waiting.popleft()

    async def rank(self, task: RankingTask) -> RankedTask:
        """Score the distinct texts in several requests, then rank all candidates."""
        instruction = task.instruction if self.instruction is None else self.instruction
        request = make_request(task.query, [candidate.text for candidate in task.candidates], instruction)
        texts = list(dict.fromkeys(candidate.text for candidate in task.candidates))
        found: dict[str, RankedDocument] = {}

        async def score(part: list[str]) -> None:
            try:
                ranked = await self.reranker.arank(
                    task.query, part, instruction=request.instruction, top_n=None, min_score=None
                )
            except RequestError as error:
                if not task.location:
                    raise
                raise RequestError(f"{task.location}: {error}") from error
            found.update((document.text, document) for document in ranked)
            self.on_progress(len(part) / len(texts))

        await asyncio.gather(
            *(score(texts[start : start + SUBREQUEST_SIZE]) for start in range(0, len(texts), SUBREQUEST_SIZE))
        )
        scores = Scores(
            tuple(found[text].logit for text in request.documents),
            tuple(found[text].truncated_tokens for text in request.documents),
            tuple(found[text].span for text in request.documents),
            tuple(index for index, text in enumerate(request.documents) if found[text].rescored),
        )
        kept = rank_documents(request, scores, self.top_n, self.min_score)
        return RankedTask(task, tuple(kept), report_of(scores))
