"""A whole trial: the serial run, then everybody at once, then what came of it.

Comes in: `TrialPlan`, `Texts`. Goes out: `TrialResults`.
Must not know: files, terminals.
"""

from __future__ import annotations

import asyncio
import dataclasses
import faulthandler
import itertools
import sys
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from tests.load.callers import MOST_QUESTIONS_A_CALL, Caller, Work
from tests.load.expected_answers import TOLERANCE, ask_serially
from tests.load.fault_injection import Watch, watched_engines
from tests.load.faults import Rates
from tests.load.leak_check import Rest, come_to_rest
from tests.load.outcomes import Tally, percentile
from tests.load.questions import draw_questions
from tests.load.sampling import Sample, Sampler, Trend, find_trend
from tests.load.shutdown import Entrance, close_at_times
from tests.load.texts import Texts

MOST_KEPT = 4.0
"""MiB of the heap that may be in use at rest after a soak and were not before: what was loaded on first use."""
MOST_GROWTH = 128.0
"""MiB an hour by which a soak's resident memory may grow while it runs: the heap of a process in which engines come and
go breaks into pieces, and a line through what is up and down all the time has a slope."""
SHORTEST_JUDGED = 600.0
"""Seconds. In a shorter run memory still warms up, and its slope says nothing."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class TrialPlan:
    """What to do.

    Attributes:
        requests: calls to make in all; None is until time is up.
        seconds: how long; None is until all calls are made.
        threads, coroutines: how many of each ask at the same time.
        questions: how many different ones there are.
        rates: of faults.
        engine: settings, shared by all doors.
        tolerance: of log-odds.
        patience: seconds after which a call without an answer counts as lost.
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
        """All of them."""
        return self.threads + self.coroutines


@dataclasses.dataclass(frozen=True, slots=True)
class DoorFigures:
    """Calls of one door that were answered, and their latency in seconds."""

    door: str
    answered: int
    p50: float
    p95: float


@dataclasses.dataclass(frozen=True, slots=True)
class FaultFigures:
    """Calls that ran into a fault, and how many of them came out of it as they must."""

    fault: str
    met: int
    survived: int


@dataclasses.dataclass(frozen=True, slots=True)
class TrialResults:
    """What came of it.

    Attributes:
        plan: what was asked for, without the engine's settings.
        texts: what the questions were made of.
        calls: started.
        lost: calls that never came to an end.
        wrong: calls that came to a wrong one; `complaints` are the first.
        documents_per_second, calls_per_second: answered.
        most_waiting: requests in the queues at the same time; `waiting_bound` is the most that callers could make.
        engines, passes: loaded and run.
        peak_resident: MiB.
        rest_before, rest_after: memory with no engine loaded and no caller there.
        failures: why the trial failed; empty if it did not.
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
    doors: tuple[DoorFigures, ...]
    faults: tuple[FaultFigures, ...]
    closings: int
    log_odds_off: float
    probability_off: float
    most_waiting: int
    waiting_bound: int
    engines: int
    passes: int
    peak_resident: float
    rest_before: Rest
    rest_after: Rest
    trend: Trend | None
    samples: tuple[Sample, ...]
    failures: tuple[str, ...]


@dataclasses.dataclass(eq=False, slots=True)
class _Shift:
    """Until so many calls were begun, or time is up."""

    requests: int | None
    until: float
    begun: itertools.count[int] = dataclasses.field(default_factory=itertools.count)

    def take(self) -> bool:
        if time.perf_counter() > self.until:
            return False
        return self.requests is None or next(self.begun) < self.requests

    def end(self) -> None:
        """No further call."""
        self.until = 0.0


Tell = Callable[[str, float, Tally], None]
"""Told what is being done, the share of it that is done, and the tally."""


def run_trial(plan: TrialPlan, texts: Texts, tell: Tell = lambda *_: None) -> TrialResults:
    """Draw questions, ask them serially, ask them all at once with faults, look back.

    Args:
        plan: what to do.
        texts: what to ask about.
        tell: called about twice a second.
    """
    questions = draw_questions(texts, plan.questions, plan.seed)
    tally = Tally()
    done = itertools.count(1)
    expected = ask_serially(questions, plan.engine, lambda: tell("alone", next(done) / len(questions), tally))
    before = come_to_rest()
    with watched_engines(plan.rates, plan.seed) as watch:
        entrance = Entrance(plan.engine)
        started = time.perf_counter()
        shift = _Shift(plan.requests, started + (plan.seconds or float("inf")))
        work = Work(questions, expected, entrance, plan.rates, plan.tolerance, plan.seed, tally, shift)
        with Sampler(tally, watch, plan.sample_every) as sampler:
            lost = _everybody(plan, work, started, tell)
        seconds = time.perf_counter() - started
    rests = before, come_to_rest()
    return _look_back(plan, texts, tally, watch, entrance, sampler.samples, rests, lost, seconds)


def _everybody(plan: TrialPlan, work: Work, started: float, tell: Tell) -> int:
    """Threads and coroutines at once until the shift ends; how many calls never came back."""
    callers = [Caller(work, number) for number in range(plan.callers)]
    in_threads, in_tasks = callers[: plan.threads], callers[plan.threads :]

    async def gather() -> None:
        await asyncio.gather(*(caller.aask_on() for caller in in_tasks))

    stop = threading.Event()
    threads = [threading.Thread(target=caller.ask_on, daemon=True) for caller in in_threads]
    threads.append(threading.Thread(target=lambda: asyncio.run(gather()), name="loop", daemon=True))
    every = plan.rates.close_every
    closing = threading.Thread(target=close_at_times, args=(work.entrance, every, plan.seed, stop), daemon=True)
    if every:
        closing.start()
    for thread in threads:
        thread.start()
    deadline = float("inf")
    while any(thread.is_alive() for thread in threads) and time.perf_counter() < deadline:
        next(thread for thread in threads if thread.is_alive()).join(0.5)
        now = time.perf_counter()
        if deadline == float("inf") and any(now - (caller.since or now) > plan.patience for caller in callers):
            work.shift.end()  # somebody waits for ever; everybody else may still come home
            deadline = now + plan.patience
        share = work.tally.started / plan.requests if plan.requests else (now - started) / (plan.seconds or 1)
        tell("together", min(1.0, share), work.tally)
    stop.set()
    lost = work.tally.started - work.tally.settled
    if lost:
        faulthandler.dump_traceback(sys.__stderr__ or 2, all_threads=True)
    elif every:
        closing.join()
    return lost


def _look_back(
    plan: TrialPlan,
    texts: Texts,
    tally: Tally,
    watch: Watch,
    entrance: Entrance,
    samples: Sequence[Sample],
    rests: tuple[Rest, Rest],
    lost: int,
    seconds: float,
) -> TrialResults:
    latencies = tally.latencies()
    answered = sum(tally.answered.values())
    trend = find_trend(samples)
    faults = tuple(FaultFigures(fault, tally.met[fault], tally.survived[fault]) for fault in sorted(tally.met))
    return TrialResults(
        plan={field: value for field, value in dataclasses.asdict(plan).items() if field != "engine"},
        texts=texts.origin,
        seconds=seconds,
        calls=tally.started,
        answered=answered,
        documents=tally.documents,
        lost=lost,
        wrong=tally.wrong,
        complaints=tuple(tally.complaints),
        calls_per_second=answered / seconds,
        documents_per_second=tally.documents / seconds,
        p50=percentile(latencies, 0.50),
        p95=percentile(latencies, 0.95),
        doors=tuple(
            DoorFigures(door, tally.answered[door], percentile(seconds_each, 0.50), percentile(seconds_each, 0.95))
            for door in tally.doors
            for seconds_each in [tally.latencies(door)]
        ),
        faults=faults,
        closings=entrance.closings,
        log_odds_off=tally.log_odds_off,
        probability_off=tally.probability_off,
        most_waiting=watch.most_waiting,
        waiting_bound=plan.callers * MOST_QUESTIONS_A_CALL,
        engines=watch.engines,
        passes=watch.passes,
        peak_resident=max(sample.resident for sample in samples),
        rest_before=rests[0],
        rest_after=rests[1],
        trend=trend,
        samples=tuple(samples),
        failures=tuple(_failures(tally, faults, trend, rests, watch, lost, seconds)),
    )


def _failures(
    tally: Tally,
    faults: Sequence[FaultFigures],
    trend: Trend | None,
    rests: tuple[Rest, Rest],
    watch: Watch,
    lost: int,
    seconds: float,
) -> list[str]:
    failures = []
    if lost:
        failures.append(f"{lost} calls never came back")
    if tally.wrong:
        failures.append(f"{tally.wrong} calls came to a wrong end")
    failures += [f"{one.fault}: {one.survived} of {one.met} survived" for one in faults if one.survived != one.met]
    if watch.waiting:
        failures.append(f"{watch.waiting} requests still wait although everybody has left")
    if trend is None or seconds < SHORTEST_JUDGED:
        return failures
    before, after = (rest.heap or 0.0 for rest in rests)
    if after - before > MOST_KEPT:
        failures.append(f"{after - before:.0f} MiB of the heap are in use at rest that were not before")
    if trend.resident_per_hour > MOST_GROWTH:
        failures.append(f"resident memory grows by {trend.resident_per_hour:.0f} MiB an hour")
    for name in ("threads", "files"):
        middle, last = getattr(trend, name)
        if last > middle:
            failures.append(f"{name} grew from {middle:g} to {last:g}")
    return failures
