"""Pairs -> requests, one a query, and their scores back in the order of the pairs.

Comes in: (query, document) pairs as a caller passed them. Goes out: `PairGroup`s, and later probabilities.
Must not know: where the scores come from.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import cast

from qwen3_rerank_plugins.engine.request import RerankRequest, text_of
from qwen3_rerank_plugins.engine.results import check_finite, probability
from qwen3_rerank_plugins.engine.scorer import Scores
from qwen3_rerank_plugins.errors import InputTypeError


@dataclasses.dataclass(frozen=True, slots=True)
class PairGroup:
    """The pairs of one query, so that they share its prefix.

    Attributes:
        request: the query and its documents.
        positions: where each of these documents stood among the pairs.
    """

    request: RerankRequest
    positions: tuple[int, ...]


def group_pairs(pairs: Iterable[object], make: Callable[[str, list[str]], RerankRequest]) -> list[PairGroup]:
    """One group a query, in the order in which the queries first appear.

    Args:
        pairs: (query, document) pairs. The query is a string; the document is a string, or a mapping with one under
            "page_content" or "text".
        make: a query and its documents -> their request.

    Raises:
        InputTypeError: an entry is no such pair; the message names which.
    """
    if isinstance(pairs, (str, bytes, Mapping)) or not isinstance(pairs, Iterable):
        raise InputTypeError(
            f"pairs must be a list of (query, document) pairs, got {type(pairs).__name__}. Pass [(query, document)]."
        )
    documents: dict[str, list[str]] = {}
    positions: dict[str, list[int]] = {}
    for position, pair in enumerate(pairs):
        query, document = _as_pair(position, pair)
        documents.setdefault(query, []).append(document)
        positions.setdefault(query, []).append(position)
    return [PairGroup(make(query, documents[query]), tuple(positions[query])) for query in documents]


def pair_probabilities(groups: Sequence[PairGroup], scores: Sequence[Scores]) -> list[float]:
    """The probability of "yes" of each pair, in the order of the pairs; `scores` has one entry a group.

    Raises:
        NonFiniteScoreError: a score is broken; its position is that among the group's documents.
    """
    by_position: dict[int, float] = {}
    for group, found in zip(groups, scores, strict=True):
        check_finite(group.request, found)
        by_position.update(zip(group.positions, map(probability, found.log_odds), strict=True))
    return [by_position[position] for position in range(len(by_position))]


def _as_pair(position: int, pair: object) -> tuple[str, str]:
    try:
        sides = [] if isinstance(pair, (str, bytes, Mapping)) else list(cast("Iterable[object]", pair))
    except TypeError:
        sides = []
    if len(sides) != 2:
        raise InputTypeError(
            f"pairs[{position}] must be a (query, document) pair, got {pair!r:.80}. Pass a list of pairs, also for one."
        )
    query, document = sides
    if not isinstance(query, str) or not isinstance(document, (str, Mapping)):
        kinds = f"({type(query).__name__}, {type(document).__name__})"
        raise InputTypeError(f"pairs[{position}] must be two strings, got {kinds}. Pass the text of both.")
    return query, text_of(f"The document of pairs[{position}]", document)
