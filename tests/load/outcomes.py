"""What came of all calls. Safe to write to from any thread.

Comes in: one note a call. Goes out: counts, latencies, complaints.
Must not know: what is right.
"""

from __future__ import annotations

import statistics
import threading
from array import array
from collections import Counter, defaultdict
from collections.abc import Iterable

MOST_COMPLAINTS_KEPT = 20


class Tally:
    """Counts of a trial.

    Attributes:
        started, settled: calls; what was started and is never settled is lost.
        answered: answers that were right, by door.
        documents: scored in them.
        met, survived: faults that calls ran into, by name; survived are those after which the caller was told exactly
            what it must be, and given a right answer to its next question.
        wrong: how many outcomes were not what they must be; `complaints` are the first of them.
        log_odds_off, probability_off: the largest differences from the serial run.
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
        """A call begins."""
        with self._lock:
            self.started += 1

    def answer(self, door: str, seconds: float, documents: int, off: tuple[float, float]) -> None:
        """A call got the right answer."""
        with self._lock:
            self.settled += 1
            self.answered[door] += 1
            self.documents += documents
            self._seconds[door].append(seconds)
            self.log_odds_off = max(self.log_odds_off, off[0])
            self.probability_off = max(self.probability_off, off[1])

    def refuse(self) -> None:
        """A call got the right error."""
        with self._lock:
            self.settled += 1

    def complain(self, complaint: str) -> None:
        """A call got something else."""
        with self._lock:
            self.settled += 1
            self.wrong += 1
            if len(self.complaints) < MOST_COMPLAINTS_KEPT:
                self.complaints.append(complaint)

    def meet(self, faults: Iterable[str]) -> None:
        """A call ran into faults, and the outcome was right."""
        with self._lock:
            self.met.update(faults)

    def survive(self, faults: Iterable[str]) -> None:
        """The caller's next question was answered rightly."""
        with self._lock:
            self.survived.update(faults)

    @property
    def doors(self) -> list[str]:
        """Those that gave answers."""
        return sorted(self._seconds)

    def latencies(self, *doors: str) -> list[float]:
        """Seconds from question to right answer; of all doors if none is named."""
        with self._lock:
            return sorted(second for door in doors or tuple(self._seconds) for second in self._seconds[door])


def percentile(ordered: list[float], share: float) -> float:
    """Of sorted values; the higher of two neighbours, so that few values give no flattering tail."""
    if len(ordered) < 2:
        return ordered[0] if ordered else 0.0
    return statistics.quantiles(ordered, n=100, method="inclusive")[round(share * 100) - 1]
