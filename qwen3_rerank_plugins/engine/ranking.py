"""Turn log-odds into ranked documents, and group (query, document) pairs into requests."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import cast

from qwen3_rerank_plugins._plurals import share
from qwen3_rerank_plugins.engine.request import RerankRequest, text_of
from qwen3_rerank_plugins.engine.scorer import Scores
from qwen3_rerank_plugins.engine.usage import Usage
from qwen3_rerank_plugins.errors import InputTypeError, NonFiniteScoreError

_REMEDIES = {
    "error": "float16 overflows where bfloat16 and float32 do not: load with dtype='bfloat16' or dtype='float32', or "
    "have such scores computed again with on_nonfinite='float32'. If it happens in float32 too, the checkpoint's "
    "weights are damaged.",
    "float32": "Float32 gave none either, so the checkpoint's weights are damaged. Download or export it again.",
}


@dataclasses.dataclass(frozen=True, slots=True)
class RankedDocument:
    """One document with its score.

    Attributes:
        index: position of the document in the caller's list.
        score: probability of "yes" in [0, 1]. Rounding can give exactly 0.0 or 1.0, so do not sort by it.
        logit: log-odds of "yes" against "no", which decide the order; -inf for a blank document.
        truncated_tokens: tokens cut from the end of the document because of `max_length`; 0 means the model saw it all.
        text: the document as it was passed.
        span: (start, end) characters of the window with the best score, if the document was read in windows; else None.
        rescored: whether the score overflowed in 16 bits and was computed again in float32.
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
        """The text that was scored: the best window, or the whole text."""
        return self.text if self.span is None else self.text[slice(*self.span)]

    def span_within(self, part: str) -> tuple[int, int] | None:
        """Return where the window lies in a part of the text, such as a document without the metadata before it.

        Args:
            part: a part of `text`. Whitespace around it may differ.

        Returns:
            (start, end) characters of `part`; None without a window, or if the window is outside of that part.
        """
        core = part.strip()
        found = self.text.rfind(core) if core else -1
        if self.span is None or found < 0:
            return None
        offset = found - part.index(core)
        start, end = (min(max(0, edge - offset), len(part)) for edge in self.span)
        return (start, end) if start < end else None


class Ranking(list[RankedDocument]):
    """Ranked documents, best first: a list that also knows what its call cost. Slices of it are plain lists.

    Attributes:
        usage: what the call cost; None for a ranking that you made yourself.
    """

    def __init__(self, documents: Iterable[RankedDocument] = (), usage: Usage | None = None) -> None:
        super().__init__(documents)
        self.usage = usage


def rank_documents(
    request: RerankRequest, scores: Scores, top_n: int | None, min_score: float | None
) -> list[RankedDocument]:
    """Sort by log-odds, ties by position; keep documents with `score >= min_score`, then the first `top_n`.

    Args:
        request: the query and its documents.
        scores: the scores of this request.
        top_n: most documents to return; None returns all.
        min_score: lowest probability to return, inclusive; None returns all.

    Raises:
        NonFiniteScoreError: a log-odds is NaN or +inf, or -inf for a document that is not blank.
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


def checked_log_odds(request: RerankRequest, scores: Scores) -> list[float]:
    """Return the log-odds of each document, in the caller's order.

    Raises:
        NonFiniteScoreError: as `rank_documents`.
    """
    check_finite(request, scores)
    return list(scores.log_odds)


def probability(log_odds: float) -> float:
    """Return sigmoid(log_odds), the softmax of "yes" over the logits [no, yes], in float64 and without overflow."""
    if log_odds >= 0:
        return 1.0 / (1.0 + math.exp(-log_odds))
    odds = math.exp(log_odds)
    return odds / (1.0 + odds)


def check_finite(request: RerankRequest, scores: Scores) -> None:
    """Refuse scores that cannot be sorted; see `rank_documents`."""
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
    """The pairs of one query, as one request, so that they share its prefix.

    Attributes:
        request: the query and its documents.
        positions: index of each document's pair in the caller's list.
    """

    request: RerankRequest
    positions: tuple[int, ...]


def group_pairs(pairs: Iterable[object], make: Callable[[str, list[str]], RerankRequest]) -> list[PairGroup]:
    """Return one group per query, in the order in which the queries first appear.

    Args:
        pairs: (query, document) pairs. The query is a string; the document is a string, or a mapping with a string
            under "page_content" or "text".
        make: returns the request for a query and its documents.

    Raises:
        InputTypeError: an entry is not such a pair; the message names it.
    """
    if isinstance(pairs, (str, bytes, Mapping)) or not isinstance(pairs, Iterable):
        raise InputTypeError(
            f"pairs must be a list of (query, document) pairs, got {type(pairs).__name__}. Pass [(query, document)]."
        )
    grouped: dict[str, tuple[list[str], list[int]]] = {}
    for position, pair in enumerate(pairs):
        query, document = _as_pair(position, pair)
        documents, positions = grouped.setdefault(query, ([], []))
        documents.append(document)
        positions.append(position)
    return [PairGroup(make(query, documents), tuple(positions)) for query, (documents, positions) in grouped.items()]


def pair_probabilities(groups: Sequence[PairGroup], scores: Sequence[Scores]) -> list[float]:
    """Return the probability of "yes" for each pair, in the order of the pairs; `scores` has one entry per group.

    Raises:
        NonFiniteScoreError: a score is not finite; the message gives its position among the group's documents.
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
            f"pairs[{position}] must be a (query, document) pair, got {pair!r:.80}. Pass a list of pairs, even for one."
        )
    query, document = sides
    if not isinstance(query, str) or not isinstance(document, (str, Mapping)):
        kinds = f"({type(query).__name__}, {type(document).__name__})"
        raise InputTypeError(f"pairs[{position}] must be two strings, got {kinds}. Pass the text of both.")
    return query, text_of(f"The document of pairs[{position}]", document)
