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
from qwen3_rerank_plugins.engine.scheduling.packing import (
    LOOKAHEAD,
    BatchPlan,
    Remaining,
    RequestSlice,
    Workload,
    plan_batch,
)
from qwen3_rerank_plugins.engine.text.tokenizer import TokenizedRequest
from qwen3_rerank_plugins.errors import ClosedError, DeviceMemoryError, PassError, RerankError, fresh

DocumentScores = tuple[float, ...]
Result = TypeVar("Result")
ResultBuilder = Callable[[DocumentScores, Collection[int]], Result]
"""The log-odds of a request's tails, and which of them were computed again in float32 -> what its future will hold."""


class RunBatch(Protocol):
    """One forward pass."""

    def __call__(self, requests: Sequence[TokenizedRequest], plan: BatchPlan) -> list[float]:
        """Log-odds of the plan's tails, in plan order."""
        ...


@dataclasses.dataclass(frozen=True, slots=True)
class LoadedEngine:
    """A loaded model, as far as the worker knows it.

    Attributes:
        run: one pass.
        budget: unique tokens that fit in one batch.
        float32_fallback: runs one batch in float32, for scores that overflowed in 16 bits; None where the model runs in
            float32 already.
        max_merged_tokens: unique tokens in a batch that holds several requests; None allows as many as fit. Once a
            batch is large enough for the device to work at full speed, merging more requests only delays them all.
    """

    run: RunBatch
    budget: int
    max_merged_tokens: int | None = None
    float32_fallback: RunBatch | None = None


class _Job:
    """One request on its way: what is left to score, what was scored, and who waits."""

    def __init__(self, request: TokenizedRequest, finish: ResultBuilder[Any], *, float32_fallback: bool) -> None:
        self.request = request
        self.finish = finish
        self.float32_fallback = float32_fallback
        self.future: Future[Any] = Future()
        self.left = Remaining(Workload(len(request.prefix), tuple(map(len, request.document_ids))))
        self.scores = [math.nan] * len(request.document_ids)
        self.broken: collections.deque[int] = collections.deque()  # tails to compute again in float32
        self.rescored: list[int] = []


class Scheduler:
    """Loads an engine on its own thread at the first request, then serves until closed.

    Args:
        load: makes the engine; called once, on the worker's thread. If it fails, whoever waits gets the error, and the
            next request tries again.
        place: where it runs, to be named by what fails there; empty where there is only one place.
    """

    def __init__(self, load: Callable[[], LoadedEngine], place: str = "") -> None:
        self._load = load
        self.place = place
        self._engine: LoadedEngine | None = None
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

    def submit(
        self, request: TokenizedRequest, finish: ResultBuilder[Result], *, float32_fallback: bool = False
    ) -> Future[Result]:
        """Queue a request; never blocks. Cancelling the future drops what has not run yet.

        Args:
            request: what to score.
            finish: turns the scores of the request's tails into what its future will hold.
            float32_fallback: compute scores that are not finite again in float32, one by one.

        Raises:
            ClosedError: the worker was closed.
            ThreadStartError: the worker's thread could not start; nothing was queued, and the next request tries again.
        """
        job = _Job(request, finish, float32_fallback=float32_fallback)
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
            _rescore_in_float32(waiting[0], self._engine, self._this_pass)
            return waiting[:1]
        for job in waiting:
            if not job.request.document_ids:
                _finish(job, self._this_pass)
        return self._run_pass([job for job in waiting if job.left.count], self._engine)

    def _run_pass(self, waiting: Sequence[_Job], engine: LoadedEngine) -> Sequence[_Job]:
        if self._budget is None:
            self._budget = RecoveringBudget(engine.budget, self._there)
        plan = plan_batch((job.left for job in waiting), self._budget.tokens, engine.max_merged_tokens)
        if not plan.slices:
            return ()
        concerned = [waiting[part.request] for part in plan.slices]
        try:
            found = engine.run([job.request for job in waiting], plan)
            if len(found) != plan.document_count:
                raise ValueError(f"{len(found)} scores for {plan.document_count} documents")
        except DeviceMemoryError as error:
            if plan.document_count == 1:
                _fail(concerned, error)
            else:
                self._budget.ran_out(plan.tokens)
                for job, part in zip(concerned, plan.slices, strict=True):
                    job.left.put_back(part.documents)
            return ()
        except BaseException as error:
            _fail(concerned, error, self._this_pass)
            return ()
        self._budget.ran(plan.tokens)
        log_odds = iter(found)
        for job, part in zip(concerned, plan.slices, strict=True):
            for document in part.documents:
                job.scores[document] = next(log_odds)
            if not job.left.count:
                _scored(job, engine, self._this_pass)
        return concerned

    @property
    def _there(self) -> str:
        return f" on {self.place}" if self.place else ""

    @property
    def _this_pass(self) -> str:
        return f"The forward pass{self._there}"


_NOTHING = TokenizedRequest((), (), (), ())


def _scored(job: _Job, engine: LoadedEngine, what: str) -> None:
    """All tails of a job have scores: it is finished, or has to wait until those that overflowed are computed again."""
    if job.float32_fallback and engine.float32_fallback:
        job.broken.extend(document for document, log_odds in enumerate(job.scores) if not math.isfinite(log_odds))
    if not job.broken:
        _finish(job, what)


def _rescore_in_float32(job: _Job, engine: LoadedEngine, what: str) -> None:
    """Score one tail again, in a pass of its own: memory may be scarce, and nobody should wait for many such passes."""
    assert engine.float32_fallback is not None
    document = job.broken.popleft()
    tokens = len(job.request.prefix) + len(job.request.document_ids[document])
    try:
        (job.scores[document],) = engine.float32_fallback(
            [job.request], BatchPlan((RequestSlice(0, (document,), tokens),))
        )
    except BaseException as error:
        _fail([job], error, what)
        return
    job.rescored.append(document)
    if not job.broken:
        _finish(job, what)


def _finish(job: _Job, what: str) -> None:
    try:
        answer = job.finish(tuple(job.scores), job.rescored)
    except BaseException as error:
        _fail([job], error, what)
        return
    if job.future.set_running_or_notify_cancel():
        job.future.set_result(answer)


def _drop_tracebacks(error: BaseException) -> None:
    """Of where it came from: frames know what a pass worked on, tensors of the device among it, and the worker's own
    knows the jobs, whose futures hold the error: a circle that only the garbage collector would find, hours later.
    """
    error.__traceback__ = None
    for earlier in (error.__cause__, error.__context__):
        if earlier is not None:
            _drop_tracebacks(earlier)


def _fail(jobs: Sequence[_Job], error: BaseException, what: str = "The forward pass") -> None:
    """Every caller gets an exception object of the tree; foreign errors become the cause of a `PassError`."""
    told = "".join(traceback.format_exception(error))  # of a foreign error it stays as words
    _drop_tracebacks(error)
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
