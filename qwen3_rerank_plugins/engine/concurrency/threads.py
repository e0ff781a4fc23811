"""Start a thread, and raise an error with a remedy where the system refuses."""

from __future__ import annotations

import threading

from qwen3_rerank_plugins.engine.concurrency.lifetime import ending
from qwen3_rerank_plugins.errors import ClosedError, RerankError, ThreadStartError


def start_thread(thread: threading.Thread) -> None:
    """Start a thread, or raise without leaving anything behind.

    Raises:
        ThreadStartError: the system allows no more threads.
        ClosedError: the interpreter is exiting.
    """
    try:
        thread.start()
    except (RuntimeError, MemoryError) as error:
        raise start_refused(thread.name, error) from error


def start_refused(name: str, error: BaseException) -> RerankError:
    """Return the error for a thread that did not start."""
    if ending():
        return ClosedError("The interpreter is exiting. Finish your calls before it does.")
    return ThreadStartError(
        f"The thread {name!r} could not start: {error}. A limit on threads or memory is reached. Raise it (the pids "
        "limit of a container, `ulimit -u`), or run fewer threads and processes, and call again."
    )
