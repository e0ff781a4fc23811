"""Tasks -> ranked tasks, in their order, with many on their way at once.

Comes in: `RankingTask`s and a reranker. Goes out: `RankedTask`s.
Must not know: files, tables.

The engine merges requests that wait at the same time into full passes, so a window of them is kept waiting; the window
bounds the memory. Long tasks travel in pieces, which move the progress bar while they run.
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
"""Tasks that wait at once: enough small ones for a full pass of the engine's largest automatic budget."""
SUBREQUEST_SIZE = 64
"""Documents of a piece. Each piece computes the query's prefix again, which 64 documents make cheap."""


@dataclasses.dataclass(frozen=True, slots=True)
class RankedTask:
    """A task and its documents, best first; each document's index is its place among the task's candidates.

    Attributes:
        task: what was asked.
        documents: those that were kept.
        receipt: what was not read of all candidates.
    """

    task: RankingTask
    documents: tuple[RankedDocument, ...]
    receipt: ScoringReport


@dataclasses.dataclass(frozen=True, slots=True)
class TaskRanker:
    """Ranks tasks with one reranker.

    Attributes:
        reranker: its own instruction and limits are not used.
        on_progress: told the share of a task that was just scored.
        instruction: goes before the tasks' own instructions, a sentence or a function of the query; None leaves them.
        top_n, min_score: what to keep of each task; None keeps all.
    """

    reranker: Qwen3Reranker
    on_progress: Callable[[float], None]
    instruction: Instruction | None = None
    top_n: int | None = None
    min_score: float | None = None

    async def rank_all(self, tasks: Iterable[RankingTask]) -> AsyncIterator[RankedTask]:
        """Ranked tasks in the order of the tasks, which are drawn as the window moves."""
        waiting: deque[asyncio.Task[RankedTask]] = deque()
        for task in tasks:
            waiting.append(asyncio.create_task(self.rank(task)))
            if len(waiting) == MAX_IN_FLIGHT:
                yield await waiting.popleft()
        while waiting:
            yield await waiting.popleft()

    async def rank(self, task: RankingTask) -> RankedTask:
        """Score the different texts piece by piece, then order all candidates by what was found."""
        instruction = task.instruction if self.instruction is None else self.instruction
        request = make_request(task.query, [candidate.text for candidate in task.candidates], instruction)
        texts = list(dict.fromkeys(candidate.text for candidate in task.candidates))
        found: dict[str, RankedDocument] = {}

        async def score(piece: list[str]) -> None:
            try:
                ranked = await self.reranker.arank(
                    task.query, piece, instruction=request.instruction, top_n=None, min_score=None
                )
            except RequestError as error:
                if not task.location:
                    raise
                raise RequestError(f"{task.location}: {error}") from error
            found.update((document.text, document) for document in ranked)
            self.on_progress(len(piece) / len(texts))

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
