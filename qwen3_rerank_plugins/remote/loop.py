"""One thread with an event loop of its own, on which everything waits that waits for a server.

Comes in: coroutines, from any thread or event loop. Goes out: futures; cancelling one stops its coroutine.
Must not know: HTTP. A caller's loop may end at any time, and this one must not end with it.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from concurrent.futures import Future
from typing import Any, TypeVar

from qwen3_rerank_plugins.engine.lifetime import inside_a_call
from qwen3_rerank_plugins.engine.threads import start_thread
from qwen3_rerank_plugins.errors import RerankError

T = TypeVar("T")


class BackgroundLoop:
    """Runs coroutines until it is stopped. The thread is a daemon: it keeps no program alive.

    Args:
        name: of the thread.

    Raises:
        ThreadStartError: the thread could not start.
    """

    def __init__(self, name: str) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        try:
            start_thread(self._thread)
        except RerankError:
            self._loop.close()
            raise

    def submit(self, coroutine: Coroutine[Any, Any, T]) -> Future[T]:
        """Start a coroutine."""
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop)

    def stop(self, last: Coroutine[Any, Any, None]) -> None:
        """Finish what was started, then run `last`, then end the thread. From that thread itself nothing is awaited."""
        finished = self.submit(self._finish(last))
        if threading.current_thread() is not self._thread:
            finished.result()
            self._thread.join()

    @inside_a_call()
    def _run(self) -> None:
        try:
            self._loop.run_forever()
        finally:
            self._loop.close()

    async def _finish(self, last: Coroutine[Any, Any, None]) -> None:
        others = asyncio.all_tasks() - {asyncio.current_task()}
        await asyncio.gather(*others, return_exceptions=True)  # each has its own caller to answer
        await last
        self._loop.call_soon(self._loop.stop)
