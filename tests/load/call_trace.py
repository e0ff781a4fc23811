"""The trace of one call: its requests, its cancellation, and the faults it met, recorded where batches run."""

from __future__ import annotations

import contextlib
import dataclasses
import enum
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from contextvars import ContextVar
from typing import Any


class Moment(enum.Enum):
    """When a call is canceled. Requests that never reach the engine, such as blank documents, are not canceled."""

    AT_ONCE = "before it starts"
    QUEUED = "before a pass"
    RUNNING = "while a pass runs"
    PASSED = "after a pass"
    ANSWERED = "after the answer"


@dataclasses.dataclass(eq=False, slots=True)
class CallTrace:
    """The trace of one call.

    Attributes:
        moment: when to cancel it; None is never.
        cancel: function that cancels it; called at most once, by the thread that reaches the moment.
        future: the engine's future, for callers without a task to cancel.
        cancelled: whether it was canceled.
        over: whether the caller has an answer or an error.
        broken: whether a batch with documents of this call raised.
        no_memory: whether a batch with a single document of this call ran out of memory.
        nan: positions of the documents without a finite score, by request of this call.
        met: names of all faults that this call met, including those that callers must not notice.
    """

    moment: Moment | None = None
    cancel: Callable[[], object] | None = None
    future: Future[Any] | None = None
    cancelled: bool = False
    over: bool = False
    broken: bool = False
    no_memory: bool = False
    nan: dict[int, set[int]] = dataclasses.field(default_factory=dict)
    met: set[str] = dataclasses.field(default_factory=set)
    requests: int = 0
    lock: threading.Lock = dataclasses.field(default_factory=threading.Lock)

    def reach(self, moment: Moment) -> None:
        """Note that the call reached a moment, and cancel it if it is to be canceled then."""
        with self.lock:
            if moment is not self.moment or self.cancelled or self.over or self.cancel is None:
                return
            self.cancelled, cancel = True, self.cancel
        with contextlib.suppress(RuntimeError):  # the event loop may be closed by now
            cancel()

    def finish(self) -> None:
        """Note that the call is over, so that nothing is canceled afterwards.

        Drop the future, because its callbacks refer to this trace: the cycle would keep the call's documents, and look
        like a leak in the package.
        """
        with self.lock:
            self.over = True
            self.cancel = self.future = None

    def take_number(self) -> int:
        """Return the number of the next request of this call."""
        self.requests += 1
        return self.requests - 1

    def note_nan(self, request: int, documents: Iterable[int]) -> None:
        """Note documents of one request that have no finite score."""
        self.nan.setdefault(request, set()).update(documents)

    @property
    def unscored(self) -> tuple[int, ...]:
        """The documents that the error must name: those of the first request that has any."""
        return tuple(sorted(self.nan[min(self.nan)])) if self.nan else ()


CURRENT_TRACE: ContextVar[CallTrace | None] = ContextVar("trace", default=None)
"""Set before each call; threads and tasks that the call starts inherit it."""
