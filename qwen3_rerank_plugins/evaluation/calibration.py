"""A reranker and labelled pairs -> the threshold to cut its scores at.

Comes in: `Qwen3Reranker`, file names. Goes out: `Calibration`.
Must not know: how a threshold is found, terminals, tables.
"""

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
    """Score labelled pairs and propose a `min_score`.

    Args:
        reranker: its own `top_n` and `min_score` are not used.
        files: JSONL of pairs with query, text and label, or judged sets.
        precision: to be reached by the lowest threshold that does; None looks for the best F1.
        instruction: or a function of the query; goes before the reranker's own, which goes before that of the pairs.
        seed: of the parts and the bootstrap.
        on_progress: told the share of a query that was just scored.

    Raises:
        RequestError: a line cannot be read, or there are too few pairs of one kind.
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
    """`calibrate` on the running event loop, as in a notebook."""
    labelled = read_labeled([str(file) for file in files])
    check_enough(labelled)
    return await calibrate_on(
        reranker, labelled, precision=precision, instruction=instruction, seed=seed, on_progress=on_progress
    )


async def calibrate_on(
    reranker: Qwen3Reranker,
    labelled: LabeledTasks,
    *,
    precision: float | None,
    instruction: Instruction | None,
    seed: int,
    on_progress: OnProgress,
) -> Calibration:
    """`acalibrate` on pairs that were read already."""
    ranker = TaskRanker(reranker, on_progress, reranker.instruction if instruction is None else instruction)
    scores: list[float] = []
    labels: list[bool] = []
    queries: list[str] = []
    documents: list[str] = []
    async for ranked in ranker.rank_all(labelled.tasks):
        for document in ranked.documents:
            candidate = ranked.task.candidates[document.index]
            scores.append(document.score)
            labels.append(bool(candidate.relevant))
            queries.append(ranked.task.query)
            documents.append(candidate.text)
    found = propose_threshold(scores, labels, queries, documents, precision=precision, seed=seed)
    return dataclasses.replace(found, unlabelled=labelled.unlabelled)


def check_enough(labelled: LabeledTasks) -> None:
    """Refuse too few pairs before a model is loaded for them."""
    labels = [candidate.relevant for task in labelled.tasks for candidate in task.candidates]
    check_counts(sum(map(bool, labels)), len(labels) - sum(map(bool, labels)))
