"""The threads on which asynchronous calls are tokenized.

They belong to the package, so an application may fill its event loop's own executor with whatever it likes.

Calls to the same scorer that are of about the same size form a lane, with two threads at most. A call waits only for
calls at most eight times as large as itself. A scorer that is slow to submit, for instance because it is downloading
its tokenizer, delays nobody who asks another scorer. A thread ends as soon as nothing waits in its lane. An exiting
interpreter waits for the threads, because a thread must not be stopped inside the tokenizer.
"""

from __future__ import annotations

import collections
import contextvars
import dataclasses
import os
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

from qwen3_rerank_plugins.engine.concurrency.threads import start_thread
from qwen3_rerank_plugins.errors import ThreadStartError

T = TypeVar("T")
THREADS = 2
"""Of one lane, at most."""
_BITS = 3
"""Sizes in one lane differ by a factor of 2**3 at most."""


@dataclasses.dataclass(slots=True)
class _Lane:
    waiting: collections.deque[tuple[Future[Any], Callable[[], Any]]] = dataclasses.field(
        default_factory=collections.deque
    )
    threads: int = 0


class Lanes:
    """Runs functions on a few threads, by whom they are for and by their size."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Start anew, as a forked child does: it has none of the threads, and may have inherited the lock closed."""
        self._lock = threading.Lock()
        self._lanes: dict[tuple[int, int], _Lane] = {}

    def submit(self, owner: object, size: int, function: Callable[[], T]) -> Future[T]:
        """Queue a function; never blocks. It runs in a copy of the caller's context.

        Args:
            owner: functions with different owners never wait for each other; the function keeps its owner alive.
            size: how much work it is, in any unit that all functions share.
            function: what to run.

        Raises:
            ThreadStartError: the lane has no thread, and none could be started.
            ClosedError: the same, as the interpreter is exiting.
        """
        future: Future[T] = Future()
        task = contextvars.copy_context().run
        key = id(owner), size.bit_length() // _BITS
        with self._lock:
            lane = self._lanes.get(key) or _Lane()
            if lane.threads < THREADS:
                thread = threading.Thread(target=self._work, args=(key,), name="qwen3-rerank-tokenize", daemon=False)
                try:
                    start_thread(thread)  # it begins with waiting for the lock
                except ThreadStartError:
                    if not lane.threads:
                        raise
                else:
                    lane.threads += 1
            lane.waiting.append((future, lambda: task(function)))
            self._lanes[key] = lane
        return future

    def _work(self, key: tuple[int, int]) -> None:
        while self._run_next(key):
            pass

    def _run_next(self, key: tuple[int, int]) -> bool:
        with self._lock:
            lane = self._lanes[key]
            if not lane.waiting:
                lane.threads -= 1
                if not lane.threads:
                    del self._lanes[key]
                return False
            future, task = lane.waiting.popleft()
        if future.set_running_or_notify_cancel():
            error, result = None, None
            try:
                result = task()
            except BaseException as raised:
                error = raised
            del task  # whoever hears of the result finds nothing kept that it was made from
            if error is None:
                future.set_result(result)
            else:
                future.set_exception(error)
            del future, error  # the traceback of an error holds this frame
        return True


lanes = Lanes()
os.register_at_fork(after_in_child=lanes.forget)
