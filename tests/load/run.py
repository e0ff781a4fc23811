"""A whole run: the serial answers, then all callers at once, then the results."""

from __future__ import annotations

import asyncio
import dataclasses
import faulthandler
import itertools
import sys
import threading
import time
from collections.abc import Callable

from tests.load.callers import Caller
from tests.load.expected_answers import ask_serially
from tests.load.fault_injection import monitored_engines
from tests.load.leak_check import measure_idle_memory
from tests.load.outcomes import Outcomes
from tests.load.questions import draw_questions
from tests.load.results import LoadPlan, LoadResults, results_of
from tests.load.sampling import Sampler
from tests.load.shutdown import SharedClients, close_at_times
from tests.load.texts import Texts
from tests.load.work import Work


@dataclasses.dataclass(eq=False, slots=True)
class _CallQuota:
    """A number of calls, or a time limit."""

    requests: int | None
    until: float
    begun: itertools.count[int] = dataclasses.field(default_factory=itertools.count)

    def take(self) -> bool:
        if time.perf_counter() > self.until:
            return False
        return self.requests is None or next(self.begun) < self.requests

    def end(self) -> None:
        """See `Quota.end`."""
        self.until = 0.0


Tell = Callable[[str, float, Outcomes], None]
"""Called with the stage, the share of it that is done, and the outcomes."""


def run_load(plan: LoadPlan, texts: Texts, tell: Tell = lambda *_: None) -> LoadResults:
    """Ask the questions serially, then all at once with faults.

    Args:
        plan: what to run.
        texts: source of the questions.
        tell: called about twice per second.
    """
    questions = draw_questions(texts, plan.questions, plan.seed)
    outcomes = Outcomes()
    done = itertools.count(1)
    expected = ask_serially(questions, plan.engine, lambda: tell("alone", next(done) / len(questions), outcomes))
    before = measure_idle_memory()
    with monitored_engines(plan.rates, plan.seed) as monitor:
        shared = SharedClients(plan.engine)
        started = time.perf_counter()
        quota = _CallQuota(plan.requests, started + (plan.seconds or float("inf")))
        work = Work(questions, expected, shared, plan.rates, plan.tolerance, plan.seed, outcomes, quota)
        with Sampler(outcomes, monitor, plan.sample_every) as sampler:
            lost = _run_callers(plan, work, started, tell)
        seconds = time.perf_counter() - started
    idle = before, measure_idle_memory()
    return results_of(plan, texts, outcomes, monitor, shared, sampler.samples, idle, lost, seconds)


def _run_callers(plan: LoadPlan, work: Work, started: float, tell: Tell) -> int:
    """Run threads and coroutines until the quota ends, and return the number of lost calls."""
    callers = [Caller(work, number) for number in range(plan.callers)]
    in_threads, in_tasks = callers[: plan.threads], callers[plan.threads :]

    async def gather() -> None:
        await asyncio.gather(*(caller.aask_on() for caller in in_tasks))

    stop = threading.Event()
    threads = [threading.Thread(target=caller.ask_on, daemon=True) for caller in in_threads]
    threads.append(threading.Thread(target=lambda: asyncio.run(gather()), name="loop", daemon=True))
    every = plan.rates.close_every
    closing = threading.Thread(target=close_at_times, args=(work.shared, every, plan.seed, stop), daemon=True)
    if every:
        closing.start()
    for thread in threads:
        thread.start()
    deadline = float("inf")
    while any(thread.is_alive() for thread in threads) and time.perf_counter() < deadline:
        next(thread for thread in threads if thread.is_alive()).join(0.5)
        now = time.perf_counter()
        if deadline == float("inf") and any(now - (caller.since or now) > plan.patience for caller in callers):
            work.quota.end()  # one call hangs; the others get as long to finish
            deadline = now + plan.patience
        share = work.outcomes.started / plan.requests if plan.requests else (now - started) / (plan.seconds or 1)
        tell("together", min(1.0, share), work.outcomes)
    stop.set()
    lost = work.outcomes.started - work.outcomes.settled
    if lost:
        faulthandler.dump_traceback(sys.__stderr__ or 2, all_threads=True)
    elif every:
        closing.join()
    return lost
