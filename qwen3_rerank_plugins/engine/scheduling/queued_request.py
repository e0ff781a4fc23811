"""A request in the scheduler's queue: its remaining documents, its scores so far, and its future."""

from __future__ import annotations

import collections
import math
import traceback
from collections.abc import Callable, Collection, Iterable
from concurrent.futures import Future
from typing import Any, TypeVar

from qwen3_rerank_plugins.engine.call import Meter
from qwen3_rerank_plugins.engine.scheduling.packing import Remaining, Workload
from qwen3_rerank_plugins.engine.text.tokenizer import TokenizedRequest
from qwen3_rerank_plugins.errors import PassError, RerankError, fresh

DocumentScores = tuple[float, ...]
Result = TypeVar("Result")
ResultBuilder = Callable[[DocumentScores, Collection[int]], Result]
"""Builds the result of a request from the log-odds of its documents and the positions of those rescored in float32."""


class QueuedRequest:
    """One submitted request.

    Attributes:
        request: its token IDs.
        float32_fallback: whether scores that are not finite are computed again in float32.
        meter: counts what is computed for it; its call may be late.
        future: receives the result or an error.
        remaining: documents that no batch has taken.
        unscored: how many documents have no score.
        scores: log-odds of the documents, NaN where there are none yet.
        to_rescore: documents to score again in float32.
        rescored: documents that were.
        overtaken: whether small requests went before it since its last batch.
    """

    def __init__(
        self,
        request: TokenizedRequest,
        build_result: ResultBuilder[Any],
        *,
        float32_fallback: bool = False,
        meter: Meter | None = None,
    ) -> None:
        self.request = request
        self.meter = meter or Meter()
        self.float32_fallback = float32_fallback
        self.future: Future[Any] = Future()
        self.remaining = Remaining(Workload.of(request))
        self.unscored = len(request.document_ids)
        self.scores = [math.nan] * self.unscored
        self.to_rescore: collections.deque[int] = collections.deque()
        self.rescored: list[int] = []
        self.overtaken = False
        self._build_result = build_result

    @property
    def waits(self) -> bool:
        """Whether somebody still waits for the result."""
        return not (self.future.done() or self.meter.call.late)

    def finish(self, action: str) -> None:
        """Build the result and deliver it; see `fail` for `action`."""
        try:
            result = self._build_result(tuple(self.scores), self.rescored)
        except BaseException as error:
            fail([self], error, action)
            return
        if self.future.set_running_or_notify_cancel():
            self.future.set_result(result)


def still_waiting(requests: Iterable[QueuedRequest]) -> list[QueuedRequest]:
    """Return the requests that somebody waits for. Those that are late fail first, so that they cost no pass."""
    listed = list(requests)
    for queued in listed:
        if queued.meter.call.late and not queued.future.done() and queued.future.set_running_or_notify_cancel():
            queued.future.set_exception(queued.meter.call.late_error())
    return [queued for queued in listed if not queued.future.done()]


def fail(requests: Iterable[QueuedRequest], error: BaseException, action: str) -> None:
    """Give each caller its own exception; a foreign error becomes the cause of a `PassError`.

    Args:
        requests: those that failed.
        error: what was raised.
        action: what failed, as the subject of the message.
    """
    formatted = "".join(traceback.format_exception(error))
    _drop_tracebacks(error)
    for queued in requests:
        if not queued.future.set_running_or_notify_cancel():
            continue
        copy = fresh(error)
        if isinstance(copy, RerankError):
            queued.future.set_exception(copy)
        else:
            wrapped = PassError(
                f"{action} failed: {type(error).__name__}: {error}. Other requests are not affected. The cause is "
                "attached: report it with that."
            )
            wrapped.__cause__ = copy
            wrapped.add_note(formatted)
            queued.future.set_exception(wrapped)


def _drop_tracebacks(error: BaseException) -> None:
    """Clear tracebacks, because their frames keep the batch's tensors alive.

    The scheduler's frame also refers to the requests, whose futures hold the error: a reference cycle that only the
    garbage collector would find, hours later.
    """
    error.__traceback__ = None
    for earlier in (error.__cause__, error.__context__):
        if earlier is not None:
            _drop_tracebacks(earlier)
