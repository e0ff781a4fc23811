"""Several workers, each with a model of its own, behind the one door of a worker.

They take tokenized requests from any thread and give their log-odds, in futures. A request goes where the fewest tokens
are waiting; a large one in parts to several. A worker that fails fails what it was given, and for a while is given
nothing more as long as others work: whoever fails is done at once, and would otherwise look like the one with the least
to do.
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
from qwen3_rerank_plugins.engine.scheduling.packing import Workload
from qwen3_rerank_plugins.engine.scheduling.scheduler import DocumentScores, Result, ResultBuilder, Scheduler
from qwen3_rerank_plugins.engine.scheduling.sharding import Shard, may_split, shard_request
from qwen3_rerank_plugins.engine.text.tokenizer import TokenizedRequest
from qwen3_rerank_plugins.errors import ClosedError

COOLDOWN = 30.0
"""Seconds for which a worker that failed is given nothing, unless all failed."""


@dataclasses.dataclass(eq=False, slots=True)
class _Replica:
    """A worker, the tokens it was given and has not answered for, and until when it rests."""

    worker: Scheduler
    outstanding: int = 0
    loading: bool = False
    cooldown_until: float = -math.inf


class Replicas:
    """Serves like a `Worker`, with several of them. At the first request all of them load.

    Args:
        workers: which; they are closed along with this.
        clock: seconds, as `time.monotonic`.
    """

    def __init__(self, workers: Sequence[Scheduler], clock: Callable[[], float] = time.monotonic) -> None:
        self._replicas = [_Replica(worker) for worker in workers]
        self._clock = clock
        self._lock = threading.RLock()
        self._splitting = threading.Lock()
        self._closed = False

    def submit(
        self, request: TokenizedRequest, finish: ResultBuilder[Result], *, float32_fallback: bool = False
    ) -> Future[Result]:
        """See `Worker.submit`. Cancelling the future drops what has not run yet, wherever it waits."""
        workload = Workload(len(request.prefix), tuple(map(len, request.document_ids)))
        # a small request does not wait while a large one is being split
        with self._splitting if may_split(workload) else self._lock:
            candidates = self._candidates()
            parts = shard_request(workload, [replica.outstanding for replica in candidates])
            with self._lock:
                if self._closed:
                    raise ClosedError("This reranker is closed. Make a new one to go on.")
                for part in parts:
                    candidates[part.device].outstanding += part.tokens
                loading = self._who_should_load()
        for replica in loading:
            _attempt(replica.worker.load).add_done_callback(functools.partial(self._loaded, replica))
        gathering = ShardCollector(len(request.document_ids), len(parts), finish)
        sent: list[Future[Any]] = []
        for part in parts:
            replica = candidates[part.device]
            own = request if len(parts) == 1 else cut_out(request, part)
            future = _attempt(
                functools.partial(
                    replica.worker.submit, own, gathering.finish_of(part), float32_fallback=float32_fallback
                )
            )
            future.add_done_callback(functools.partial(self._answered, replica, part.tokens))
            sent.append(future)
        return gathering.attend(sent)  # last: whoever has an answer finds it accounted for

    def close(self) -> None:
        """Serve whoever waits, then close every worker."""
        with self._lock:
            self._closed = True
        for replica in self._replicas:
            replica.worker.close()

    def _candidates(self) -> list[_Replica]:
        """Who may be given work: nobody who rests, unless all do; nobody who is not loaded, unless nobody is."""
        now = self._clock()
        awake = [replica for replica in self._replicas if now >= replica.cooldown_until] or self._replicas
        return [replica for replica in awake if replica.worker.loaded] or awake

    def _who_should_load(self) -> list[_Replica]:
        """Nobody should wait for a model to load while another one is idle, so they load before they are needed."""
        now = self._clock()
        due = [one for one in self._replicas if not (one.worker.loaded or one.loading) and now >= one.cooldown_until]
        for replica in due:
            replica.loading = True
        return due

    def _loaded(self, replica: _Replica, future: Future[None]) -> None:
        replica.loading = False
        self._answered(replica, 0, future)

    def _answered(self, replica: _Replica, tokens: int, future: Future[Any]) -> None:
        failed = not future.cancelled() and future.exception() is not None
        now = self._clock()
        with self._lock:
            replica.outstanding -= tokens
            # one that was closed, or not loaded as the interpreter exits, has not failed
            falls_out = failed and now >= replica.cooldown_until and not isinstance(future.exception(), ClosedError)
            if failed:
                replica.cooldown_until = now + COOLDOWN
            elif not future.cancelled():
                replica.cooldown_until = -math.inf
        if falls_out:
            logger.warning(
                "%s failed, and is given nothing for %.0f seconds while others work: %s",
                replica.worker.place,
                COOLDOWN,
                future.exception(),
            )


class ShardCollector(Generic[Result]):
    """A request in parts, one or more: puts their scores together, and fails as soon as one of them does.

    Args:
        tails: how many the request has.
        parts: how many they are.
        finish: as of the whole request; it runs on the thread of whoever is last.
    """

    def __init__(self, documents: int, parts: int, finish: ResultBuilder[Result]) -> None:
        self._scores = [math.nan] * documents
        self._rescued: set[int] = set()
        self._missing = parts
        self._finish = finish
        self._whole: Future[Result] | None = Future()
        self._parts: Sequence[Future[Any]] = ()
        self._lock = threading.Lock()

    def finish_of(self, part: Shard) -> ResultBuilder[Any]:
        """What a part's future will hold: the answer to the whole request if the part is the last, else `_NOT_YET`."""

        def finish(scores: DocumentScores, rescored: Collection[int]) -> Any:
            with self._lock:
                for document, log_odds in zip(part.documents, scores, strict=True):
                    self._scores[document] = log_odds
                self._rescued.update(part.documents[own] for own in rescored)
                self._missing -= 1
                if self._missing:
                    return _NOT_YET
            return self._finish(tuple(self._scores), sorted(self._rescued))

        return finish

    def attend(self, parts: Sequence[Future[Any]]) -> Future[Result]:
        """The future of the whole request, once its parts are on their way."""
        whole = self._whole
        assert whole is not None
        self._parts = parts
        whole.add_done_callback(self._over)
        for part in parts:
            part.add_done_callback(self._part_done)
        return whole

    def _part_done(self, part: Future[Any]) -> None:
        if part.cancelled():  # along with the whole
            return
        error = part.exception()
        if error is None and part.result() is _NOT_YET:
            return
        with self._lock:
            whole, self._whole = self._whole, None  # the first comes, and no circle of futures stays
        if whole is None or not whole.set_running_or_notify_cancel():
            return
        if error is None:
            whole.set_result(part.result())
        else:
            whole.set_exception(error)

    def _over(self, _: Future[Result]) -> None:
        """Answered, failed or cancelled: what has not run must not run for nobody."""
        with self._lock:
            self._whole = None
        parts, self._parts = self._parts, ()
        for part in parts:
            part.cancel()


_NOT_YET = object()


def _attempt(submit: Callable[[], Future[Result]]) -> Future[Result]:
    """The future of a submission. If it fails, by a thread that cannot start for instance, so does its future: what
    became of the other parts is then settled as after any other failure.
    """
    try:
        return submit()
    except Exception as error:
        return _failed(error)


def _failed(error: Exception) -> Future[Any]:
    future: Future[Any] = Future()
    future.set_exception(error)
    return future


def cut_out(request: TokenizedRequest, part: Shard) -> TokenizedRequest:
    """The part as a request of its own."""
    count = len(part.documents)
    documents = tuple(request.document_ids[document] for document in part.documents)
    return TokenizedRequest(request.prefix, documents, tuple(range(count)), (0,) * count)
