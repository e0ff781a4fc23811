"""What happened to one call on its way: noted at the seam by whoever sees it, read by the caller afterwards.

Comes in: moments and faults. Goes out: which answer or error is the right one.
Must not know: doors, questions.
"""

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
    """When a call is cancelled. What the engine never reaches, a request of blank documents say, is not cancelled."""

    AT_ONCE = "before it starts"
    QUEUED = "before a pass"
    RUNNING = "while a pass runs"
    PASSED = "after a pass"
    ANSWERED = "after the answer"


@dataclasses.dataclass(eq=False, slots=True)
class Ticket:
    """One call.

    Attributes:
        moment: when it is to be cancelled; None is never.
        cancel: what does it; called at most once, from whichever thread gets to the moment.
        future: of the engine, for callers who have no task to cancel.
        cancelled: whether that moment came.
        over: the caller has an answer or an error.
        broken, no_memory: a pass that held some of this call's documents failed, or did not fit with one document.
        nan: for each request of this call, in order, the positions of documents that were given no finite score.
        met: every fault that this call ran into, also those that nobody may notice.
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
        """The call got so far; if it is to be cancelled here, it is."""
        with self.lock:
            if moment is not self.moment or self.cancelled or self.over or self.cancel is None:
                return
            self.cancelled, cancel = True, self.cancel
        with contextlib.suppress(RuntimeError):  # the loop may have closed since
            cancel()

    def finish(self) -> None:
        """From now on nothing is cancelled any more.

        The future knows the ticket by its callbacks: a circle that would keep a call's documents as if the package did.
        """
        with self.lock:
            self.over = True
            self.cancel = self.future = None

    def take_number(self) -> int:
        """For the next request of this call."""
        self.requests += 1
        return self.requests - 1

    def note_nan(self, request: int, documents: Iterable[int]) -> None:
        """Documents of a request of this call that were given no finite score."""
        self.nan.setdefault(request, set()).update(documents)

    @property
    def unscored(self) -> tuple[int, ...]:
        """What the error must name: the documents of the first request that has any."""
        return tuple(sorted(self.nan[min(self.nan)])) if self.nan else ()


TICKET: ContextVar[Ticket | None] = ContextVar("ticket", default=None)
"""Set before a door is opened; threads and tasks that the door starts inherit it."""
