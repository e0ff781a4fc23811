"""Measure each stage of a search on the same queries, and its gain over the stage before."""

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
"""For each query of a collection, in its order: passage IDs, best first."""


@dataclasses.dataclass(frozen=True, slots=True)
class Stage:
    """One stage of a search. Its measures are means over queries.

    Attributes:
        name: name of the stage.
        hands_on: largest number of passages that it returns for a query.
        ndcg: nDCG of the first k. Relevant passages that the stage lost count, so losing them never raises nDCG.
        gain: difference from the nDCG of the stage before, computed query by query; None for the first stage.
        reciprocal_rank: 1 / rank of the first relevant passage, 0 without one.
        found: share of the relevant passages among all that it returns. No later stage can find more.
    """

    name: str
    hands_on: int
    ndcg: Estimate
    gain: Estimate | None
    reciprocal_rank: Estimate
    found: Estimate


@dataclasses.dataclass(frozen=True, slots=True)
class SearchEvaluation:
    """The evaluation of all stages on one collection.

    Attributes:
        name: name of the collection.
        queries, passages: numbers of queries and passages.
        k: cutoff rank of nDCG.
        resamples, seed: settings of the bootstrap.
        stages: the stages in their order.
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
    """Measure every stage on the same queries.

    Args:
        collection: the collection that was searched.
        stages: rankings by the name of the stage, in the order of the stages.
        k: cutoff rank of nDCG.
        resamples: number of bootstrap resamples.
        seed: random seed of the bootstrap.

    Raises:
        RequestError: a stage does not have one ranking per query, or a ranking has an unknown passage ID or has one
            twice.
    """
    k, resamples, seed = positive_int("k", k), positive_int("resamples", resamples), plain(seed)
    evaluated: list[Stage] = []
    before: Numbers | None = None
    for name, rankings in stages.items():
        _check(name, rankings, collection)
        values = _values(rankings, collection, k)
        gain = np.zeros(len(values)) if before is None else values[:, 0] - before
        columns = np.column_stack([values, gain])
        means, resampled = columns.mean(axis=0), resample_means(columns, resamples, (seed,))
        ndcg, reciprocal_rank, found, gained = (estimate(means[at], resampled[:, at]) for at in range(4))
        hands_on = max(map(len, rankings))
        evaluated.append(Stage(name, hands_on, ndcg, None if before is None else gained, reciprocal_rank, found))
        before = values[:, 0]
    return SearchEvaluation(
        collection.name, len(collection.queries), len(collection.passages), k, resamples, seed, tuple(evaluated)
    )


def _values(rankings: Rankings, collection: Collection, k: int) -> Numbers:
    """Return nDCG, reciprocal rank and share found of each query, (queries, 3)."""
    ordered, lost = [], []
    for query, ranking in zip(collection.queries, rankings, strict=True):
        ordered.append([query.relevant.get(name, 0) for name in ranking])
        lost.append([grade for name, grade in query.relevant.items() if name not in ranking])
    at_k = measure(ordered, k, lost)
    complete = measure(ordered, max(1, *map(len, rankings)), lost)
    return np.array([(one.ndcg, one.reciprocal_rank, all_.recall) for one, all_ in zip(at_k, complete, strict=True)])


def _check(name: str, rankings: Rankings, collection: Collection) -> None:
    require_one_each(rankings, collection, f"{name}: ")
    for query, ranking in zip(collection.queries, rankings, strict=True):
        if len(set(ranking)) < len(ranking):
            raise RequestError(f"{name}: the ranking of query {query.query_id} has a passage twice. List each once.")
        for passage in ranking:
            if passage not in collection.passages:
                raise RequestError(
                    f"{name}: the ranking of query {query.query_id} has {passage!r:.80}, which is not a passage of "
                    f"{collection.name}. Use the IDs in `passages`."
                )


def require_one_each(rankings: Rankings, collection: Collection, prefix: str = "") -> None:
    """Check that there is one ranking per query. The message starts with `prefix`."""
    if len(rankings) != len(collection.queries):
        raise RequestError(
            f"{prefix}{counted(len(rankings), 'ranking')} for {counted(len(collection.queries), 'query')}. "
            "Pass one ranking per query."
        )
