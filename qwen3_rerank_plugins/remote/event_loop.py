"""A background thread with an event loop, on which all requests to servers run.

It is separate from the callers' event loops, because those may end at any time.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

from qwen3_rerank_plugins.engine.concurrency.lifetime import inside_a_call
from qwen3_rerank_plugins.engine.concurrency.threads import start_thread
from qwen3_rerank_plugins.errors import RerankError

T = TypeVar("T")


class BackgroundLoop:
    """Runs coroutines until it is stopped. The thread is a daemon, so it does not keep the program alive.

    Args:
        name: of the thread.

    Raises:
        ThreadStartError: the thread could not start.
    """

    def __init__(self, name: str) -> None:
        self._loop = asyncio.new_event_loop()
        self._loop.set_default_executor(_DaemonThreads())
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        try:
            start_thread(self._thread)
        except RerankError:
            self._loop.close()
            raise

    def submit(self, coroutine: Coroutine[Any, Any, T]) -> Future[T]:
        """Start a coroutine."""
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop)

    def call(self, function: Callable[[], object]) -> None:
        """Run a function on the thread without waiting for it."""
        self._loop.call_soon_threadsafe(function)

    def stop(self, last: Coroutine[Any, Any, None], patience: float) -> None:
        """Finish all coroutines, then run `last`, then end the thread. On that thread itself, do not wait for this.

        Args:
            last: the coroutine to run at the end.
            patience: seconds after which unfinished coroutines are canceled.
        """
        finished = self.submit(self._finish(last, patience))
        if threading.current_thread() is not self._thread:
            finished.result()
            self._thread.join()

    @inside_a_call()
    def _run(self) -> None:
        try:
            self._loop.run_forever()
        finally:
            self._loop.close()

    async def _finish(self, last: Coroutine[Any, Any, None], patience: float) -> None:
        others = asyncio.all_tasks() - {asyncio.current_task()}
        if others:
            _, late = await asyncio.wait(others, timeout=patience)
            for task in late:
                task.cancel()
            await asyncio.gather(*others, return_exceptions=True)  # each caller gets its error from its own future
        await last
        self._loop.call_soon(self._loop.stop)


class _DaemonThreads(ThreadPoolExecutor):
    """Threads on which the loop looks up host names. The interpreter joins ordinary pools at exit, and a lookup without
    an answer takes half a minute.
    """

    def submit(self, function: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        future: Future[T] = Future()

        def run() -> None:
            try:
                result = function(*args, **kwargs)
            except BaseException as error:
                future.set_exception(error)
            else:
                future.set_result(result)

        future.set_running_or_notify_cancel()
        start_thread(threading.Thread(target=run, name="qwen3-rerank-lookup", daemon=True))
        return future
