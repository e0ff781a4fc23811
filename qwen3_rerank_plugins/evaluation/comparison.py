"""A reranker and judged sets -> how good their order is before and after reranking.

Comes in: `Qwen3Reranker`, file names. Goes out: `Evaluation`.
Must not know: terminals, tables, pictures.
"""

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
class Measured:
    """One measure, its mean over queries.

    Attributes:
        name: as in "nDCG@10".
        before: of the candidates in the order of the set.
        after: of the same candidates reranked.
        difference: after minus before, query by query.
    """

    name: str
    before: Estimate
    after: Estimate
    difference: Estimate


@dataclasses.dataclass(frozen=True, slots=True)
class SetEvaluation:
    """One set.

    Attributes:
        name: its folder and file.
        queries, left_out, documents, fewest, most, unjudged: as in `JudgedSet`.
        truncated_tokens: tokens of all candidates that the model did not see.
        measures: one entry a measure.
    """

    name: str
    queries: int
    left_out: int
    documents: int
    fewest: int
    most: int
    unjudged: int
    truncated_tokens: int
    measures: tuple[Measured, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class Evaluation:
    """All sets, and their mean, in which every set weighs the same.

    Attributes:
        k: places that nDCG and recall look at.
        instruction: of all sets, or the name of the function that gave it; None where each set brought its own.
        resamples, seed: of the bootstrap.
    """

    k: int
    instruction: str | None
    resamples: int
    seed: int
    sets: tuple[SetEvaluation, ...]
    mean: tuple[Measured, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class _SetFigures:
    """Values are (queries, 2 x measures): all measures before, then all after; means likewise, a row a resample."""

    found: JudgedSet
    values: Numbers
    means: Numbers
    truncated_tokens: int


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
    """Measure sets in the order they have, rerank them, and measure again.

    Args:
        reranker: its `top_n` and `min_score` are not used.
        files: judged sets (JSONL), each line a query with its candidates in the order of the first stage.
        k: places that nDCG and recall look at.
        instruction: or a function of the query; goes before the reranker's own, which goes before the set's.
        resamples: of the bootstrap.
        seed: of the bootstrap.
        on_progress: told the share of a query that was just scored.

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
    """`evaluate` on the running event loop, as in a notebook."""
    found = survey([str(file) for file in files])
    return await compare(
        reranker, found, k=k, instruction=instruction, resamples=resamples, seed=seed, on_progress=on_progress
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
    """`aevaluate` of sets that were looked through already."""
    k, resamples, seed = positive_int("k", k), positive_int("resamples", resamples), plain(seed)
    instruction = reranker.instruction if instruction is None else instruction
    ranker = TaskRanker(reranker, on_progress, instruction)
    measured = [
        await _measure_set(ranker, found, k, resamples, (seed, position)) for position, found in enumerate(sets)
    ]
    names = measure_names(k)
    return Evaluation(
        k,
        _in_words(instruction),
        resamples,
        seed,
        tuple(_describe_set(one, names) for one in measured),
        _measured(
            names,
            np.mean([one.values.mean(axis=0) for one in measured], axis=0),
            np.mean([one.means for one in measured], axis=0),
        ),
    )


def _in_words(instruction: Instruction | None) -> str | None:
    return getattr(instruction, "__name__", repr(instruction)) if callable(instruction) else instruction


def refuse_running_loop(name: str, instead: str) -> None:
    """Say what to call instead, where an event loop is running already."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    raise RequestError(f"An event loop is running here, as in a notebook: use `await {instead}(...)` for {name}(...).")


async def _measure_set(
    ranker: TaskRanker, found: JudgedSet, k: int, resamples: int, seed: tuple[int, ...]
) -> _SetFigures:
    before: list[tuple[int, ...]] = []
    after: list[tuple[int, ...]] = []
    truncated = 0
    async for ranked in ranker.rank_all(found.tasks()):
        judged = grades(ranked.task)
        before.append(judged)
        after.append(tuple(judged[document.index] for document in ranked.documents))
        truncated += sum(document.truncated_tokens for document in ranked.documents)
    columns = [[dataclasses.astuple(figures) for figures in measure(rankings, k)] for rankings in (before, after)]
    values = np.concatenate([np.array(column, dtype=np.float64) for column in columns], axis=1)
    return _SetFigures(found, values, resample_means(values, resamples, seed), truncated)


def _describe_set(one: _SetFigures, names: tuple[str, ...]) -> SetEvaluation:
    found = one.found
    return SetEvaluation(
        found.name,
        found.queries,
        found.left_out,
        found.documents,
        found.fewest,
        found.most,
        found.unjudged,
        one.truncated_tokens,
        _measured(names, one.values.mean(axis=0), one.means),
    )


def _measured(names: tuple[str, ...], means: Numbers, resampled: Numbers) -> tuple[Measured, ...]:
    """Means are (2 x measures,), resampled ones (resamples, 2 x measures): all before, then all after."""
    count = len(names)
    return tuple(
        Measured(
            name,
            estimate(means[at], resampled[:, at]),
            estimate(means[at + count], resampled[:, at + count]),
            estimate(means[at + count] - means[at], resampled[:, at + count] - resampled[:, at]),
        )
        for at, name in enumerate(names)
    )
