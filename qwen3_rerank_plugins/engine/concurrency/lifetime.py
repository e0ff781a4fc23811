"""Decide when this process may load a model, and when it may wait for the thread of a model.

- One model is loaded at a time, because transformers changes torch's global state while it makes a model.
- The process does not fork while a model or a tokenizer is loaded, because the child would inherit state that is half
  made, and locks that are never released.
- Nothing is loaded once the main thread has returned, because imports and thread pools fail from then on.
- A signal handler or finalizer may interrupt a call that holds locks which a model's thread waits for. So code that
  runs inside such a call must not wait for that thread.
"""

from __future__ import annotations

import concurrent.futures.thread  # noqa: F401  # registers its exit hook before ours, so that ours runs first
import contextlib
import threading
from collections.abc import Callable, Iterator

from qwen3_rerank_plugins.engine.concurrency.forks import at_fork
from qwen3_rerank_plugins.errors import ClosedError

_loading = threading.RLock()
_ending = False


@contextlib.contextmanager
def loading_alone() -> Iterator[None]:
    """Import the loading code and load a model or a tokenizer while no other thread loads one or forks the process.

    Raises:
        ClosedError: the interpreter is exiting.
    """
    with _loading:
        refuse_at_exit()
        yield


def ending() -> bool:
    """Whether the interpreter is exiting, because the main thread has returned."""
    return _ending


def refuse_at_exit() -> None:
    """Raise `ClosedError` if the interpreter is exiting."""
    if _ending:
        raise ClosedError("The interpreter is exiting, so no model can be loaded. Finish your calls before it does.")


@contextlib.contextmanager
def closed_at_exit() -> Iterator[None]:
    """Raise `ClosedError` for any error while the interpreter is exiting; the original error is its cause."""
    try:
        yield
    except ClosedError:
        raise
    except Exception as error:
        if not _ending:
            raise
        raise ClosedError(
            "The interpreter is exiting, so this call cannot be completed. Finish your calls before it does."
        ) from error


class _Inside(threading.local):
    depth = 0


_inside = _Inside()
_postponed: list[Callable[[], None]] = []


@contextlib.contextmanager
def inside_a_call() -> Iterator[None]:
    """Mark that this thread may be interrupted while it holds locks. Not for coroutines, which share a thread."""
    _inside.depth += 1
    try:
        yield
    finally:
        _inside.depth -= 1


def run_outside(close: Callable[[], None]) -> None:
    """Close an engine and wait for it. Inside a call, close it on another thread without waiting."""
    if not _inside.depth:
        with inside_a_call():  # a signal handler that interrupts this must not wait for the same thread
            close()
            while _postponed:
                _postponed.pop()()
        return
    try:
        threading.Thread(target=close, name="qwen3-rerank-closing").start()
    except RuntimeError:  # the system allows no more threads
        _postponed.append(close)


def _finish_loading() -> None:
    """Wait for a load in progress, which ends at its next step.

    Otherwise it would go on importing while the interpreter removes modules, and print the errors.
    """
    global _ending  # noqa: PLW0603
    _ending = True
    with _loading:
        pass


def _reset_in_child() -> None:
    _loading.release()  # held by the thread that forked
    _postponed.clear()


at_fork(before=_loading.acquire, after_in_parent=_loading.release, after_in_child=_reset_in_child)
try:
    # `atexit` is too late, because thread pools refuse work by then; the standard library has no other earlier hook
    threading._register_atexit(_finish_loading)  # type: ignore[attr-defined]
except RuntimeError:  # this package was imported after the main thread had returned
    _finish_loading()
