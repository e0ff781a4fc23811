"""Measure judged sets in their original order and reranked: `evaluate`."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from qwen3_rerank_plugins._plain_values import plain
from qwen3_rerank_plugins._task_ranker import TaskRanker
from qwen3_rerank_plugins.engine.request import Instruction
from qwen3_rerank_plugins.engine.settings import positive_int
from qwen3_rerank_plugins.errors import RequestError
from qwen3_rerank_plugins.evaluation.judged import JudgedSet, grades, survey
from qwen3_rerank_plugins.evaluation.measures import (
    RESAMPLES,
    Estimate,
    Numbers,
    estimate,
    measure,
    measure_names,
    resample_means,
)
from qwen3_rerank_plugins.reranker import Qwen3Reranker

OnProgress = Callable[[float], None]


@dataclasses.dataclass(frozen=True, slots=True)
class ComparedMeasure:
    """The mean of one measure over queries, before and after reranking.

    Attributes:
        name: name with its cutoff, such as "nDCG@10".
        before: mean in the order of the set.
        after: mean of the same candidates reranked.
        difference: mean of after minus before, computed query by query.
    """

    name: str
    before: Estimate
    after: Estimate
    difference: Estimate


@dataclasses.dataclass(frozen=True, slots=True)
class SetEvaluation:
    """The evaluation of one set.

    Attributes:
        name, queries, left_out, documents, fewest, most, unjudged: as in `JudgedSet`.
        truncated_tokens: tokens of all candidates that were cut to fit in `max_length`.
        measures: one entry per measure.
    """

    name: str
    queries: int
    left_out: int
    documents: int
    fewest: int
    most: int
    unjudged: int
    truncated_tokens: int
    measures: tuple[ComparedMeasure, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class Evaluation:
    """The evaluation of all sets and their mean, in which every set has the same weight.

    Attributes:
        k: cutoff rank of nDCG and recall.
        instruction: the instruction for all sets, or the name of its function; None if each set used its own.
        resamples, seed: settings of the bootstrap.
        sets: one entry per set.
        mean: one entry per measure.
    """

    k: int
    instruction: str | None
    resamples: int
    seed: int
    sets: tuple[SetEvaluation, ...]
    mean: tuple[ComparedMeasure, ...]


def evaluate(
    reranker: Qwen3Reranker,
    files: Sequence[str | Path],
    *,
    k: int = 10,
    instruction: Instruction | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
    on_progress: OnProgress = lambda share: None,
) -> Evaluation:
    """Measure sets in their original order, rerank them, and measure again.

    Args:
        reranker: the reranker; its `top_n` and `min_score` are not used.
        files: judged sets (JSONL), each line a query with its candidates in the order of the first stage.
        k: cutoff rank of nDCG and recall.
        instruction: an instruction or a function of the query. It overrides the reranker's instruction, which
            overrides the instructions of the sets.
        resamples: number of bootstrap resamples.
        seed: random seed of the bootstrap.
        on_progress: called with the share of a query that was just scored.

    Raises:
        RequestError: a set cannot be read, or has no query with a relevant candidate.
        RerankError: as `Qwen3Reranker.rank`.
    """
    refuse_running_loop("evaluate", "aevaluate")
    return asyncio.run(
        aevaluate(
            reranker, files, k=k, instruction=instruction, resamples=resamples, seed=seed, on_progress=on_progress
        )
    )


async def aevaluate(
    reranker: Qwen3Reranker,
    files: Sequence[str | Path],
    *,
    k: int = 10,
    instruction: Instruction | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
    on_progress: OnProgress = lambda share: None,
) -> Evaluation:
    """Run `evaluate` on the current event loop, for example in a notebook."""
    sets = survey([str(file) for file in files])
    return await compare(
        reranker, sets, k=k, instruction=instruction, resamples=resamples, seed=seed, on_progress=on_progress
    )


async def compare(
    reranker: Qwen3Reranker,
    sets: Sequence[JudgedSet],
    *,
    k: int,
    instruction: Instruction | None,
    resamples: int,
    seed: int,
    on_progress: OnProgress,
) -> Evaluation:
    """Run `aevaluate` on sets that `survey` returned."""
    k, resamples, seed = positive_int("k", k), positive_int("resamples", resamples), plain(seed)
    instruction = reranker.instruction if instruction is None else instruction
    ranker = TaskRanker(reranker, on_progress, instruction)
    evaluations, means, resampled = [], [], []
    for position, one in enumerate(sets):
        values, truncated_tokens = await _measure_set(ranker, one, k)
        means.append(values.mean(axis=0))
        resampled.append(resample_means(values, resamples, (seed, position)))
        counts = {name: value for name, value in dataclasses.asdict(one).items() if name != "file"}
        measures = _compared(measure_names(k), means[-1], resampled[-1])
        evaluations.append(SetEvaluation(**counts, truncated_tokens=truncated_tokens, measures=measures))
    mean = _compared(measure_names(k), np.mean(means, axis=0), np.mean(resampled, axis=0))
    if callable(instruction):
        instruction = getattr(instruction, "__name__", repr(instruction))
    return Evaluation(k, instruction, resamples, seed, tuple(evaluations), mean)


def refuse_running_loop(name: str, instead: str) -> None:
    """Name the function to call instead if an event loop is already running."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    raise RequestError(f"An event loop is running here, as in a notebook: use `await {instead}(...)` for {name}(...).")


async def _measure_set(ranker: TaskRanker, judged_set: JudgedSet, k: int) -> tuple[Numbers, int]:
    """Return the measures (queries, 2 x measures), all before and then all after, and the truncated tokens."""
    before: list[tuple[int, ...]] = []
    after: list[tuple[int, ...]] = []
    truncated_tokens = 0
    async for ranked in ranker.rank_all(judged_set.tasks()):
        judged = grades(ranked.task)
        before.append(judged)
        after.append(tuple(judged[document.index] for document in ranked.documents))
        truncated_tokens += sum(document.truncated_tokens for document in ranked.documents)
    columns = [[dataclasses.astuple(measures) for measures in measure(rankings, k)] for rankings in (before, after)]
    return np.concatenate(columns, axis=1, dtype=np.float64), truncated_tokens


def _compared(names: tuple[str, ...], means: Numbers, resampled: Numbers) -> tuple[ComparedMeasure, ...]:
    """Means are (2 x measures,) and resampled means (resamples, 2 x measures): all before, then all after."""
    count = len(names)
    return tuple(
        ComparedMeasure(
            name,
            estimate(means[at], resampled[:, at]),
            estimate(means[at + count], resampled[:, at + count]),
            estimate(means[at + count] - means[at], resampled[:, at + count] - resampled[:, at]),
        )
        for at, name in enumerate(names)
    )
