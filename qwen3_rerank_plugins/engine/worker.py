"""The one thread that owns the model, and runs passes for everybody who waits.

Comes in: tokenised requests from any thread. Goes out: their log-odds, in futures.
Must not know: torch, text. What it runs is an argument, so that it is tested with a few lines of Python.

Before every pass the waiting requests are planned anew, whoever was served goes to the end of the line: a request that
arrives while a large one runs goes or joins before its next pass, newcomers never starve it, nobody waits for company.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
import threading
import traceback
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import Future
from typing import Any, Protocol, TypeVar

from qwen3_rerank_plugins.engine.lifetime import inside_a_call
from qwen3_rerank_plugins.engine.packing import PassPlan, Slice, Workload, plan_passes
from qwen3_rerank_plugins.engine.tokens import TokenisedRequest
from qwen3_rerank_plugins.errors import ClosedError, DeviceMemoryError, PassError, RerankError, fresh

TailScores = tuple[float, ...]
Answer = TypeVar("Answer")
Finish = Callable[[TailScores, Collection[int]], Answer]
"""The log-odds of a request's tails, and which of them were computed again in float32 -> what its future will hold."""


class Run(Protocol):
    """One forward pass."""

    def __call__(self, requests: Sequence[TokenisedRequest], plan: PassPlan) -> list[float]:
        """Log-odds of the plan's tails, in plan order."""
        ...


@dataclasses.dataclass(frozen=True, slots=True)
class Engine:
    """A loaded model, as far as the worker knows it.

    Attributes:
        run: one pass.
        budget: unique tokens that fit in one.
        rescue: one pass in float32, for scores that overflowed in 16 bits; None where there is nothing wider.
        company: unique tokens up to which several requests share a pass; None is as many as fit. Beyond the size at
            which a device works at full speed company gains nothing, and everybody waits for everybody's answer.
    """

    run: Run
    budget: int
    company: int | None = None
    rescue: Run | None = None


@dataclasses.dataclass(eq=False, slots=True)
class _Job:
    """One request on its way: what is left to score, what was scored, who waits, and its place in the line."""

    request: TokenisedRequest
    place: int
    future: Future[Any]
    finish: Finish[Any]
    rescue: bool = False
    scores: dict[int, float] = dataclasses.field(default_factory=dict)

    def left(self) -> list[int]:
        return [tail for tail in range(len(self.request.tails)) if tail not in self.scores]

    def workload(self) -> Workload:
        return Workload(len(self.request.prefix), tuple(len(self.request.tails[tail]) for tail in self.left()))


class Worker:
    """Loads an engine on its own thread at the first request, then serves until closed.

    Args:
        load: makes the engine; called once, on the worker's thread. If it fails, whoever waits gets the error, and the
            next request tries again.
        place: where it runs, to be named by what fails there; empty where there is only one place.
    """

    def __init__(self, load: Callable[[], Engine], place: str = "") -> None:
        self._load = load
        self.place = place
        self._engine: Engine | None = None
        self._places = itertools.count()
        self._waiting: list[_Job] = []
        self._wake = threading.Condition()
        self._closed = False
        self._thread: threading.Thread | None = None

    @property
    def loaded(self) -> bool:
        """Whether there is an engine by now."""
        return self._engine is not None

    def load(self) -> Future[None]:
        """Load now, for whoever comes later."""
        return self.submit(_NOTHING, lambda *_: None)

    def submit(self, request: TokenisedRequest, finish: Finish[Answer], *, rescue: bool = False) -> Future[Answer]:
        """Queue a request; never blocks. Cancelling the future drops what has not run yet.

        Args:
            request: what to score.
            finish: turns the scores of the request's tails into what its future will hold.
            rescue: compute scores that are not finite again in float32, one by one.

        Raises:
            ClosedError: the worker was closed.
        """
        future: Future[Answer] = Future()
        with self._wake:
            if self._closed:
                raise ClosedError("This reranker is closed. Make a new one to go on.")
            self._waiting.append(_Job(request, next(self._places), future, finish, rescue))
            if self._thread is None:
                self._thread = threading.Thread(target=self._serve, name="qwen3-rerank-worker", daemon=True)
                self._thread.start()
            self._wake.notify()
        return future

    def close(self) -> None:
        """Serve whoever waits, then stop the thread and drop the engine."""
        with self._wake:
            self._closed = True
            self._wake.notify()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join()
        self._engine = None

    @inside_a_call()
    def _serve(self) -> None:
        active: list[_Job] = []
        while True:
            with self._wake:
                while not (active or self._waiting or self._closed):
                    self._wake.wait()
                active += self._waiting
                self._waiting = []
                if not active:
                    return  # closed, and nobody waits
            active = [job for job in active if not job.future.cancelled()]
            if active:
                try:
                    self._step(active)
                except BaseException as error:  # not even a fault of ours may leave them waiting on a dead thread
                    _fail([job for job in active if not job.future.done()], error)
            active = [job for job in active if not job.future.done()]

    def _step(self, active: list[_Job]) -> None:
        """Plan, run one pass, hand out what is finished. Whatever fails reaches the callers concerned."""
        try:
            if self._engine is None:
                self._engine = self._load()
        except BaseException as error:
            _fail(active, error, f"Loading the model{self._there}")
            return
        for job in active:
            if not job.request.tails:
                _finish(job, None, "")
        active = [job for job in active if job.request.tails]
        if not active:
            return
        active = _in_company(sorted(active, key=lambda job: job.place), self._engine)
        left = [job.left() for job in active]
        workloads = [job.workload() for job in active]
        plan = _with_original_tails(plan_passes(workloads, self._engine.budget)[0], left)
        concerned = [active[part.request] for part in plan.slices]
        this_pass = f"The forward pass{self._there}"
        try:
            found = self._engine.run([job.request for job in active], plan)
            if len(found) != plan.documents:
                raise ValueError(f"{len(found)} scores for {plan.documents} documents")
        except DeviceMemoryError as error:
            if plan.documents == 1:
                _fail(concerned, error)
            else:
                # the ceiling stays: memory that was not there once will not be there the next time
                self._engine = dataclasses.replace(self._engine, budget=max(1, plan.tokens // 2))
            return
        except BaseException as error:
            _fail(concerned, error, this_pass)
            return
        log_odds = iter(found)
        for part in plan.slices:
            job = active[part.request]
            job.place = next(self._places)
            job.scores.update((tail, next(log_odds)) for tail in part.tails)
            if len(job.scores) == len(job.request.tails):
                _finish(job, self._engine.rescue, this_pass)

    @property
    def _there(self) -> str:
        return f" on {self.place}" if self.place else ""


_NOTHING = TokenisedRequest((), (), (), ())


def _in_company(waiting: Sequence[_Job], engine: Engine) -> list[_Job]:
    """The first of those who wait, and as many after it as may share its pass."""
    if engine.company is None:
        return list(waiting)
    room, together = engine.company, list[_Job]()
    for job in waiting:
        workload = job.workload()
        room -= workload.prefix + sum(workload.tails)
        if together and room < 0:
            break
        together.append(job)
    return together


def _with_original_tails(plan: PassPlan, left: Sequence[Sequence[int]]) -> PassPlan:
    return PassPlan(
        tuple(
            dataclasses.replace(part, tails=tuple(left[part.request][tail] for tail in part.tails))
            for part in plan.slices
        )
    )


def _finish(job: _Job, rescue: Run | None, what: str) -> None:
    try:
        rescued = _rescue(job, rescue) if job.rescue and rescue else []
        answer = job.finish(tuple(job.scores[tail] for tail in range(len(job.scores))), rescued)
    except BaseException as error:
        _fail([job], error, what)
        return
    if job.future.set_running_or_notify_cancel():
        job.future.set_result(answer)


def _rescue(job: _Job, run: Run) -> list[int]:
    """Score again what is not finite, each tail in a pass of its own: there are few, and memory may be scarce."""
    broken = [tail for tail, log_odds in job.scores.items() if not math.isfinite(log_odds)]
    for tail in broken:
        tokens = len(job.request.prefix) + len(job.request.tails[tail])
        (job.scores[tail],) = run([job.request], PassPlan((Slice(0, (tail,), tokens),)))
    return sorted(broken)


def _let_go(error: BaseException) -> None:
    """Of where it came from: frames know what a pass worked on, tensors of the device among it, and the worker's own
    knows the jobs, whose futures hold the error: a circle that only the garbage collector would find, hours later.
    """
    error.__traceback__ = None
    for earlier in (error.__cause__, error.__context__):
        if earlier is not None:
            _let_go(earlier)


def _fail(jobs: Sequence[_Job], error: BaseException, what: str = "The forward pass") -> None:
    """Every caller gets an exception object of the tree; foreign errors become the cause of a `PassError`."""
    told = "".join(traceback.format_exception(error))  # of a foreign error it stays as words
    _let_go(error)
    for job in jobs:
        if not job.future.set_running_or_notify_cancel():
            continue
        own = fresh(error)
        if isinstance(own, RerankError):
            job.future.set_exception(own)
        else:
            wrapped = PassError(
                f"{what} failed: {type(error).__name__}: {error}. Other requests are not affected. The cause is "
                "attached: report it with that."
            )
            wrapped.__cause__ = own
            wrapped.add_note(told)
            job.future.set_exception(wrapped)
