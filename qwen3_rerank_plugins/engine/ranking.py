"""Log-odds -> ranked documents.

Comes in: a request and its `Scores`. Goes out: `RankedDocument`s, best first.
Must not know: where the scores came from.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import cast

from qwen3_rerank_plugins._plurals import share
from qwen3_rerank_plugins.engine.request import RerankRequest, text_of
from qwen3_rerank_plugins.engine.scorer import Scores
from qwen3_rerank_plugins.errors import InputTypeError, NonFiniteScoreError

_REMEDIES = {
    "error": "float16 overflows where bfloat16 and float32 do not: load with dtype='bfloat16' or dtype='float32', or "
    "have such scores computed again with on_nonfinite='float32'. If it happens in float32 too, the checkpoint's "
    "weights are damaged.",
    "float32": "Float32 gave none either: the checkpoint's weights are damaged. Download or export it again.",
}


@dataclasses.dataclass(frozen=True, slots=True)
class RankedDocument:
    """One document and what the model thinks of it.

    Attributes:
        index: its position in the caller's list.
        score: probability of "yes" in [0, 1]; 1.0 and 0.0 are reached by rounding, so never sort by it.
        logit: log-odds of "yes" against "no"; decides the order. -inf for a document with nothing to read.
        truncated_tokens: tokens cut from its end because of `max_length`; 0 means the model saw all of it.
        text: the document as it was passed.
        span: (start, end) characters of the window that the score is of, if it was read in windows; else None.
        rescored: whether its score overflowed in 16 bits and is float32's.
    """

    index: int
    score: float
    logit: float
    truncated_tokens: int
    text: str
    span: tuple[int, int] | None = None
    rescored: bool = False

    @property
    def passage(self) -> str:
        """The text that the score is of: the best window, or all of it."""
        return self.text if self.span is None else self.text[slice(*self.span)]

    def span_within(self, own: str) -> tuple[int, int] | None:
        """Where the window lies in a part of the text, such as a document without the metadata in front of it.

        Args:
            own: that part; white space around it may have been lost.

        Returns:
            (start, end) characters of `own`; None if there was no window, or if it holds nothing of that part.
        """
        core = own.strip()
        place = self.text.rfind(core) if core else -1
        if self.span is None or place < 0:
            return None
        offset = place - own.index(core)
        start, end = (min(max(0, edge - offset), len(own)) for edge in self.span)
        return (start, end) if start < end else None


def rank_documents(
    request: RerankRequest, scores: Scores, top_n: int | None, min_score: float | None
) -> list[RankedDocument]:
    """Order by log-odds, ties by position; keep those with `score >= min_score`, then the first `top_n`.

    Args:
        request: what was asked.
        scores: one entry a document.
        top_n: most documents to return; None returns all.
        min_score: lowest probability to return, inclusive; None returns all.

    Raises:
        NonFiniteScoreError: a log-odds is NaN or +inf, or -inf for a document that had text.
    """
    check_finite(request, scores)
    rescored = frozenset(scores.rescored)
    ranked = [
        RankedDocument(
            index,
            probability(log_odds),
            log_odds,
            scores.truncated_tokens[index],
            request.documents[index],
            scores.spans[index] if scores.spans else None,
            index in rescored,
        )
        for index, log_odds in enumerate(scores.log_odds)
    ]
    ranked.sort(key=lambda document: -document.logit)  # stable: ties stay in the caller's order
    kept = [document for document in ranked if min_score is None or document.score >= min_score]
    return kept if top_n is None else kept[:top_n]


def probability(log_odds: float) -> float:
    """sigmoid(x) = softmax over [no, yes] of the "yes" logit, in float64, without overflow."""
    if log_odds >= 0:
        return 1.0 / (1.0 + math.exp(-log_odds))
    odds = math.exp(log_odds)
    return odds / (1.0 + odds)


def check_finite(request: RerankRequest, scores: Scores) -> None:
    """Refuse scores that cannot be ordered; see `rank_documents`."""
    readable = set(request.readable)
    broken = [
        index
        for index, log_odds in enumerate(scores.log_odds)
        if not math.isfinite(log_odds) and (index in readable or log_odds != -math.inf)
    ]
    if broken:
        shown = ", ".join(map(str, broken[:10])) + (", ..." if len(broken) > 10 else "")
        raise NonFiniteScoreError(
            f"The model gave no finite score for {share(len(broken), len(scores.log_odds), 'document')} (positions "
            f"{shown}). {scores.damage or _REMEDIES[request.on_nonfinite]}",
            broken,
        )


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
