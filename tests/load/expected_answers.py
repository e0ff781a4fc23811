"""The answers of the serial run, and the comparison of other answers with them.

Log-odds are float32 sums whose last bits depend on the rest of a batch. So log-odds may differ by `tolerance`,
probabilities by the same difference, and two documents may swap ranks only if the serial run has them no further apart.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import pairwise
from typing import Any

from qwen3_rerank_plugins import Qwen3Reranker, close_all
from qwen3_rerank_plugins.engine.ranking import probability
from tests.load.questions import Question

TOLERANCE = 1e-4
"""In log-odds."""
_ROUNDING = 1e-12
"""Rounding error of the sigmoid in float64."""


@dataclasses.dataclass(frozen=True, slots=True)
class Expected:
    """The result of the serial run, in the order of the documents."""

    log_odds: tuple[float, ...]
    truncated_tokens: tuple[int, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class Entry:
    """One document of an answer. Fields that the interface does not return are None.

    Attributes:
        index: position in the question's documents.
        score: probability.
        text: the returned text.
        log_odds: the log-odds.
        truncated_tokens: tokens that were not read.
    """

    index: int
    score: float
    text: str | None = None
    log_odds: float | None = None
    truncated_tokens: int | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Answer:
    """The answer to one question.

    Attributes:
        entries: the documents in the returned order.
        ranked: whether the order is a ranking, cut to the question's `top_n`, or that of the documents.
    """

    entries: tuple[Entry, ...]
    ranked: bool


@dataclasses.dataclass(frozen=True, slots=True)
class Verdict:
    """The result of a comparison.

    Attributes:
        complaint: the first mistake; None if there is none.
        log_odds_off: largest difference of log-odds from the serial run.
        probability_off: largest difference of probabilities from the serial run.
    """

    complaint: str | None
    log_odds_off: float
    probability_off: float


def ask_serially(
    questions: Iterable[Question], engine: dict[str, Any], step: Callable[[], None] = lambda: None
) -> list[Expected]:
    """Ask every question alone, with an engine that is closed afterwards."""
    close_all()
    expected = []
    rerankers: dict[Any, Qwen3Reranker] = {}
    for question in questions:
        if question.manner not in rerankers:
            rerankers[question.manner] = Qwen3Reranker(**engine, **question.manner.options)
        ranked = rerankers[question.manner].rank(question.query, question.documents)
        in_order = sorted(ranked, key=lambda found: found.index)
        expected.append(Expected(tuple(one.logit for one in in_order), tuple(one.truncated_tokens for one in in_order)))
        step()
    close_all()
    return expected


def judge(question: Question, expected: Expected, answer: Answer, tolerance: float = TOLERANCE) -> Verdict:
    """Compare an answer with the serial one: every document, every score, every rank."""
    known = [entry for entry in answer.entries if 0 <= entry.index < len(expected.log_odds)]
    complaint = next(_complaints(question, expected, answer, tolerance), None)
    return Verdict(
        complaint and f"question {question.number}: {complaint}",
        max((_distance(e.log_odds, expected.log_odds[e.index]) for e in known if e.log_odds is not None), default=0.0),
        max((abs(e.score - probability(expected.log_odds[e.index])) for e in known), default=0.0),
    )


def _complaints(question: Question, expected: Expected, answer: Answer, tolerance: float) -> Iterator[str]:
    order = [entry.index for entry in answer.entries]
    every = range(len(question.documents))
    wanted = len(every) if not answer.ranked or question.top_n is None else min(question.top_n, len(every))
    if len(order) != wanted or len(set(order)) != len(order) or not set(order) <= set(every):
        yield f"documents {order} came back of {len(every)}, {wanted} were wanted"
        return
    for entry in answer.entries:
        yield from _wrong_entry(question, expected, entry, tolerance)
    if answer.ranked:
        yield from _wrong_order(question, expected, order, tolerance)
    elif order != sorted(order):
        yield f"the order is {order}, not that of the documents"


def _wrong_entry(question: Question, expected: Expected, entry: Entry, tolerance: float) -> Iterator[str]:
    log_odds = expected.log_odds[entry.index]
    lowest, highest = probability(log_odds - tolerance) - _ROUNDING, probability(log_odds + tolerance) + _ROUNDING
    if not lowest <= entry.score <= highest:
        yield f"document {entry.index} has probability {entry.score}, not {probability(log_odds)}"
    if entry.log_odds is not None and not _distance(entry.log_odds, log_odds) <= tolerance:
        yield f"document {entry.index} has log-odds {entry.log_odds}, not {log_odds}"
    if entry.text is not None and entry.text != question.documents[entry.index]:
        yield f"document {entry.index} came back with another text"
    if entry.truncated_tokens not in (None, expected.truncated_tokens[entry.index]):
        yield f"document {entry.index} lost {entry.truncated_tokens} tokens"


def _wrong_order(question: Question, expected: Expected, order: Sequence[int], tolerance: float) -> Iterator[str]:
    log_odds = expected.log_odds
    for above, below in pairwise(order):
        if log_odds[above] < log_odds[below] - tolerance:
            yield f"document {above} is ranked above {below}"
        if question.documents[above] == question.documents[below] and above > below:
            yield f"of two equal documents, {above} is ranked above {below}"
    best_left_out = max((log_odds[index] for index in range(len(log_odds)) if index not in order), default=-math.inf)
    if order and best_left_out > log_odds[order[-1]] + tolerance:
        yield f"document {order[-1]} was kept where a better one was left out"


def _distance(one: float, other: float) -> float:
    """Return |one - other|; the distance of two equal infinities is 0."""
    return 0.0 if one == other else abs(one - other)
