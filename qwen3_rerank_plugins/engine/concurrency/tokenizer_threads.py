"""The threads that tokenize asynchronous calls.

They belong to the package, so an application may keep its event loop's executor busy.

Calls to the same scorer that are of about the same size share a queue with at most two threads, so a call waits only
for calls at most eight times as large. A scorer that is slow to submit, for instance because it is downloading its
tokenizer, delays no calls to other scorers. A thread ends as soon as its queue is empty. An exiting interpreter waits
for the threads, because a thread must not be stopped inside the tokenizer.
"""

from __future__ import annotations

import collections
import contextvars
import dataclasses
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

from qwen3_rerank_plugins.engine.concurrency.forks import at_fork
from qwen3_rerank_plugins.engine.concurrency.threads import start_thread
from qwen3_rerank_plugins.errors import ThreadStartError

T = TypeVar("T")
THREADS = 2
"""Most threads of one queue."""
_BITS = 3
"""Sizes in one queue differ by a factor of at most 2**3."""


@dataclasses.dataclass(slots=True)
class _Queue:
    waiting: collections.deque[tuple[Future[Any], Callable[[], Any]]] = dataclasses.field(
        default_factory=collections.deque
    )
    threads: int = 0


class TokenizerThreads:
    """Runs functions on a few threads, with one queue per owner and size."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget all threads and queues. A forked child has no threads and may have inherited a locked lock."""
        self._lock = threading.Lock()
        self._queues: dict[tuple[int, int], _Queue] = {}

    def submit(self, owner: object, size: int, function: Callable[[], T]) -> Future[T]:
        """Queue a function without blocking. It runs in a copy of the caller's context.

        Args:
            owner: functions with different owners never wait for each other; the function must keep its owner alive.
            size: how much work it is, in any unit that all functions share.
            function: the function to run.

        Raises:
            ThreadStartError: the queue has no thread, and none could be started.
            ClosedError: the same while the interpreter is exiting.
        """
        future: Future[T] = Future()
        run = contextvars.copy_context().run
        key = id(owner), size.bit_length() // _BITS
        with self._lock:
            queue = self._queues.get(key) or _Queue()
            if queue.threads < THREADS:
                thread = threading.Thread(target=self._work, args=(key,), name="qwen3-rerank-tokenize", daemon=False)
                try:
                    start_thread(thread)  # it first waits for the lock
                except ThreadStartError:
                    if not queue.threads:
                        raise
                else:
                    queue.threads += 1
            queue.waiting.append((future, lambda: run(function)))
            self._queues[key] = queue
        return future

    def _work(self, key: tuple[int, int]) -> None:
        while self._run_next(key):
            pass

    def _run_next(self, key: tuple[int, int]) -> bool:
        with self._lock:
            queue = self._queues[key]
            if not queue.waiting:
                queue.threads -= 1
                if not queue.threads:
                    del self._queues[key]
                return False
            future, task = queue.waiting.popleft()
        if future.set_running_or_notify_cancel():
            error, result = None, None
            try:
                result = task()
            except BaseException as raised:
                error = raised
            del task  # release the function's inputs before callers see the result
            if error is None:
                future.set_result(result)
            else:
                future.set_exception(error)
            del future, error  # the error's traceback refers to this frame
        return True


tokenizer_threads = TokenizerThreads()
at_fork(after_in_child=tokenizer_threads.reset)
