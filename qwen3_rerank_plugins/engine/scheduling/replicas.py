"""Several schedulers behind the interface of one, each with its own model and token budget.

A request goes to the replica with the fewest outstanding tokens, a large one in shards to several. A replica that fails
gets no requests for a while as long as others work. Otherwise it would attract all of them, because failing takes no
time and leaves it with the fewest outstanding tokens.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import threading
import time
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import Future
from typing import Any, Generic

from qwen3_rerank_plugins._printable import logger
from qwen3_rerank_plugins.engine.call import Call, Meter
from qwen3_rerank_plugins.engine.scheduling.packing import Workload
from qwen3_rerank_plugins.engine.scheduling.queued_request import DocumentScores, Result, ResultBuilder
from qwen3_rerank_plugins.engine.scheduling.scheduler import Scheduler
from qwen3_rerank_plugins.engine.scheduling.sharding import Shard, may_split, shard_request
from qwen3_rerank_plugins.engine.text.tokenizer import TokenizedRequest
from qwen3_rerank_plugins.errors import ClosedError, OverloadedError, RerankTimeoutError

COOLDOWN = 30.0
"""Seconds without requests for a replica that failed, unless all failed."""


@dataclasses.dataclass(eq=False, slots=True)
class _Replica:
    """A scheduler, its unanswered tokens, and the time until which it gets no requests."""

    scheduler: Scheduler
    outstanding: int = 0
    loading: bool = False
    cooldown_until: float = -math.inf


class Replicas:
    """Distributes requests over several schedulers. The first request loads all of them.

    Args:
        schedulers: closed together with this object.
        clock: seconds, as `time.monotonic`.
    """

    def __init__(self, schedulers: Sequence[Scheduler], clock: Callable[[], float] = time.monotonic) -> None:
        self._replicas = [_Replica(scheduler) for scheduler in schedulers]
        self._clock = clock
        self._lock = threading.RLock()
        self._splitting = threading.Lock()
        self._closed = False

    def refuse_overload(self, call: Call) -> None:
        """Raise `OverloadedError` if too much work is waiting for a call of any size, on every replica."""
        with self._lock:
            candidates = self._candidates()
        refusals: list[OverloadedError] = []
        for replica in candidates:
            try:
                return replica.scheduler.refuse_overload(call)
            except OverloadedError as error:
                refusals.append(error)
        raise min(refusals, key=lambda error: error.retry_after)

    def submit(
        self,
        request: TokenizedRequest,
        build_result: ResultBuilder[Result],
        *,
        float32_fallback: bool = False,
        meter: Meter | None = None,
    ) -> Future[Result]:
        """See `Scheduler.submit`. Canceling the future drops what has not run yet, in every shard."""
        workload = Workload.of(request)
        # a small request does not wait while a large one is being split
        with self._splitting if may_split(workload) else self._lock:
            candidates = self._candidates()
            shards = shard_request(workload, [replica.outstanding for replica in candidates])
            with self._lock:
                if self._closed:
                    raise ClosedError("This reranker is closed. Make a new one to go on.")
                for shard in shards:
                    candidates[shard.device].outstanding += shard.tokens
                to_load = self._start_loading()
        for replica in to_load:
            _attempt(replica.scheduler.load).add_done_callback(functools.partial(self._loaded, replica))
        collector = ShardCollector(len(request.document_ids), len(shards), build_result)
        futures: list[Future[Any]] = []
        for shard in shards:
            replica = candidates[shard.device]
            submit = functools.partial(
                replica.scheduler.submit,
                request if len(shards) == 1 else request_of(request, shard),
                collector.builder_of(shard),
                float32_fallback=float32_fallback,
                meter=meter,
            )
            future = _attempt(submit)
            future.add_done_callback(functools.partial(self._answered, replica, shard.tokens))
            futures.append(future)
        # last, so that `outstanding` is up to date when the caller gets its result
        return collector.collect(futures)

    def close(self) -> None:
        """Finish all queued requests, then close every scheduler."""
        with self._lock:
            self._closed = True
        for replica in self._replicas:
            replica.scheduler.close()

    def _candidates(self) -> list[_Replica]:
        """Return the replicas that may get requests: those not cooling down, and of these the loaded ones, if any."""
        now = self._clock()
        healthy = [replica for replica in self._replicas if now >= replica.cooldown_until] or self._replicas
        return [replica for replica in healthy if replica.scheduler.loaded] or healthy

    def _start_loading(self) -> list[_Replica]:
        """Mark and return the replicas to load now, so that no request has to wait for a load while others are idle."""
        now = self._clock()
        due = [
            replica
            for replica in self._replicas
            if not (replica.scheduler.loaded or replica.loading) and now >= replica.cooldown_until
        ]
        for replica in due:
            replica.loading = True
        return due

    def _loaded(self, replica: _Replica, future: Future[None]) -> None:
        replica.loading = False
        self._answered(replica, 0, future)

    def _answered(self, replica: _Replica, tokens: int, future: Future[Any]) -> None:
        error = None if future.cancelled() else future.exception()
        refused = isinstance(error, (RerankTimeoutError, OverloadedError))  # which says nothing about the device
        now = self._clock()
        with self._lock:
            replica.outstanding -= tokens
            # a closed scheduler has not failed, nor has one that could not load while the interpreter exits
            failed = error is not None and not refused
            newly_failed = failed and now >= replica.cooldown_until and not isinstance(error, ClosedError)
            if failed:
                replica.cooldown_until = now + COOLDOWN
            elif not (refused or future.cancelled()):
                replica.cooldown_until = -math.inf
        if newly_failed:
            logger.warning(
                "%s failed, and gets no requests for %.0f seconds while others work: %s",
                replica.scheduler.label,
                COOLDOWN,
                error,
            )


class ShardCollector(Generic[Result]):
    """Joins the scores of a request's shards, and fails as soon as one of them does.

    Args:
        documents: how many the request has.
        shards: how many the request was split into.
        build_result: as for the whole request; it runs on the thread that scores the last shard.
    """

    def __init__(self, documents: int, shards: int, build_result: ResultBuilder[Result]) -> None:
        self._scores = [math.nan] * documents
        self._rescored: set[int] = set()
        self._missing = shards
        self._build_result = build_result
        self._whole: Future[Result] | None = Future()
        self._futures: Sequence[Future[Any]] = ()
        self._lock = threading.Lock()

    def builder_of(self, shard: Shard) -> ResultBuilder[Any]:
        """Return the builder for one shard's future: the last shard builds the result, the others `_NOT_YET`."""

        def build(scores: DocumentScores, rescored: Collection[int]) -> Any:
            with self._lock:
                for document, log_odds in zip(shard.documents, scores, strict=True):
                    self._scores[document] = log_odds
                self._rescored.update(shard.documents[index] for index in rescored)
                self._missing -= 1
                if self._missing:
                    return _NOT_YET
            return self._build_result(tuple(self._scores), sorted(self._rescored))

        return build

    def collect(self, futures: Sequence[Future[Any]]) -> Future[Result]:
        """Return the future of the whole request, given those of its shards."""
        whole = self._whole
        assert whole is not None
        self._futures = futures
        whole.add_done_callback(self._cancel_rest)
        for future in futures:
            future.add_done_callback(self._shard_done)
        return whole

    def _shard_done(self, future: Future[Any]) -> None:
        if future.cancelled():  # together with the whole request
            return
        error = future.exception()
        if error is None and future.result() is _NOT_YET:
            return
        with self._lock:
            # the first answer counts; without the reference, no cycle of futures remains
            whole, self._whole = self._whole, None
        if whole is None or not whole.set_running_or_notify_cancel():
            return
        if error is None:
            whole.set_result(future.result())
        else:
            whole.set_exception(error)

    def _cancel_rest(self, _: Future[Result]) -> None:
        """Cancel the shards that have not run, because the whole request was answered, failed or was canceled."""
        with self._lock:
            self._whole = None
        futures, self._futures = self._futures, ()
        for future in futures:
            future.cancel()


_NOT_YET = object()


def _attempt(submit: Callable[[], Future[Result]]) -> Future[Result]:
    """Submit. If that fails, for instance because a thread cannot start, return a failed future.

    The other shards are then handled as after any other failure.
    """
    try:
        return submit()
    except Exception as error:
        failed: Future[Result] = Future()
        failed.set_exception(error)
        return failed


def request_of(request: TokenizedRequest, shard: Shard) -> TokenizedRequest:
    """Return a shard as a request."""
    count = len(shard.documents)
    documents = tuple(request.document_ids[document] for document in shard.documents)
    return TokenizedRequest(request.prefix, documents, tuple(range(count)), (0,) * count)
