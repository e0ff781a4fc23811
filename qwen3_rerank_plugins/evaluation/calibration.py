"""Score labeled pairs with a reranker and propose a threshold for its scores."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Sequence
from pathlib import Path

from qwen3_rerank_plugins._task_ranker import TaskRanker
from qwen3_rerank_plugins.engine.request import Instruction
from qwen3_rerank_plugins.evaluation.comparison import OnProgress, refuse_running_loop
from qwen3_rerank_plugins.evaluation.pairs import LabeledTasks, read_labeled
from qwen3_rerank_plugins.evaluation.thresholds import Calibration, check_counts, propose_threshold
from qwen3_rerank_plugins.reranker import Qwen3Reranker


def calibrate(
    reranker: Qwen3Reranker,
    files: Sequence[str | Path],
    *,
    precision: float | None = None,
    instruction: Instruction | None = None,
    seed: int = 0,
    on_progress: OnProgress = lambda share: None,
) -> Calibration:
    """Score labeled pairs and propose a `min_score`.

    Args:
        reranker: the reranker; its `top_n` and `min_score` are not used.
        files: JSONL of pairs with query, text and label, or judged sets.
        precision: propose the lowest threshold that reaches this precision; None proposes the one with the best F1.
        instruction: an instruction or a function of the query. It overrides the reranker's instruction, which
            overrides the instructions of the pairs.
        seed: random seed of the held-out parts and of the bootstrap.
        on_progress: called with the share of a query that was just scored.

    Raises:
        RequestError: a line cannot be read, or there are too few relevant or irrelevant pairs.
        RerankError: as `Qwen3Reranker.rank`.
    """
    refuse_running_loop("calibrate", "acalibrate")
    return asyncio.run(
        acalibrate(reranker, files, precision=precision, instruction=instruction, seed=seed, on_progress=on_progress)
    )


async def acalibrate(
    reranker: Qwen3Reranker,
    files: Sequence[str | Path],
    *,
    precision: float | None = None,
    instruction: Instruction | None = None,
    seed: int = 0,
    on_progress: OnProgress = lambda share: None,
) -> Calibration:
    """Run `calibrate` on the current event loop, for example in a notebook."""
    labeled = read_labeled([str(file) for file in files])
    check_enough(labeled)
    return await calibrate_on(
        reranker, labeled, precision=precision, instruction=instruction, seed=seed, on_progress=on_progress
    )


async def calibrate_on(
    reranker: Qwen3Reranker,
    labeled: LabeledTasks,
    *,
    precision: float | None,
    instruction: Instruction | None,
    seed: int,
    on_progress: OnProgress,
) -> Calibration:
    """Run `acalibrate` on pairs that `read_labeled` returned."""
    ranker = TaskRanker(reranker, on_progress, reranker.instruction if instruction is None else instruction)
    scores: list[float] = []
    labels: list[bool] = []
    queries: list[str] = []
    documents: list[str] = []
    async for ranked in ranker.rank_all(labeled.tasks):
        for document in ranked.documents:
            candidate = ranked.task.candidates[document.index]
            scores.append(document.score)
            labels.append(bool(candidate.relevant))
            queries.append(ranked.task.query)
            documents.append(candidate.text)
    found = propose_threshold(scores, labels, queries, documents, precision=precision, seed=seed)
    return dataclasses.replace(found, unlabelled=labeled.unlabelled)


def check_enough(labeled: LabeledTasks) -> None:
    """Check that there are enough pairs, before a model is loaded."""
    labels = [bool(candidate.relevant) for task in labeled.tasks for candidate in task.candidates]
    check_counts(labels.count(True), labels.count(False))
