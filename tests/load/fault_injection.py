"""Engines whose requests are monitored and whose batches can fail.

Only the model and the head of a batch are made to fail; everything around them is the package's code.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import random
import threading
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import Future
from typing import Any, cast

import torch

from qwen3_rerank_plugins import _registry as registry
from qwen3_rerank_plugins import close_all
from qwen3_rerank_plugins.engine.call import Meter
from qwen3_rerank_plugins.engine.local import LocalScorer
from qwen3_rerank_plugins.engine.model.runner import ModelRunner
from qwen3_rerank_plugins.engine.request import RerankRequest
from qwen3_rerank_plugins.engine.scheduling.loaded_engine import LoadedEngine
from qwen3_rerank_plugins.engine.scheduling.packing import BatchPlan, RequestSlice
from qwen3_rerank_plugins.engine.scheduling.queued_request import DocumentScores, ResultBuilder
from qwen3_rerank_plugins.engine.scheduling.scheduler import Scheduler
from qwen3_rerank_plugins.engine.scorer import Scores
from qwen3_rerank_plugins.engine.settings import EngineSettings
from qwen3_rerank_plugins.engine.text.tokenizer import TokenizedRequest
from tests.load.call_trace import CURRENT_TRACE, CallTrace, Moment
from tests.load.faults import BROKEN, NAN, NO_MEMORY_CUT, NO_MEMORY_LONE, BatchFault, Rates, draw_batch_fault

CLOSE_TIMEOUT = 60.0
"""Seconds."""


@dataclasses.dataclass(frozen=True, slots=True)
class QueuedRequest:
    """One request of a call that the engine has not answered yet."""

    trace: CallTrace
    number: int
    request: RerankRequest
    tokens: TokenizedRequest

    def documents_of(self, document: int) -> list[int]:
        """Return the positions of the documents that share a distinct document of the tokenized request."""
        readable = zip(self.request.readable, self.tokens.inverse_index, strict=True)
        return [position for position, unique in readable if unique == document]


class RequestMonitor:
    """Keeps track of the unanswered requests in all engines of a run.

    Attributes:
        waiting: requests without an answer.
        most_waiting: largest value of `waiting` so far.
        engines: number of loaded engines.
        passes: number of batches, including failed ones.
    """

    def __init__(self, rates: Rates, seed: int) -> None:
        self.rates, self.seed = rates, seed
        self.waiting = self.most_waiting = self.engines = self.passes = 0
        self._queued: dict[int, QueuedRequest] = {}
        self._lock = threading.Lock()

    def add(self, queued: QueuedRequest) -> None:
        """Note a request that is about to be queued."""
        with self._lock:
            # by id(), because requests with equal content are equal
            self._queued[id(queued.tokens)] = queued
            self.waiting += 1
            self.most_waiting = max(self.most_waiting, self.waiting)

    def remove(self, queued: QueuedRequest) -> None:
        """Note that a request has an answer or an error, or was canceled."""
        with self._lock:
            self.waiting -= self._queued.pop(id(queued.tokens), None) is not None

    def concerned(
        self, requests: Sequence[TokenizedRequest], plan: BatchPlan
    ) -> list[tuple[QueuedRequest, RequestSlice]]:
        """Return the unanswered requests that have documents in a batch."""
        with self._lock:
            found = [(self._queued.get(id(requests[part.request])), part) for part in plan.slices]
        return [(queued, part) for queued, part in found if queued is not None]


class MonitoredScorer(LocalScorer):
    """A `LocalScorer` that records its requests in the caller's trace, and whose batches can fail."""

    def __init__(self, settings: EngineSettings, monitor: RequestMonitor) -> None:
        self._monitor = monitor
        self._asked = threading.local()
        super().__init__(settings)

    def submit(self, request: RerankRequest) -> Future[Scores]:
        self._asked.request = request
        return super().submit(request)

    def _new_scheduler(self, load: Callable[[], LoadedEngine], label: str) -> Scheduler:
        return _MonitoredScheduler(load, label, self._monitor, self._asked)

    def _load_engine(self, number: int) -> LoadedEngine:
        engine = super()._load_engine(number)
        self._monitor.engines += 1
        dice = random.Random(f"{self._monitor.seed}/engine {self._monitor.engines}")
        return dataclasses.replace(engine, run=_FaultyRunner(cast(ModelRunner, engine.run), self._monitor, dice))


class _MonitoredScheduler(Scheduler):
    def __init__(
        self, load: Callable[[], LoadedEngine], label: str, monitor: RequestMonitor, asked: threading.local
    ) -> None:
        super().__init__(load, label)
        self._monitor, self._asked = monitor, asked

    def submit(
        self,
        request: TokenizedRequest,
        build_result: ResultBuilder[Any],
        *,
        float32_fallback: bool = False,
        meter: Meter | None = None,
    ) -> Future[Any]:
        trace = CURRENT_TRACE.get() or CallTrace()
        queued = QueuedRequest(trace, trace.take_number(), self._asked.request, request)

        def build(scores: DocumentScores, rescored: Collection[int]) -> Any:
            self._monitor.remove(queued)  # here, because the caller wakes before the callbacks of the future run
            return build_result(scores, rescored)

        self._monitor.add(queued)
        try:
            future = super().submit(request, build, float32_fallback=float32_fallback, meter=meter)
        except BaseException:
            self._monitor.remove(queued)
            raise
        future.add_done_callback(lambda _: self._monitor.remove(queued))
        trace.future = future
        trace.reach(Moment.QUEUED)
        return future


class _FaultyRunner:
    """A runner of batches with random faults in the model and the head."""

    def __init__(self, run: ModelRunner, monitor: RequestMonitor, dice: random.Random) -> None:
        self._run, self._monitor, self._dice = run, monitor, dice
        self._model, self._head = run._model, run._head
        run._model, run._head = cast(Any, self._forward), cast(Any, self._score)
        self._fault = BatchFault()
        self._tokens = 0
        self._nan_rows: list[int] = []

    def __call__(self, requests: Sequence[TokenizedRequest], plan: BatchPlan) -> list[float]:
        self._monitor.passes += 1
        concerned = self._monitor.concerned(requests, plan)
        self._fault, self._tokens = draw_batch_fault(self._dice, self._monitor.rates), plan.tokens
        self._nan_rows = self._dice.sample(range(plan.document_count), min(self._fault.nan_rows, plan.document_count))
        self._note(concerned, plan)
        for queued, _ in concerned:
            queued.trace.reach(Moment.RUNNING)
        log_odds = self._run(requests, plan)
        for queued, _ in concerned:
            queued.trace.reach(Moment.PASSED)
        return log_odds

    def _forward(self, batch: Any) -> torch.Tensor:
        if self._fault.error is not None:
            raise self._fault.error
        if self._no_memory:
            raise torch.OutOfMemoryError(f"Tried to allocate {self._tokens} tokens.")
        return self._model(batch)

    def _score(self, hidden: torch.Tensor) -> torch.Tensor:
        log_odds = self._head(hidden)
        if self._nan_rows:
            log_odds[self._nan_rows] = math.nan
        return log_odds

    @property
    def _no_memory(self) -> bool:
        return self._fault.memory is not None and self._tokens > self._fault.memory

    def _note(self, concerned: Sequence[tuple[QueuedRequest, RequestSlice]], plan: BatchPlan) -> None:
        """Record the faults in the traces before the batch runs, so that they are there when a caller wakes."""
        rows = iter(range(plan.document_count))
        struck = {
            (part.request, document)
            for part in plan.slices
            for document in part.documents
            if next(rows) in set(self._nan_rows)
        }
        for queued, part in concerned:
            trace = queued.trace
            if self._fault.error is not None:
                trace.broken = True
                trace.met.add(BROKEN)
            elif self._no_memory and plan.document_count == 1:
                trace.no_memory = True
                trace.met.add(NO_MEMORY_LONE)
            elif self._no_memory:
                trace.met.add(NO_MEMORY_CUT)
            for document in part.documents:
                if (part.request, document) in struck:
                    trace.note_nan(queued.number, queued.documents_of(document))
                    trace.met.add(NAN)


@contextlib.contextmanager
def monitored_engines(rates: Rates, seed: int) -> Iterator[RequestMonitor]:
    """Monitor the registry's engines inside the block; no engine is open before and after it."""
    monitor = RequestMonitor(rates, seed)
    close_all()
    make = "LocalScorer"  # the class that the registry makes engines with
    original = getattr(registry, make)
    setattr(registry, make, lambda settings: MonitoredScorer(settings, monitor))
    try:
        yield monitor
    finally:
        closing = threading.Thread(target=close_all, daemon=True)
        closing.start()
        closing.join(CLOSE_TIMEOUT)  # with a timeout, because an engine that hangs would hang here, too
        setattr(registry, make, original)
