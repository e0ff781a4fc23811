"""When this process may load a model, and when it may wait for a thread that runs one.

- One model is loaded at a time: while transformers makes one, it changes state of torch for all threads.
- The process does not fork during a load: the child would inherit that state, and locks that nobody opens.
- Once the main thread has returned, nothing is loaded: imports and thread pools fail from then on.
- A call that was interrupted by a signal handler, or by a finalizer, may hold locks that a model's thread waits for. So
  whoever runs inside such a call must not wait for that thread.
"""

from __future__ import annotations

import concurrent.futures.thread  # noqa: F401  # its own hook at exit must be older than ours, which then runs first
import contextlib
import os
import threading
from collections.abc import Callable, Iterator

from qwen3_rerank_plugins.errors import ClosedError

_loading = threading.RLock()
_ending = False


@contextlib.contextmanager
def loading_alone() -> Iterator[None]:
    """Import what loads a model, and load it, while no other thread does, and no other thread forks the process.

    Raises:
        ClosedError: the interpreter is exiting.
    """
    with _loading:
        refuse_at_exit()
        yield


def ending() -> bool:
    """Whether the main thread has returned, so that the interpreter is exiting."""
    return _ending


def refuse_at_exit() -> None:
    """Raise `ClosedError` if the interpreter is exiting."""
    if _ending:
        raise ClosedError(
            "The interpreter is exiting, and no model is loaded any more. Finish your calls before it does."
        )


@contextlib.contextmanager
def closed_at_exit() -> Iterator[None]:
    """What fails because the interpreter is exiting fails as `ClosedError`; the original error is the cause."""
    try:
        yield
    except ClosedError:
        raise
    except Exception as error:
        if not _ending:
            raise
        raise ClosedError(
            "The interpreter is exiting, and this was not done before. Finish your calls before it does."
        ) from error


class _Inside(threading.local):
    depth = 0


_inside = _Inside()
_postponed: list[Callable[[], None]] = []


@contextlib.contextmanager
def inside_a_call() -> Iterator[None]:
    """What this thread does meanwhile may be interrupted with locks held. Not for coroutines, which share a thread."""
    _inside.depth += 1
    try:
        yield
    finally:
        _inside.depth -= 1


def run_outside(close: Callable[[], None]) -> None:
    """Close an engine and wait for that; from inside a call, let another thread do it, and do not wait."""
    if not _inside.depth:
        with inside_a_call():  # a handler that interrupts the waiting must not wait for the same thread
            close()
            while _postponed:
                _postponed.pop()()
        return
    try:
        threading.Thread(target=close, name="qwen3-rerank-closing").start()
    except RuntimeError:  # the system gives no more threads
        _postponed.append(close)


def _finish_loading() -> None:
    """Wait for a load that has begun. It ends at its next step.

    Otherwise its imports would go on while the interpreter takes modules apart, and print what fails there.
    """
    global _ending  # noqa: PLW0603
    _ending = True
    with _loading:
        pass


def _forget_the_parent() -> None:
    _loading.release()  # the thread that forked holds it here, too
    _postponed.clear()


def _run_before_threads_are_joined(hook: Callable[[], None]) -> None:
    """`atexit` is too late: thread pools refuse work by then. The standard library has only this hook before that."""
    try:
        threading._register_atexit(hook)  # type: ignore[attr-defined]
    except RuntimeError:  # this package was imported when the main thread had returned
        hook()


os.register_at_fork(
    before=_loading.acquire,
    after_in_parent=_loading.release,
    after_in_child=_forget_the_parent,
)
_run_before_threads_are_joined(_finish_loading)
