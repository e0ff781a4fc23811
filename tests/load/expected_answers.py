"""What the serial run says, and how another answer is judged by it.

Comes in: questions, and answers to them. Goes out: `Expected`, `Verdict`.
Must not know: threads, faults.

Tolerance: log-odds are float32 sums whose last bits move with the company in a pass. A log-odds may differ by
`tolerance`, a probability by what that comes to, and two documents may change places only where the serial run has
them no further apart than that.
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
"""Of the sigmoid, in float64."""


@dataclasses.dataclass(frozen=True, slots=True)
class Expected:
    """What one caller alone was told, in the order of the documents."""

    log_odds: tuple[float, ...]
    truncated_tokens: tuple[int, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class Entry:
    """One document of an answer, as far as a door shows it.

    Attributes:
        text: as it came back; None where the door gives none.
        log_odds, truncated_tokens: None where the door does not show them.
    """

    index: int
    score: float
    text: str | None = None
    log_odds: float | None = None
    truncated_tokens: int | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Answer:
    """What came back for one question.

    Attributes:
        entries: in the order in which they came.
        ranked: whether that order is a ranking, cut to the question's `top_n`, or that of the documents.
    """

    entries: tuple[Entry, ...]
    ranked: bool


@dataclasses.dataclass(frozen=True, slots=True)
class Verdict:
    """Judged.

    Attributes:
        complaint: the first thing that is wrong; None if nothing is.
        log_odds_off, probability_off: the largest differences from the serial run.
    """

    complaint: str | None
    log_odds_off: float
    probability_off: float


def ask_serially(
    questions: Iterable[Question], engine: dict[str, Any], step: Callable[[], None] = lambda: None
) -> list[Expected]:
    """Every question alone, by one caller, through an engine that is made for it and closed afterwards."""
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
    """Hold an answer against the serial one: every document accounted for, every score, every place."""
    known = [entry for entry in answer.entries if 0 <= entry.index < len(expected.log_odds)]
    complaint = next(_complaints(question, expected, answer, tolerance), None)
    return Verdict(
        complaint and f"question {question.number}: {complaint}",
        max((_distance(e.log_odds, expected.log_odds[e.index]) for e in known if e.log_odds is not None), default=0.0),
        max((abs(e.score - probability(expected.log_odds[e.index])) for e in known), default=0.0),
    )


def _complaints(question: Question, expected: Expected, answer: Answer, tolerance: float) -> Iterator[str]:
    places = [entry.index for entry in answer.entries]
    every = range(len(question.documents))
    wanted = len(every) if not answer.ranked or question.top_n is None else min(question.top_n, len(every))
    if len(places) != wanted or len(set(places)) != len(places) or not set(places) <= set(every):
        yield f"documents {places} came back of {len(every)}, {wanted} were wanted"
        return
    for entry in answer.entries:
        yield from _wrong_entry(question, expected, entry, tolerance)
    if answer.ranked:
        yield from _wrong_order(question, expected, places, tolerance)
    elif places != sorted(places):
        yield f"the order is {places}, not that of the documents"


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


def _wrong_order(question: Question, expected: Expected, places: Sequence[int], tolerance: float) -> Iterator[str]:
    log_odds = expected.log_odds
    for above, below in pairwise(places):
        if log_odds[above] < log_odds[below] - tolerance:
            yield f"document {above} stands above {below}"
        if question.documents[above] == question.documents[below] and above > below:
            yield f"of two equal documents, {above} stands above {below}"
    best_left_out = max((log_odds[place] for place in range(len(log_odds)) if place not in places), default=-math.inf)
    if places and best_left_out > log_odds[places[-1]] + tolerance:
        yield f"document {places[-1]} was kept where a better one was left out"


def _distance(one: float, other: float) -> float:
    """|one - other|, where two infinities of one sign are no distance apart."""
    return 0.0 if one == other else abs(one - other)
