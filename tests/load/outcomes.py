"""Counts, latencies and complaints of all calls. Safe to write to from any thread."""

from __future__ import annotations

import statistics
import threading
from array import array
from collections import Counter, defaultdict
from collections.abc import Iterable

MOST_COMPLAINTS_KEPT = 20


class Outcomes:
    """Counts of a run.

    Attributes:
        started: calls that began.
        settled: calls with an answer or an error; a call that is never settled is lost.
        answered: right answers by entry point.
        documents: documents in the right answers.
        met: faults that calls met, by name.
        survived: faults after which the caller got the right error or answer, and a right answer to its next question.
        wrong: calls with a wrong answer or error; `complaints` are the first of them.
        log_odds_off: largest difference of log-odds from the serial run.
        probability_off: largest difference of probabilities from the serial run.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._seconds: dict[str, array[float]] = defaultdict(lambda: array("d"))
        self.started = self.settled = self.documents = self.wrong = 0
        self.answered: Counter[str] = Counter()
        self.met: Counter[str] = Counter()
        self.survived: Counter[str] = Counter()
        self.complaints: list[str] = []
        self.log_odds_off = self.probability_off = 0.0

    def start(self) -> None:
        """Count a call that begins."""
        with self._lock:
            self.started += 1

    def answer(self, entry_point: str, seconds: float, documents: int, off: tuple[float, float]) -> None:
        """Count a right answer."""
        with self._lock:
            self.settled += 1
            self.answered[entry_point] += 1
            self.documents += documents
            self._seconds[entry_point].append(seconds)
            self.log_odds_off = max(self.log_odds_off, off[0])
            self.probability_off = max(self.probability_off, off[1])

    def refuse(self) -> None:
        """Count a right error."""
        with self._lock:
            self.settled += 1

    def complain(self, complaint: str) -> None:
        """Count a wrong answer or error."""
        with self._lock:
            self.settled += 1
            self.wrong += 1
            if len(self.complaints) < MOST_COMPLAINTS_KEPT:
                self.complaints.append(complaint)

    def meet(self, faults: Iterable[str]) -> None:
        """Count faults that a call met with the right result."""
        with self._lock:
            self.met.update(faults)

    def survive(self, faults: Iterable[str]) -> None:
        """Count faults after which the next answer was right."""
        with self._lock:
            self.survived.update(faults)

    @property
    def entry_points(self) -> list[str]:
        """Names of the entry points that gave answers."""
        return sorted(self._seconds)

    def latencies(self, *entry_points: str) -> list[float]:
        """Return the sorted seconds of right answers; of all entry points if none is named."""
        with self._lock:
            return sorted(
                second for entry_point in entry_points or tuple(self._seconds) for second in self._seconds[entry_point]
            )


def percentile(ordered: list[float], share: float) -> float:
    """Return a percentile of sorted values, interpolated."""
    if len(ordered) < 2:
        return ordered[0] if ordered else 0.0
    return statistics.quantiles(ordered, n=100, method="inclusive")[round(share * 100) - 1]
