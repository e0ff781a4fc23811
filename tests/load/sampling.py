"""Memory, threads, open files and waiting requests over time, and their trends."""

from __future__ import annotations

import dataclasses
import statistics
import threading
import time
from collections.abc import Sequence

import psutil

from tests.load.fault_injection import RequestMonitor
from tests.load.outcomes import Outcomes

MEBIBYTE = 2**20


@dataclasses.dataclass(frozen=True, slots=True)
class Sample:
    """One sample of the process.

    Attributes:
        seconds: seconds since the start.
        resident: resident memory in MiB.
        threads: number of threads.
        files: number of open files.
        waiting: requests without an answer.
        answered: right answers so far.
        faults: met faults so far.
        wrong: wrong answers and errors so far.
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
    """The trend over the last two thirds of a run; the first third warms up.

    Attributes:
        resident_per_hour: slope of the resident memory by least squares, in MiB per hour.
        resident_growth: growth of that line over the two thirds, in MiB.
        threads: median number of threads in the middle and in the last third.
        files: median number of open files in the middle and in the last third.
    """

    resident_per_hour: float
    resident_growth: float
    threads: tuple[float, float]
    files: tuple[float, float]


class Sampler:
    """Samples the process on a thread.

    Args:
        outcomes: counts to sample.
        monitor: waiting requests to sample.
        every: seconds between samples.

    Attributes:
        samples: the samples so far; the first is from the start.
    """

    def __init__(self, outcomes: Outcomes, monitor: RequestMonitor, every: float) -> None:
        self._outcomes, self._monitor, self._every = outcomes, monitor, every
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
                    waiting=self._monitor.waiting,
                    answered=sum(self._outcomes.answered.values()),
                    faults=sum(self._outcomes.met.values()),
                    wrong=self._outcomes.wrong,
                )
            )


def find_trend(samples: Sequence[Sample]) -> Trend | None:
    """Return the trend; None if there are too few samples."""
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
