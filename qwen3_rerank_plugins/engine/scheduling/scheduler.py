"""The thread that owns the model and runs batches for all callers.

It takes tokenized requests from any thread and returns futures of their results. It does not import torch: the function
that runs a batch is an argument, so tests replace it with a few lines of Python.

Each batch takes the first request of the queue and those behind it that fit beside it, and keeps room for small ones;
see `fair_share`. A request that has just run and is not finished moves to the back, so newcomers never starve it.
Batches are never delayed to fill them. A late request is dropped when a batch is planned, also from a prepared batch.

While a GPU computes a batch, the thread plans the next one and builds its tensors. If a request arrives in the
meantime, that plan is dropped and made again with the request, so nobody waits longer for it.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future

from qwen3_rerank_plugins.engine.call import Call, Meter
from qwen3_rerank_plugins.engine.concurrency.lifetime import inside_a_call
from qwen3_rerank_plugins.engine.concurrency.threads import start_thread
from qwen3_rerank_plugins.engine.scheduling.adaptive_budget import AdaptiveBudget
from qwen3_rerank_plugins.engine.scheduling.admission import admit
from qwen3_rerank_plugins.engine.scheduling.fair_share import largest_small
from qwen3_rerank_plugins.engine.scheduling.loaded_engine import BatchPipeline, LoadedEngine
from qwen3_rerank_plugins.engine.scheduling.planned_batch import PlannedBatch, PreparedBatch
from qwen3_rerank_plugins.engine.scheduling.queued_request import (
    QueuedRequest,
    Result,
    ResultBuilder,
    fail,
    still_waiting,
)
from qwen3_rerank_plugins.engine.scheduling.request_queue import RequestQueue
from qwen3_rerank_plugins.engine.scheduling.rescoring import rescore_one
from qwen3_rerank_plugins.engine.scheduling.throughput import Throughput
from qwen3_rerank_plugins.engine.text.tokenizer import TokenizedRequest
from qwen3_rerank_plugins.errors import ClosedError, DeviceMemoryError


class Scheduler:
    """Loads an engine on its own thread at the first request, then runs batches until closed.

    Args:
        load: makes the engine; called once, on the scheduler's thread. If it fails, all waiting callers get the error,
            and the next request tries again.
        label: names the device in error messages; empty where there is only one.

    Attributes:
        engine, queue: the loaded engine or None, and the requests that wait.
        throughput: what the device has computed.
    """

    def __init__(self, load: Callable[[], LoadedEngine], label: str = "") -> None:
        self._load = load
        self.label = label
        self._where = f" on {label}" if label else ""
        self._action = f"The forward pass{self._where}"
        self.engine: LoadedEngine | None = None
        self._budget: AdaptiveBudget | None = None
        self.queue = RequestQueue()
        self._prepared: PreparedBatch | None = None
        self.throughput = Throughput()
        self._thread: threading.Thread | None = None

    @property
    def loaded(self) -> bool:
        """Whether the engine is loaded."""
        return self.engine is not None

    def load(self) -> Future[None]:
        """Load the engine before the first request."""
        return self.submit(TokenizedRequest((), (), (), ()), lambda *_: None)

    def refuse_overload(self, call: Call) -> None:
        """Raise `OverloadedError` if too much work is waiting for a call of any size."""
        if call.max_waiting_tokens is not None:
            with self.queue.lock:
                self._admit(call, None)

    def submit(
        self,
        request: TokenizedRequest,
        build_result: ResultBuilder[Result],
        *,
        float32_fallback: bool = False,
        meter: Meter | None = None,
    ) -> Future[Result]:
        """Queue a request without blocking. Canceling the future drops the documents that have not run yet.

        Args:
            request: what to score.
            build_result: turns the scores of the request's documents into the result of the future.
            float32_fallback: compute scores that are not finite again in float32, one by one.
            meter: counts what is computed, and drops the request if its call is late.

        Raises:
            OverloadedError: more work is waiting than the call allows.
            ClosedError: the scheduler is closed.
            ThreadStartError: no thread could start. Nothing was queued.
        """
        queued = QueuedRequest(request, build_result, float32_fallback=float32_fallback, meter=meter)
        with self.queue.lock:
            if self.queue.closed:
                raise ClosedError("This reranker is closed. Make a new one to go on.")
            self._admit(queued.meter.call, queued)
            if self._thread is None:
                thread = threading.Thread(target=self._run, name="qwen3-rerank-worker", daemon=True)
                start_thread(thread)
                self._thread = thread
            self.queue.add(queued)
        return queued.future

    def close(self) -> None:
        """Finish all queued requests, then stop the thread and drop the engine."""
        self.queue.close()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join()
        self.engine = None

    def _admit(self, call: Call, queued: QueuedRequest | None) -> None:
        if call.max_waiting_tokens is None or call.admitted:
            return
        engine, budget = self.engine, self._budget
        share = largest_small(budget.tokens, engine.max_merged_tokens) if engine and budget else None
        admit(call, queued, self.queue.requests, self.throughput.tokens_per_second, share)

    @inside_a_call()
    def _run(self) -> None:
        while self._run_next():
            pass

    def _run_next(self) -> bool:
        """Run the next batch. Return False once the scheduler is closed and its queue is empty."""
        waiting = self.queue.first()
        if not waiting:
            return False
        ran: Sequence[QueuedRequest] = ()
        try:
            ran = self._step(still_waiting(waiting))
        except BaseException as error:  # a bug in this package must not leave callers waiting for a dead thread
            fail([queued for queued in waiting if not queued.future.done()], error, self._action)
        self.queue.settle(waiting, ran)
        return True

    def _step(self, waiting: Sequence[QueuedRequest]) -> Sequence[QueuedRequest]:
        """Run one batch and return the requests that were in it. A failure reaches the callers that it concerns."""
        if not waiting:
            return ()
        try:
            if self.engine is None:
                self.engine = self._load()
        except BaseException as error:
            everyone = self.queue.take_all()  # with the requests that arrived during the load
            fail(everyone, error, f"Loading the model{self._where}")
            return ()
        waiting = still_waiting(waiting)  # loading takes long
        if not waiting:
            return ()
        if waiting[0].to_rescore:
            self._rescore_in_float32(waiting[0], self.engine)
            return waiting[:1]
        for queued in waiting:
            if not queued.request.document_ids:
                queued.finish(self._action)
        return self._run_batch(waiting, self.engine)

    def _run_batch(self, waiting: Sequence[QueuedRequest], engine: LoadedEngine) -> Sequence[QueuedRequest]:
        if self._budget is None:
            self._budget = AdaptiveBudget(engine.budget, self._where)
        prepared = self._take_prepared(self._budget.tokens)
        batch = prepared.batch if prepared else self._plan(waiting, engine)
        if batch is None:
            return ()
        batched = batch.batched
        began = time.monotonic()
        try:
            with batch.running():
                log_odds = self._compute(batch, prepared, engine)
            batch.store(log_odds)
        except DeviceMemoryError as error:
            if batch.plan.document_count == 1:
                fail(batched, error, self._action)
            else:
                self._budget.ran_out(batch.plan.tokens)
                batch.put_back()
            return ()
        except BaseException as error:
            fail(batched, error, self._action)
            return ()
        self._budget.ran(batch.plan.tokens)
        self.throughput.count_pass(batch.plan.tokens, time.monotonic() - began)
        for queued in batched:
            if not queued.unscored:
                self._complete(queued, engine)
        return batched

    def _plan(self, waiting: Sequence[QueuedRequest], engine: LoadedEngine) -> PlannedBatch | None:
        assert self._budget is not None
        return PlannedBatch.take(waiting, self._budget.tokens, engine.max_merged_tokens)

    def _compute(self, batch: PlannedBatch, prepared: PreparedBatch | None, engine: LoadedEngine) -> list[float]:
        if engine.pipeline is None:
            return engine.run(batch.requests, batch.plan)
        tensors = prepared.tensors if prepared else engine.pipeline.prepare(batch.requests, batch.plan)
        wait = engine.pipeline.start(tensors)
        self._prepare_next(batch.batched, engine, engine.pipeline)
        return wait()

    def _prepare_next(self, running: Sequence[QueuedRequest], engine: LoadedEngine, pipeline: BatchPipeline) -> None:
        """Plan the batch after the running one, in the order that the queue will have then, and build its tensors."""
        assert self._budget is not None
        order, arrivals = self.queue.following(running)
        batch = self._plan([queued for queued in order if queued.waits], engine)
        if batch is None:
            return
        try:
            tensors = pipeline.prepare(batch.requests, batch.plan)
        except BaseException:  # it will happen again when it is the turn of this batch, and reach its callers then
            batch.put_back()
            return
        self._prepared = PreparedBatch(batch, tensors, arrivals, self._budget.tokens)

    def _take_prepared(self, budget: int) -> PreparedBatch | None:
        """Return the prepared batch, or put its documents back if another batch would be planned now."""
        prepared, self._prepared = self._prepared, None
        if prepared is None or prepared.is_current(self.queue.arrivals, budget):
            return prepared
        prepared.batch.put_back()
        return None

    def _complete(self, queued: QueuedRequest, engine: LoadedEngine) -> None:
        """Finish a request whose documents all have scores, unless some must be rescored first."""
        if queued.float32_fallback and engine.float32_fallback:
            queued.to_rescore.extend(index for index, score in enumerate(queued.scores) if not math.isfinite(score))
        if not queued.to_rescore:
            queued.finish(self._action)

    def _rescore_in_float32(self, queued: QueuedRequest, engine: LoadedEngine) -> None:
        assert engine.float32_fallback is not None
        try:
            rescore_one(queued, engine.float32_fallback)
        except BaseException as error:
            fail([queued], error, self._action)
            return
        if not queued.to_rescore:
            queued.finish(self._action)
