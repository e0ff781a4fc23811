"""Starting a thread, which the system may refuse."""

from __future__ import annotations

import threading

from qwen3_rerank_plugins.engine.concurrency.lifetime import ending
from qwen3_rerank_plugins.errors import ClosedError, RerankError, ThreadStartError


def start_thread(thread: threading.Thread) -> None:
    """Start a thread; if that fails, nothing of it is left.

    Raises:
        ThreadStartError: the system allows no further thread.
        ClosedError: the interpreter is exiting.
    """
    try:
        thread.start()
    except (RuntimeError, MemoryError) as error:
        raise start_refused(thread.name, error) from error


def start_refused(name: str, error: BaseException) -> RerankError:
    """The error of the tree for a thread that did not start."""
    if ending():
        return ClosedError("The interpreter is exiting. Finish your calls before it does.")
    return ThreadStartError(
        f"The thread {name!r} could not start: {error}. A limit on threads or memory is reached. Raise it (the pids "
        "limit of a container, `ulimit -u`), or run fewer threads and processes, and call again."
    )
