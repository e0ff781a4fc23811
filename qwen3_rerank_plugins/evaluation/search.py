"""What each stage of a search found for the same queries -> how good it is, and what it adds to the stage before.

Comes in: a `Collection`, and rankings by the names of its passages. Goes out: `SearchEvaluation`.
Must not know: stores, embeddings, rerankers.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from qwen3_rerank_plugins._plain_values import plain
from qwen3_rerank_plugins._plurals import counted
from qwen3_rerank_plugins.engine.settings import positive_int
from qwen3_rerank_plugins.errors import RequestError
from qwen3_rerank_plugins.evaluation.collection import Collection
from qwen3_rerank_plugins.evaluation.measures import RESAMPLES, Estimate, Numbers, estimate, measure, resample_means

Rankings = Sequence[Sequence[str]]
"""For each query of a collection, in its order: names of passages, best first."""


@dataclasses.dataclass(frozen=True, slots=True)
class Stage:
    """One stage, its figures means over queries.

    Attributes:
        name: as it was given.
        hands_on: most passages that it hands on for a query.
        ndcg: of the first k; relevant passages that it lost count, so that no stage looks better for losing them.
        gain: of `ndcg` on the stage before, query by query; None for the first.
        reciprocal_rank: 1 / place of the first relevant passage, 0 where none was handed on.
        found: share of the relevant passages among all that it hands on; no later stage can find more.
    """

    name: str
    hands_on: int
    ndcg: Estimate
    gain: Estimate | None
    reciprocal_rank: Estimate
    found: Estimate


@dataclasses.dataclass(frozen=True, slots=True)
class SearchEvaluation:
    """All stages over one collection.

    Attributes:
        name: of the collection.
        queries, passages: how many there are.
        k: places that nDCG looks at.
        resamples, seed: of the bootstrap.
        stages: in the order in which they follow each other.
    """

    name: str
    queries: int
    passages: int
    k: int
    resamples: int
    seed: int
    stages: tuple[Stage, ...]


def evaluate_search(
    collection: Collection,
    stages: Mapping[str, Rankings],
    *,
    k: int = 5,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> SearchEvaluation:
    """Judge every stage over the same queries.

    Args:
        collection: what was searched.
        stages: by name, in the order in which they follow each other.
        k: places that nDCG looks at.
        resamples: of the bootstrap.
        seed: of the bootstrap.

    Raises:
        RequestError: a stage has not one ranking a query, or a ranking names a passage twice or one that there is not.
    """
    k, resamples, seed = positive_int("k", k), positive_int("resamples", resamples), plain(seed)
    judged: list[Stage] = []
    before: Numbers | None = None
    for name, rankings in stages.items():
        _check(name, rankings, collection)
        values = _values(rankings, collection, k)
        gain = np.zeros(len(values)) if before is None else values[:, 0] - before
        columns = np.column_stack([values, gain])
        means, resampled = columns.mean(axis=0), resample_means(columns, resamples, (seed,))
        ndcg, reciprocal_rank, found, gained = (estimate(means[at], resampled[:, at]) for at in range(4))
        hands_on = max(map(len, rankings))
        judged.append(Stage(name, hands_on, ndcg, None if before is None else gained, reciprocal_rank, found))
        before = values[:, 0]
    return SearchEvaluation(
        collection.name, len(collection.queries), len(collection.passages), k, resamples, seed, tuple(judged)
    )


def _values(rankings: Rankings, collection: Collection, k: int) -> Numbers:
    """(queries, 3): nDCG, reciprocal rank, share found."""
    ordered, lost = [], []
    for query, ranking in zip(collection.queries, rankings, strict=True):
        ordered.append([query.relevant.get(name, 0) for name in ranking])
        lost.append([grade for name, grade in query.relevant.items() if name not in ranking])
    figures = measure(ordered, k, lost)
    everywhere = measure(ordered, max(1, *map(len, rankings)), lost)
    return np.array(
        [(near.ndcg, near.reciprocal_rank, far.recall) for near, far in zip(figures, everywhere, strict=True)]
    )


def _check(name: str, rankings: Rankings, collection: Collection) -> None:
    if len(rankings) != len(collection.queries):
        raise RequestError(
            f"{name}: {counted(len(rankings), 'ranking')} for {counted(len(collection.queries), 'query')}. "
            "Give each query its own."
        )
    for query, ranking in zip(collection.queries, rankings, strict=True):
        if len(set(ranking)) < len(ranking):
            raise RequestError(f"{name}: the ranking of query {query.query_id} names a passage twice.")
        for passage in ranking:
            if passage not in collection.passages:
                raise RequestError(f"{name}: the ranking of query {query.query_id} names {passage!r:.80}, no passage.")
