"""The queue between the callers' threads and the thread of a scheduler."""

from __future__ import annotations

import collections
import itertools
import threading
from collections.abc import Collection, Sequence

from qwen3_rerank_plugins.engine.scheduling.admission import waiting_tokens
from qwen3_rerank_plugins.engine.scheduling.packing import LOOKAHEAD
from qwen3_rerank_plugins.engine.scheduling.queued_request import QueuedRequest


class RequestQueue:
    """Requests in the order of their turns.

    Attributes:
        lock: held by every method, and by a caller that combines several. It may be taken more than once.
        closed: whether the scheduler is closed.
        arrivals: how many requests were added so far.
    """

    def __init__(self) -> None:
        self.lock = threading.Condition()
        self.closed = False
        self.arrivals = 0
        self._requests: collections.OrderedDict[QueuedRequest, None] = collections.OrderedDict()

    def __len__(self) -> int:
        return len(self._requests)

    def add(self, queued: QueuedRequest) -> None:
        """Add a request at the back, and wake the scheduler's thread."""
        with self.lock:
            self._requests[queued] = None
            self.arrivals += 1
            self.lock.notify()

    def close(self) -> None:
        """Let `first` return nothing once the queue is empty."""
        with self.lock:
            self.closed = True
            self.lock.notify()

    def first(self) -> list[QueuedRequest]:
        """Wait for requests, and return the first ones without removing them; none once the queue is closed."""
        with self.lock:
            while not (self._requests or self.closed):
                self.lock.wait()
            return list(itertools.islice(self._requests, LOOKAHEAD))

    def following(self, running: Sequence[QueuedRequest]) -> tuple[list[QueuedRequest], int]:
        """Return the first requests as they will be once some have run, and the arrivals so far."""
        with self.lock:
            queue, arrivals = list(itertools.islice(self._requests, LOOKAHEAD)), self.arrivals
        present = set(running)
        return [*(queued for queued in queue if queued not in present), *running], arrivals

    def settle(self, seen: Sequence[QueuedRequest], ran: Sequence[QueuedRequest]) -> None:
        """Move the requests that ran to the back, and remove those that are done."""
        with self.lock:
            for queued in ran:
                self._requests.move_to_end(queued)
            for queued in seen:
                if queued.future.done():
                    self._requests.pop(queued, None)

    def take_all(self) -> list[QueuedRequest]:
        """Remove and return all requests."""
        with self.lock:
            everything = list(self._requests)
            self._requests.clear()
        return everything

    def waiting(self) -> tuple[int, int]:
        """Return how many requests wait, and how many tokens of theirs no batch has taken."""
        with self.lock:
            return len(self._requests), waiting_tokens(self._requests)

    @property
    def requests(self) -> Collection[QueuedRequest]:
        """All requests, in order. Hold the lock while using them."""
        return self._requests.keys()
