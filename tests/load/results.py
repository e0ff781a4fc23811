"""The plan of a run and its results, with the reasons why it failed."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from tests.load.callers import MOST_QUESTIONS_A_CALL
from tests.load.expected_answers import TOLERANCE
from tests.load.fault_injection import RequestMonitor
from tests.load.faults import Rates
from tests.load.leak_check import IdleMemory
from tests.load.outcomes import Outcomes, percentile
from tests.load.sampling import Sample, Trend, find_trend
from tests.load.shutdown import SharedClients
from tests.load.texts import Texts

MOST_KEPT = 4.0
"""MiB by which the heap of the idle process may grow during a soak, for modules that are loaded on first use."""
MOST_GROWTH = 128.0
"""MiB per hour by which a soak's resident memory may grow while it runs: loading and closing engines fragments the
heap, and a line through a varying quantity has a slope."""
SHORTEST_JUDGED = 600.0
"""Seconds. In a shorter run memory still warms up, and its slope has no meaning."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class LoadPlan:
    """What to run.

    Attributes:
        requests: number of calls; None is until time is up.
        seconds: duration; None is until all calls are made.
        threads: number of threads that ask.
        coroutines: number of coroutines that ask.
        questions: number of different questions.
        seed: random seed.
        rates: rates of faults.
        engine: engine settings of all interfaces.
        tolerance: allowed difference of log-odds.
        patience: seconds after which a call without an answer is lost.
        sample_every: seconds between samples.
    """

    requests: int | None = None
    seconds: float | None = None
    threads: int = 64
    coroutines: int = 64
    questions: int = 300
    seed: int = 0
    rates: Rates = dataclasses.field(default_factory=Rates)
    engine: dict[str, Any] = dataclasses.field(default_factory=lambda: {"model": "demo", "max_batch_tokens": 2048})
    tolerance: float = TOLERANCE
    patience: float = 600.0
    sample_every: float = 2.0

    @property
    def callers(self) -> int:
        """Number of callers."""
        return self.threads + self.coroutines


@dataclasses.dataclass(frozen=True, slots=True)
class EntryPointFigures:
    """Right answers of one entry point, and their latency in seconds."""

    door: str
    answered: int
    p50: float
    p95: float


@dataclasses.dataclass(frozen=True, slots=True)
class FaultFigures:
    """Calls that met a fault, and how many of them survived it."""

    fault: str
    met: int
    survived: int


@dataclasses.dataclass(frozen=True, slots=True)
class LoadResults:
    """Results of a run. See `Outcomes` and `RequestMonitor` for the counts.

    Attributes:
        plan: the plan without the engine's settings.
        texts: source of the questions.
        lost: calls without an answer or error.
        wrong: calls with a wrong answer or error; `complaints` are the first.
        documents_per_second: documents in right answers per second.
        calls_per_second: right answers per second.
        p50: median latency in seconds.
        p95: 95th percentile of the latency in seconds.
        waiting_bound: the most requests that the callers can have at the same time.
        peak_resident: peak resident memory in MiB.
        rest_before: memory of the idle process before the run.
        rest_after: memory of the idle process after it.
        failures: reasons why the run failed; empty if it did not.
    """

    plan: dict[str, Any]
    texts: str
    seconds: float
    calls: int
    answered: int
    documents: int
    lost: int
    wrong: int
    complaints: tuple[str, ...]
    calls_per_second: float
    documents_per_second: float
    p50: float
    p95: float
    doors: tuple[EntryPointFigures, ...]
    faults: tuple[FaultFigures, ...]
    closings: int
    log_odds_off: float
    probability_off: float
    most_waiting: int
    waiting_bound: int
    engines: int
    passes: int
    peak_resident: float
    rest_before: IdleMemory
    rest_after: IdleMemory
    trend: Trend | None
    samples: tuple[Sample, ...]
    failures: tuple[str, ...]


def results_of(
    plan: LoadPlan,
    texts: Texts,
    outcomes: Outcomes,
    monitor: RequestMonitor,
    shared: SharedClients,
    samples: Sequence[Sample],
    idle: tuple[IdleMemory, IdleMemory],
    lost: int,
    seconds: float,
) -> LoadResults:
    latencies = outcomes.latencies()
    answered = sum(outcomes.answered.values())
    trend = find_trend(samples)
    faults = tuple(FaultFigures(fault, outcomes.met[fault], outcomes.survived[fault]) for fault in sorted(outcomes.met))
    return LoadResults(
        plan={field: value for field, value in dataclasses.asdict(plan).items() if field != "engine"},
        texts=texts.origin,
        seconds=seconds,
        calls=outcomes.started,
        answered=answered,
        documents=outcomes.documents,
        lost=lost,
        wrong=outcomes.wrong,
        complaints=tuple(outcomes.complaints),
        calls_per_second=answered / seconds,
        documents_per_second=outcomes.documents / seconds,
        p50=percentile(latencies, 0.50),
        p95=percentile(latencies, 0.95),
        doors=tuple(
            EntryPointFigures(
                door, outcomes.answered[door], percentile(seconds_each, 0.50), percentile(seconds_each, 0.95)
            )
            for door in outcomes.entry_points
            for seconds_each in [outcomes.latencies(door)]
        ),
        faults=faults,
        closings=shared.closings,
        log_odds_off=outcomes.log_odds_off,
        probability_off=outcomes.probability_off,
        most_waiting=monitor.most_waiting,
        waiting_bound=plan.callers * MOST_QUESTIONS_A_CALL,
        engines=monitor.engines,
        passes=monitor.passes,
        peak_resident=max(sample.resident for sample in samples),
        rest_before=idle[0],
        rest_after=idle[1],
        trend=trend,
        samples=tuple(samples),
        failures=tuple(_failures(outcomes, faults, trend, idle, monitor, lost, seconds)),
    )


def _failures(
    outcomes: Outcomes,
    faults: Sequence[FaultFigures],
    trend: Trend | None,
    idle: tuple[IdleMemory, IdleMemory],
    monitor: RequestMonitor,
    lost: int,
    seconds: float,
) -> list[str]:
    failures = []
    if lost:
        failures.append(f"{lost} calls never came back")
    if outcomes.wrong:
        failures.append(f"{outcomes.wrong} calls had a wrong result")
    failures += [f"{one.fault}: {one.survived} of {one.met} survived" for one in faults if one.survived != one.met]
    if monitor.waiting:
        failures.append(f"{monitor.waiting} requests still wait although all callers have ended")
    if trend is None or seconds < SHORTEST_JUDGED:
        return failures
    before, after = (rest.heap or 0.0 for rest in idle)
    if after - before > MOST_KEPT:
        failures.append(f"{after - before:.0f} MiB more of the heap are in use when idle than before")
    if trend.resident_per_hour > MOST_GROWTH:
        failures.append(f"resident memory grows by {trend.resident_per_hour:.0f} MiB an hour")
    for name in ("threads", "files"):
        middle, last = getattr(trend, name)
        if last > middle:
            failures.append(f"{name} grew from {middle:g} to {last:g}")
    return failures
