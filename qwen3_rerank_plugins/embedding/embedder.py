"""An embedding model that all callers in this process share. Its single thread loads the model and runs the requests.

A waiting call occupies no thread of the event loop's pool, and a canceled request that still waits never runs.
"""

from __future__ import annotations

import dataclasses
import os
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING

from qwen3_rerank_plugins.embedding.request import EmbeddingRequest
from qwen3_rerank_plugins.embedding.settings import EmbeddingSettings
from qwen3_rerank_plugins.engine.concurrency.awaiting import check_event_loop, result_of
from qwen3_rerank_plugins.engine.concurrency.lifetime import (
    closed_at_exit,
    inside_a_call,
    loading_alone,
    refuse_at_exit,
)
from qwen3_rerank_plugins.engine.concurrency.threads import start_refused
from qwen3_rerank_plugins.errors import ClosedError

if TYPE_CHECKING:
    from qwen3_rerank_plugins.embedding.model import LoadedEmbedder


class LocalEmbedder:
    """A model in this process. It is loaded for the first text; equal settings should share one embedder.

    Args:
        settings: which model to load, and where.
    """

    def __init__(self, settings: EmbeddingSettings) -> None:
        self._settings = settings
        self._process = os.getpid()
        self._loaded: LoadedEmbedder | None = None
        self._lock = threading.Lock()
        self._closed = False
        self._thread = _one_thread()

    def embed(self, request: EmbeddingRequest) -> list[list[float]]:
        """Return one unit vector per text, in order; see `LoadedEmbedder.embed`."""
        with inside_a_call():
            future = self._submit(request)
            try:
                return future.result()
            except BaseException:  # such as an interrupt, after which nothing reads the result
                future.cancel()
                raise

    async def aembed(self, request: EmbeddingRequest) -> list[list[float]]:
        """`embed` without blocking the event loop of asyncio or trio."""
        check_event_loop()
        with inside_a_call():
            future = self._submit(request)
        return await result_of(future)

    def renew_token(self, token: str | None) -> None:
        """Use a newer hub token from now on; a loaded model needs none."""
        if token and self._loaded is None:
            self._settings = dataclasses.replace(self._settings, token=token)

    def close(self) -> None:
        """Drop waiting requests, wait for the running one, and free the memory. Closing twice is fine."""
        if os.getpid() == self._process:
            with self._lock:
                self._closed = True
            self._thread.shutdown(cancel_futures=True)
            self._loaded = None

    def _submit(self, request: EmbeddingRequest) -> Future[list[list[float]]]:
        if os.getpid() != self._process:
            raise ClosedError(
                "This embedding model was made before this process was forked, and its thread does not exist here. "
                "Make a new one in this process, or start processes with the 'spawn' method."
            )
        if not request.texts:
            nothing_to_do: Future[list[list[float]]] = Future()
            nothing_to_do.set_result([])
            return nothing_to_do
        if self._loaded is None:
            refuse_at_exit()
        with self._lock:
            if self._closed:  # after the caller looked it up
                raise ClosedError("This embedding model was closed meanwhile. Call again to load it anew.")
            try:
                return self._thread.submit(self._run, request)
            except (RuntimeError, MemoryError) as error:
                # the executor queued the request, and then failed to start its thread
                self._thread.shutdown(wait=False, cancel_futures=True)
                self._thread = _one_thread()
                raise start_refused("qwen3-embedding", error) from error

    def _run(self, request: EmbeddingRequest) -> list[list[float]]:
        with inside_a_call():
            if self._loaded is None:
                self._loaded = self._load()
            return self._loaded.embed(request)

    def _load(self) -> LoadedEmbedder:
        with closed_at_exit():
            with loading_alone():
                from qwen3_rerank_plugins.embedding.model import LoadedEmbedder

            return LoadedEmbedder(self._settings)  # takes the loading lock again after the download


def _one_thread() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(1, thread_name_prefix="qwen3-embedding")
