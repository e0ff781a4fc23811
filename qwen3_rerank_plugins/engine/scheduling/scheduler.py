"""The one thread that owns the model, and runs passes for everybody who waits.

It takes tokenized requests from any thread and gives their log-odds, in futures. It knows neither torch nor text: what
it runs is an argument, so that it is tested with a few lines of Python.

Requests wait in a line. Each pass takes the first of the line and those behind it that fit beside it; whoever was
served and needs more goes to the end. A request that arrives while a large one runs goes or joins before its next pass,
newcomers never starve the large one, and nobody waits for company. What a pass costs to plan depends on the pass, not
on how much waits.
"""

from __future__ import annotations

import collections
import dataclasses
import itertools
import math
import threading
import traceback
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import Future
from typing import Any, Protocol, TypeVar

from qwen3_rerank_plugins.engine.concurrency.lifetime import inside_a_call
from qwen3_rerank_plugins.engine.concurrency.threads import start_thread
from qwen3_rerank_plugins.engine.scheduling.adaptive_budget import RecoveringBudget
from qwen3_rerank_plugins.engine.scheduling.packing import LOOKAHEAD, PassPlan, Remaining, Slice, Workload, plan_pass
from qwen3_rerank_plugins.engine.text.tokenizer import TokenisedRequest
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


class _Job:
    """One request on its way: what is left to score, what was scored, and who waits."""

    def __init__(self, request: TokenisedRequest, finish: Finish[Any], *, rescue: bool) -> None:
        self.request = request
        self.finish = finish
        self.rescue = rescue
        self.future: Future[Any] = Future()
        self.left = Remaining(Workload(len(request.prefix), tuple(map(len, request.tails))))
        self.scores = [math.nan] * len(request.tails)
        self.broken: collections.deque[int] = collections.deque()  # tails to compute again in float32
        self.rescued: list[int] = []


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
        self._budget: RecoveringBudget | None = None
        self._line: collections.OrderedDict[_Job, None] = collections.OrderedDict()
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
            ThreadStartError: the worker's thread could not start; nothing was queued, and the next request tries again.
        """
        job = _Job(request, finish, rescue=rescue)
        with self._wake:
            if self._closed:
                raise ClosedError("This reranker is closed. Make a new one to go on.")
            if self._thread is None:
                thread = threading.Thread(target=self._serve, name="qwen3-rerank-worker", daemon=True)
                start_thread(thread)
                self._thread = thread
            self._line[job] = None
            self._wake.notify()
        return job.future

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
        while self._serve_next():
            pass

    def _serve_next(self) -> bool:
        """One turn; false once the worker is closed and nobody waits."""
        with self._wake:
            while not (self._line or self._closed):
                self._wake.wait()
            waiting = list(itertools.islice(self._line, LOOKAHEAD))
        if not waiting:
            return False
        served: Sequence[_Job] = ()
        try:
            served = self._step([job for job in waiting if not job.future.cancelled()])
        except BaseException as error:  # not even a fault of ours may leave them waiting on a dead thread
            _fail([job for job in waiting if not job.future.done()], error)
        with self._wake:
            for job in served:
                self._line.move_to_end(job)
            for job in waiting:
                if job.future.done():
                    self._line.pop(job, None)
        return True

    def _step(self, waiting: Sequence[_Job]) -> Sequence[_Job]:
        """Run one pass, hand out what is finished, and say who was served. What fails reaches the callers concerned."""
        if not waiting:
            return ()
        try:
            if self._engine is None:
                self._engine = self._load()
        except BaseException as error:
            with self._wake:
                everybody = list(self._line)  # also those who came during the load
                self._line.clear()
            _fail(everybody, error, f"Loading the model{self._there}")
            return ()
        if waiting[0].broken:
            _rescue(waiting[0], self._engine, self._this_pass)
            return waiting[:1]
        for job in waiting:
            if not job.request.tails:
                _finish(job, self._this_pass)
        return self._run_pass([job for job in waiting if job.left.count], self._engine)

    def _run_pass(self, waiting: Sequence[_Job], engine: Engine) -> Sequence[_Job]:
        if self._budget is None:
            self._budget = RecoveringBudget(engine.budget, self._there)
        plan = plan_pass((job.left for job in waiting), self._budget.tokens, engine.company)
        if not plan.slices:
            return ()
        concerned = [waiting[part.request] for part in plan.slices]
        try:
            found = engine.run([job.request for job in waiting], plan)
            if len(found) != plan.documents:
                raise ValueError(f"{len(found)} scores for {plan.documents} documents")
        except DeviceMemoryError as error:
            if plan.documents == 1:
                _fail(concerned, error)
            else:
                self._budget.ran_out(plan.tokens)
                for job, part in zip(concerned, plan.slices, strict=True):
                    job.left.put_back(part.tails)
            return ()
        except BaseException as error:
            _fail(concerned, error, self._this_pass)
            return ()
        self._budget.ran(plan.tokens)
        log_odds = iter(found)
        for job, part in zip(concerned, plan.slices, strict=True):
            for tail in part.tails:
                job.scores[tail] = next(log_odds)
            if not job.left.count:
                _scored(job, engine, self._this_pass)
        return concerned

    @property
    def _there(self) -> str:
        return f" on {self.place}" if self.place else ""

    @property
    def _this_pass(self) -> str:
        return f"The forward pass{self._there}"


_NOTHING = TokenisedRequest((), (), (), ())


def _scored(job: _Job, engine: Engine, what: str) -> None:
    """All tails of a job have scores: it is finished, or has to wait until those that overflowed are computed again."""
    if job.rescue and engine.rescue:
        job.broken.extend(tail for tail, log_odds in enumerate(job.scores) if not math.isfinite(log_odds))
    if not job.broken:
        _finish(job, what)


def _rescue(job: _Job, engine: Engine, what: str) -> None:
    """Score one tail again, in a pass of its own: memory may be scarce, and nobody should wait for many such passes."""
    assert engine.rescue is not None
    tail = job.broken.popleft()
    tokens = len(job.request.prefix) + len(job.request.tails[tail])
    try:
        (job.scores[tail],) = engine.rescue([job.request], PassPlan((Slice(0, (tail,), tokens),)))
    except BaseException as error:
        _fail([job], error, what)
        return
    job.rescued.append(tail)
    if not job.broken:
        _finish(job, what)


def _finish(job: _Job, what: str) -> None:
    try:
        answer = job.finish(tuple(job.scores), job.rescued)
    except BaseException as error:
        _fail([job], error, what)
        return
    if job.future.set_running_or_notify_cancel():
        job.future.set_result(answer)


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
