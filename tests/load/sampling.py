"""Memory, threads, open files and waiting requests over time, and whether they grow.

Comes in: a tally and a watch to look at. Goes out: `Sample`s, `Trend`.
Must not know: what the process is doing.
"""

from __future__ import annotations

import dataclasses
import statistics
import threading
import time
from collections.abc import Sequence

import psutil

from tests.load.fault_injection import Watch
from tests.load.outcomes import Tally

MEBIBYTE = 2**20


@dataclasses.dataclass(frozen=True, slots=True)
class Sample:
    """One look at the process.

    Attributes:
        seconds: since the first one.
        resident: MiB.
        waiting: requests in the engines' queues.
        answered, faults, wrong: so far.
    """

    seconds: float
    resident: float
    threads: int
    files: int
    waiting: int
    answered: int
    faults: int
    wrong: int


@dataclasses.dataclass(frozen=True, slots=True)
class Trend:
    """How the last two thirds of a run went; the first third warms up.

    Attributes:
        resident_per_hour: slope of the line through the resident memory, MiB an hour.
        resident_growth: what that line grew by from the end of the first third to the end, MiB.
        threads, files: medians of the middle and of the last third.
    """

    resident_per_hour: float
    resident_growth: float
    threads: tuple[float, float]
    files: tuple[float, float]


class Sampler:
    """Looks at the process every so often, on a thread of its own.

    Args:
        every: seconds.

    Attributes:
        samples: so far, the first one at the start.
    """

    def __init__(self, tally: Tally, watch: Watch, every: float) -> None:
        self._tally, self._watch, self._every = tally, watch, every
        self._process = psutil.Process()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._look_on, name="sampler", daemon=True)
        self._started = time.perf_counter()
        self.samples: list[Sample] = []

    def __enter__(self) -> Sampler:
        self._look()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _look_on(self) -> None:
        while not self._stop.wait(self._every):
            self._look()

    def _look(self) -> None:
        with self._process.oneshot():
            self.samples.append(
                Sample(
                    seconds=time.perf_counter() - self._started,
                    resident=self._process.memory_info().rss / MEBIBYTE,
                    threads=self._process.num_threads(),
                    files=self._process.num_fds(),
                    waiting=self._watch.waiting,
                    answered=sum(self._tally.answered.values()),
                    faults=sum(self._tally.met.values()),
                    wrong=self._tally.wrong,
                )
            )


def find_trend(samples: Sequence[Sample]) -> Trend | None:
    """None if there are too few samples for a line."""
    third = len(samples) // 3
    if third < 3:
        return None
    middle, last = samples[third:-third], samples[-third:]
    judged = [*middle, *last]
    slope, _ = statistics.linear_regression([s.seconds for s in judged], [s.resident for s in judged])
    return Trend(
        resident_per_hour=slope * 3600,
        resident_growth=slope * (judged[-1].seconds - judged[0].seconds),
        threads=(statistics.median(s.threads for s in middle), statistics.median(s.threads for s in last)),
        files=(statistics.median(s.files for s in middle), statistics.median(s.files for s in last)),
    )
